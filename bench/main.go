// Command bench measures Duplex against real servers: two MySQL 9.7 that flush
// at every commit, as in production, a Kafka broker with a schema registry, and
// the duplex program as processes of its own. Where it compares, with MySQL's
// own replica or with Debezium, both are measured in the same run on the same machine with the
// same settings.
//
// Usage: go run ./bench [lag|throughput|capture|all]
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

const usage = "usage: bench [lag|throughput|capture|all]"

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

func measurements() []measurement {
	return []measurement{{"lag", measureLag}, {"throughput", measureThroughput}, {"capture", measureCaptureRace}}
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		args = []string{"all"}
	}
	var chosen []measurement
	for _, m := range measurements() {
		if len(args) == 1 && (args[0] == m.name || args[0] == "all") {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		fmt.Fprintln(stderr, usage)
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
