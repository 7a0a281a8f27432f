package e2e_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestMendSparesWhatCame: while a row that isn't there is put right, the region's application inserts it. It
// can't be locked before; and what is inserted has seen all that came in, so it stays (promise 4).
func TestMendSparesWhatCame(t *testing.T) { onEveryPairIfLong(t, testMendSparesWhatCame) }

func testMendSparesWhatCame(t *testing.T, e engines) {
	play := newPartsPlay(t, newPairOf(t, e, "mendspares", nil), "tables: {include: ['shop.*']}", `conflicts: {tables: {"shop.stock": {delta: [quantity, weight]}}}`)
	p := play.p
	captures := map[*side]*Process{}
	for _, s := range p.sides() {
		captures[s], play.applies[s] = p.process(s, "capture"), p.process(s, "apply")
		play.processes = append(play.processes, captures[s], play.applies[s])
	}
	play.begin()
	east, west := p.east.mysql.DB(), p.west.mysql.DB()
	has := func(s *side, quantity, want int) func() error {
		return func() error {
			return hasRows(s, fmt.Sprintf("shop.stock WHERE id = 100 AND quantity = %d", quantity), want)
		}
	}
	mustExec(t, west, "INSERT INTO shop.stock (id, quantity, name) VALUES (100, 1, 'at first')")
	eventually(t, stallLimit, has(p.east, 1, 1))

	// What west inserts anew comes in over a newer deletion of east, which the tail can't have read: the row is
	// there, and must not be. East's application deletes it once more.
	capture, apply := captures[p.east], play.applies[p.east]
	apply.Signal(syscall.SIGSTOP)
	mustExec(t, west, "DELETE FROM shop.stock WHERE id = 100", "INSERT INTO shop.stock (id, quantity, name) VALUES (100, 2, 'by west')")
	capture.Signal(syscall.SIGSTOP)
	time.Sleep(20 * time.Millisecond) // versions count milliseconds
	mustExec(t, east, "DELETE FROM shop.stock WHERE id = 100")
	apply.Signal(syscall.SIGCONT)
	eventually(t, stallLimit, has(p.east, 2, 1))
	mustExec(t, east, "DELETE FROM shop.stock WHERE id = 100")
	apply.Signal(syscall.SIGSTOP)
	capture.Signal(syscall.SIGCONT)
	eventually(t, stallLimit, has(p.west, 2, 0))

	// Apply puts it right, and then waits, its transaction open, for a canary, which capture doesn't publish.
	capture.Signal(syscall.SIGSTOP)
	apply.Signal(syscall.SIGCONT)
	last := ""
	eventually(t, stallLimit, func() error {
		open := openTransactions(t, p.east, "trx_rows_modified > 0")
		if open == "[]" || open != last {
			last = open
			return fmt.Errorf("nothing is put right; open are the transactions %s", open)
		}
		return nil
	})
	tx, err := east.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO shop.stock (id, quantity, name) VALUES (100, 3, 'by east')"); err != nil {
		t.Fatal(err)
	}
	capture.Signal(syscall.SIGCONT)
	eventually(t, stallLimit, func() error {
		if openTransactions(t, p.east, "trx_state = 'LOCK WAIT'") != "[]" {
			return nil // it is about to delete what isn't its own
		}
		status, err := apply.Status()
		if err != nil {
			return err
		}
		if status.Apply[0].Repaired == 0 {
			return fmt.Errorf("%s has put nothing right", p.east.region)
		}
		return nil
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	play.settle(1)
	if got := fmt.Sprint(query(t, p.west, "SELECT quantity, name FROM shop.stock WHERE id = 100")); got != "[[{3 true} {by east true}]]" {
		t.Errorf("the row is %s", got)
	}
	stop(play.processes)
}

// openTransactions lists those of which where is true. The server looks anew only where nobody has asked for a tenth of a
// second.
func openTransactions(t *testing.T, s *side, where string) string {
	t.Helper()
	time.Sleep(150 * time.Millisecond)
	return fmt.Sprint(query(t, s, "SELECT trx_id FROM information_schema.innodb_trx WHERE "+where))
}
