package converge

import (
	"cmp"

	"duplex/change"
)

// Rivals are an Index for the rows of tables whose policy chooses, among regions'
// concurrent writes of a row, by a rank: of the writes that no other one had seen that of the
// greatest rank stays, and of equal ones that of the greatest version.
//
// A region's own writes of a row follow each other, so no more than the newest one of each
// region is ever to be chosen from, and which stays is a function of those, whatever the order in
// which they came. All are remembered, in entries of their own, beside the one that stays: a loser may
// stay after all, when the winner's region, or one that had seen it, writes again without having seen the
// loser, and with a smaller rank. Of each it is remembered whether another region's write had seen it, and
// of what it had seen itself that which is still to be told: a write may come before one of a third region
// that it is based on.
//
// Tables with a secondary unique key can't be in it: Settle goes by versions.
type Rivals struct {
	*Index
	// Regions are those of the task, this one first, always in the same order.
	Regions []change.Region
	// Told returns a region's transaction up to which all were told that must be known.
	Told func(change.Region) change.Seq
	// Digest returns what stands for what a write left, where no image was told of.
	Digest func(Write) Digest
	// Right is the HLC up to which, when the index began to know, all that rows had was what must
	// stay. What is known of older writes counts only beside a newer one of the row.
	Right change.HLC
}

// sideKey stands in an Index for the newest write of a row by a region.
func (x Rivals) sideKey(row Key, of int) Key { return row.beside(1 + uint64(of)) }

// sawKey stands for what a region's newest write of a row had seen of another one's
// transactions that weren't told yet then.
func (x Rivals) sawKey(row Key, by, of int) Key {
	n := uint64(len(x.Regions))
	return row.beside(1 + n + uint64(by)*n + uint64(of))
}

// beside returns a key that stands for something more of a row.
func (k Key) beside(what uint64) Key {
	const apart = 0x9e3779b97f4a7c15
	return Key{k.A, k.B ^ what*apart}
}

// rival is a region's newest write of a row.
type rival struct {
	Write
	seen bool // by another region's write
}

func (x Rivals) rival(row Key, of int) (r rival, known bool) {
	e, known := x.peek(x.sideKey(row, of))
	if !known {
		return r, false
	}
	r.Write, r.seen = x.known(&e).Write, e.flags&overtaken != 0
	r.Rank, r.Digest = int64(r.Digest), 0
	return r, true
}

// Of returns the newest write of a row by one region. Its digest isn't known.
func (x Rivals) Of(row Key, region change.Region) (Write, bool) {
	for of, r := range x.Regions {
		if r == region {
			rival, known := x.rival(row, of)
			return rival.Write, known
		}
	}
	return Write{}, false
}

// told returns what is known of the region's newest write where a write is told again, or is
// one of which nothing need be known.
func (x Rivals) told(row Key, of int, w Write) (own rival, known, again bool) {
	own, known = x.rival(row, of)
	if known {
		return own, true, own.Version.Compare(w.Version) > 0
	}
	return own, false, w.Version.HLC <= x.forget
}

// stays returns what stays of a row with a write that had seen so much. is is false if nothing
// need be known of the row. k is what stays without it.
func (x Rivals) stays(row Key, w rival, seen change.Seen, k Known, known bool) (best Write, is bool) {
	if known && k.Version.Origin != w.Version.Origin && seen.Of(k.Version.Origin) < k.Seq {
		if _, had := x.Of(row, k.Version.Origin); !had {
			return k.Write, true // all that is new has seen what is forgotten: w is told again
		}
	}
	newest := w.Version.HLC
	for of, region := range x.Regions {
		r, had := x.rival(row, of)
		if region == w.Version.Origin {
			r, had = w, true
		} else if had {
			r.seen = r.seen || seen.Of(region) >= r.Seq
		}
		if !had {
			continue
		}
		newest = max(newest, r.Version.HLC)
		if !r.seen && (!is || cmp.Or(cmp.Compare(r.Rank, best.Rank), r.Version.Compare(best.Version)) > 0) {
			best, is = r.Write, true
		}
	}
	if !is && known {
		return k.Write, true
	}
	return best, is && (known || newest > x.Right)
}

// asRival returns a write as a rival, own being what is known of its region's newest one.
func (x Rivals) asRival(row Key, of int, w Write, own rival) rival {
	r := rival{w, own.seen && own.Version == w.Version}
	for by := range x.Regions {
		if by != of && !r.seen {
			saw, known := x.Index.Of(x.sawKey(row, by, of))
			r.seen = known && saw.Seq >= w.Seq
		}
	}
	return r
}

func (x Rivals) region(w *Write) int {
	for of, r := range x.Regions {
		if r == w.Version.Origin {
			return of
		}
	}
	panic("converge: a write of a region that isn't of the task: " + string(w.Version.Origin))
}

// Stays reports whether a write stays if it comes now, its transaction having seen so much.
func (x Rivals) Stays(row Key, w Write, seen change.Seen) bool {
	of := x.region(&w)
	k, known := x.Index.Of(row)
	own, _, again := x.told(row, of, w)
	if again {
		return !known || k.Version == w.Version
	}
	best, is := x.stays(row, x.asRival(row, of, w, own), seen, k, known)
	return !is || best.Version == w.Version
}

// Wrote notes a write of another region that this service has written or left out, before the
// place at in the binlog.
func (x Rivals) Wrote(row Key, w Write, seen change.Seen, at Pos) error {
	return x.note(row, w, seen, at)
}

// Learnt notes, after a restart, a write that this service had written or left out before. Which of the
// two isn't known: until the tail has read an image of the row, it is taken for another than what stays.
func (x Rivals) Learnt(row Key, w Write, seen change.Seen, at Pos) error {
	if err := x.note(row, w, seen, at); err != nil {
		return err
	}
	return x.doubt(row)
}

// Local notes a write of this region, which the tail has read.
func (x Rivals) Local(row Key, w Write, seen change.Seen) error {
	if err := x.note(row, w, seen, 0); err != nil {
		return err
	}
	return x.Index.Echo(row, w.Digest)
}

// Settled notes an image that this service had written before the index began to know, by a batch of the other
// region, of two, up to w.Seq that was settled: it was what must stay then, over the local writes that the tail has read. It
// may not be when the other region has written again.
func (x Rivals) Settled(row Key, w Write) error {
	there, known := x.Of(row, w.Version.Origin)
	if _, local := x.rival(row, 0); local && !(known && there.Seq > w.Seq) {
		if err := x.stand(row, w, 0, 0); err != nil {
			return err
		}
	}
	return x.Index.Echo(row, w.Digest)
}

// note notes a write, and what stays of the row with it.
func (x Rivals) note(row Key, w Write, seen change.Seen, at Pos) error {
	of := x.region(&w)
	k, known := x.Index.Of(row)
	own, _, again := x.told(row, of, w)
	if again {
		if known {
			x.Repaired(row, at)
		}
		return x.err
	}
	r := x.asRival(row, of, w, own)
	stays, is := x.stays(row, r, seen, k, known)
	if x.err != nil {
		return x.err
	}
	if err := x.remember(row, of, r, seen, at); err != nil || !is {
		return err
	}
	switch {
	case known && k.Version == stays.Version && stays.Version != w.Version:
		stays = k.Write
	case stays.Version != w.Version:
		stays.Digest = x.Digest(stays)
	}
	if err := x.stand(row, stays, at, w.Version.HLC); err != nil || stays.Version == w.Version || known && stays.Version == k.Version {
		return err
	}
	// The row has something else: what stayed until w came, which may never be read, as an update that changes
	// nothing isn't logged.
	return x.doubt(row)
}

// remember notes a write as its region's newest, and what it had seen.
func (x Rivals) remember(row Key, of int, r rival, seen change.Seen, at Pos) error {
	w := r.Write
	w.Digest = Digest(w.Rank)
	if err := x.Index.Wrote(x.sideKey(row, of), w, at); err != nil {
		return err
	}
	if r.seen {
		if err := x.overtake(x.sideKey(row, of)); err != nil {
			return err
		}
	}
	for i, region := range x.Regions {
		last := seen.Of(region)
		if i == of || last == 0 {
			continue
		}
		if other, had := x.rival(row, i); had && !other.seen && last >= other.Seq {
			if err := x.overtake(x.sideKey(row, i)); err != nil {
				return err
			}
		}
		if last > x.Told(region) {
			if err := x.Index.Wrote(x.sawKey(row, of, i), Write{Version: w.Version, Seq: last}, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// overtake notes that another region's write had seen the one that the entry is of.
func (x *Index) overtake(key Key) error {
	e, err := x.fetch(key)
	if e != nil {
		e.flags |= overtaken
	}
	return err
}

// stand makes w what stays of a row, whatever its version, to be remembered at least as long
// as a version of the HLC given.
func (x *Index) stand(key Key, w Write, at Pos, until change.HLC) error {
	e, err := x.fetch(key)
	if err != nil {
		return err
	}
	if e == nil {
		if max(w.Version.HLC, until) <= x.forget {
			return nil
		}
		if e, err = x.add(key, 0); err != nil {
			return err
		}
	}
	until = max(until, change.HLC(e.until()))
	e.put(x, w)
	e.outlive(int64(until))
	e.at = max(e.at, at)
	return x.suspect(e, key)
}

// doubt has a row taken for something else than what stays, as long as the tail has read no image of it.
func (x *Index) doubt(key Key) error {
	e, err := x.fetch(key)
	if e == nil || e.flags&lastRead != 0 {
		return err
	}
	e.last = ^e.digest
	e.flags |= lastRead
	return x.suspect(e, key)
}
