package apply

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"duplex/change"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
)

// scripted is a server that answers every statement as answer says.
type scripted struct {
	answer func(statement string) error
}

func (s *scripted) Connect(context.Context) (driver.Conn, error) { return scriptedConn{s}, nil }
func (s *scripted) Driver() driver.Driver                        { return nil }

type scriptedConn struct{ s *scripted }

func (c scriptedConn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not prepared") }
func (c scriptedConn) Begin() (driver.Tx, error)           { return nil, errors.New("no driver transactions") }
func (c scriptedConn) Close() error                        { return nil }

func (c scriptedConn) ExecContext(_ context.Context, statement string, _ []driver.NamedValue) (driver.Result, error) {
	if err := c.s.answer(statement); err != nil {
		return nil, err
	}
	return driver.RowsAffected(1), nil
}

// runPool gives the batches to a pool in order, waits until all are written,
// and returns the order in which they were.
func runPool(t *testing.T, workers int, answer func(string) error, batches []*batch) []change.Seq {
	t.Helper()
	db := sql.OpenDB(&scripted{answer})
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	writers, err := newWriters(ctx, db, &progress{task: "t", origin: "east"}, workers, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, w := range writers {
			w.conn.Close()
		}
	}()
	var mu sync.Mutex
	var order []change.Seq
	p := newPool(workers, func(b *batch) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, b.seq)
	}, func(error) {})
	work, stop := context.WithCancel(ctx)
	group, work := errgroup.WithContext(work)
	p.start(work, group, writers)
	for _, b := range batches {
		if err := p.add(ctx, b); err != nil {
			t.Fatalf("adding batch %d of %d: %v; written so far: %v", b.seq, len(batches), err, order)
		}
	}
	for p.count() > 0 {
		select {
		case <-p.freed:
		case <-ctx.Done():
			t.Fatalf("%d batches never finished; written: %v", p.count(), order)
		}
	}
	stop()
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(p.sched.holders) != 0 {
		t.Errorf("%d locks are still held", len(p.sched.holders))
	}
	return order
}

// lockedBatches makes n batches with up to most locks each out of few.
func lockedBatches(rng *rand.Rand, n, most, few int) []*batch {
	batches := make([]*batch, n)
	for i := range batches {
		b := newBatch()
		b.seq, b.bytes = change.Seq(i+1), 100
		b.commits = []int64{1}
		for range rng.IntN(most + 1) {
			b.locks = append(b.locks, uint64(rng.IntN(few)))
		}
		batches[i] = b
	}
	return batches
}

func seqsOf(batches []*batch) (seqs []change.Seq) {
	for _, b := range batches {
		seqs = append(seqs, b.seq)
	}
	return seqs
}

// A batch that becomes ready late must not be kept waiting behind later ones,
// which occupy all workers while they wait for its commit: batches 3 and 4 are
// free to run while 2 waits for 1.
func TestPoolNeverLocksUpBehindLaterBatches(t *testing.T) {
	defer goleak.VerifyNone(t)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		batches := lockedBatches(rng, 200, 3, 6)
		got := runPool(t, 1+rng.IntN(4), func(string) error { return nil }, batches)
		if !slices.Equal(got, seqsOf(batches)) {
			t.Fatalf("seed %d: written in the order %v", seed, got)
		}
	}
}

// Lock waits and deadlocks are tried again until every batch is in, in order,
// and each commit was preceded by a marker of its own.
func TestPoolRetriesInOrder(t *testing.T) {
	defer goleak.VerifyNone(t)
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 2))
		batches := lockedBatches(rng, 60, 3, 6)
		var mu sync.Mutex
		markers, commits := 0, 0
		answer := func(statement string) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case strings.HasPrefix(statement, "UPDATE"):
				if rng.IntN(8) == 0 {
					return &mysql.MySQLError{Number: [2]uint16{1205, 1213}[rng.IntN(2)], Message: "made up"}
				}
				markers++
			case statement == "COMMIT":
				commits++
			}
			return nil
		}
		got := runPool(t, 1+rng.IntN(4), answer, batches)
		if !slices.Equal(got, seqsOf(batches)) {
			t.Fatalf("seed %d: written in the order %v", seed, got)
		}
		if commits != len(batches) || markers < commits {
			t.Errorf("seed %d: %d markers and %d commits of %d batches", seed, markers, commits, len(batches))
		}
	}
}
