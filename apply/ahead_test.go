package apply

import (
	"testing"

	"duplex/change"
)

// What had been applied where a change was made is here before it: another stream has decided it, in this
// session of it or before; or numbers have begun anew since, and HLCs tell.
func TestLacks(t *testing.T) {
	stamp := change.Stamp{Origin: "west", Seq: 9, HLC: 50, Seen: change.Seen{{Region: "east", Seq: 3}, {Region: "north", Seq: 7}}}
	of := func(seq change.Seq, hlc change.HLC) []change.Stamp {
		return []change.Stamp{{Origin: "north", Seq: seq, HLC: hlc}}
	}
	west, north := newTrio(t, 0)
	expect := func(want change.Region) (decided <-chan struct{}) {
		t.Helper()
		got, decided := west.lacks(stamp)
		if got != want {
			t.Errorf("it waits for region %q, want %q", got, want)
		}
		return decided
	}
	decided := expect("north")
	north.passed(of(6, 20))
	select {
	case <-decided:
	default:
		t.Error("it isn't told that more is decided")
	}
	expect("north")
	north.passed(of(7, 30))
	expect("")

	west, north = newTrio(t, 0)
	north.took(7)
	expect("")

	west, north = newTrio(t, 0)
	north.passed(of(1, 49))
	expect("north")
	north.passed(of(2, 50))
	expect("")
}
