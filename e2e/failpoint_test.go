package e2e_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestFailpoints kills each service with SIGKILL at each named point of its
// path, in both regions, the first time that it comes there and later ones.
func TestFailpoints(t *testing.T) {
	onEveryPair(t, func(t *testing.T, e engines) {
		p := newPairOf(t, e, "points", nil)
		testFailpoints(t, e, p, newLoad(p, 5), map[string][]string{
			"capture": {"capture.produced", "capture.before-commit", "capture.after-commit"},
			"apply":   {"apply.marked", "apply.before-commit", "apply.after-commit", "apply.offsets"},
		})
	})
	if soak() { // each death is noticed by the consumer group after 6 s
		onEveryPair(t, func(t *testing.T, e engines) {
			p, l := newKeyed(t, e, "keypoints")
			testFailpoints(t, e, p, l, map[string][]string{"apply": {"apply.marked", "apply.moved", "apply.before-commit", "apply.after-commit", "apply.offsets"}})
		})
	}
}

func testFailpoints(t *testing.T, e engines, p *pair, l *load, points map[string][]string) {
	l.pace = 30 * time.Millisecond
	var all []*Process
	for _, command := range []string{"capture", "apply"} {
		all = append(all, p.start(command)...) // captures first: apply waits for its own
	}
	l.begin(0)
	hits := []int{1, 4}
	switch {
	case !soak() && e != mysqlPair:
		hits = []int{2}
	case soak():
		hits = []int{1, 2, 3, 5, 8, 13, 21}
	}
	// The captures of both regions die at the same time, then the applies.
	for _, command := range []string{"capture", "apply"} {
		for _, point := range points[command] {
			for _, n := range hits {
				var both sync.WaitGroup
				for _, process := range all {
					if process.args[1] == command {
						both.Go(func() { dieAt(t, process, point, n) })
					}
				}
				both.Wait()
				if t.Failed() {
					t.FailNow()
				}
				l.check()
			}
		}
	}
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(all)
}

// dieAt starts the process anew with a failpoint, waits until it has died
// there the nth time, and starts it without. It may be called from any goroutine.
func dieAt(t *testing.T, process *Process, point string, n int) {
	failpoint := fmt.Sprintf("%s:%d", point, n)
	limit := startLimit + time.Duration(n)*5*time.Second // offsets are saved once a second at most
	process.Kill()
	process.Start("DUPLEX_FAILPOINT=" + failpoint)
	cmd, done := process.current()
	select {
	case <-done:
		if !killed(cmd.ProcessState) {
			t.Errorf("%s with failpoint %s ended by itself: %s", process.Name, failpoint, cmd.ProcessState)
		}
	case <-time.After(limit):
		t.Errorf("%s has not come to failpoint %s within %s: %s", process.Name, failpoint, limit, process.LogTail(5))
		return
	}
	process.Start()
	for deadline := time.Now().Add(startLimit); process.Streaming() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%s doesn't stream %s after failpoint %s: %v", process.Name, startLimit, failpoint, process.Streaming())
			return
		}
	}
}
