package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/region"
	"duplex/supervise"
	"duplex/tasks"

	"golang.org/x/sync/errgroup"
)

// readyLimit is how long the regions may take to stream, from their start.
const readyLimit = time.Minute

// task is the demo's task file. The tables are equal, namely empty, when it
// starts, so nothing is copied.
const task = `task: demo
regions: [east, west]
tables: {include: ["shop.*"]}
`

// pair is what runs during the demo: the two sides and what they stand on.
type pair struct {
	bed        *testbed.Bed
	dir        string // of the embedded Kafka and registry
	east, west *side
	stop       context.CancelFunc
	running    errgroup.Group
}

// side is one region, its database and the application that writes to it.
type side struct {
	name   change.Region
	server *testbed.MySQL
	region *region.Region
	app    *application
}

func (p *pair) sides() []*side { return []*side{p.east, p.west} }

// startPair starts both sides and returns when they stream. After an error
// nothing is left.
func startPair(ctx context.Context, version string, out display) (*pair, error) {
	p := &pair{east: &side{name: "east"}, west: &side{name: "west"}, stop: func() {}}
	err := p.start(ctx, version, out)
	if err == nil {
		return p, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, p.close())
}

func (p *pair) start(ctx context.Context, version string, out display) error {
	if err := p.startServers(ctx, out); err != nil {
		return err
	}
	spec, err := tasks.Parse("demo.yaml", []byte(task))
	if err != nil {
		return err
	}
	// What is tried again shows in the view; only what stops for good is said.
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelError}))
	start := func(s *side, process *config.Process) (err error) {
		s.region, err = region.Start(ctx, region.Config{
			Process: process, Tasks: []*tasks.Spec{spec}, Services: region.Capture | region.Apply,
			Version: version, Log: log, Banner: out.say,
		})
		return err
	}
	east, err := p.eastProcess()
	if err == nil {
		err = start(p.east, east)
	}
	if err != nil {
		return err
	}
	west, err := p.westProcess(p.east.region.Process())
	if err == nil {
		err = start(p.west, west)
	}
	if err != nil {
		return err
	}
	p.run()
	return p.awaitReady(ctx)
}

// startServers starts a MySQL for each side, makes the tables and the
// applications.
func (p *pair) startServers(ctx context.Context, out display) (err error) {
	if p.dir, err = os.MkdirTemp("", "duplex-demo-"); err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	if p.bed, err = testbed.Open(""); err != nil {
		return err
	}
	out.say("starting two MySQL servers (the first time they are downloaded: about a minute)")
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range p.sides() {
		group.Go(func() (err error) {
			if s.server, err = p.bed.StartMySQL(ctx, testbed.AnyMySQL); err != nil {
				return err
			}
			s.app = newApplication(s.name, s.server.DB(), i)
			return createTables(ctx, s.server.DB())
		})
	}
	return group.Wait()
}

// eastProcess is the process file of the side that has the embedded Kafka.
func (p *pair) eastProcess() (*config.Process, error) {
	process, err := p.east.process(
		fmt.Sprintf("{brokers: [embedded], embedded: {dir: '%s'}}", filepath.Join(p.dir, "kafka")),
		fmt.Sprintf("{url: embedded, embedded: {dir: '%s'}}", filepath.Join(p.dir, "registry")))
	if err != nil {
		return nil, err
	}
	process.Kafka.Embedded.Listen, process.Registry.Embedded.Listen = anyPort, anyPort
	return process, nil
}

// westProcess is that of the side which uses it.
func (p *pair) westProcess(east *config.Process) (*config.Process, error) {
	return p.west.process(
		fmt.Sprintf("{brokers: ['%s'], replication_factor: 1}", east.Kafka.Brokers[0]),
		fmt.Sprintf("{url: '%s'}", east.Registry.URL))
}

// anyPort lets the system choose: a user may run several demos, or Duplex.
const anyPort = "127.0.0.1:0"

func (s *side) process(kafka, registry string) (*config.Process, error) {
	// Without canaries, as in the end all must come to rest.
	text := fmt.Sprintf("region: %s\nmysql: {address: '%s', user: root, password: '', tls: off}\nkafka: %s\nregistry: %s\ncanary: 0s\n",
		s.name, s.server.Addr, kafka, registry)
	process, err := config.Parse(string(s.name)+".yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	process.Listen = anyPort
	return process, nil
}

func (p *pair) run() {
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.Background())
	for _, s := range p.sides() {
		p.running.Go(func() error { return s.region.Run(ctx) })
	}
}

// awaitReady waits until every service streams, or one has stopped for good.
func (p *pair) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	return poll(ctx, func() error {
		if err := p.stopped(); err != nil {
			return final{err}
		}
		return errors.Join(p.east.region.Ready(), p.west.region.Ready())
	})
}

// stopped returns why services have stopped for good, nil if none has.
func (p *pair) stopped() error {
	var errs []error
	for _, s := range p.sides() {
		status := s.region.Status()
		if c := status.Capture; c.State == supervise.Stopped {
			errs = append(errs, fmt.Errorf("the capture of %s has stopped: %s", s.name, c.Error))
		}
		for _, a := range status.Apply {
			if a.State == supervise.Stopped {
				errs = append(errs, fmt.Errorf("the stream from %s to %s has stopped: %s", a.Source, a.Target, a.Error))
			}
		}
	}
	return errors.Join(errs...)
}

// close ends everything in order: the regions, then what they stand on.
func (p *pair) close() error {
	p.stop()
	errs := []error{p.running.Wait()}
	for _, s := range []*side{p.west, p.east} { // west uses east's Kafka
		if s.region != nil {
			errs = append(errs, s.region.Close())
		}
	}
	if p.bed != nil {
		errs = append(errs, p.bed.Close())
	}
	if p.dir != "" {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	return errors.Join(errs...)
}

// final ends a poll at once.
type final struct{ error }

// poll calls ok until it gives nil or a final error. When ctx ends first, the
// error tells what ok said last.
func poll(ctx context.Context, ok func() error) error {
	for {
		err := ok()
		var end final
		if errors.As(err, &end) {
			return end.error
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; at the end: %w", context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
