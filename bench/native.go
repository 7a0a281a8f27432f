package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/internal/testbed"
)

// nativeRace measures apply against MySQL's own replica with eight workers. Of
// each workload a backlog is prepared in the binlog of east and, by capture, in
// Kafka. Each works it off alone, into a server of its own with the same
// settings: both flush alike and keep a binlog, as the server of a region does.
type nativeRace struct {
	rig        *rig
	to         report
	prefix     string // of the figures' names
	durability durability
	workloads  []workload
	replica    *replica
}

// run races through the workloads.
func (n *nativeRace) run(ctx context.Context) (err error) {
	r := n.rig
	if n.replica, err = r.startReplica(ctx); err != nil {
		return err
	}
	if err := r.both(ctx, "CREATE DATABASE bench", createTable); err != nil {
		return err
	}
	if _, err := n.replica.catchUp(ctx, r.east.mysql); err != nil {
		return err
	}
	if err := r.fill(ctx, r.east.mysql, r.west.mysql, n.replica.MySQL); err != nil {
		return err
	}
	for _, m := range []*testbed.MySQL{r.west.mysql, n.replica.MySQL} {
		if err := n.durability.set(ctx, m); err != nil {
			return err
		}
		s, err := settings(ctx, m)
		if err != nil {
			return err
		}
		r.log.Info("settings of "+m.Name(), "all", s)
	}
	// Saves its first position: where the backlogs begin.
	if err := r.once(ctx, r.east, "capture", func(*service) error { return nil }); err != nil {
		return err
	}
	for _, w := range n.workloads {
		if err := n.measure(ctx, &w); err != nil {
			return fmt.Errorf("workload %s: %w", w.name, err)
		}
	}
	return nil
}

func (n *nativeRace) measure(ctx context.Context, w *workload) error {
	rows, err := n.rig.prepare(ctx, w)
	if err != nil {
		return err
	}
	theirs, err := n.native(ctx, w, rows)
	if err != nil {
		return err
	}
	ours, err := n.duplex(ctx, w, rows)
	if err != nil {
		return err
	}
	n.to.figure(n.prefix+w.name+".vs_native", theirs.took.Seconds()/ours.took.Seconds(), "x")
	n.to.figure(n.prefix+w.name+".cpu.vs_native", theirs.use["mysql"].cpu/(ours.use["duplex"].cpu+ours.use["mysql"].cpu), "x")
	return n.rig.equal(ctx, n.rig.west.mysql, n.replica.MySQL)
}

// prepare writes the backlog of a workload in east and has capture publish it.
func (r *rig) prepare(ctx context.Context, w *workload) (rows int64, err error) {
	r.log.Info("preparing a backlog", "workload", w.name, "transactions", w.transactions)
	if rows, err = w.write(ctx, r.east.mysql); err != nil {
		return 0, err
	}
	return rows, r.once(ctx, r.east, "capture", func(p *service) error {
		_, err := p.work(ctx, rows, capturedRows)
		return err
	})
}

func (n *nativeRace) native(ctx context.Context, w *workload, rows int64) (*result, error) {
	if err := n.rig.rest(ctx, n.rig.west.mysql, n.replica.MySQL); err != nil {
		return nil, err
	}
	l := lap{n.prefix + w.name + ".native", rows, map[string]int{"mysql": n.replica.PID(), "mysql_source": n.rig.east.mysql.PID()}}
	return n.rig.measure(l, n.to, func() (time.Duration, error) { return n.replica.catchUp(ctx, n.rig.east.mysql) })
}

func (n *nativeRace) duplex(ctx context.Context, w *workload, rows int64) (result *result, err error) {
	if err := n.rig.rest(ctx, n.rig.west.mysql, n.replica.MySQL); err != nil {
		return nil, err
	}
	err = n.rig.applying(ctx, func(p *service) (err error) {
		l := lap{n.prefix + w.name + ".duplex", rows, map[string]int{"duplex": p.cmd.Process.Pid, "mysql": n.rig.west.mysql.PID(), "kafka": n.rig.kafka.PID(0)}}
		result, err = n.rig.measure(l, n.to, func() (time.Duration, error) { return p.work(ctx, rows, appliedRows) })
		return err
	})
	return result, err
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
