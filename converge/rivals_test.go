package converge

import (
	"cmp"
	"slices"
	"testing"

	"duplex/change"

	"pgregory.net/rapid"
)

// madeUp is a write of one region and what its transaction had seen.
type madeUp struct {
	write Write
	seen  change.Seen
}

var madeUpRegions = []change.Region{"east", "west", "north", "south"}

// madeUpRivals are some regions' writes of one row, each region's in its order, that see some of each other's.
func madeUpRivals(t *rapid.T, regions []change.Region) [][]madeUp {
	of, stampers := make([][]madeUp, len(regions)), make([]change.Stamper, len(regions))
	for range rapid.IntRange(2, 14).Draw(t, "steps") {
		here := rapid.IntRange(0, len(regions)-1).Draw(t, "region")
		s := &stampers[here]
		s.Region = regions[here]
		there := rapid.IntRange(0, len(regions)-1).Draw(t, "of")
		if seen := int(s.Seen.Of(regions[there])); there != here && seen < len(of[there]) && rapid.IntRange(0, 2).Draw(t, "what") > 0 {
			next := of[there][seen].write
			s.Applied(next.Version.Origin, "", next.Seq, next.Version.HLC)
			continue
		}
		s.HLC += change.HLC(rapid.IntRange(0, 3).Draw(t, "ahead"))
		stamp := s.Local(change.HLC(0).Time())
		of[here] = append(of[here], madeUp{Write{Version: stamp.Version(), Seq: stamp.Seq, Digest: Digest(stamp.Seq)<<3 | Digest(here), Rank: int64(rapid.IntRange(0, 2).Draw(t, "rank"))}, stamp.Seen})
	}
	return of
}

// chosen is what must stay of a set of writes.
func chosen(of [][]madeUp) (best Write) {
	all := slices.Concat(of...)
	for _, one := range all {
		w := one.write
		seen := slices.ContainsFunc(all, func(other madeUp) bool {
			if other.write.Version.Origin == w.Version.Origin {
				return other.write.Seq > w.Seq
			}
			return other.seen.Of(w.Version.Origin) >= w.Seq
		})
		if !seen && (best.Seq == 0 || cmp.Or(cmp.Compare(w.Rank, best.Rank), w.Version.Compare(best.Version)) > 0) {
			best = w
		}
	}
	return best
}

// What stays of a row is the choice among the writes that no other had seen, in whatever order the regions' writes are
// noted, told again or spilled in between.
func TestRivalsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		regions := madeUpRegions[:rapid.IntRange(2, 4).Draw(t, "regions")]
		of := madeUpRivals(t, regions)
		index, noted := NewIndex(16<<20, 0), make([]int, len(regions))
		index.SpillTo(&memorySpace{})
		x := Rivals{
			Index: index, Regions: regions, Digest: func(w Write) Digest { return Digest(w.Seq) << 3 },
			Told: func(r change.Region) change.Seq { return change.Seq(noted[slices.Index(regions, r)]) },
		}
		row := Key{7, 7}
		var has change.Version // of what the row has: what was written to it last; the tail reads nothing of it
		note := func(region, at int) {
			w := of[region][at]
			stays := x.Stays(row, w.write, w.seen)
			if err := x.Wrote(row, w.write, w.seen, 0); err != nil {
				t.Fatal(err)
			}
			if k, known := index.Of(row); stays != (known && k.Version == w.write.Version) {
				t.Fatalf("%+v stays: %t, and then %+v does", w.write, stays, k.Write)
			}
			if stays {
				has = w.write.Version
			}
			if k, known := index.Of(row); known && k.Version != has && !slices.Contains(index.Suspects(1), row) {
				t.Fatalf("with %+v it is %+v that stays, the row has that of %v, and nobody looks at it", w.write, k.Write, has)
			}
		}
		left := len(slices.Concat(of...))
		for left > 0 {
			region := rapid.IntRange(0, len(regions)-1).Draw(t, "next")
			switch n := noted[region]; {
			case rapid.IntRange(0, 5).Draw(t, "spills") == 0:
				if err := index.Spill(); err != nil {
					t.Fatal(err)
				}
			case n > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0:
				note(region, rapid.IntRange(0, n-1).Draw(t, "which"))
			case n < len(of[region]):
				note(region, n)
				noted[region]++
				left--
			}
		}
		want := chosen(of)
		if k, known := index.Of(row); want.Seq > 0 && (!known || k.Version != want.Version || k.Seq != want.Seq) {
			t.Fatalf("what stays is %+v, not %+v", k.Write, want)
		}
	})
}

// A write that stays over one of a greater version is remembered as long as that.
func TestRivalIsRememberedLonger(t *testing.T) {
	index := NewIndex(16<<20, 0)
	x := Rivals{Index: index, Regions: madeUpRegions[:2], Told: func(change.Region) change.Seq { return 1 }, Digest: func(Write) Digest { return 1 }}
	row, second := Key{7, 7}, change.HLC(1)<<longerShift
	write := func(origin change.Region, hlc change.HLC, rank int64) {
		t.Helper()
		if err := x.Local(row, Write{Version: change.Version{HLC: hlc, Origin: origin}, Seq: 1, Rank: rank}, nil); err != nil {
			t.Fatal(err)
		}
	}
	write("west", 9*second, 1)
	write("east", 2*second, 5)
	sweep := func(stable change.HLC) {
		index.Suspects(0)
		for range 2 {
			for !index.Sweep(stable, 0) {
			}
		}
	}
	sweep(8 * second)
	if k, known := index.Of(row); !known || k.Version.Origin != "east" {
		t.Fatalf("known: %t, %+v", known, k)
	}
	write("west", 9*second, 1)
	if k, _ := index.Of(row); k.Version.Origin != "east" {
		t.Error("the newer write stays when it is told again, as what beat it is forgotten")
	}
	sweep(11 * second)
	if _, known := index.Of(row); known {
		t.Error("it is never forgotten")
	}
}

// After a restart a row is what it must be as long as nothing newer is known of it; then what is known of older writes counts,
// and the row is looked at unless the tail reads that it has what stays.
func TestRivalsAfterARestart(t *testing.T) {
	index := NewIndex(16<<20, 5)
	x := Rivals{Index: index, Regions: madeUpRegions[:3], Right: 20, Told: func(change.Region) change.Seq { return 0 }, Digest: func(w Write) Digest { return Digest(w.Seq) << 1 }}
	row := Key{7, 7}
	wrote := func(origin change.Region, seq change.Seq, hlc change.HLC, rank int64, seen change.Seen) {
		t.Helper()
		if err := x.Learnt(row, Write{Version: change.Version{HLC: hlc, Origin: origin}, Seq: seq, Digest: Digest(seq) << 1, Rank: rank}, seen, 1); err != nil {
			t.Fatal(err)
		}
	}
	wrote("west", 3, 10, 2, nil)
	if _, known := index.Of(row); known || len(index.Suspects(1)) > 0 {
		t.Error("of a row with nothing newer something is known")
	}
	wrote("north", 4, 30, 1, nil)
	looked := func(origin change.Region) {
		t.Helper()
		if k, known := index.Of(row); !known || k.Version.Origin != origin {
			t.Errorf("what stays is %+v", k)
		}
		if len(index.Suspects(0)) > 0 || len(index.Suspects(1)) != 1 {
			t.Error("the row isn't looked at when the tail has come by")
		}
	}
	looked("west")
	if err := index.Echo(row, 3<<1); err != nil || len(index.Suspects(1)) > 0 {
		t.Error("it is looked at though it has what stays")
	}
	row = Key{8, 8}
	wrote("north", 4, 30, 1, nil)
	looked("north")
	wrote("west", 3, 10, 2, nil) // it may have been left out
	looked("west")
}

// A horizon tells what was forgotten when nothing was known that isn't forgotten now.
func TestHorizon(t *testing.T) {
	h := Horizon{Least: 5}
	h.Note(5, 6)
	if _, ok := h.Before(100); ok {
		t.Error("what an earlier index had forgotten counts")
	}
	h.Note(10, 30)
	h.Note(20, 40)
	h.Note(20, 50)
	if _, ok := h.Before(29); ok {
		t.Error("29 is said to be behind what had been read")
	}
	for forgotten, want := range map[change.HLC]change.HLC{30: 10, 39: 10} {
		if least, ok := h.Before(forgotten); !ok || least != want {
			t.Errorf("before %d it is %d, %t", forgotten, least, ok)
		}
	}
	if least, ok := h.Before(40); !ok || least != 20 {
		t.Errorf("before 40 it is %d, %t", least, ok)
	}
	for at := change.HLC(100); at < 5000; at++ {
		h.Note(at, at+7)
	}
	if least, ok := h.Before(4000); !ok || least > 3993 || least < 3900 || len(h.steps) > maxHorizon {
		t.Errorf("before 4000 it is %d, %t, of %d steps", least, ok, len(h.steps))
	}
}
