package main

import (
	"context"

	"duplex/mysql"
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
	before, err := r.recorded(ctx)
	if err != nil {
		return nil, err
	}
	var lap *result
	err = r.applying(ctx, func(p *service) error {
		lap, err = r.lapOf(ctx, p, name, rows, to)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Conflicts are recorded in their own time, but before all is settled.
	after, err := r.recorded(ctx)
	to.figure(name+".share", float64(after-before)/float64(rows), "x")
	return lap, err
}

// recorded returns how many conflicts west has recorded.
func (r *rig) recorded(ctx context.Context) (n int64, err error) {
	missing, err := mysql.SchemaMissing(ctx, r.west.mysql.DB())
	if err != nil || missing {
		return 0, err // apply hasn't run yet
	}
	err = r.west.mysql.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM duplex.conflicts").Scan(&n)
	return n, err
}
