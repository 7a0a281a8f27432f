package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	lagRate    = 200 // transactions a second
	lagClients = 4   // since one commit may take longer than 1/lagRate
	createLag  = "CREATE TABLE bench.lag (id BIGINT PRIMARY KEY, payload VARCHAR(200) NOT NULL)"
)

// measureLag measures how long after COMMIT has returned in east a row is
// visible in west, on a system that has little else to do. The row counts as
// visible when the answer to a query that was sent afterwards shows it, so the
// figure holds the pause between two looks and the query itself; what those
// cost is a figure of its own.
func measureLag(ctx context.Context, r *rig, to report) (err error) {
	if err := r.both(ctx, "CREATE DATABASE bench", createLag); err != nil {
		return err
	}
	r.log.Info("starting duplex run in both regions")
	pids := map[string]int{"mysql_east": r.east.mysql.PID(), "mysql_west": r.west.mysql.PID(), "kafka": r.kafka.PID(0)}
	var running []*service
	for _, s := range []*site{r.east, r.west} {
		p, failed := r.launch(s, "run")
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, p.stop()) }()
		running = append(running, p)
		pids["duplex_"+s.name] = p.cmd.Process.Pid
	}
	for _, p := range running {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	l := newLagRun("lag", 5*time.Second, 30*time.Second)
	r.log.Info("writing", "transactions_per_second", lagRate, "warm_up", l.warmUp, "for", l.time)
	m, err := startMeter(pids)
	if err != nil {
		return err
	}
	if err := l.run(ctx, r); err != nil {
		return err
	}
	if err := l.report(to); err != nil {
		return err
	}
	return m.report(to, "lag")
}

// lagRun is what was seen: when each row was committed here and visible there.
type lagRun struct {
	name         string // of its figures
	warmUp, time time.Duration
	pause        time.Duration // between looks at the target

	mu        sync.Mutex
	committed map[int64]time.Time

	visible map[int64]time.Time
	looks   int
	looking time.Duration
}

func newLagRun(name string, warmUp, d time.Duration) *lagRun {
	return &lagRun{name: name, warmUp: warmUp, time: d, pause: 500 * time.Microsecond, committed: map[int64]time.Time{}, visible: map[int64]time.Time{}}
}

// run writes and watches until every row was seen.
func (l *lagRun) run(ctx context.Context, r *rig) error {
	total := int64((l.warmUp + l.time).Seconds() * lagRate)
	group, ctx := errgroup.WithContext(ctx)
	due := make(chan int64, total)
	group.Go(func() error { return l.watch(ctx, r.west.mysql.DB(), total) })
	for range lagClients {
		group.Go(func() error { return l.write(ctx, r.east.mysql.DB(), due) })
	}
	group.Go(func() error { // at a fixed rate, however long the commits take
		defer close(due)
		tick := time.NewTicker(time.Second / lagRate)
		defer tick.Stop()
		for id := int64(1); id <= total; id++ {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
				due <- id
			}
		}
		return nil
	})
	return group.Wait()
}

func (l *lagRun) write(ctx context.Context, db *sql.DB, due <-chan int64) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting to east: %w", err)
	}
	defer conn.Close()
	for id := range due {
		if _, err := conn.ExecContext(ctx, "INSERT INTO bench.lag VALUES (?, REPEAT('x', 100))", id); err != nil {
			return fmt.Errorf("writing in east: %w", err)
		}
		now := time.Now()
		l.mu.Lock()
		l.committed[id] = now
		l.mu.Unlock()
	}
	return nil
}

// watch looks for new rows in west. Clients commit out of order, so it asks
// for all above the last before which none is missing.
func (l *lagRun) watch(ctx context.Context, db *sql.DB, total int64) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting to west: %w", err)
	}
	defer conn.Close()
	deadline := time.Now().Add(l.warmUp + l.time + 30*time.Second)
	for low := int64(0); low < total; {
		began := time.Now()
		ids, err := newRows(ctx, conn, low)
		if err != nil {
			return fmt.Errorf("looking for new rows in west: %w", err)
		}
		now := time.Now()
		l.looks++
		l.looking += now.Sub(began)
		for _, id := range ids {
			if _, seen := l.visible[id]; !seen {
				l.visible[id] = now
			}
		}
		for _, ok := l.visible[low+1]; ok; _, ok = l.visible[low+1] {
			low++
		}
		if now.After(deadline) {
			return fmt.Errorf("looking for new rows in west: row %d of %d hasn't come", low+1, total)
		}
		time.Sleep(l.pause)
	}
	return nil
}

func newRows(ctx context.Context, conn *sql.Conn, after int64) (ids []int64, err error) {
	rows, err := conn.QueryContext(ctx, fmt.Sprintf("SELECT id FROM bench.lag WHERE id > %d", after))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// report writes the quantiles of what was written after the warm-up.
func (l *lagRun) report(to report) error {
	var lags []time.Duration
	for id, at := range l.committed {
		if id <= int64(l.warmUp.Seconds()*lagRate) {
			continue
		}
		seen, ok := l.visible[id]
		if !ok {
			return fmt.Errorf("row %d was never seen in west", id)
		}
		// It may be visible there before COMMIT has returned here.
		lags = append(lags, max(0, seen.Sub(at)))
	}
	slices.Sort(lags)
	at := func(q float64) float64 { return millis(lags[min(int(q*float64(len(lags))), len(lags)-1)]) }
	to.figure(l.name+".p50", at(0.50), "ms")
	to.figure(l.name+".p95", at(0.95), "ms")
	to.figure(l.name+".p99", at(0.99), "ms")
	to.figure(l.name+".max", at(1), "ms")
	to.figure(l.name+".transactions", float64(len(lags)), "transactions")
	to.figure(l.name+".look.query", millis(l.looking)/float64(l.looks), "ms")
	to.figure(l.name+".look.pause", millis(l.pause), "ms")
	return nil
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
