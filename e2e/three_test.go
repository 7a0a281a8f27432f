package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"duplex/change"
	"duplex/topics"
)

// TestOneOfThreeWentBack: where what one of two other regions has applied in a region is
// set back, nothing of it comes over what the region itself or the third one wrote since.
func TestOneOfThreeWentBack(t *testing.T) {
	p := newTrio(t, mysqlPair, "third")
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(60))")
	}
	captures, applies := p.start("capture"), p.start("apply")
	apply := applies[1]
	const rows = 40
	everywhere := func(where string, n int) {
		t.Helper()
		for _, s := range p.sides() {
			eventually(t, stallLimit, func() error { return hasRows(s, "shop.t "+where, n) })
		}
	}
	for i := range rows {
		mustExec(t, p.north.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'from north')", i))
	}
	everywhere("", rows)
	mustExec(t, p.east.mysql.DB(), "UPDATE shop.t SET v = 'from east' WHERE id < 20")
	everywhere("WHERE v = 'from east'", 20)
	mustExec(t, p.west.mysql.DB(), "UPDATE shop.t SET v = 'from west' WHERE id BETWEEN 10 AND 14")
	everywhere("WHERE v = 'from west'", 5)

	g := &group{p: p, name: topics.TailGroup(p.taskName, change.Region(p.west.region))}
	for n := 0; ; n++ { // until all that is forgotten
		for i, s := range p.sides() {
			mustExec(t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'later')", 1000*(i+1)+n))
		}
		time.Sleep(100 * time.Millisecond)
		if at, err := g.offsets(); err != nil || n == 100 {
			t.Fatalf("the tail has saved nothing: %v", err)
		} else if o, ok := at.Lookup(p.west.region+".transaction", 0); ok && o.At > 100 {
			everywhere("", rows+3*(n+1))
			break
		}
	}
	applied := func() string {
		return query(t, p.west, "SELECT MAX(seq) FROM duplex.progress WHERE origin = '"+p.north.region+"'")[0][0].String
	}
	last, before := applied(), appliedRows(t, p.west)
	apply.Term()
	mustExec(t, p.west.mysql.DB(), "UPDATE duplex.progress SET n = n + 1, seq = 3 WHERE origin = '"+p.north.region+"'")
	apply.Start()
	time.Sleep(300 * time.Millisecond)
	apply.Kill()
	apply.Start()
	apply.WaitStreaming()
	eventually(t, stallLimit, func() error {
		if n := applied(); n != last {
			return fmt.Errorf("applied up to %s", n)
		}
		return nil
	})
	if n := appliedRows(t, p.west) - before; n > 0 {
		t.Errorf("%d rows were written, all of which had been there or were older than what is", n)
	}
	everywhere("WHERE v = 'from east'", 15)
	everywhere("WHERE v = 'from west'", 5)
	stop(append(captures, applies...))
}
