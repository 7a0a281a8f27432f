package converge

import (
	"testing"

	"duplex/change"
)

// Writes are stable once every region has decided on them, and not before.
func TestFrontier(t *testing.T) {
	f := NewFrontier("a", []change.Region{"a", "b", "c"})
	want := func(hlc change.HLC) {
		t.Helper()
		if got := f.Stable(); got != hlc {
			t.Errorf("stable up to %d, want %d", got, hlc)
		}
	}
	want(0)
	f.Read("a", change.Stamp{Origin: "a", Seq: 1, HLC: 10})
	want(0)
	f.Read("b", change.Stamp{Origin: "a", Seq: 1, HLC: 10, Seen: change.Seen{{Region: "a", Seq: 1}}})
	want(0) // c may still write something older
	f.Read("c", change.Stamp{Origin: "c", Seq: 1, HLC: 12})
	want(9) // it won't, and hasn't decided on a's
	f.Read("c", change.Stamp{Origin: "a", Seq: 1, HLC: 10, Seen: change.Seen{{Region: "a", Seq: 1}}})
	want(10)
	f.Read("a", change.Stamp{Origin: "c", Seq: 1, HLC: 12, Seen: change.Seen{{Region: "c", Seq: 1}}})
	want(10) // b hasn't decided on c's
	if !f.Ahead(change.Seen{{Region: "c", Seq: 2}}) || f.Ahead(change.Seen{{Region: "a", Seq: 9}, {Region: "c", Seq: 1}}) {
		t.Error("Ahead is wrong")
	}
	f.Read("b", change.Stamp{Origin: "c", Seq: 1, HLC: 12, Seen: change.Seen{{Region: "a", Seq: 1}, {Region: "c", Seq: 1}}})
	want(12)
}

// One region far behind another costs bounded memory, and at most a part of
// what it knows: never is more called stable than is.
func TestFrontierFarBehind(t *testing.T) {
	f := NewFrontier("a", []change.Region{"a", "b"})
	const n = 10 * maxPoints
	f.Read("b", change.Stamp{Origin: "b", Seq: 1, HLC: 10 * n})
	for seq := range change.Seq(n) {
		f.Read("a", change.Stamp{Origin: "a", Seq: 1 + seq, HLC: 1 + change.HLC(seq)})
	}
	if got := len(f.feed("a").points); got > maxPoints {
		t.Errorf("%d points, want at most %d", got, maxPoints)
	}
	last := change.HLC(0)
	for seq := change.Seq(1); seq <= n; seq += 100 {
		f.Read("b", change.Stamp{Origin: "a", Seq: seq, HLC: change.HLC(seq), Seen: change.Seen{{Region: "a", Seq: seq}}})
		stable := f.Stable()
		if stable < last || stable > change.HLC(seq) || change.HLC(seq)-stable > n/maxPoints*4 {
			t.Fatalf("b has decided up to %d: stable up to %d, before %d", seq, stable, last)
		}
		last = stable
	}
}
