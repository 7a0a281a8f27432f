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
	// Task is the one whose apply wrote it, empty for the region's own transactions.
	Task string
	Seq  Seq
	HLC  HLC
	// Seen is, for every other region and task, the highest seq of it that had been
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
	// Task is the one whose transactions it is about: tasks are applied each at its own pace.
	// It is empty where that isn't known, or no longer needed.
	Task string
	Seq  Seq
}

// Seen is a version vector: an entry for each other region and each task that has applied
// something of it here, sorted by both. It is never changed in place, so stamps may share it.
type Seen []SeenSeq

// Of returns the highest seq of region r that had been seen, by whatever task; 0 for none.
func (s Seen) Of(r Region) (seq Seq) {
	for i, _ := s.find(r, ""); i < len(s) && s[i].Region == r; i++ {
		seq = max(seq, s[i].Seq)
	}
	return seq
}

// In returns what of s is about one task's transactions, without naming it.
func (s Seen) In(task string) (of Seen) {
	for _, e := range s {
		if e.Task == task || e.Task == "" {
			of = of.raise(e)
		}
	}
	return of
}

// raise adds an entry to those of single regions, of which none is greater. It changes s.
func (s Seen) raise(e SeenSeq) Seen {
	if n := len(s); n > 0 && s[n-1].Region == e.Region {
		s[n-1].Seq = max(s[n-1].Seq, e.Seq)
		return s
	}
	return append(s, SeenSeq{Region: e.Region, Seq: e.Seq})
}

// Regions returns the highest seq of each region, by whatever task.
func (s Seen) Regions() (of Seen) {
	for _, e := range s {
		of = of.raise(e)
	}
	return of
}

// With returns s with the entry of r and a task raised to seq. It returns s itself if
// that changes nothing.
func (s Seen) With(r Region, task string, seq Seq) Seen {
	i, ok := s.find(r, task)
	switch {
	case ok && s[i].Seq >= seq:
		return s
	case ok:
		s = slices.Clone(s)
		s[i].Seq = seq
		return s
	default:
		return slices.Insert(slices.Clone(s), i, SeenSeq{r, task, seq})
	}
}

func (s Seen) find(r Region, task string) (int, bool) {
	return slices.BinarySearchFunc(s, SeenSeq{Region: r, Task: task}, compareSeen)
}

func compareSeen(a, b SeenSeq) int {
	return cmp.Or(strings.Compare(string(a.Region), string(b.Region)), strings.Compare(a.Task, b.Task))
}

// Sorted reports whether s is sorted, as it must be, and has each entry once.
func (s Seen) Sorted() bool {
	for i := 1; i < len(s); i++ {
		if compareSeen(s[i-1], s[i]) >= 0 {
			return false
		}
	}
	return true
}
