// Command bench measures Duplex against real servers: two MySQL 9.7 that flush
// at every commit, as in production, a Kafka broker with a schema registry, and
// the duplex program as processes of its own. Where it compares, with MySQL's
// own replica or with Debezium, both are measured in the same run on the same machine with the
// same settings.
//
// Usage: go run ./bench [PART [NAME...]]
//
// Parts are lag, capture, copy and apply; without one, all are measured. copy is the initial copy beside
// mysqldump piped into mysql. apply is made of
// the workloads that are measured against MySQL's own replica (txn1, txn10,
// txn100, txn1000, inserts, oltp, hot), of Debezium's JDBC sink beside it (sink),
// of capture and apply together (pair), of ordering key beside ordering
// transaction (key), and of looking for conflicts beside not (conflicts): name those that you want alone, and
// relaxed before workloads if servers shall not flush at every commit:
//
//	go run ./bench apply txn100
//	go run ./bench apply relaxed txn1 hot
//
// Each figure is one line, bench <dotted.name> <number> <unit>, on stdout; what
// is going on is told on stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

const usage = "usage: bench [lag|capture|copy|apply|all], or bench apply [relaxed] [txn1|txn10|txn100|txn1000|inserts|oltp|hot|sink|pair|key|conflicts]..."

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// measurement is one part of the benchmark.
type measurement struct {
	name string
	run  func(context.Context, *rig, report) error
}

// choose returns what the arguments ask for.
func choose(args []string) ([]measurement, error) {
	all := []measurement{{"lag", measureLag}, {"capture", measureCaptureRace}, {"copy", measureCopy}}
	switch {
	case len(args) == 0, len(args) == 1 && args[0] == "all":
		apply, err := chooseApply(nil)
		return append(all, apply...), err
	case args[0] == "apply":
		return chooseApply(args[1:])
	}
	for _, m := range all {
		if len(args) == 1 && args[0] == m.name {
			return []measurement{m}, nil
		}
	}
	return nil, fmt.Errorf("there is no part %q", args)
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	chosen, err := choose(args)
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n%s\n", err, usage)
		return 2
	}
	for _, m := range chosen {
		if err := measure(ctx, m, report{stdout}, slog.New(slog.NewTextHandler(stderr, nil))); err != nil {
			fmt.Fprintf(stderr, "bench: measuring %s: %v\n", m.name, err)
			return 1
		}
	}
	return 0
}

// measure runs m on a rig of its own, so that none finds another's data.
func measure(ctx context.Context, m measurement, to report, log *slog.Logger) (err error) {
	r, err := newRig(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	return m.run(ctx, r, to)
}

// report writes figures.
type report struct{ out io.Writer }

func (r report) figure(name string, value float64, unit string) {
	format := "bench %s %.2f %s\n"
	if value >= 1000 {
		format = "bench %s %.0f %s\n"
	}
	fmt.Fprintf(r.out, format, name, value, unit)
}
