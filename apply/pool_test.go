package apply

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"duplex/change"
	"duplex/schemas"

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

func (c scriptedConn) ExecContext(ctx context.Context, statement string, _ []driver.NamedValue) (driver.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // as the real driver does
	}
	if err := c.s.answer(statement); err != nil {
		return nil, err
	}
	return driver.RowsAffected(1), nil
}

func (c scriptedConn) QueryContext(_ context.Context, statement string, _ []driver.NamedValue) (driver.Rows, error) {
	return noRows{}, c.s.answer(statement)
}

// noRows is an empty result.
type noRows struct{}

func (noRows) Columns() []string         { return []string{"id"} }
func (noRows) Close() error              { return nil }
func (noRows) Next([]driver.Value) error { return io.EOF }

// runPool gives the batches to a pool in order, waits until all are written,
// and returns the order in which they were.
func runPool(t *testing.T, workers int, server driver.Connector, batches []*batch) []change.Seq {
	t.Helper()
	db := sql.OpenDB(server)
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

// keyedBatches makes n batches with up to most changes each, of few keys.
func keyedBatches(t *testing.T, rng *rand.Rand, n, most, few int) []*batch {
	table := bound(t, "a")
	batches := make([]*batch, n)
	for i := range batches {
		b := newBatch(0)
		b.seq, b.bytes = change.Seq(i+1), 100
		b.commits = []int64{1}
		for range rng.IntN(most + 1) {
			key := schemas.AppendBytes(nil, fmt.Appendf(nil, "key-%03d.", rng.IntN(few)))
			if err := b.add(table, key, image(key, "", 0), image(key, "", 0), made{}); err != nil {
				t.Fatal(err)
			}
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

// locking is a server whose rows are locked from the statement that names
// them until the connection's transaction ends. Nobody ever waits here: that a
// row is wanted which another has is what the scheduler must prevent.
type locking struct {
	mu      sync.Mutex
	holders map[string]*lockingConn
	clashes []string
}

var keyInText = regexp.MustCompile(`key-[0-9]{3}\.`)

func (l *locking) Connect(context.Context) (driver.Conn, error) {
	return &lockingConn{server: l}, nil
}
func (l *locking) Driver() driver.Driver { return nil }

type lockingConn struct {
	scriptedConn
	server *locking
}

func (c *lockingConn) ExecContext(_ context.Context, statement string, _ []driver.NamedValue) (driver.Result, error) {
	l := c.server
	l.mu.Lock()
	defer l.mu.Unlock()
	if statement == "COMMIT" {
		maps.DeleteFunc(l.holders, func(_ string, holder *lockingConn) bool { return holder == c })
	}
	for _, key := range keyInText.FindAllString(statement, -1) {
		if holder := l.holders[key]; holder != nil && holder != c {
			l.clashes = append(l.clashes, key)
		}
		l.holders[key] = c
	}
	return driver.RowsAffected(1), nil
}

func (c *lockingConn) QueryContext(_ context.Context, statement string, _ []driver.NamedValue) (driver.Rows, error) {
	_, err := c.ExecContext(context.Background(), statement, nil)
	return noRows{}, err
}

// Whatever the batches share, all commit in order, no worker waits for ever,
// and no two transactions open at once ever want the same row.
func TestPoolNeverWantsARowTwice(t *testing.T) {
	defer goleak.VerifyNone(t)
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		batches := keyedBatches(t, rng, 200, 6, 60)
		server := &locking{holders: map[string]*lockingConn{}}
		got := runPool(t, 1+rng.IntN(8), server, batches)
		if !slices.Equal(got, seqsOf(batches)) {
			t.Fatalf("seed %d: written in the order %v", seed, got)
		}
		if len(server.clashes) > 0 {
			t.Fatalf("seed %d: two transactions wanted the rows %v", seed, server.clashes)
		}
	}
}

// Lock waits and deadlocks are tried again until every batch is in, in order,
// and each commit was preceded by a marker of its own.
func TestPoolRetriesInOrder(t *testing.T) {
	defer goleak.VerifyNone(t)
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 2))
		batches := keyedBatches(t, rng, 60, 3, 6)
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
		got := runPool(t, 1+rng.IntN(4), &scripted{answer}, batches)
		if !slices.Equal(got, seqsOf(batches)) {
			t.Fatalf("seed %d: written in the order %v", seed, got)
		}
		if commits != len(batches) || markers < commits {
			t.Errorf("seed %d: %d markers and %d commits of %d batches", seed, markers, commits, len(batches))
		}
	}
}

// A batch that can't be written ends the stream only when those before it are
// committed: it stops at exactly that one (promise 6).
func TestPoolStopsExactly(t *testing.T) {
	defer goleak.VerifyNone(t)
	table := bound(t, "a")
	batches := make([]*batch, 2)
	for i := range batches {
		key := schemas.AppendBytes(nil, fmt.Appendf(nil, "key-%03d.", i+1))
		batches[i] = newBatch(0)
		batches[i].seq, batches[i].bytes, batches[i].commits = change.Seq(i+1), 100, []int64{1}
		if err := batches[i].add(table, key, image(key, "", 0), image(key, "", 0), made{}); err != nil {
			t.Fatal(err)
		}
	}
	failed, ended := make(chan struct{}), make(chan struct{})
	server := &scripted{func(statement string) error {
		switch keyInText.FindString(statement) {
		case "key-002.":
			close(failed)
			return &mysql.MySQLError{Number: 1406, Message: "made up"}
		case "key-001.":
			<-failed
			select { // gives the pool the time to end too early
			case <-ended:
			case <-time.After(100 * time.Millisecond):
			}
		}
		return nil
	}}
	db := sql.OpenDB(server)
	defer db.Close()
	writers, err := newWriters(t.Context(), db, &progress{task: "t", origin: "east"}, 2, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	p := newPool(2, func(*batch) { written++ }, func(error) {})
	group, work := errgroup.WithContext(t.Context())
	context.AfterFunc(work, func() { close(ended) })
	p.start(work, group, writers)
	for _, b := range batches {
		if err := p.add(work, b); err != nil {
			t.Fatal(err)
		}
	}
	var failure *batchFailure
	if err := group.Wait(); !errors.As(err, &failure) || failure.first != 2 {
		t.Errorf("the pool ended with %v, not with the second batch", err)
	}
	if written != 1 {
		t.Errorf("%d batches were written, not the first", written)
	}
	for _, w := range writers {
		w.conn.Close()
	}
}
