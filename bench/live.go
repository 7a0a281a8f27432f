package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"duplex/region"

	"golang.org/x/sync/errgroup"
)

const (
	liveTime    = 6 * time.Second // at each rate
	liveRows    = 100             // of a transaction
	liveClients = clients
	// fallenBehind is how long after the last commit the other region may still
	// apply before it counts as fallen behind.
	fallenBehind = time.Second
)

// live finds the highest rate at which clients may insert in east, at a fixed
// pace, so that west keeps up; and the lag at half of it. The clients' own work
// and that of east's server are on the same cores.
func (p *pair) live(ctx context.Context) error {
	var last int64
	if err := p.rig.east.mysql.DB().QueryRowContext(ctx, "SELECT MAX(id) FROM bench.sbtest1").Scan(&last); err != nil {
		return fmt.Errorf("asking for the last row: %w", err)
	}
	for i := range int64(liveClients) {
		p.clients = append(p.clients, newClient(i, pairInserts(0), last))
	}
	peak, err := highest(6_000, 3, func(rate float64) (bool, error) { return p.keepsUp(ctx, rate) })
	if err != nil {
		return err
	}
	p.to.figure("pair.live.inserts", peak, "rows/s")
	return p.lagAt(ctx, peak/2)
}

// highest returns the highest rate that is sustained: it climbs by halves until
// one isn't, and halves what lies between so many times.
func highest(rate float64, halvings int, sustained func(float64) (bool, error)) (float64, error) {
	low, high := 0.0, rate
	for {
		ok, err := sustained(high)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		low, high = high, high*1.5
	}
	for range halvings {
		middle := (low + high) / 2
		ok, err := sustained(middle)
		if err != nil {
			return 0, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

// keepsUp reports whether west keeps up with a rate of rows a second, and so do
// the clients.
func (p *pair) keepsUp(ctx context.Context, rate float64) (bool, error) {
	s, err := p.west.status(ctx)
	if err != nil {
		return false, err
	}
	before := appliedRows(&s)
	written, err := p.insert(ctx, rate, liveTime)
	if err != nil {
		return false, err
	}
	ended := time.Now()
	err = p.west.await(ctx, patience, func(s *region.Status) error {
		if n := appliedRows(s) - before; n < written {
			return fmt.Errorf("%d of %d rows are applied", n, written)
		}
		return nil
	})
	behind := time.Since(ended)
	ok := behind <= fallenBehind && float64(written) > 0.97*rate*liveTime.Seconds()
	p.rig.log.Info("inserting at a fixed pace", "rows_per_second", int(rate), "written", written, "applied_after", behind, "sustained", ok)
	return ok, err
}

// insert inserts in east at a rate of rows a second for so long and returns how
// many rows it has committed: fewer if the server can't keep the pace.
func (p *pair) insert(ctx context.Context, rate float64, d time.Duration) (int64, error) {
	began := time.Now()
	interval := time.Duration(liveRows / rate * float64(time.Second))
	var next, rows atomic.Int64 // transactions begun, rows committed
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range p.clients {
		group.Go(func() error {
			session, err := p.rig.east.mysql.DB().Conn(ctx)
			if err != nil {
				return fmt.Errorf("connecting to east: %w", err)
			}
			defer session.Close()
			for {
				due := began.Add(time.Duration(next.Add(1)-1) * interval)
				if due.Sub(began) >= d || time.Since(began) >= d {
					return nil
				}
				statement := c.multirow(liveRows)
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(time.Until(due)):
				}
				if _, err := session.ExecContext(ctx, statement); err != nil {
					return fmt.Errorf("inserting in east: %w", err)
				}
				rows.Add(liveRows)
			}
		})
	}
	err := group.Wait()
	return rows.Load(), err
}

// multirow inserts n rows by one statement.
func (c *client) multirow(n int) string {
	var all []string
	for range n {
		all = append(all, c.values(c.next))
		c.next += clients
	}
	return "INSERT INTO bench.sbtest1 VALUES " + strings.Join(all, ", ")
}

// lagAt measures the lag of single-row transactions while clients insert at a
// fixed pace.
func (p *pair) lagAt(ctx context.Context, rate float64) error {
	p.rig.log.Info("measuring the lag", "rows_per_second", int(rate))
	l := newLagRun("pair.lag", 2*time.Second, 15*time.Second)
	l.pause = 2 * time.Millisecond // its looks shall not be the load
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		rows, err := p.insert(running, rate, l.warmUp+l.time)
		p.to.figure("pair.lag.inserts", float64(rows)/(l.warmUp+l.time).Seconds(), "rows/s")
		return err
	})
	group.Go(func() error { return l.run(running, p.rig) })
	if err := group.Wait(); err != nil {
		return err
	}
	return l.report(p.to)
}
