package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"duplex/internal/testbed"
	"duplex/tasks"

	"golang.org/x/sync/errgroup"
)

// rig is what every measurement runs on: east and west with their databases,
// one Kafka with a registry, and the program, freshly built.
type rig struct {
	log        *slog.Logger
	bed        *testbed.Bed
	dir        string // the program, its files and logs
	program    string
	taskFile   string
	ordering   string // in it
	east, west *site
	kafka      *testbed.Kafka
	registry   *testbed.Registry
	servers    []int // processes of all servers
}

// site is one region.
type site struct {
	name  string
	mysql *testbed.MySQL
}

const task = "task: bench\nregions: [east, west]\ntables: {include: ['bench.*']}\napply: {ordering: %s}\nconflicts: {policy: %s}\n"

// production makes mysqld flush at every commit and gives it memory enough
// that its own cache isn't what is measured.
func production() []testbed.MySQLOption {
	return []testbed.MySQLOption{testbed.Durable(), testbed.MySQLFlags(
		"--innodb-buffer-pool-size=512M", "--loose-innodb-redo-log-capacity=1G", "--innodb-log-buffer-size=64M")}
}

// newRig starts a rig. After an error nothing is left.
func newRig(ctx context.Context, log *slog.Logger) (*rig, error) {
	r := &rig{log: log, east: &site{name: "east"}, west: &site{name: "west"}}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *rig) start(ctx context.Context) (err error) {
	if r.dir, err = os.MkdirTemp("", "duplex-bench-"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	if r.bed, err = testbed.Open(""); err != nil {
		return err
	}
	r.log.Info("starting two MySQL, Kafka and a schema registry, building duplex")
	group, starting := errgroup.WithContext(ctx)
	for _, s := range []*site{r.east, r.west} {
		group.Go(func() (err error) {
			s.mysql, err = r.bed.StartMySQL(starting, testbed.MySQL97, production()...)
			return err
		})
	}
	group.Go(func() (err error) {
		// The test bed leaves the JVM's slow compiler out. With it, a broker just
		// started spends two fifths of its time compiling for more than a
		// minute, which one in production did long ago.
		r.kafka, err = r.bed.StartKafka(starting, testbed.KafkaJVM("-Xmx1g"))
		return err
	})
	group.Go(func() (err error) { r.registry, err = r.bed.StartRegistry(starting); return err })
	group.Go(func() error { return r.build(starting) })
	if err := group.Wait(); err != nil {
		return err
	}
	r.servers = []int{r.east.mysql.PID(), r.west.mysql.PID(), r.kafka.PID(0), r.registry.PID()}
	return r.writeTask(tasks.OrderingTransaction, tasks.LastWriteWins)
}

func (r *rig) build(ctx context.Context) error {
	r.program = filepath.Join(r.dir, "duplex")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", r.program, "duplex/cmd/duplex").CombinedOutput()
	if err != nil {
		return fmt.Errorf("building duplex: %w\n%s", err, out)
	}
	return nil
}

func (r *rig) writeTask(ordering, policy string) error {
	r.taskFile, r.ordering = filepath.Join(r.dir, "bench.yaml"), ordering
	if err := os.WriteFile(r.taskFile, fmt.Appendf(nil, task, ordering, policy), 0o600); err != nil {
		return fmt.Errorf("writing the task file: %w", err)
	}
	return nil
}

// writeConfig writes the process file of a process in a region and returns its
// name.
func (r *rig) writeConfig(s *site, command, listen string) (string, error) {
	file := filepath.Join(r.dir, s.name+"-"+command+".yaml")
	text := fmt.Sprintf("region: %s\nmysql: {address: '%s', user: root, password: '', tls: off}\nkafka: {brokers: ['%s'], replication_factor: 1}\nregistry: {url: '%s'}\nlisten: '%s'\n",
		s.name, s.mysql.Addr, strings.Join(r.kafka.Brokers(), "', '"), r.registry.URL(), listen)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("writing the process file of %s: %w", s.name, err)
	}
	return file, nil
}

func (r *rig) close() error {
	var errs []error
	if r.bed != nil {
		errs = append(errs, r.bed.Close())
	}
	if r.dir != "" {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

// both runs statements on both databases.
func (r *rig) both(ctx context.Context, statements ...string) error {
	for _, s := range []*site{r.east, r.west} {
		if err := run(ctx, s.mysql, statements...); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, m *testbed.MySQL, statements ...string) error {
	for _, statement := range statements {
		if _, err := m.DB().ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("running %s on %s: %w", statement, m.Name(), err)
		}
	}
	return nil
}
