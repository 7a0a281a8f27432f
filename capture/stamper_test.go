package capture

import (
	"slices"
	"testing"
	"time"

	"duplex/change"

	"pgregory.net/rapid"
)

// Whatever the clock does and whatever was applied: local stamps have seqs
// without a hole, and an hlc above everything that the region had before. Who
// follows the stamps alone knows the same.
func TestLocalStampsGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, behind := stamper{region: "east"}, stamper{region: "east"}
		follow := func(stamp change.Stamp) {
			if behind.pass(stamp); behind.seq != s.seq || behind.hlc != s.hlc || !slices.Equal(behind.seen, s.seen) {
				t.Fatalf("after %+v the one that follows is at %+v, not %+v", stamp, behind, s)
			}
		}
		var last change.Stamp
		var top change.HLC
		seen := map[change.Region]change.Seq{}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "applied") {
				origin := change.Region(rapid.SampledFrom([]string{"west", "north"}).Draw(t, "origin"))
				seq := change.Seq(rapid.Int64Range(1, 100).Draw(t, "seq"))
				hlc := change.HLC(rapid.Int64Range(0, 1<<50).Draw(t, "hlc"))
				got := s.applied(origin, seq, hlc)
				if got.Origin != origin || got.Seq != seq || got.HLC != hlc {
					t.Fatalf("applied(%s, %d, %d) gave %v", origin, seq, hlc, got)
				}
				follow(got)
				top, seen[origin] = max(top, hlc), max(seen[origin], seq)
				continue
			}
			commit := time.UnixMicro(rapid.Int64Range(0, 1<<50).Draw(t, "commit"))
			got := s.local(commit)
			follow(got)
			if got.Seq != last.Seq+1 {
				t.Fatalf("seq %d after %d", got.Seq, last.Seq)
			}
			if got.HLC <= top || got.HLC < change.HLCAt(commit) {
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
