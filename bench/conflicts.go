package main

import (
	"context"

	"duplex/region"
	"duplex/tasks"
)

// measureConflicts measures what it costs to look for conflicts: a backlog without
// any, once with policy none and once with the default, and one in which the
// other region has written about a tenth of the rows.
func measureConflicts(ctx context.Context, r *rig, to report) error {
	if err := r.both(ctx, "CREATE DATABASE bench", createTable); err != nil {
		return err
	}
	if err := r.fill(ctx, r.east.mysql, r.west.mysql); err != nil {
		return err
	}
	for _, s := range []*site{r.east, r.west} {
		if err := r.once(ctx, s, "capture", func(*service) error { return nil }); err != nil {
			return err
		}
	}
	const name = "apply.txn100"
	if err := r.writeTask(tasks.OrderingTransaction, tasks.NoPolicy); err != nil {
		return err
	}
	unlooked, err := r.conflictLap(ctx, name+".undetected", to)
	if err != nil {
		return err
	}
	if err := r.writeTask(tasks.OrderingTransaction, tasks.LastWriteWins); err != nil {
		return err
	}
	detected, err := r.conflictLap(ctx, name+".detected", to)
	if err != nil {
		return err
	}
	to.figure(name+".conflict_cost", detected.speed()/unlooked.speed(), "x")
	if err := r.equal(ctx, r.west.mysql); err != nil {
		return err
	}
	local := *workloadOf("txn100")
	local.transactions /= 8
	if _, err := local.write(ctx, r.west.mysql, 0); err != nil {
		return err
	}
	clashing, err := r.conflictLap(ctx, name+".conflicts", to)
	if err != nil {
		return err
	}
	to.figure(name+".conflicts.vs_undetected", clashing.speed()/unlooked.speed(), "x")
	return nil
}

// conflictLap has Duplex work off a new backlog.
func (r *rig) conflictLap(ctx context.Context, name string, to report) (*result, error) {
	rows, err := r.prepare(ctx, workloadOf("txn100"))
	if err != nil {
		return nil, err
	}
	if err := r.rest(ctx, r.west.mysql); err != nil {
		return nil, err
	}
	var lap *result
	err = r.applying(ctx, func(p *service) error {
		if lap, err = r.lapOf(ctx, p, name, rows, to); err != nil {
			return err
		}
		s, err := p.status(ctx)
		if err != nil {
			return err
		}
		to.figure(name+".share", float64(conflicts(&s))/float64(rows), "x")
		return nil
	})
	return lap, err
}

func conflicts(s *region.Status) int64 { return s.Apply[0].LocalWon + s.Apply[0].RemoteWon }
