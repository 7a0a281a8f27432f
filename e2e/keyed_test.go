package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"duplex/change"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"
)

// keyedTables are those of the load that may be applied with ordering key.
func keyedTables() []*table {
	tables := loadTables()
	for _, t := range tables {
		if t.name == "stock" {
			t.create = strings.Replace(t.create, "CHARACTER SET ascii", "CHARACTER SET ascii COLLATE ascii_bin", 1)
		}
	}
	return slices.DeleteFunc(tables, func(t *table) bool { return t.unique != "" || t.folds })
}

// newKeyed makes a pair with a load and a task with ordering key.
func newKeyed(t *testing.T, e engines, name string) (*pair, *load) {
	p := newPairOf(t, e, name, nil)
	p.writeTask("tables: {include: ['shop.*']}", "apply: {ordering: key, threads: 4, batch_rows: 30}")
	l := newLoadOf(p, 21, keyedTables())
	l.ordering = tasks.OrderingKey
	return p, l
}

// TestKeyOrder: with ordering key several processes of a region share the
// partitions of a task. They come and go, by SIGKILL, SIGSTOP and SIGTERM, while
// both regions write: nothing is lost, nothing doubled, and no row goes back to
// an older image (promises 1 to 3).
func TestKeyOrder(t *testing.T) { onEveryPairIfLong(t, testKeyOrder) }

func testKeyOrder(t *testing.T, e engines) {
	p, l := newKeyed(t, e, "key")
	l.pace = 10 * time.Millisecond
	captures := p.start("capture")
	other := p.process(p.east, "apply")
	var shares []*Process
	for _, name := range []string{"first", "second", "third"} {
		shares = append(shares, p.named(p.west, "apply", name))
	}
	other.Start()
	shares[0].Start()
	shares[1].Start()
	l.begin(0)
	waitShared(t, shares[:2])

	for i := range scaled(1, 12) {
		shares[2].Start() // in mid-load
		waitShared(t, shares)
		// The dead and the frozen one's partitions go to the third.
		shares[i%2].Kill()
		shares[1-i%2].Signal(syscall.SIGSTOP)
		waitShared(t, shares[2:])
		shares[i%2].Start()
		shares[1-i%2].Signal(syscall.SIGCONT) // the audit proves that it writes nothing of the others'
		waitShared(t, shares)
		if i%3 == 2 {
			shares[2].Kill()
		} else {
			shares[2].Term()
			waitShared(t, shares[:2])
		}
		l.check()
	}
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)

	// A reset of the group, which Kafka allows while nobody is in it, writes
	// nothing again.
	for _, s := range shares[:2] {
		s.Term()
	}
	g := &group{p: p, name: topics.Group(p.taskName, change.Region(p.east.region), change.Region(p.west.region))}
	g.reset("shop.kinds")
	shares[0].Start()
	l.begin(0)
	waitShared(t, shares[:1])
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(append(captures, other, shares[0]))
}

// waitShared waits until the processes have all partitions, each its part, and
// apply what comes.
func waitShared(t *testing.T, shares []*Process) {
	t.Helper()
	began := time.Now()
	eventually(t, takeoverLimit, func() error {
		var all int64
		for _, s := range shares {
			status, err := s.Status()
			if err != nil {
				return err
			}
			a := status.Apply[0]
			if a.State != supervise.Streaming || a.Partitions == 0 {
				return fmt.Errorf("%s is %s with %d partitions: %s", s.Name, a.State, a.Partitions, a.Error)
			}
			all += a.Partitions
		}
		if want := int64(2 * len(keyedTables())); all != want {
			return fmt.Errorf("they have %d partitions of %d", all, want)
		}
		return nil
	})
	took := time.Since(began)
	waitFlow(t, shares)
	t.Logf("%d processes share the partitions after %s", len(shares), took.Round(time.Millisecond))
}

func lastError(p *Process) string {
	s, err := p.Status()
	if err != nil {
		return err.Error()
	}
	return s.Apply[0].Error
}
