package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/internal/testbed"

	"golang.org/x/sync/errgroup"
)

// debeziumPair is how many inserts a second Debezium's source and its JDBC sink
// could reach together on two cores like those on which it was measured: the
// sum of the CPU times of an insert in each part, 97 µs, was measured, the pair
// never run. What it takes to write the inserts is not in it.
const debeziumPair = 20_000

// pair is both regions with capture and apply, all on this machine at once.
type pair struct {
	rig        *rig
	to         report
	east, west *service
	clients    []*client // that insert at a fixed pace
}

// measurePair measures capture and apply together: one direction alone, both
// regions whole, and how fast clients may write before the other region falls
// behind.
func measurePair(ctx context.Context, r *rig, to report) (err error) {
	if err := r.both(ctx, "CREATE DATABASE bench", createTable, createLag); err != nil {
		return err
	}
	if err := r.fill(ctx, r.east.mysql, r.west.mysql); err != nil {
		return err
	}
	// Makes its topics, without which apply in west doesn't begin.
	if err := r.once(ctx, r.east, "capture", func(*service) error { return nil }); err != nil {
		return err
	}
	p := &pair{rig: r, to: to}
	if err := p.oneDirection(ctx); err != nil {
		return fmt.Errorf("one direction: %w", err)
	}
	if p.east, err = r.launch(r.east, "run"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.east.stop()) }()
	if p.west, err = r.launch(r.west, "run"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.west.stop()) }()
	if err := errors.Join(p.east.ready(ctx), p.west.ready(ctx)); err != nil {
		return err
	}
	if err := p.twoWay(ctx); err != nil {
		return fmt.Errorf("both regions: %w", err)
	}
	if err := r.equal(ctx, r.west.mysql); err != nil {
		return err
	}
	return p.live(ctx)
}

// pairInserts are single-row statements, 100 to a transaction, as those that
// Debezium's figures are of.
func pairInserts(transactions int) *workload {
	return &workload{"inserts", transactions, func(c *client) ([]string, int) { return c.inserts(100) }}
}

// oneDirection measures capture in east and apply in west alone, which is what
// Debezium's source and sink do. The backlog lies in the binlog and both stream
// before they may begin.
func (p *pair) oneDirection(ctx context.Context) error {
	r := p.rig
	return r.applying(ctx, func(apply *service) error {
		return r.once(ctx, r.east, "capture", func(capture *service) error {
			rows, err := p.backlog(ctx, 3_000, []*service{capture}, r.east)
			if err != nil {
				return errors.Join(err, capture.thaw())
			}
			l := lap{"pair.inserts", map[string]int{"capture": capture.cmd.Process.Pid, "apply": apply.cmd.Process.Pid,
				"mysql_source": r.east.mysql.PID(), "mysql_target": r.west.mysql.PID(), "kafka": r.kafka.PID(0)}}
			result, err := r.measure(l, p.to, func() (pace, error) {
				if err := capture.thaw(); err != nil {
					return pace{}, err
				}
				return apply.work(ctx, rows, appliedRows)
			})
			if err != nil {
				return err
			}
			p.to.figure("pair.inserts.vs_debezium_pair", result.speed()/debeziumPair, "x")
			return nil
		})
	})
}

// twoWay measures both regions whole: first with a backlog in east alone, then
// with one of the same size in all, half of it in each region.
func (p *pair) twoWay(ctx context.Context) error {
	one, err := p.race(ctx, "pair.one_way", 3_000, p.rig.east)
	if err != nil {
		return err
	}
	both, err := p.race(ctx, "pair.two_way", 1_600, p.rig.east, p.rig.west)
	if err != nil {
		return err
	}
	p.to.figure("pair.two_way.vs_one_way", both.speed()/one.speed(), "x")
	return nil
}

// race measures both regions with a backlog in each of the sites.
func (p *pair) race(ctx context.Context, name string, transactions int, sites ...*site) (*result, error) {
	done := map[*service]int64{}
	for _, service := range []*service{p.east, p.west} {
		s, err := service.status(ctx)
		if err != nil {
			return nil, err
		}
		done[service] = appliedRows(&s)
	}
	all := []*service{p.east, p.west}
	rows, err := p.backlog(ctx, transactions, all, sites...)
	if err != nil {
		return nil, errors.Join(err, p.east.thaw(), p.west.thaw())
	}
	l := lap{name, map[string]int{"east": p.east.cmd.Process.Pid, "west": p.west.cmd.Process.Pid,
		"mysql_east": p.rig.east.mysql.PID(), "mysql_west": p.rig.west.mysql.PID(), "kafka": p.rig.kafka.PID(0)}}
	return p.rig.measure(l, p.to, func() (pace, error) {
		began := time.Now()
		if err := errors.Join(p.east.thaw(), p.west.thaw()); err != nil {
			return pace{}, err
		}
		group, ctx := errgroup.WithContext(ctx)
		for _, site := range sites {
			other := p.west
			if site == p.rig.west {
				other = p.east
			}
			group.Go(func() error {
				_, err := other.work(ctx, done[other]+rows, appliedRows)
				return err
			})
		}
		err := group.Wait()
		return pace{rows * int64(len(sites)), time.Since(began)}, err
	})
}

// backlog holds processes still, which stay so, and writes a backlog in each of
// the sites. It returns the rows of each.
func (p *pair) backlog(ctx context.Context, transactions int, still []*service, sites ...*site) (rows int64, err error) {
	for _, service := range still {
		if err := service.freeze(); err != nil {
			return 0, err
		}
	}
	p.rig.log.Info("preparing backlogs", "regions", len(sites), "transactions_each", transactions)
	var targets []*testbed.MySQL
	for i, site := range sites {
		// New rows of west are far from those of east.
		if rows, err = pairInserts(transactions).write(ctx, site.mysql, int64(i)*1_000_000_000); err != nil {
			return 0, err
		}
		targets = append(targets, site.mysql)
	}
	return rows, p.rig.rest(ctx, targets...)
}
