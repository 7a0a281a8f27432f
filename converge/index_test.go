package converge

import (
	"errors"
	"fmt"
	"math"
	"os"
	"testing"

	"duplex/change"

	"pgregory.net/rapid"
)

// The index knows of each row what a plain map would, whatever is added, read
// and forgotten; it counts its bytes exactly, and never holds more than it may.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int64{2400, 6000, 1 << 20, 5 << 20}).Draw(t, "limit")
		x := NewIndex(limit, 0)
		if rapid.Bool().Draw(t, "spills") {
			limit = 128 << 10
			x = spilling(limit)
		}
		model, stable, tail := map[Key]Known{}, change.HLC(0), Pos(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			// Their tags are the same, or nearly all, and so may their slots be.
			key := Key{rapid.Uint64Range(0, 5).Draw(t, "slot")<<60 | rapid.Uint64Range(0, 20).Draw(t, "more"), rapid.Uint64Range(0, 3).Draw(t, "other") << 14}
			w := Write{change.Version{HLC: change.HLC(rapid.Int64Range(1, 50).Draw(t, "hlc")), Origin: rapid.SampledFrom([]change.Region{"east", "west"}).Draw(t, "origin")},
				change.Seq(rapid.Int64().Draw(t, "seq")), Digest(rapid.Uint64Range(0, 3).Draw(t, "digest")), Place(rapid.Uint64().Draw(t, "place")), 0}
			at := tail + Pos(rapid.Uint64Range(0, 5).Draw(t, "at"))
			k, known := model[key]
			next := k
			if !known || k.Version.Compare(w.Version) <= 0 {
				next.Write = w
			}
			var err error
			what := rapid.IntRange(0, 9).Draw(t, "what")
			switch {
			case what < 4:
				next.Last, next.Read = w.Digest, true
				err = x.Local(key, w)
			case what < 6:
				next.At = max(next.At, at)
				err = x.Wrote(key, w, at)
			case what < 7:
				next.At = max(next.At, at)
				err = x.Marked(key, w, at)
			case what < 8:
				if next = k; known {
					next.Last, next.Read = w.Digest, true
				}
				err = x.Echo(key, w.Digest)
			case what < 9 && known:
				next = k
				if rapid.Bool().Draw(t, "repaired") {
					next.At = max(next.At, at)
					x.Repaired(key, at)
				} else if _, restore := x.Audit(key, k.Digest); restore {
					t.Fatal("a row that holds the newest is to be written")
				}
			default:
				next = k
				stable += change.HLC(rapid.Int64Range(0, 10).Draw(t, "stable"))
				tail += Pos(rapid.Uint64Range(0, 4).Draw(t, "tail"))
				if forgetAll(x, stable, tail); x.disk != nil && rapid.Bool().Draw(t, "raised") {
					// What may be forgotten next is more than what was.
					stable += 5
					for !x.Sweep(stable, tail) {
					}
				}
				forget(t, x, model, stable, tail)
				k, known = model[key]
				next = k
			}
			if !known && what < 7 && w.Version.HLC <= x.Forgotten() {
				next = k
			}
			var full *FullError
			switch {
			case errors.As(err, &full):
				return
			case err != nil:
				t.Fatal(err)
			case known || next != Known{}:
				model[key] = next
			}
			compare(t, x, model)
			if x.Bytes() > limit {
				t.Fatalf("%d bytes, the limit is %d", x.Bytes(), limit)
			}
		}
	})
}

// forgetAll sweeps twice over the whole index.
func forgetAll(x *Index, stable change.HLC, tail Pos) {
	for range 2 {
		for done := false; !done; {
			done = x.Sweep(stable, tail)
		}
	}
}

// forget takes out of the model what the index has forgotten, if it might.
func forget(t *rapid.T, x *Index, model map[Key]Known, stable change.HLC, tail Pos) {
	oldest := change.HLC(math.MaxInt64)
	for _, k := range model {
		if k.At > tail {
			oldest = min(oldest, k.Version.HLC-1)
		}
	}
	if x.Forgotten() > min(stable, oldest) {
		t.Fatalf("forgets up to %d, stable being %d, and %d being needed", x.Forgotten(), stable, oldest+1)
	}
	for key, k := range model {
		_, kept := x.Of(key)
		may := k.Version.HLC <= stable && k.At <= tail
		if !kept && !may {
			t.Fatalf("%v was forgotten, stable being %d, the tail at %d", k, stable, tail)
		}
		if kept && k.Version.HLC <= min(stable, oldest) && (!k.Read || k.Last == k.Digest) && len(x.suspects) == 0 && x.disk == nil {
			t.Fatalf("%v was kept, stable being %d, the tail at %d", k, stable, tail)
		}
		if !kept {
			delete(model, key)
		}
	}
}

func compare(t *rapid.T, x *Index, model map[Key]Known) {
	var bytes int64
	for i := range x.shards {
		bytes += x.shards[i].bytes()
	}
	bytes += int64(len(x.suspects)) * suspectBytes
	if x.disk != nil {
		for _, runs := range x.disk.parts {
			for _, r := range runs {
				bytes += r.bytes()
			}
		}
	}
	if bytes != x.Bytes() || x.disk == nil && x.Len() != len(model) {
		t.Fatalf("counts %d bytes and has %d; %d rows of %d", x.Bytes(), bytes, x.Len(), len(model))
	}
	suspects := map[Key]bool{}
	for _, key := range x.Suspects(1 << 62) {
		suspects[key] = true
	}
	if x.disk != nil && rapid.Bool().Draw(t, "spill") {
		if err := x.Spill(); err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range model {
		got, known := x.Of(key)
		if !known || got != want {
			t.Fatalf("key %v: %+v, %t; want %+v", key, got, known, want)
		}
		if suspects[key] && got.Last == got.Digest {
			t.Fatalf("key %v is suspect, though its last image is the newest", key)
		}
	}
}

// A row of which the binlog's last image isn't the newest is suspect, as soon as
// the tail has passed this service's own last write of it.
func TestSuspects(t *testing.T) {
	x, key := NewIndex(1<<20, 0), Key{1, 2}
	mine := Write{Version: change.Version{HLC: 5, Origin: "east"}, Digest: 1}
	theirs := Write{Version: change.Version{HLC: 7, Origin: "west"}, Digest: 2}
	want := func(tail Pos, n int) {
		t.Helper()
		if due := x.Suspects(tail); len(due) != n {
			t.Errorf("tail at %d: %v are suspect, want %d", tail, due, n)
		}
	}
	if err := errors.Join(x.Local(key, mine), x.Wrote(key, theirs, 10)); err != nil {
		t.Fatal(err)
	}
	want(20, 0) // its echo is still to come
	echo := func(d Digest) {
		t.Helper()
		if err := x.Echo(key, d); err != nil {
			t.Fatal(err)
		}
	}
	echo(3)
	want(9, 0)
	want(10, 1)
	if newest, restore := x.Audit(key, 3); !restore || newest != theirs {
		t.Errorf("audit: %v, %t", newest, restore)
	}
	if forgetAll(x, 99, 99); x.Len() != 1 {
		t.Error("a suspect was forgotten")
	}
	x.Repaired(key, 12)
	want(11, 0)
	echo(2)
	want(99, 0)
	if forgetAll(x, 99, 11); x.Len() != 1 {
		t.Error("forgotten before the tail has read the repair")
	}
	if forgetAll(x, 99, 12); x.Len() != 0 || x.Bytes() != 0 {
		t.Errorf("%d rows left, %d bytes", x.Len(), x.Bytes())
	}
}

func TestDecide(t *testing.T) {
	x, known, other := NewIndex(1<<20, 0), Key{1, 2}, Key{3, 4}
	if err := x.Local(known, Write{Version: change.Version{HLC: 5, Origin: "east"}, Digest: 9}); err != nil {
		t.Fatal(err)
	}
	older, newer, tie := change.Version{HLC: 4, Origin: "west"}, change.Version{HLC: 5, Origin: "west"}, change.Version{HLC: 5, Origin: "alba"}
	for i, c := range []struct {
		key     Key
		change  Change
		current Digest
		tailed  bool
		want    Verdict
	}{
		{known, Change{Version: older, Before: 9, After: 1}, 9, false, Skip},
		{known, Change{Version: tie, Before: 9, After: 1}, 9, true, Skip},
		{known, Change{Version: newer, Before: 9, After: 1}, 9, false, Put},
		{known, Change{Version: newer, Before: 8, After: 1}, 9, false, Wait},
		{known, Change{Version: newer, Before: 8, After: 1}, 9, true, Put},
		{known, Change{Version: newer, Before: 8, After: 9}, 9, false, Mark},
		{other, Change{Version: older, Before: 8, After: 1}, 8, false, Put},
		{other, Change{Version: older, Before: 8, After: 1}, 1, false, Mark},
		{other, Change{Version: older, Before: 8, After: 1}, 7, false, Wait},
		{other, Change{Version: older, Before: 8, After: 1}, 7, true, Heal},
		{other, Change{Version: older, Before: 8, After: 1, Ahead: true}, 7, true, Put},
		{other, Change{Version: older, Before: 8, After: Absent}, Absent, false, Mark},
	} {
		if got := x.Decide(c.key, c.change, c.current, c.tailed); got != c.want {
			t.Errorf("case %d: %v, want %v", i, got, c.want)
		}
	}
}

// fill notes n rows of a table with a BIGINT key, as a region's writes.
func fill(tb testing.TB, x *Index, n int) {
	for i := range n {
		key := uint64(i) * 0x9e3779b97f4a7c15 // spreads them as a hash does
		if err := x.Local(Key{key, key}, Write{Version: change.Version{HLC: change.HLC(i), Origin: "east"}, Seq: change.Seq(i), Digest: Digest(i)}); err != nil {
			tb.Fatal(err)
		}
	}
}

// Ten million rows fit 1 GiB. DUPLEX_SOAK tries so many.
func TestIndexOfManyRows(t *testing.T) {
	const most = 1 << 30
	n := 300_000
	if os.Getenv("DUPLEX_SOAK") != "" {
		n = 10_000_000
	}
	x := NewIndex(most*int64(n)/10_000_000, 0)
	fill(t, x, n)
	t.Logf("%d rows, %d bytes each", n, x.Bytes()/int64(n))
	forgetAll(x, change.HLC(n/2), 0)
	if x.Len() != n-n/2-1 {
		t.Errorf("%d of %d rows are left", x.Len(), n)
	}
}

// BenchmarkIndex tells what a row costs: to note, to look up, and in bytes.
func BenchmarkIndex(b *testing.B) {
	for _, n := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			for b.Loop() {
				x := NewIndex(1<<30, 0)
				fill(b, x, n)
				b.ReportMetric(float64(x.Bytes())/float64(n), "B/row")
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
		})
	}
}
