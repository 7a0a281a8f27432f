package converge

import (
	"cmp"
	"slices"
	"unsafe"

	"duplex/change"
)

// Ranked is an Index for tables whose policy chooses among concurrent writes by
// something other than their versions: by the region that made them, or by a
// column of the user's. Of a row's writes those stand for choice that none of the
// others had seen; of these the one of the greatest rank wins, and of equal ones that of the
// greatest version.
//
// Which wins is a function of the set of writes, whatever the order in which they
// came. So losers are kept, too: a write may come that has seen the winner and not
// them. And a change that lost gets a marker, so that the region's later writes
// have seen it.
//
// Tables with a secondary unique key can't be in it: Settle goes by versions.
type Ranked struct {
	Index
	contests map[Key]*contest
	restart  change.HLC // what Forgotten returns
}

// Claim is a write with what its rank is, among concurrent ones, and what it had seen.
type Claim struct {
	Write
	Rank int64
	Seen change.Seen // of the transaction
}

// contest is the writes of one row that stand for choice.
type contest struct {
	rivals []rival
	// passed is, by the place of a region, the highest number of a transaction of it that
	// a write of the row had seen, or came after.
	passed []change.Seq
}

type rival struct {
	Write
	rank int64
}

// NewRanked makes one as NewIndex does.
func NewRanked(limit int64, forgotten change.HLC) *Ranked {
	return &Ranked{Index: *NewIndex(limit, forgotten), contests: map[Key]*contest{}, restart: forgotten}
}

// bytes is about what a contest takes, with its place in the map.
func (c *contest) bytes() int64 {
	const mapped = 48 // bytes of a map for each entry
	return mapped + int64(unsafe.Sizeof(*c)) + int64(cap(c.rivals))*int64(unsafe.Sizeof(rival{})) + int64(cap(c.passed))*8
}

// add takes in a write.
func (c *contest) add(x *Index, w Claim) {
	for _, s := range w.Seen {
		c.pass(x.intern(s.Region), s.Seq)
	}
	of := x.intern(w.Version.Origin)
	c.pass(of, w.Seq-1)
	same := func(r rival) bool { return r.Version.Origin == w.Version.Origin && r.Seq == w.Seq }
	if w.Seq > c.passed[of] && !slices.ContainsFunc(c.rivals, same) {
		c.rivals = append(c.rivals, rival{w.Write, w.Rank})
	}
	c.rivals = slices.DeleteFunc(c.rivals, func(r rival) bool { return r.Seq <= c.passed[x.intern(r.Version.Origin)] })
}

func (c *contest) pass(region uint8, seq change.Seq) {
	for len(c.passed) <= int(region) {
		c.passed = append(c.passed, 0)
	}
	c.passed[region] = max(c.passed[region], seq)
}

// standing returns the winner.
func (c *contest) standing() Write {
	return slices.MaxFunc(c.rivals, func(a, b rival) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), a.Version.Compare(b.Version))
	}).Write
}

// with returns the contest with another write, without changing c, which may be nil.
func (c *contest) with(x *Index, w Claim) *contest {
	next := &contest{}
	if c != nil {
		*next = contest{slices.Clone(c.rivals), slices.Clone(c.passed)}
	}
	next.add(x, w)
	return next
}

// Decide is like that of an Index. Where standing is another than the change, and
// the verdict is Restore, its image is to be put into the row.
func (x *Ranked) Decide(key Key, c Change, claim Claim, current Digest, tailed bool) (v Verdict, standing Write) {
	was := x.contests[key]
	next := was.with(&x.Index, claim)
	standing = next.standing()
	dot := func(w Write) bool { return w.Version == c.Version }
	switch {
	case was != nil && was.holds(&x.Index, claim):
		return Skip, standing
	case current == standing.Digest:
		return Mark, standing
	case dot(standing) && current == c.Before:
		return Put, standing
	case !tailed:
		return Wait, standing
	case !dot(standing):
		return Restore, standing
	case was != nil || c.Ahead:
		return Put, standing
	}
	return Heal, standing
}

// holds reports whether the write tells nothing that isn't known. One that others
// had seen may still tell what it had seen itself.
func (c *contest) holds(x *Index, w Claim) bool {
	for _, s := range w.Seen {
		if s.Seq > c.passedOf(x.intern(s.Region)) {
			return false
		}
	}
	return w.Seq <= c.passedOf(x.intern(w.Version.Origin)) ||
		slices.ContainsFunc(c.rivals, func(r rival) bool { return r.Version == w.Version })
}

func (c *contest) passedOf(region uint8) change.Seq {
	if int(region) < len(c.passed) {
		return c.passed[region]
	}
	return 0
}

// Local is like that of an Index.
func (x *Ranked) Local(key Key, w Claim) error {
	e, err := x.claim(key, w)
	if e == nil {
		return err
	}
	return x.read(e, key, w.Digest)
}

// Wrote is like that of an Index, for changes decided to Put, Heal or Restore.
// and for those for which only the marker was written: the tail may have read
// meanwhile what makes another write win.
func (x *Ranked) Wrote(key Key, w Claim, at Pos) error {
	e, err := x.claim(key, w)
	if e == nil {
		return err
	}
	e.at = max(e.at, at)
	return x.suspect(e, key)
}

// claim takes in a write, and makes the entry that of the winner; but for its
// HLC, which is the greatest of all of them: so long it must be remembered.
func (x *Ranked) claim(key Key, w Claim) (*entry, error) {
	e := x.find(key)
	if e == nil {
		var err error
		if w.Version.HLC <= x.forget {
			return nil, nil
		}
		if e, err = x.add(key, 0); err != nil {
			return nil, err
		}
	}
	c, before := x.contests[key], int64(0)
	if c == nil {
		c = &contest{}
		x.contests[key] = c
	} else {
		before = c.bytes()
	}
	c.add(&x.Index, w)
	if x.bytes += c.bytes() - before; x.bytes > x.limit {
		return nil, &FullError{x.limit}
	}
	standing := c.standing()
	e.hlc, e.origin, e.seq = max(e.hlc, int64(w.Version.HLC)), x.intern(standing.Version.Origin), int64(standing.Seq)
	e.digest, e.place = standing.Digest, standing.Place
	return e, nil
}

// Audit is like that of an Index.
func (x *Ranked) Audit(key Key, current Digest) (standing Write, restore bool) {
	_, restore = x.Index.Audit(key, current)
	return x.contests[key].standing(), restore
}

// Sweep is like that of an Index.
func (x *Ranked) Sweep(stable change.HLC, tail Pos) (done bool) {
	if done = x.Index.Sweep(stable, tail); !done {
		return false
	}
	x.restart = x.forget
	for key, c := range x.contests {
		if _, known := x.Of(key); !known {
			x.bytes -= c.bytes()
			delete(x.contests, key)
			continue
		}
		for _, r := range c.rivals {
			x.restart = min(x.restart, r.Version.HLC-1)
		}
	}
	return true
}

// Forgotten is like that of an Index: all that still stands for choice came after it.
func (x *Ranked) Forgotten() change.HLC { return x.restart }
