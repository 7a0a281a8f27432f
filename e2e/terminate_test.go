package e2e_test

import (
	"errors"
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
