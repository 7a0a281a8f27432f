package change

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever the clock does and whatever was applied: local stamps have seqs
// without a hole, and an hlc above everything that the region had before. Who
// follows the stamps alone knows the same.
func TestLocalStampsGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, behind := Stamper{Region: "east"}, Stamper{Region: "east"}
		follow := func(stamp Stamp) {
			if behind.Pass(stamp); behind.Seq != s.Seq || behind.HLC != s.HLC || !slices.Equal(behind.Seen, s.Seen) {
				t.Fatalf("after %+v the one that follows is at %+v, not %+v", stamp, behind, s)
			}
		}
		var last Stamp
		var top HLC
		seen := map[Region]Seq{}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "applied") {
				origin := Region(rapid.SampledFrom([]string{"west", "north"}).Draw(t, "origin"))
				seq := Seq(rapid.Int64Range(1, 100).Draw(t, "seq"))
				hlc := HLC(rapid.Int64Range(0, 1<<50).Draw(t, "hlc"))
				got := s.Applied(origin, "shop", seq, hlc)
				if got.Origin != origin || got.Task != "shop" || got.Seq != seq || got.HLC != hlc {
					t.Fatalf("applied(%s, %d, %d) gave %v", origin, seq, hlc, got)
				}
				follow(got)
				top, seen[origin] = max(top, hlc), max(seen[origin], seq)
				continue
			}
			commit := time.UnixMicro(rapid.Int64Range(0, 1<<50).Draw(t, "commit"))
			got := s.Local(commit)
			follow(got)
			if got.Seq != last.Seq+1 {
				t.Fatalf("seq %d after %d", got.Seq, last.Seq)
			}
			if got.HLC <= top || got.HLC < HLCAt(commit) {
				t.Fatalf("hlc %v, greatest before it %v, commit %v", got.HLC, top, commit)
			}
			for r, seq := range seen {
				if got.Seen.Of(r) != seq {
					t.Fatalf("seen[%s] = %d, applied %d", r, got.Seen.Of(r), seq)
				}
			}
			top, last = got.HLC, got
		}
	})
}
