package e2e_test

import (
	"testing"
	"time"
)

// TestMixedLoadBothSides: both regions write at once, as fast as they can, and
// end with the same rows, each change applied once (promises 1 to 4, 8).
func TestMixedLoadBothSides(t *testing.T) { onEveryPair(t, testMixedLoadBothSides) }

func testMixedLoadBothSides(t *testing.T, e engines) {
	p := newPairOf(t, e, "mixed", nil)
	l := newLoad(p, 1)
	processes := p.start("run")
	began := time.Now()
	l.begin(int64(e.scaled(20_000, 100_000)))
	l.wait()
	wrote := time.Since(began)
	equal := waitEqual(p, l)
	east, west := l.changes()
	checkHistory(p, l)
	t.Logf("%d + %d changes written in %s, equal %s later", east, west, wrote.Round(time.Millisecond), equal.Round(time.Millisecond))
	for _, process := range processes {
		t.Logf("%s: at most %d MiB", process.Name, process.PeakRSS()>>20)
	}
	stop(processes)
}
