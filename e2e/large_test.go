package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// serviceLimit is the most memory that one service may ever hold, in bytes.
const serviceLimit = 256 << 20

// TestLargeTransaction: a transaction far larger than any buffer arrives whole
// (promise 5) and in bounded memory (promise 7). Whoever looks at the target
// meanwhile sees all of it or nothing.
func TestLargeTransaction(t *testing.T) { onEveryPair(t, testLargeTransaction) }

func testLargeTransaction(t *testing.T, e engines) {
	p := newPairOf(t, e, "large", nil)
	rows := e.scaled(200_000, 1_000_000)
	for _, s := range p.sides() {
		if !s.mysql.IsMariaDB() { // which 11.8 lets grow no further than it was at the start; its table is a third as large
			setGlobal(p, s, "innodb_buffer_pool_size", "512*1024*1024", "64*1024*1024") // the test bed's own is for small tables
		}
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.big (id INT PRIMARY KEY, v INT NOT NULL, name VARCHAR(100) NOT NULL, UNIQUE KEY (v, id))",
			"CREATE TABLE shop.small (id INT PRIMARY KEY)")
	}
	processes := p.start("capture", "apply")
	n := int64(rows)
	for _, step := range []struct {
		name, statement string
		// count and sum are what the target holds after it.
		count, sum int64
	}{
		{"insert", fmt.Sprintf("INSERT INTO shop.big WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "+
			"SELECT i, i %% 1000, CONCAT('row ', i, REPEAT(' and more', i %% 8)) FROM n", rows), n, sumOfRemainders(n)},
		{"update and delete", "UPDATE shop.big SET v = v + 1 WHERE id % 2 = 0; DELETE FROM shop.big WHERE id % 2 = 1", n / 2, sumOfEven(n)},
		{"change keys", fmt.Sprintf("UPDATE shop.big SET id = -id WHERE id <= %d", n/5), n / 2, sumOfEven(n) - 2*sumOfEven(n/5)},
	} {
		look := watchTotals(t, p.west)
		before := look.last()
		began := time.Now()
		inOneTransaction(t, p.east, step.statement)
		wrote := time.Since(began)
		look.until(t, totals{step.count, step.sum})
		seen := look.stop()
		for _, s := range seen {
			if s != before && s != (totals{step.count, step.sum}) {
				t.Errorf("%s: the target showed %+v, a part of the transaction", step.name, s)
			}
		}
		t.Logf("%s, of a table of %d rows: written in %s, at the target %s after it began; looked at %d times", step.name, n, wrote.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), look.looks)
	}
	// What comes after it isn't held up, on either side.
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.small VALUES (%d)", s.number))
	}
	for _, s := range p.sides() {
		eventually(t, stallLimit, func() error { return hasRows(s, "shop.small", 2) })
	}
	for _, process := range processes {
		peak := process.PeakRSS()
		t.Logf("%s: at most %d MiB", process.Name, peak>>20)
		if peak > serviceLimit {
			t.Errorf("%s held %d MiB, more than %d", process.Name, peak>>20, serviceLimit>>20)
		}
	}
	stop(processes)
}

func sumOfRemainders(n int64) (sum int64) {
	for i := int64(1); i <= n; i++ {
		sum += i % 1000
	}
	return sum
}

func sumOfEven(n int64) (sum int64) {
	for i := int64(2); i <= n; i += 2 {
		sum += i%1000 + 1
	}
	return sum
}

// inOneTransaction runs statements that belong together.
func inOneTransaction(t *testing.T, s *side, statements string) {
	t.Helper()
	conn, err := s.mysql.DB().Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	depth := "cte_max_recursion_depth"
	if s.mysql.IsMariaDB() {
		depth = "max_recursive_iterations"
	}
	for _, statement := range []string{"SET SESSION " + depth + " = 100000000", "BEGIN", statements, "COMMIT"} {
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func hasRows(s *side, table string, want int) error {
	var n int
	if err := s.mysql.DB().QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n); err != nil {
		return final(err)
	}
	if n != want {
		return fmt.Errorf("%s of %s has %d rows, not %d", table, s.region, n, want)
	}
	return nil
}

// totals are what a reader sees of table big: its rows, and the sum of v, those
// of rows with a negative key taken off.
type totals struct{ count, sum int64 }

// totalsWatch reads a region's table big again and again.
type totalsWatch struct {
	cancel context.CancelFunc
	done   chan struct{}
	looks  int // may be read after stop

	mu   sync.Mutex
	seen []totals // those that differ, in order
	err  error
}

func watchTotals(t *testing.T, s *side) *totalsWatch {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &totalsWatch{cancel: cancel, done: make(chan struct{})}
	look := func() {
		var now totals
		err := s.mysql.DB().QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(SUM(v * SIGN(id)), 0) FROM shop.big").Scan(&now.count, &now.sum)
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			w.err = errors.Join(w.err, err)
		case len(w.seen) == 0 || w.seen[len(w.seen)-1] != now:
			w.seen = append(w.seen, now)
		}
		w.looks++
	}
	look()
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			began := time.Now()
			look()
			pause(ctx, 10*time.Millisecond+time.Since(began))
		}
	}()
	t.Cleanup(func() { cancel(); <-w.done })
	return w
}

func (w *totalsWatch) last() totals {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return totals{}
	}
	return w.seen[len(w.seen)-1]
}

// until waits until the watch has seen want.
func (w *totalsWatch) until(t *testing.T, want totals) {
	t.Helper()
	eventually(t, 10*time.Minute, func() error {
		w.mu.Lock()
		err := w.err
		w.mu.Unlock()
		if err != nil {
			return final(err)
		}
		if got := w.last(); got != want {
			return fmt.Errorf("the target shows %+v, not %+v", got, want)
		}
		return nil
	})
}

// stop ends the watch and returns all that it saw.
func (w *totalsWatch) stop() []totals {
	w.cancel()
	<-w.done
	return slices.Clone(w.seen)
}
