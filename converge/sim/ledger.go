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

// seenBy tells whether the other write was made where this one was known.
func (one written) seenBy(other written) bool {
	if one.stamp.Origin == other.stamp.Origin {
		return other.stamp.Seq > one.stamp.Seq
	}
	return other.stamp.Seen.Of(one.stamp.Origin) >= one.stamp.Seq
}
