package main

import (
	"context"
	"fmt"

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
	ours, err := n.rig.apply(ctx, n.prefix+w.name, rows, n.to, n.replica.MySQL)
	if err != nil {
		return err
	}
	n.to.figure(n.prefix+w.name+".vs_native", ours.speed()/theirs.speed(), "x")
	n.to.figure(n.prefix+w.name+".cpu.vs_native", theirs.cpu["mysql"]/(ours.cpu["duplex"]+ours.cpu["mysql"]), "x")
	return n.rig.equal(ctx, n.rig.west.mysql, n.replica.MySQL)
}

func (n *nativeRace) native(ctx context.Context, w *workload, rows int64) (*result, error) {
	if err := n.rig.rest(ctx, n.rig.west.mysql, n.replica.MySQL); err != nil {
		return nil, err
	}
	l := lap{n.prefix + w.name + ".native", map[string]int{"mysql": n.replica.PID(), "mysql_source": n.rig.east.mysql.PID()}}
	return n.rig.measure(l, n.to, func() (pace, error) {
		took, err := n.replica.catchUp(ctx, n.rig.east.mysql)
		return pace{rows, took}, err
	})
}
