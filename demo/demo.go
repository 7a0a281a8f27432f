// Package demo shows Duplex at work: two MySQL servers, a Kafka and a registry
// inside the process, and an application on each side that inserts, updates
// and deletes in related tables. When the applications have stopped and both
// regions have caught up, every table is compared by content, and every change
// that was applied is held against those that the applications made.
//
// Nothing in it is staged. The servers are real, the regions run as duplex run
// runs them, and what the demo finds out at the end it asks the databases and
// the applications, not Duplex.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says how long the demo writes and where it shows what happens.
type Config struct {
	// Writing is how long the applications write.
	Writing time.Duration
	// Enough ends the writing earlier when it is closed.
	Enough <-chan struct{}
	// Out gets everything the demo tells but the last line, which is the
	// caller's to print.
	Out io.Writer
	// Width is that of the terminal behind Out, in columns; 0 if there is none.
	Width int
	// Version of the program, shown in every record.
	Version string
}

// catchUpLimit is how long the regions may need to catch up after the last
// write. They are seconds behind at most, unless something is broken.
const catchUpLimit = time.Minute

// settleLimit is how long a row may still be put back after a conflict, where the
// region's own topics came late.
const settleLimit = 20 * time.Second

// ErrInterrupted says that the demo was ended before its applications wrote.
var ErrInterrupted = errors.New("the demo was interrupted before it began to write")

// Run runs the demo. It leaves nothing behind: no process, no file. The result
// is nil if the demo couldn't be run, and is there together with an error if
// the regions didn't catch up.
func Run(ctx context.Context, cfg Config) (result *Result, err error) {
	out := newDisplay(cfg.Out, cfg.Width)
	pair, err := setUp(ctx, cfg, out)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pair.close()) }()
	began := time.Now()
	if err := pair.write(ctx, cfg, out); err != nil {
		return nil, err
	}
	wrote := time.Since(began)
	out.say("the applications have stopped; waiting until both regions have caught up")
	began = time.Now()
	late := pair.catchUp(ctx, catchUpLimit)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if late == nil {
		out.say(fmt.Sprintf("caught up after %s; comparing every table by content", time.Since(began).Round(time.Millisecond)))
	}
	tables, err := pair.settled(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		out.say(t.String())
	}
	conflicts, err := pair.conflicts(ctx)
	if err != nil {
		return nil, err
	}
	return pair.result(wrote, tables, conflicts), late
}

// settled compares the regions until they are equal, but not for long.
func (p *pair) settled(ctx context.Context) (tables []Table, err error) {
	for began := time.Now(); ; {
		tables, err = compare(ctx, p.east.server.DB(), p.west.server.DB())
		if err != nil || differences(tables) == 0 || time.Since(began) > settleLimit {
			return tables, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(quiet):
		}
	}
}

// setUp starts everything, telling now and then that it is still at it: the
// first start installs MySQL.
func setUp(ctx context.Context, cfg Config, out display) (*pair, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type outcome struct {
		pair *pair
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		p, err := startPair(ctx, cfg.Version, out)
		done <- outcome{p, err}
	}()
	began := time.Now()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	enough := cfg.Enough
	for {
		select {
		case o := <-done:
			return o.pair, o.err
		case <-enough:
			enough = nil // it stays readable
			cancel(ErrInterrupted)
		case <-tick.C:
			out.say(fmt.Sprintf("still starting after %s", time.Since(began).Round(time.Second)))
		}
	}
}

// write lets both applications write and shows them until the time is over.
// A service that stops ends it with the reason.
func (p *pair) write(ctx context.Context, cfg Config, out display) error {
	writing, stop := context.WithTimeout(ctx, cfg.Writing)
	defer stop()
	group, failed := errgroup.WithContext(writing)
	for _, s := range p.sides() {
		group.Go(func() error { return s.app.run(failed) })
	}
	group.Go(func() error { return p.show(failed, cfg.Writing, out) })
	select {
	case <-cfg.Enough:
		stop()
	case <-failed.Done():
	}
	err := group.Wait()
	out.settle()
	if err != nil {
		return err
	}
	return ctx.Err()
}
