package converge

import (
	"cmp"

	"duplex/change"
)

// Side tells which of two regions made a write: this one, or the other.
type Side uint8

// The sides.
const (
	Here Side = iota
	There
)

func (s Side) other() Side { return 1 - s }

// key stands in an Index for the newest write of a row by one side.
func (s Side) key(row Key) Key {
	const apart = 0x9e3779b97f4a7c15
	return Key{row.A, row.B ^ (uint64(s)+1)*apart}
}

// Rivals are an Index for the rows of tables whose policy chooses, among two regions'
// concurrent writes of a row, by a rank: of two writes of which neither had seen the other that of the
// greater rank stays, and of equal ones that of the greater version; else the later.
//
// A region's own writes of a row follow each other, so no more than the newest one of each
// region is ever to be chosen from, and which stays is a function of those two, whatever the order in
// which they came. Both are remembered, in entries of their own, beside the one that stays: the loser may
// stay after all, when the winner's region writes again without having seen it, and with a smaller rank.
//
// Tables with a secondary unique key can't be in it: Settle goes by versions.
type Rivals struct {
	*Index
	// Digest returns what stands for what a write left, where no image was told of.
	Digest func(Write) Digest
}

// Of returns the newest write of a row by one side. Its digest isn't known.
func (x Rivals) Of(row Key, s Side) (Write, bool) {
	k, known := x.Index.Of(s.key(row))
	w := k.Write
	w.Rank, w.Digest = int64(w.Digest), 0
	return w, known
}

// Stays returns what stays of a row when one side's write w comes. apart tells whether neither w
// nor the other side's newest write had seen the other.
func (x Rivals) Stays(row Key, s Side, w Write, apart func(other Write) bool) Write {
	if own, known := x.Of(row, s); known && own.Version.Compare(w.Version) > 0 {
		if k, known := x.Index.Of(row); known {
			return k.Write // w is told again
		}
		return own
	}
	other, known := x.Of(row, s.other())
	if !known {
		return w
	}
	order := other.Version.Compare(w.Version)
	if apart(other) {
		order = cmp.Or(cmp.Compare(other.Rank, w.Rank), order)
	}
	if order > 0 {
		return other
	}
	return w
}

// Wrote notes a write of the other side that this service has written or left out, before the
// place at in the binlog.
func (x Rivals) Wrote(row Key, w Write, at Pos, apart func(other Write) bool) error {
	return x.note(row, There, w, at, apart)
}

// Local notes a write of this side, which the tail has read.
func (x Rivals) Local(row Key, w Write, apart func(other Write) bool) error {
	if err := x.note(row, Here, w, 0, apart); err != nil {
		return err
	}
	return x.Index.Echo(row, w.Digest)
}

// Settled notes an image that this service had written before the index began to know, by a batch of the other
// side up to w.Seq that was settled: it was what must stay then, over the local writes that the tail has read. It
// may not be when the other side has written again.
func (x Rivals) Settled(row Key, w Write) error {
	there, known := x.Of(row, There)
	if _, local := x.Of(row, Here); local && !(known && there.Seq > w.Seq) {
		if err := x.stand(row, w, 0, 0); err != nil {
			return err
		}
	}
	return x.Index.Echo(row, w.Digest)
}

// note notes a write, and what stays of the row with it.
func (x Rivals) note(row Key, s Side, w Write, at Pos, apart func(other Write) bool) error {
	stays := x.Stays(row, s, w, apart)
	rank := w
	rank.Digest = Digest(w.Rank)
	if err := x.Index.Wrote(s.key(row), rank, at); err != nil {
		return err
	}
	if stays.Version != w.Version {
		if k, known := x.Index.Of(row); known && k.Version == stays.Version {
			stays = k.Write
		} else {
			stays.Digest = x.Digest(stays)
		}
	}
	return x.stand(row, stays, at, w.Version.HLC)
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
