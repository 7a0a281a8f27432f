package main

import (
	"context"
	"fmt"

	"duplex/region"
	"duplex/tasks"
)

// measureKey measures apply with ordering key beside ordering transaction: a
// backlog of the same kind each, one process, the servers' settings the same.
func measureKey(ctx context.Context, r *rig, to report) error {
	if err := r.both(ctx, "CREATE DATABASE bench", createTable); err != nil {
		return err
	}
	if err := r.fill(ctx, r.east.mysql, r.west.mysql); err != nil {
		return err
	}
	if err := r.once(ctx, r.east, "capture", func(*service) error { return nil }); err != nil {
		return err
	}
	return r.keyRace(ctx, workloadOf("txn100"), to)
}

func (r *rig) keyRace(ctx context.Context, w *workload, to report) error {
	name := "apply.key." + w.name
	rows, err := r.prepare(ctx, w)
	if err != nil {
		return err
	}
	whole, err := r.apply(ctx, name+".transaction", rows, to)
	if err != nil {
		return err
	}
	if rows, err = r.prepare(ctx, w); err != nil {
		return err
	}
	if err := r.writeTask(tasks.OrderingKey, tasks.LastWriteWins); err != nil {
		return err
	}
	keyed, err := r.apply(ctx, name, rows, to)
	if err != nil {
		return err
	}
	to.figure(name+".vs_transaction", keyed.speed()/whole.speed(), "x")
	return r.equal(ctx, r.west.mysql)
}

// begun waits until apply has begun: with ordering key it joins the others first.
func (p *service) begun(ctx context.Context) error {
	return p.await(ctx, patience, func(s *region.Status) error {
		if appliedRows(s) == 0 {
			return fmt.Errorf("%s has applied nothing yet", p.site.name)
		}
		return nil
	})
}
