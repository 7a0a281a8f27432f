package main

import (
	"cmp"
	"slices"

	"duplex/change"
)

// written is a write of an application, or a published deletion, in the ledger.
type written struct {
	version change.Version
	stamp   change.Stamp
	rank    int64
	after   image
}

// newest returns the image of the write of a row that must have won, and its
// version, from all writes that any region published.
func (w *world) newest(key uint8) (image, change.Version) {
	w.ledger = w.ledger[:0]
	for i := range w.regions {
		for n := range w.regions[i].binlog {
			t := &w.regions[i].binlog[n]
			if t.marked {
				continue
			}
			for k, c := range t.rows[:t.n] {
				if c.key == key {
					w.ledger = append(w.ledger, written{t.version(k), t.stamp, w.policy.rank(uint8(i), c.after), c.after})
				}
			}
		}
	}
	var newest written
	for _, one := range w.ledger {
		if w.policy != lastWriteWins && slices.ContainsFunc(w.ledger, one.seenBy) {
			continue
		}
		if newest.version == (change.Version{}) || cmp.Or(cmp.Compare(newest.rank, one.rank), newest.version.Compare(one.version)) < 0 {
			newest = one
		}
	}
	return newest.after, newest.version
}

// judge compares what the frontier says of a change and of what is known, whether they
// are in conflict, with what is so.
func (w *world) judge(r *region, key uint8, s change.Stamp) {
	known, is := r.index.Of(indexed(key))
	if !is || known.Seq == 0 || s.Seq == 0 || w.broken != none || w.policy != lastWriteWins {
		return
	}
	says := r.frontier.Concurrent(known.Write, s)
	other := w.stampAt(known.Place)
	so := other.Origin != s.Origin && change.Concurrent(other, s)
	if w.conflicts += count(so); so && !says || says && !so && !w.replay {
		w.fail("a conflict is misjudged")
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// seenBy tells whether the other write was made where this one was known.
func (one written) seenBy(other written) bool {
	if one.stamp.Origin == other.stamp.Origin {
		return other.stamp.Seq > one.stamp.Seq
	}
	return other.stamp.Seen.Of(one.stamp.Origin) >= one.stamp.Seq
}
