package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestTwoTasks: of two tasks of a pair one goes on while the applies of the other are killed and
// frozen. How far a region has applied another one's transactions is said for each task by
// itself: where one is behind, what it lacks isn't taken for seen, and it waits for nothing of the
// other's (promises 3 and 4).
func TestTwoTasks(t *testing.T) { onEveryPairIfLong(t, testTwoTasks) }

func testTwoTasks(t *testing.T, e engines) {
	p := newPairOf(t, e, "twotasks", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.other (id INT PRIMARY KEY, n INT NOT NULL)")
	}
	play := newPartsPlay(t, p, "tables: {include: ['shop.*'], exclude: ['shop.other']}", `conflicts: {tables: {"shop.stock": {delta: [quantity, weight]}}}`)
	other := filepath.Join(p.dir, "other.yaml")
	writeLines(t, other, []string{"task: " + p.taskName + "_other", fmt.Sprintf("regions: [%s, %s]", p.east.region, p.west.region), "tables: {include: ['shop.other']}"})
	var others []*Process
	for _, s := range p.sides() {
		apply := p.process(s, "apply")
		play.applies[s] = apply
		path, listen := p.processFile(s, s.region+"-capture")
		capture := newProcess(t, s.region+"-capture", listen, "capture", "-c", path, "--task", p.task, "--task", other)
		play.processes = append(play.processes, capture, apply)
		path, listen = p.processFile(s, s.region+"-other")
		beside := newProcess(t, s.region+"-other", listen, "apply", "-c", path, "--task", other)
		beside.Start()
		others = append(others, beside)
	}
	play.begin()
	for _, beside := range others {
		beside.WaitStreaming()
	}
	playBehind(play)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var writers errgroup.Group
	for _, s := range p.sides() {
		writers.Go(func() error {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := s.mysql.DB().ExecContext(context.WithoutCancel(ctx), "REPLACE INTO shop.other VALUES (?, ?)", s.number*1000+n%100, n); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			return nil
		})
	}
	play.rounds()
	end()
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	stop(append(play.processes, others...))
}

// playBehind has a region change a row that the other one has made anew, which it hasn't applied yet, though of the other
// task it has applied what was made later. The change hadn't seen that row.
func playBehind(play *partsPlay) {
	play.t.Helper()
	east, west := play.p.east.mysql.DB(), play.p.west.mysql.DB()
	mustExec(play.t, west, "REPLACE INTO shop.stock (id, quantity, name) VALUES (100, 1, 'at first')")
	eventually(play.t, stallLimit, func() error { return hasRows(play.p.east, "shop.stock", partsHot+1) })
	play.applies[play.p.east].Signal(syscall.SIGSTOP)
	mustExec(play.t, west, "DELETE FROM shop.stock WHERE id = 100", "INSERT INTO shop.stock (id, quantity, name) VALUES (100, 500, 'anew')", "REPLACE INTO shop.other VALUES (-1, 1)")
	eventually(play.t, stallLimit, func() error { return hasRows(play.p.east, "shop.other", 1) })
	mustExec(play.t, east, "UPDATE shop.stock SET quantity = quantity + 7, name = 'by east' WHERE id = 100")
	play.applies[play.p.east].Signal(syscall.SIGCONT)
	play.settle(0)
	if got := fmt.Sprint(query(play.t, play.p.east, "SELECT quantity, name FROM shop.stock WHERE id = 100")); got != "[[{500 true} {by east true}]]" {
		play.t.Errorf("the row is %s", got)
	}
}
