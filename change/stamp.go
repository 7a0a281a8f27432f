// Package change holds the vocabulary of a change on its way between regions:
// who made it, when, and after what. It is pure and imports nothing of ours.
package change

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Region is the short id of one writable database and its services, such as
// "east".
type Region string

// HLC is a hybrid logical clock: Unix milliseconds << 20 | counter. It is
// greater than the HLC of everything its region had applied before, whatever
// the wall clocks say (Kulkarni et al., "Logical Physical Clocks", 2014).
type HLC int64

const hlcCounterBits = 20

// HLCAt returns the smallest HLC of the millisecond that t lies in.
func HLCAt(t time.Time) HLC { return HLC(t.UnixMilli() << hlcCounterBits) }

// Next returns the HLC of a transaction committed at t in a region whose last
// HLC was h: never smaller than the commit time, always greater than h.
func (h HLC) Next(t time.Time) HLC { return max(HLCAt(t), h+1) }

// Time returns the wall clock part of h, to the millisecond.
func (h HLC) Time() time.Time { return time.UnixMilli(int64(h) >> hlcCounterBits).UTC() }

func (h HLC) String() string {
	return fmt.Sprintf("%s+%d", h.Time().Format("2006-01-02T15:04:05.000Z"), int64(h)&(1<<hlcCounterBits-1))
}

// Seq numbers the transactions that a region published as its own: 1, 2, 3,
// without a hole, over restarts too. A hole therefore proves a loss.
type Seq int64

// Stamp tells of one source transaction where it came from. All its changes
// carry the same stamp.
type Stamp struct {
	Origin Region
	Seq    Seq
	HLC    HLC
	// Seen is, for every other region, the highest seq of it that had been
	// applied here before this transaction committed.
	Seen Seen
}

// Version orders all writes of one row totally: of two, the greater wins.
type Version struct {
	HLC    HLC
	Origin Region
}

// Version returns the version that every row written by the transaction has.
func (s Stamp) Version() Version { return Version{s.HLC, s.Origin} }

// Compare returns -1, 0 or +1: by HLC, ties by origin.
func (v Version) Compare(o Version) int {
	return cmp.Or(cmp.Compare(v.HLC, o.HLC), cmp.Compare(v.Origin, o.Origin))
}

// Concurrent reports whether neither of two transactions of different regions
// had been applied where the other one was made before it was made.
func Concurrent(a, b Stamp) bool {
	return a.Seq > b.Seen.Of(a.Origin) && b.Seq > a.Seen.Of(b.Origin)
}

// SeenSeq is one entry of Seen.
type SeenSeq struct {
	Region Region
	Seq    Seq
}

// Seen is a version vector: one entry for each other region, sorted by region.
// It is never changed in place, so stamps may share it.
type Seen []SeenSeq

// Of returns the highest seq of region r that had been seen, 0 for none.
func (s Seen) Of(r Region) Seq {
	if i, ok := s.find(r); ok {
		return s[i].Seq
	}
	return 0
}

// With returns s with the entry of r raised to seq. It returns s itself if
// that changes nothing.
func (s Seen) With(r Region, seq Seq) Seen {
	i, ok := s.find(r)
	switch {
	case ok && s[i].Seq >= seq:
		return s
	case ok:
		s = slices.Clone(s)
		s[i].Seq = seq
		return s
	default:
		return slices.Insert(slices.Clone(s), i, SeenSeq{r, seq})
	}
}

func (s Seen) find(r Region) (int, bool) {
	return slices.BinarySearchFunc(s, r, func(e SeenSeq, r Region) int { return strings.Compare(string(e.Region), string(r)) })
}
