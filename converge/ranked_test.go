package converge

import (
	"math/rand/v2"
	"testing"

	"duplex/change"

	"pgregory.net/rapid"
)

// drawClaims draws writes of one row by several regions, each of which had seen
// some of the others' so far.
func drawClaims(t *rapid.T) (claims []Claim) {
	regions := []change.Region{"east", "north", "west"}
	last, seen := map[change.Region]change.Seq{}, map[change.Region]change.Seen{}
	for i := range rapid.IntRange(1, 8).Draw(t, "writes") {
		r := rapid.SampledFrom(regions).Draw(t, "region")
		for _, other := range regions {
			if other != r && last[other] > 0 {
				seen[r] = seen[r].With(other, change.Seq(rapid.Int64Range(0, int64(last[other])).Draw(t, "seen")))
			}
		}
		last[r] += change.Seq(rapid.IntRange(1, 2).Draw(t, "seq"))
		claims = append(claims, Claim{
			Write: Write{change.Version{HLC: change.HLC(100 + i), Origin: r}, last[r], Digest(rapid.Uint64Range(0, 3).Draw(t, "digest")), Place(i)},
			Rank:  rapid.Int64Range(0, 2).Draw(t, "rank"), Seen: seen[r],
		})
	}
	return claims
}

// winner finds the one that must win by looking at every pair.
func winner(claims []Claim) (best Claim) {
	for _, c := range claims {
		beaten := false
		for _, o := range claims {
			beaten = beaten || o.Version.Origin == c.Version.Origin && o.Seq > c.Seq || o.Seen.Of(c.Version.Origin) >= c.Seq
		}
		if !beaten && (best.Version == change.Version{} || c.Rank > best.Rank || c.Rank == best.Rank && c.Version.Compare(best.Version) > 0) {
			best = c
		}
	}
	return best
}

// Which write wins depends on the writes alone: not on their order, nor on how
// often each comes.
func TestRankedIsAFunctionOfTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		claims := drawClaims(t)
		want := winner(claims)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
		for range 5 {
			x, key := NewRanked(1<<20, 0), Key{1, 2}
			for _, i := range append(r.Perm(len(claims)), r.Perm(len(claims))...) {
				c := claims[i]
				v, _ := x.Decide(key, Change{Version: c.Version, After: c.Digest}, c, 99, true)
				if v == Skip {
					continue // as who applies does
				}
				if err := x.Wrote(key, c, 1); err != nil {
					t.Fatal(err)
				}
				if again, _ := x.Decide(key, Change{Version: c.Version, After: c.Digest}, c, 99, true); again != Skip {
					t.Fatalf("%v is decided again: %v, at first %v", c, again, v)
				}
			}
			if got, _ := x.Audit(key, 0); got != want.Write {
				t.Fatalf("%v wins, want %v", got, want.Write)
			}
		}
	})
}

// The bytes of the contests are counted, and given back.
func TestRankedBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := NewRanked(1<<20, 0)
		for i, c := range drawClaims(t) {
			key := Key{A: uint64(i % 3)}
			if err := x.Local(key, c); err != nil {
				t.Fatal(err)
			}
		}
		want := int64(0)
		for i := range x.shards {
			want += x.shards[i].bytes()
		}
		want += int64(len(x.suspects)) * suspectBytes
		for _, c := range x.contests {
			want += c.bytes()
		}
		if x.Bytes() != want {
			t.Fatalf("counts %d bytes, has %d", x.Bytes(), want)
		}
		for _, key := range x.Suspects(1) {
			standing, _ := x.Audit(key, Absent)
			x.Audit(key, standing.Digest)
		}
		x.Suspects(1)
		x.Sweep(1000, 1)
		if x.Sweep(1000, 1); x.Bytes() != 0 || x.Len() != 0 || len(x.contests) != 0 {
			t.Fatalf("%d bytes are left, of %d rows and %d contests", x.Bytes(), x.Len(), len(x.contests))
		}
	})
	x := NewRanked(600, 0)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		err = x.Local(Key{A: uint64(i)}, Claim{Write: Write{Version: change.Version{HLC: 1, Origin: "east"}, Seq: 1}})
	}
	if err == nil {
		t.Error("the limit isn't kept")
	}
}
