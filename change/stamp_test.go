package change

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var regions = []Region{"east", "north", "west"}

func drawVersion(t *rapid.T, name string) Version {
	return Version{HLC(rapid.Int64Range(-2, 2).Draw(t, name+" hlc")), rapid.SampledFrom(regions).Draw(t, name+" origin")}
}

// Versions are totally ordered: any two compare, one way only, and so do three.
func TestVersionsAreTotallyOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawVersion(t, "a"), drawVersion(t, "b"), drawVersion(t, "c")
		if a.Compare(b) != -b.Compare(a) {
			t.Fatalf("%v and %v: %d one way, %d the other", a, b, a.Compare(b), b.Compare(a))
		}
		if (a.Compare(b) == 0) != (a == b) {
			t.Fatalf("%v and %v are taken for equal", a, b)
		}
		if a.Compare(b) <= 0 && b.Compare(c) <= 0 && a.Compare(c) > 0 {
			t.Fatalf("%v ≤ %v ≤ %v, and yet the first is greater than the last", a, b, c)
		}
		if a.HLC < b.HLC && a.Compare(b) != -1 {
			t.Fatalf("%v is not smaller than %v", a, b)
		}
	})
}

// With raises one entry, keeps the others, stays sorted, and never changes the
// vector that it was called on.
func TestSeenWith(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Seen
		type entry struct {
			Region
			task string
		}
		model := map[entry]Seq{}
		greatest := func(r Region, task string) (seq Seq) {
			for e, n := range model {
				if e.Region == r && (task == "" || e.task == "" || e.task == task) {
					seq = max(seq, n)
				}
			}
			return seq
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			r := rapid.SampledFrom([]Region{"a", "b", "c", "d", "e"}).Draw(t, "region")
			seq := Seq(rapid.Int64Range(1, 9).Draw(t, "seq"))
			task := rapid.SampledFrom([]string{"", "crm", "shop"}).Draw(t, "task")
			before := slices.Clone(s)
			next := s.With(r, task, seq)
			if !slices.Equal(s, before) {
				t.Fatalf("With(%s, %d) changed %v to %v", r, seq, before, s)
			}
			if model[entry{r, task}] >= seq && len(s) > 0 && &next[0] != &s[0] {
				t.Fatal("With made a new vector to say the same")
			}
			model[entry{r, task}] = max(model[entry{r, task}], seq)
			s = next
			for _, r := range []Region{"a", "b", "c", "d", "e", "f"} {
				if s.Of(r) != greatest(r, "") || s.Regions().Of(r) != greatest(r, "") {
					t.Fatalf("%v has %d of %s, want %d", s, s.Of(r), r, greatest(r, ""))
				}
				if got := s.In("shop"); got.Of(r) != greatest(r, "shop") || !got.Sorted() {
					t.Fatalf("%v has in task shop %v, not %d of %s", s, got, greatest(r, "shop"), r)
				}
			}
			if !s.Sorted() || len(s) != len(model) {
				t.Fatalf("%v is not sorted, or not of %d entries", s, len(model))
			}
		}
	})
}

// Concurrent agrees with what happened: in random histories of two regions,
// two transactions are concurrent if and only if neither could have known of
// the other. The true history is kept beside it, as sets.
func TestConcurrentIsTrue(t *testing.T) {
	type txn struct {
		stamp Stamp
		knows map[Stamped]bool
	}
	rapid.Check(t, func(t *rapid.T) {
		type region struct {
			seen  Seen
			knows map[Stamped]bool
			made  []txn
		}
		all := map[Region]*region{"east": {knows: map[Stamped]bool{}}, "west": {knows: map[Stamped]bool{}}}
		other := map[Region]Region{"east": "west", "west": "east"}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			name := rapid.SampledFrom([]Region{"east", "west"}).Draw(t, "region")
			here, there := all[name], all[other[name]]
			applied := int(here.seen.Of(other[name]))
			if rapid.Bool().Draw(t, "apply") && applied < len(there.made) {
				next := there.made[applied] // in order
				here.seen = here.seen.With(other[name], "", next.stamp.Seq)
				here.knows[Stamped{other[name], next.stamp.Seq}] = true
				for k := range next.knows {
					here.knows[k] = true
				}
				continue
			}
			seq := Seq(len(here.made) + 1)
			made := txn{Stamp{Origin: name, Seq: seq, Seen: here.seen}, map[Stamped]bool{}}
			for k := range here.knows {
				made.knows[k] = true
			}
			here.knows[Stamped{name, seq}] = true
			here.made = append(here.made, made)
		}
		for _, e := range all["east"].made {
			for _, w := range all["west"].made {
				want := !e.knows[Stamped{"west", w.stamp.Seq}] && !w.knows[Stamped{"east", e.stamp.Seq}]
				if Concurrent(e.stamp, w.stamp) != want || Concurrent(w.stamp, e.stamp) != want {
					t.Fatalf("%v and %v: concurrent is not %t", e.stamp, w.stamp, want)
				}
			}
		}
	})
}

// Stamped names a transaction.
type Stamped struct {
	Origin Region
	Seq    Seq
}

// The clock never stands still or goes back, and never runs behind the commit
// times; what it reads back is the millisecond it was made of.
func TestHLC(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := HLC(0)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			at := time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "commit"))
			next := h.Next(at)
			if next <= h || next < HLCAt(at) {
				t.Fatalf("%v after %v at %v", next, h, at)
			}
			if !HLCAt(at).Time().Equal(at.Truncate(time.Millisecond)) {
				t.Fatalf("%v reads back as %v", at, HLCAt(at).Time())
			}
			h = next
		}
	})
}
