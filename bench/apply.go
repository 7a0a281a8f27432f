package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"duplex/internal/testbed"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// chooseApply returns the measurements of apply of the given names: all of them
// if there is none, with servers that flush at every commit.
func chooseApply(names []string) ([]measurement, error) {
	race := nativeRace{prefix: "apply.", durability: strict}
	if len(names) > 0 && names[0] == "relaxed" {
		race = nativeRace{prefix: "apply.relaxed.", durability: relaxed}
		names = names[1:]
	}
	known := 0
	for _, w := range workloads() {
		if len(names) == 0 || slices.Contains(names, w.name) {
			race.workloads = append(race.workloads, w)
			known++
		}
	}
	var chosen []measurement
	if len(race.workloads) > 0 {
		chosen = append(chosen, measurement{"apply", func(ctx context.Context, r *rig, to report) error {
			race.rig, race.to = r, to
			return race.run(ctx)
		}})
	}
	for _, m := range []measurement{{"sink", measureSink}, {"pair", measurePair}, {"key", measureKey}, {"conflicts", measureConflicts}} {
		if race.durability == strict && (len(names) == 0 || slices.Contains(names, m.name)) {
			chosen = append(chosen, m)
			known++
		}
	}
	if len(names) > 0 && known < len(names) {
		return nil, fmt.Errorf("some of %q are not parts of apply", names)
	}
	return chosen, nil
}

// prepare writes the backlog of a workload in east and has capture publish it.
func (r *rig) prepare(ctx context.Context, w *workload) (rows int64, err error) {
	r.log.Info("preparing a backlog", "workload", w.name, "transactions", w.transactions)
	if rows, err = w.write(ctx, r.east.mysql, 0); err != nil {
		return 0, err
	}
	return rows, r.once(ctx, r.east, "capture", func(p *service) error {
		_, err := p.work(ctx, rows, capturedRows)
		return err
	})
}

// apply has Duplex work off a backlog into west. The other targets of the race
// rest with it.
func (r *rig) apply(ctx context.Context, name string, rows int64, to report, others ...*testbed.MySQL) (result *result, err error) {
	if err := r.rest(ctx, append(others, r.west.mysql)...); err != nil {
		return nil, err
	}
	err = r.applying(ctx, func(p *service) (err error) {
		result, err = r.lapOf(ctx, p, name+".duplex", rows, to)
		return err
	})
	return result, err
}

// lapOf measures apply in west while it works off a backlog.
func (r *rig) lapOf(ctx context.Context, p *service, name string, rows int64, to report) (*result, error) {
	l := lap{name, map[string]int{"duplex": p.cmd.Process.Pid, "mysql": r.west.mysql.PID(), "kafka": r.kafka.PID(0)}}
	if err := p.begun(ctx); err != nil {
		return nil, err
	}
	return r.measure(l, to, func() (pace, error) { return p.work(ctx, rows, appliedRows) })
}

// applying runs apply in west for as long as do takes. Before it begins, apply
// has its region's capture show that it knows what apply writes; from then on
// capture is held still: what it would publish isn't apply's work.
func (r *rig) applying(ctx context.Context, do func(*service) error) (err error) {
	capture, err := r.launch(r.west, "capture")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, capture.thaw(), capture.stop()) }()
	return r.once(ctx, r.west, "apply", func(p *service) error {
		if err := errors.Join(capture.freeze(), do(p), capture.thaw()); err != nil {
			return err
		}
		return r.settled(ctx)
	})
}

// settled waits until nothing of what apply has written in west need be known to the
// next one: else that would read all of it again, beside what is measured.
func (r *rig) settled(ctx context.Context) error {
	if r.ordering == tasks.OrderingKey {
		return nil // it knows no versions
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(r.kafka.Brokers()...))
	if err != nil {
		return fmt.Errorf("connecting to Kafka: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("what apply has written doesn't come to be settled"))
	defer cancel()
	spine := topics.Spine("east")
	for {
		ends, err := admin.ListEndOffsets(ctx, spine)
		if err != nil {
			return fmt.Errorf("looking for the end of %s: %w", spine, err)
		}
		saved, err := admin.FetchOffsets(ctx, topics.Group("bench", "east", "west"))
		if err != nil {
			return fmt.Errorf("looking for the group of apply: %w", err)
		}
		end, _ := ends.Lookup(spine, 0)
		if at, ok := saved.Lookup(spine, 0); ok && at.At >= end.Offset {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// rest waits until the servers have written what they put off and the machine
// is quiet.
func (r *rig) rest(ctx context.Context, targets ...*testbed.MySQL) error {
	r.log.Info("waiting for the machine to rest")
	if err := flushed(ctx, append(targets, r.east.mysql)...); err != nil {
		return err
	}
	return quiet(ctx)
}
