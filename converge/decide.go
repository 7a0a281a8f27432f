package converge

import "duplex/change"

// Change is what came in for one row: a write of another region, or several of
// one region merged.
type Change struct {
	Version change.Version // of the last
	Before  Digest         // what the first found
	After   Digest         // what the last left
	// Ahead is set if it was made where transactions of a third region had been
	// applied that haven't been decided here yet (Frontier.Ahead): what it found may be
	// one of theirs.
	Ahead bool
}

// Verdict says what to do with a change.
type Verdict uint8

const (
	// Skip it: the row has a version that isn't smaller.
	Skip Verdict = iota
	// Put it into the row.
	Put
	// Mark it: the row is as it would leave it. The transaction must have a
	// marker all the same, or the region's next write of the row could get a
	// smaller version than what it is based on.
	Mark
	// Wait, the row locked, until the tail has read all that is in the binlog
	// now; then decide again. A row that was absent, which can't be locked, is
	// to be read again: if it is there now, it counts as locked just now.
	Wait
	// Heal the row, by putting the change into it: what it holds was written
	// by nobody whom the topics know of.
	Heal
)

var verdicts = [...]string{"skip", "put", "mark", "wait", "heal"}

func (v Verdict) String() string { return verdicts[v] }

// Decide tells what to do with a change to a row that holds current and is
// locked. tailed tells whether the tail has read all that was in the binlog when
// the row was locked.
//
// Where the row is as the change found it, nothing has been written here since
// that the change hadn't seen; or it has come back to that since, and the audit
// will find it. Otherwise what the row holds may be in the binlog and not yet in the
// index, so the tail is waited for, and then versions alone decide.
func (x *Index) Decide(key Key, c Change, current Digest, tailed bool) Verdict {
	k, known := x.Of(key)
	switch {
	case known && k.Version.Compare(c.Version) >= 0:
		return Skip
	case current == c.After:
		return Mark
	case current == c.Before:
		return Put
	case !tailed:
		return Wait
	case known || c.Ahead:
		return Put
	}
	return Heal
}

// Audit tells whether a suspect row, which is locked and holds current, the tail
// having read all that was in the binlog then, must be given the image of its
// newest version again: then Repaired is to be called. Otherwise it is no longer suspect.
func (x *Index) Audit(key Key, current Digest) (newest Write, restore bool) {
	e, _ := x.fetch(key)
	if e == nil {
		return newest, false // Err tells
	}
	if e.digest == current {
		e.flags &^= suspect
	}
	return x.known(e).Write, e.digest != current
}
