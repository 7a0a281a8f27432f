package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/internal/testbed"
	"duplex/region"

	"golang.org/x/sync/errgroup"
)

// patience is how long one backlog may take.
const patience = 10 * time.Minute

// measureThroughput measures how fast a backlog is worked off: by MySQL's own
// replica with eight workers; by capture, from the binlog into Kafka; and by
// apply, from Kafka into west. Each works alone, on the same backlog, between
// servers with the same settings. The region of apply runs whole, as it would:
// its capture reads and publishes what apply writes.
func measureThroughput(ctx context.Context, r *rig, to report) error {
	replica, err := r.startReplica(ctx)
	if err != nil {
		return err
	}
	if err := r.both(ctx, "CREATE DATABASE bench", createTable); err != nil {
		return err
	}
	if err := replica.catchUp(ctx, r.east.mysql); err != nil {
		return err
	}
	r.log.Info("filling the table", "rows", existing)
	filling, fillCtx := errgroup.WithContext(ctx)
	for _, m := range []*testbed.MySQL{r.east.mysql, r.west.mysql, replica.MySQL} {
		filling.Go(func() error { return fill(fillCtx, m.DB()) })
	}
	if err := filling.Wait(); err != nil {
		return err
	}
	// Saves its first position: where the backlog begins.
	if err := r.once(ctx, r.east, "capture", func(*service) error { return nil }); err != nil {
		return err
	}
	for _, s := range shapes() {
		if err := measureShape(ctx, r, replica, s, to); err != nil {
			return fmt.Errorf("transactions of %d rows: %w", s.rows, err)
		}
	}
	return nil
}

func measureShape(ctx context.Context, r *rig, replica *replica, s shape, to report) error {
	r.log.Info("writing a backlog", "transactions", s.transactions, "rows_each", s.rows)
	// How fast the backlog is written isn't measured.
	if err := run(ctx, r.east.mysql, "SET GLOBAL sync_binlog = 0, innodb_flush_log_at_trx_commit = 2"); err != nil {
		return err
	}
	rows, err := s.write(ctx, r.east.mysql.DB())
	if err == nil {
		err = run(ctx, r.east.mysql, "SET GLOBAL sync_binlog = 1, innodb_flush_log_at_trx_commit = 1")
	}
	if err != nil {
		return err
	}
	native, err := measureReplica(ctx, r, replica, s, rows, to)
	if err != nil {
		return err
	}
	captured, err := measureCapture(ctx, r, s, rows, to)
	if err != nil {
		return err
	}
	applied, err := measureApply(ctx, r, s, rows, to)
	if err != nil {
		return err
	}
	to.figure("replica."+s.name()+".rows", native, "rows/s")
	to.figure("capture."+s.name()+".rows", captured, "rows/s")
	to.figure("capture."+s.name()+".vs_replica", captured/native, "x")
	to.figure("apply."+s.name()+".rows", applied, "rows/s")
	to.figure("apply."+s.name()+".vs_replica", applied/native, "x")
	return r.equal(ctx, r.west.mysql, replica.MySQL)
}

// measureReplica returns the rows a second of MySQL's replica.
func measureReplica(ctx context.Context, r *rig, replica *replica, s shape, rows int64, to report) (float64, error) {
	r.log.Info("measuring the replica", "rows", rows)
	m, err := startMeter(map[string]int{"mysql": replica.PID()})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := replica.catchUp(ctx, r.east.mysql); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return float64(rows) / took.Seconds(), m.report(to, "replica."+s.name())
}

// measureCapture returns the rows a second of capture.
func measureCapture(ctx context.Context, r *rig, s shape, rows int64, to report) (speed float64, err error) {
	r.log.Info("measuring capture", "rows", rows)
	err = r.once(ctx, r.east, "capture", func(p *service) error {
		m, err := startMeter(map[string]int{"duplex": p.cmd.Process.Pid, "kafka": r.kafka.PID(0)})
		if err != nil {
			return err
		}
		speed, err = p.speed(ctx, rows, func(s *region.Status) int64 { return s.Capture.Rows })
		return errors.Join(err, m.report(to, "capture."+s.name()))
	})
	return speed, err
}

// measureApply returns the rows a second of apply.
func measureApply(ctx context.Context, r *rig, s shape, rows int64, to report) (speed float64, err error) {
	r.log.Info("measuring apply", "rows", rows)
	err = r.once(ctx, r.west, "run", func(p *service) error {
		m, err := startMeter(map[string]int{"duplex": p.cmd.Process.Pid, "mysql": r.west.mysql.PID(), "kafka": r.kafka.PID(0)})
		if err != nil {
			return err
		}
		speed, err = p.speed(ctx, rows, func(s *region.Status) int64 { return s.Apply[0].Rows })
		return errors.Join(err, m.report(to, "apply."+s.name()))
	})
	return speed, err
}

// once runs a duplex process for as long as do takes.
func (r *rig) once(ctx context.Context, s *site, command string, do func(*service) error) error {
	p, err := r.launch(s, command)
	if err != nil {
		return err
	}
	if err = p.ready(ctx); err == nil {
		err = do(p)
	}
	return errors.Join(err, p.stop())
}

// speed returns how many rows a second the process did from now until it has
// done so many in all.
func (p *service) speed(ctx context.Context, rows int64, done func(*region.Status) int64) (float64, error) {
	s, err := p.status(ctx)
	if err != nil {
		return 0, err
	}
	began, before := time.Now(), done(&s)
	err = p.await(ctx, patience, func(s *region.Status) error {
		if n := done(s); n < rows {
			return fmt.Errorf("%d of %d rows are done", n, rows)
		}
		return nil
	})
	return float64(rows-before) / time.Since(began).Seconds(), err
}

// equal compares the table with that of other servers.
func (r *rig) equal(ctx context.Context, others ...*testbed.MySQL) error {
	want, err := content(ctx, r.east.mysql)
	if err != nil {
		return err
	}
	for _, m := range others {
		got, err := content(ctx, m)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("comparing the table: %s has %s, east %s", m.Name(), got, want)
		}
	}
	return nil
}

func content(ctx context.Context, m *testbed.MySQL) (string, error) {
	var name, count, sum string
	err := m.DB().QueryRowContext(ctx, "CHECKSUM TABLE bench.rows").Scan(&name, &sum)
	if err == nil {
		err = m.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM bench.rows").Scan(&count)
	}
	if err != nil {
		return "", fmt.Errorf("reading the table of %s: %w", m.Name(), err)
	}
	return count + " rows with checksum " + sum, nil
}
