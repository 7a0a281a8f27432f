package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"duplex/internal/testbed"
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
	return r.once(ctx, r.west, "apply", func(p *service) error { return errors.Join(capture.freeze(), do(p)) })
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
