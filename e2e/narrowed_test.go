package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTargetAlteredWhileRunning: a table of the target is altered while apply writes
// to it. From a second or two after that on it is written as it is now: a column that
// would round stops the stream by name and nothing more is rounded, a new unique key
// is kept, a new column is none of apply's business (promises 6 and 8).
func TestTargetAlteredWhileRunning(t *testing.T) { onEveryPairIfLong(t, testTargetAltered) }

func testTargetAltered(t *testing.T, e engines) {
	p := newPairOf(t, e, "narrowed", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.price (id INT PRIMARY KEY, v DECIMAL(12,4))", "CREATE TABLE shop.moment (id INT PRIMARY KEY, v DATETIME(6))",
			"CREATE TABLE shop.code (id INT PRIMARY KEY, v VARCHAR(60))")
	}
	processes := p.start("run")
	n := &narrowed{p: p, west: processes[1]}
	for _, tt := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"fewer digits", func(t *testing.T) {
			n.quiet(t, "shop.price", "DECIMAL(12,4)", "DECIMAL(12,2)", "1.2345", "decimal(12,2)")
		}},
		{"no fraction of a second", func(t *testing.T) {
			n.quiet(t, "shop.moment", "DATETIME(6)", "DATETIME", "'2024-01-02 03:04:05.678901'", "fraction")
		}},
		{"fewer digits under load", func(t *testing.T) {
			n.loaded(t, "shop.price", "DECIMAL(12,4)", "DECIMAL(12,2)", "1.2345", "decimal(12,2)")
		}},
		{"a unique key", n.unique},
		{"a column of its own", n.column},
	} {
		if !t.Run(tt.name, tt.test) {
			return
		}
	}
	stop(processes)
}

type narrowed struct {
	p    *pair
	west *Process
	id   int
}

func (n *narrowed) insert(t *testing.T, table, value string) {
	n.id++
	mustExec(t, n.p.east.mysql.DB(), fmt.Sprintf("INSERT INTO %s VALUES (%d, %s)", table, n.id, value))
}

// alter alters a table in west and waits until apply has seen it.
func (n *narrowed) alter(t *testing.T, table, change string) {
	t.Helper()
	notice := "altered in this region: table " + table
	seen := strings.Count(n.west.Log(), notice)
	mustExec(t, n.p.west.mysql.DB(), "ALTER TABLE "+table+" "+change)
	began := time.Now()
	eventually(t, stallLimit, func() error {
		if strings.Count(n.west.Log(), notice) == seen {
			return errors.New("apply hasn't seen that " + table + " was altered")
		}
		return nil
	})
	t.Logf("apply saw it after %s", time.Since(began).Round(time.Millisecond))
}

// quiet alters while nothing is written: not a single row is rounded.
func (n *narrowed) quiet(t *testing.T, table, wide, narrow, value, want string) {
	n.insert(t, table, value)
	eventually(t, stallLimit, func() error { return hasRows(n.p.west, table, 1) })
	n.alter(t, table, "MODIFY v "+narrow) // which rounds the row that is there
	n.insert(t, table, value)
	stopped(t, n.p, n.west, table, "`v`", want, "transaction ")
	if err := hasRows(n.p.west, table, 1); err != nil {
		t.Error(err)
	}
	mustExec(t, n.p.west.mysql.DB(), fmt.Sprintf("ALTER TABLE %s MODIFY v %s", table, wide), fmt.Sprintf("UPDATE %s SET v = %s", table, value))
	resume(t, n.p, n.west)
	n.insert(t, table, value)
	n.exact(t, table, value, 0, 3)
}

// exact waits until west has so many rows and checks those after one of them.
func (n *narrowed) exact(t *testing.T, table, value string, after, rows int) {
	t.Helper()
	eventually(t, stallLimit, func() error { return errors.Join(hasRows(n.p.west, table, rows), n.west.Streaming()) })
	var wrong int
	if err := n.p.west.mysql.DB().QueryRow(fmt.Sprintf("SELECT COUNT(*) FROM %s WHERE id > %d AND NOT v <=> %s", table, after, value)).Scan(&wrong); err != nil {
		t.Fatal(err)
	}
	if wrong > 0 {
		t.Errorf("%d rows of %s are not as in east", wrong, table)
	}
}

// loaded alters under load: the stream stops, and what it writes after it was mended
// is whole again.
func (n *narrowed) loaded(t *testing.T, table, wide, narrow, value, want string) {
	ended := make(chan struct{})
	var writing sync.WaitGroup
	first := n.id
	writing.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(2 * time.Millisecond):
				n.insert(t, table, value)
			}
		}
	})
	west := n.p.west.mysql.DB()
	atLeast := func(id int) {
		eventually(t, stallLimit, func() error {
			var last int
			if err := west.QueryRow("SELECT MAX(id) FROM " + table).Scan(&last); err != nil || last < id {
				return errors.Join(err, fmt.Errorf("west has rows up to %d of %s, not %d", last, table, id))
			}
			return nil
		})
	}
	atLeast(first + 100)
	mustExec(t, west, fmt.Sprintf("ALTER TABLE %s MODIFY v %s", table, narrow))
	var altered, last int
	if err := west.QueryRow("SELECT MAX(id) FROM " + table).Scan(&altered); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stopped(t, n.p, n.west, table, "`v`", want)
	if !strings.Contains(n.west.Log(), "compare those rows") {
		t.Error("the log doesn't tell what can't be vouched for")
	}
	if err := west.QueryRow("SELECT MAX(id) FROM " + table).Scan(&last); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped %s after the table was altered, with %d rows rounded in between", time.Since(began).Round(time.Millisecond), last-altered)
	mustExec(t, west, fmt.Sprintf("ALTER TABLE %s MODIFY v %s", table, wide))
	resume(t, n.p, n.west)
	atLeast(last + 100)
	close(ended)
	writing.Wait()
	var rows int
	if err := n.p.east.mysql.DB().QueryRow("SELECT COUNT(*) FROM " + table).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	n.exact(t, table, value, last, rows)
}

// unique adds a unique key: no row takes another's place by it.
func (n *narrowed) unique(t *testing.T) {
	n.insert(t, "shop.code", "'"+rowSentinel+"'")
	kept := n.id
	eventually(t, stallLimit, func() error { return hasRows(n.p.west, "shop.code", 1) })
	n.alter(t, "shop.code", "ADD UNIQUE KEY taken (v)")
	n.insert(t, "shop.code", "'"+rowSentinel+"'")
	stopped(t, n.p, n.west, "shop.code", "1062", "taken")
	var id int
	if err := n.p.west.mysql.DB().QueryRow("SELECT id FROM shop.code").Scan(&id); err != nil || id != kept {
		t.Errorf("the row in west is %d, not %d: %v", id, kept, err)
	}
	mustExec(t, n.p.west.mysql.DB(), "ALTER TABLE shop.code DROP KEY taken")
	resume(t, n.p, n.west)
	eventually(t, stallLimit, func() error { return hasRows(n.p.west, "shop.code", 2) })
}

func (n *narrowed) column(t *testing.T) {
	n.alter(t, "shop.code", "ADD COLUMN own INT")
	n.insert(t, "shop.code", "'x'")
	eventually(t, stallLimit, func() error { return errors.Join(hasRows(n.p.west, "shop.code", 3), n.west.Streaming()) })
}
