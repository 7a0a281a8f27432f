package main

import (
	"cmp"
	"fmt"
	"slices"

	"duplex/change"
)

// written is a write of an application, or a published deletion, in the ledger.
type written struct {
	version change.Version
	stamp   change.Stamp
	rank    int64
	after   image
	given   bool // a deletion with a version of its own
}

// newest returns the image of the write of a row that must have won, and its
// version, from all writes that any region published.
func (w *world) newest(key uint8) (image, change.Version) {
	var newest written
	for _, one := range w.writesOf(key) {
		if w.policy != lastWriteWins && slices.ContainsFunc(w.ledger, one.seenBy) {
			continue
		}
		if newest.version == (change.Version{}) || cmp.Or(cmp.Compare(newest.rank, one.rank), newest.version.Compare(one.version)) < 0 {
			newest = one
		}
	}
	return newest.after, newest.version
}

// writesOf returns all writes of a row.
func (w *world) writesOf(key uint8) []written {
	w.ledger = w.ledger[:0]
	for i := range w.regions {
		for n := range w.regions[i].binlog {
			t := &w.regions[i].binlog[n]
			if t.marked {
				continue
			}
			for k, c := range t.rows[:t.n] {
				if c.key == key {
					w.ledger = append(w.ledger, written{t.version(k), t.stamp, w.policy.rank(uint8(i), c.after), c.after, t.outbox})
				}
			}
		}
	}
	return w.ledger
}

// unearned tells of a row that was deleted for its unique value though no write was in its way: what the row had last,
// of what is older than the winner, the winner's region had seen, and it wasn't that value.
func (w *world) unearned() string {
	for i := range w.regions {
		for n := range w.regions[i].binlog {
			t := &w.regions[i].binlog[n]
			for k, c := range t.rows[:t.n] {
				if t.outbox && !w.earned(c.key, t.versions[k]) {
					return fmt.Sprintf("key %d was deleted by %s with %v, and no write was in its way", c.key, w.regions[i].name, t.versions[k])
				}
			}
		}
	}
	return ""
}

func (w *world) earned(key uint8, by change.Version) bool {
	winner := w.transaction(by)
	if winner == nil {
		return false
	}
	taken := func(after image) bool {
		return slices.ContainsFunc(winner.rows[:winner.n], func(c rowChange) bool {
			return c.key != key && w.uniqueOf(after) > 0 && w.uniqueOf(c.after) == w.uniqueOf(after)
		})
	}
	won := written{stamp: winner.stamp}
	var last written
	met := false
	for _, one := range w.writesOf(key) {
		if one.given || one.version.Compare(by) >= 0 {
			continue
		}
		met = met || taken(one.after)
		if last.version.Compare(one.version) < 0 {
			last = one
		}
	}
	return last.after == 0 || taken(last.after) || met && !last.seenBy(won)
}

// transaction returns an application's transaction.
func (w *world) transaction(v change.Version) *txn {
	for i := range w.regions {
		for n := range w.regions[i].binlog {
			if t := &w.regions[i].binlog[n]; !t.marked && !t.outbox && t.stamp.Version() == v {
				return t
			}
		}
	}
	return nil
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
