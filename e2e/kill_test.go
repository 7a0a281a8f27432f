package e2e_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestKillAnywhere kills captures and applies with SIGKILL at random moments
// of their life, starting included, while both regions write. Nothing is lost
// and nothing doubled (promises 1 to 4).
func TestKillAnywhere(t *testing.T) { onEveryPair(t, testKillAnywhere) }

func testKillAnywhere(t *testing.T, e engines) {
	p := newPairOf(t, e, "kill", nil)
	// Small batches: many at once, whose order must hold.
	p.writeTask("tables: {include: ['shop.*']}", "apply: {threads: 8, batch_rows: 30}")
	l := newLoad(p, 2)
	l.pace = 15 * time.Millisecond
	processes := p.start("capture", "apply")
	kills := e.scaled(12, 200)
	r := rand.New(rand.NewPCG(3, 4))
	l.begin(0)
	began := time.Now()
	for n := 0; n < kills; n++ {
		// Short pauses meet processes that are starting, long ones those that
		// are at work.
		limit := 300 * time.Millisecond
		if r.IntN(3) > 0 {
			limit = 3 * time.Second
		}
		time.Sleep(time.Duration(r.Int64N(int64(limit))))
		victims := r.Perm(len(processes))[:1+r.IntN(4)/3]
		for _, v := range victims {
			processes[v].Kill()
		}
		for _, v := range victims {
			processes[v].Start()
		}
		l.check()
	}
	killing := time.Since(began)
	l.end()
	for _, process := range processes {
		process.WaitStreaming()
	}
	equal := waitEqual(p, l)
	found := checkHistory(p, l)
	east, west := l.changes()
	if found[p.east].Takeovers < 2 && found[p.west].Takeovers < 2 {
		t.Error("no apply has started again: the test has killed nothing")
	}
	t.Logf("%d kills in %s while %d + %d changes were written; equal %s later", kills, killing.Round(time.Millisecond), east, west, equal.Round(time.Millisecond))
	stop(processes)
}
