package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestConflictStops: with policy stop a conflict stops both streams, with its id and the way on,
// also after a restart; accepted or undone in both regions, they go on and both have what was chosen.
func TestConflictStops(t *testing.T) { onEveryPairIfLong(t, testConflictStops) }

func testConflictStops(t *testing.T, e engines) {
	p := newSmall(t, e, "held")
	p.writeTask("tables: {include: ['shop.*']}", "conflicts: {tables: {shop.t: {policy: stop}}}")
	captures, applies := p.start("capture"), p.start("apply")
	r := &recorded{t: t, p: p, files: []string{captures[0].argument("-c"), captures[1].argument("-c")}}
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (1, 'a'), (2, 'a')")
	eventually(t, stallLimit, r.equal)
	for round, how := range []string{"accept", "undo"} {
		for _, apply := range applies {
			apply.Kill()
		}
		id := round + 1
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("UPDATE shop.t SET v = 'east' WHERE id = %d", id))
		mustExec(t, p.west.mysql.DB(), fmt.Sprintf("UPDATE shop.t SET v = 'west' WHERE id = %d", id))
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (1%d, 'behind')", id))
		for _, apply := range applies {
			apply.Start()
		}
		var reason string
		for _, apply := range applies {
			reason = stopped(t, p, apply, "shop.t", "policy is stop", "duplex conflicts accept", "duplex resume")
		}
		applies[0].Kill()
		applies[0].Start()
		stopped(t, p, applies[0], "policy is stop")
		at := strings.Index(reason, "(conflict ")
		conflict := reason[at+len("(conflict "):][:32]
		if text, exit := r.command(how, conflict); exit != 0 {
			t.Fatalf("duplex conflicts %s: exit code %d, %s", how, exit, text)
		}
		for i, apply := range applies {
			if text, exit := runProgram(t, "resume", "-c", apply.argument("-c"), "--task", p.taskName); exit != 0 {
				t.Fatalf("resume of %s: exit code %d, %s", p.sides()[i].region, exit, text)
			}
		}
		want := map[string]string{"accept": "west", "undo": "east"}[how]
		eventually(t, stallLimit, func() error {
			for _, s := range p.sides() {
				if got := query(t, s, fmt.Sprintf("SELECT v, (SELECT COUNT(*) FROM shop.t WHERE v = 'behind') FROM shop.t WHERE id = %d", id))[0]; got[0].String != want || got[1].String != fmt.Sprint(round+1) {
					return fmt.Errorf("%s has %v, want %q and %d rows that were written after it", s.region, got, want, round+1)
				}
			}
			return nil
		})
		if text, exit := r.command("accept", "--all"); exit != 0 || !strings.Contains(text, "no such conflict") {
			t.Errorf("after all was accepted: exit code %d, %s", exit, text)
		}
	}
	if err := expectNoStop(applies); err != nil {
		t.Error(err)
	}
	stop(append(captures, applies...))
}
