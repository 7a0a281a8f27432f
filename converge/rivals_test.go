package converge

import (
	"cmp"
	"testing"

	"duplex/change"

	"pgregory.net/rapid"
)

// madeUp is a write of one side and what its transaction had seen.
type madeUp struct {
	write Write
	seen  change.Seq // of the other side's
}

// madeUpRivals are two regions' writes of one row, each in its order, that see some of each other's.
func madeUpRivals(t *rapid.T) (of [2][]madeUp) {
	stampers := [2]*change.Stamper{{Region: "east"}, {Region: "west"}}
	names := [2]change.Region{"east", "west"}
	for range rapid.IntRange(2, 14).Draw(t, "steps") {
		here := rapid.IntRange(0, 1).Draw(t, "side")
		s, there := stampers[here], 1-here
		if seen := int(s.Seen.Of(names[there])); rapid.IntRange(0, 2).Draw(t, "what") == 0 && seen < len(of[there]) {
			next := of[there][seen].write
			s.Applied(next.Version.Origin, "", next.Seq, next.Version.HLC)
			continue
		}
		s.HLC += change.HLC(rapid.IntRange(0, 3).Draw(t, "ahead"))
		stamp := s.Local(change.HLC(0).Time())
		of[here] = append(of[here], madeUp{Write{Version: stamp.Version(), Seq: stamp.Seq, Digest: Digest(stamp.Seq)<<1 | Digest(here), Rank: int64(rapid.IntRange(0, 2).Draw(t, "rank"))}, stamp.Seen.Of(names[there])})
	}
	return of
}

// apart tells of two sides' writes whether neither had seen the other.
func (r madeUp) apart(other madeUp) bool { return other.write.Seq > r.seen && r.write.Seq > other.seen }

// What stays of a row is the choice among each side's newest write, in whatever order the sides' writes are
// noted, told again or spilled in between.
func TestRivalsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := madeUpRivals(t)
		index := NewIndex(16<<20, 0)
		x := Rivals{Index: index, Digest: func(w Write) Digest { return Digest(w.Seq) << 1 }}
		row := Key{7, 7}
		note := func(side, at int) {
			w := of[side][at]
			apart := func(other Write) bool { return w.apart(of[1-side][other.Seq-1]) }
			if err := x.note(row, Side(side), w.write, 0, apart); err != nil {
				t.Fatal(err)
			}
		}
		for n := [2]int{}; n[0] < len(of[0]) || n[1] < len(of[1]); {
			side := rapid.IntRange(0, 1).Draw(t, "next")
			if n[side] == len(of[side]) {
				side = 1 - side
			}
			if n[side] > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				note(side, rapid.IntRange(0, n[side]-1).Draw(t, "which"))
				continue
			}
			note(side, n[side])
			n[side]++
		}
		var want Write
		switch east, west := of[0], of[1]; {
		case len(west) == 0 && len(east) == 0:
			return
		case len(west) == 0:
			want = east[len(east)-1].write
		case len(east) == 0:
			want = west[len(west)-1].write
		default:
			a, b := east[len(east)-1], west[len(west)-1]
			order := a.write.Version.Compare(b.write.Version)
			if a.apart(b) {
				order = cmp.Or(cmp.Compare(a.write.Rank, b.write.Rank), order)
			}
			if want = a.write; order < 0 {
				want = b.write
			}
		}
		if k, known := index.Of(row); !known || k.Version != want.Version || k.Seq != want.Seq {
			t.Fatalf("what stays is %+v, not %+v", k.Write, want)
		}
	})
}

// A write that stays over one of a greater version is remembered as long as that.
func TestRivalIsRememberedLonger(t *testing.T) {
	index := NewIndex(16<<20, 0)
	x := Rivals{Index: index, Digest: func(Write) Digest { return 1 }}
	row, second := Key{7, 7}, change.HLC(1)<<longerShift
	apart := func(Write) bool { return true }
	write := func(s Side, hlc change.HLC, rank int64) {
		t.Helper()
		if err := x.note(row, s, Write{Version: change.Version{HLC: hlc, Origin: [2]change.Region{"east", "west"}[s]}, Seq: 1, Rank: rank}, 0, apart); err != nil {
			t.Fatal(err)
		}
	}
	write(There, 9*second, 1)
	write(Here, 2*second, 5)
	for range 2 {
		for !index.Sweep(8*second, 0) {
		}
	}
	if k, known := index.Of(row); !known || k.Version.Origin != "east" {
		t.Fatalf("known: %t, %+v", known, k)
	}
	for range 2 {
		for !index.Sweep(11*second, 0) {
		}
	}
	if _, known := index.Of(row); known {
		t.Error("it is never forgotten")
	}
}
