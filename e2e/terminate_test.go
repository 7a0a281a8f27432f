package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var errNothingApplied = errors.New("nothing was applied meanwhile")

// TestTerminateDrains asks the processes to end while both regions write. Each
// ends within seconds with exit code 0, and goes on where it was when started
// again.
func TestTerminateDrains(t *testing.T) {
	p := newPair(t, "term", nil)
	l := newLoad(p, 7)
	l.pace = 10 * time.Millisecond
	processes := p.start("run")
	l.begin(0)
	for range scaled(3, 20) {
		for _, process := range processes {
			took := process.Term()
			t.Logf("%s ended in %s", process.Name, took.Round(time.Millisecond))
			if limit := 10 * time.Second; took > limit {
				t.Errorf("%s took %s to end, more than %s", process.Name, took, limit)
			}
			process.Start()
			process.WaitStreaming()
		}
		waitFlow(t, processes)
		l.check()
	}
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(processes)
}

// TestTerminateInBacklog: an apply that works off a backlog, transaction by transaction,
// ends at once, though it has fetched more, and goes on from there.
func TestTerminateInBacklog(t *testing.T) {
	const backlog = 1000
	p := newPair(t, "backlog", nil)
	p.writeTask("tables: {include: ['shop.*']}", "apply: {threads: 1, batch_rows: 1}")
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.notes (id INT PRIMARY KEY)")
	}
	capture := p.start("capture")
	for id := range backlog {
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.notes VALUES (%d)", id))
	}
	apply := p.process(p.west, "apply")
	apply.Start()
	applied := func() (n int) {
		if err := p.west.mysql.DB().QueryRow("SELECT COUNT(*) FROM shop.notes").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, stallLimit, func() error {
		if applied() == 0 {
			return errNothingApplied
		}
		return nil
	})
	took, n := apply.Term(), applied()
	t.Logf("ended in %s with %d of %d transactions applied", took.Round(time.Millisecond), n, backlog)
	if n == backlog {
		t.Error("it ended only when it had applied all that it had fetched")
	}
	apply.Start()
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.notes", backlog) })
	stop(append(capture, apply))
}

// TestTerminateUnresolved: where conflicts aren't looked for, apply ends as it is asked to, and goes on.
func TestTerminateUnresolved(t *testing.T) {
	t.Parallel()
	p := newSmall(t, mysqlPair, "unresolved")
	p.writeTask("tables: {include: ['shop.*']}", "conflicts: {policy: none}")
	processes := p.start("run")
	for id := range 3 {
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", id))
		eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", id+1) })
		processes[1].Term()
		processes[1].Start()
		processes[1].WaitStreaming()
	}
	const many = 2500 // more than a batch
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t (id) VALUES (1000)"+manyIDs(1001, many-1))
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 3+many) })
	stop(processes)
}

// manyIDs are more rows of an INSERT.
func manyIDs(from, n int) string {
	var b strings.Builder
	for id := range n {
		fmt.Fprintf(&b, ", (%d)", from+id)
	}
	return b.String()
}
