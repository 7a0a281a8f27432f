package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"duplex/supervise"
)

// TestClocks: a region whose clock is an hour ahead is not obeyed: what it
// dates waits, visibly, and drives no other region's clock. Set right, it doesn't date
// anything before what it had dated; and where the operator accepts the dates,
// whoever has applied them dates its own writes after them.
func TestClocks(t *testing.T) {
	p := newSmall(t, mysqlPair, "clocks")
	east, west := p.process(p.east, "run"), p.process(p.west, "run")
	const ahead = "DUPLEX_CLOCK_AHEAD=1h"
	for _, process := range []*Process{east, west} {
		process.Start()
	}
	for _, process := range []*Process{east, west} {
		process.WaitStreaming()
	}
	insert := func(s *side, id int) {
		mustExec(t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", id))
	}
	arrived := func(s *side, rows int) {
		t.Helper()
		eventually(t, stallLimit, func() error { return hasRows(s, "shop.t", rows) })
	}
	// dated returns how far ahead the newest applied transaction is.
	dated := func(at *Process) time.Duration {
		t.Helper()
		s, err := at.Status()
		if err != nil {
			t.Fatal(err)
		}
		return time.Until(s.Apply[0].HLC.Time())
	}
	refused := func(transaction int) {
		t.Helper()
		eventually(t, startLimit, func() error {
			s, err := west.Status()
			if err != nil {
				return err
			}
			if a := s.Apply[0]; a.State != supervise.Retrying || !strings.Contains(a.Error, fmt.Sprintf("transaction %d of region %s is dated", transaction, p.east.region)) || !strings.Contains(a.Error, "max_clock_skew (10s)") {
				return fmt.Errorf("%s: %s", a.State, a.Error)
			}
			return nil
		})
	}
	insert(p.east, 1)
	arrived(p.west, 1)

	east.Term()
	east.Start(ahead)
	insert(p.east, 2)
	refused(2)
	insert(p.west, 10) // the other direction goes on, undisturbed
	arrived(p.east, 3)
	if d := dated(east); d > time.Minute {
		t.Errorf("what west writes is dated %s ahead: it obeyed a clock that it refused", d)
	}

	east.Term()
	east.Start()
	east.WaitStreaming()
	insert(p.east, 3) // dated after 2, or replays and conflicts would turn it round
	west.Term()
	west.Start()
	refused(2)
	if err := hasRows(p.west, "shop.t", 2); err != nil {
		t.Error(err)
	}

	east.Term()
	west.Term()
	p.writeTask("tables: {include: ['shop.*']}", "conflicts: {max_clock_skew: 2h}")
	east.Start()
	west.Start()
	arrived(p.west, 4)
	if d := dated(west); d < 50*time.Minute {
		t.Errorf("transaction 3 is dated %s ahead: before transaction 2, which was made before it", d)
	}
	insert(p.west, 11)
	arrived(p.east, 5)
	if d := dated(east); d < 50*time.Minute {
		t.Errorf("what west wrote after what it applied is dated %s ahead: before that", d)
	}
	stop([]*Process{east, west})
}
