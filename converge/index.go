package converge

import (
	"fmt"
	"slices"

	"duplex/change"
)

// Index knows the newest version of each row written lately. What it holds in memory is
// bounded in bytes and counted exactly; what is more goes to a Space, if it has one
// (SpillTo). It isn't safe for concurrent use.
//
// Whoever writes rows must see to it that of two writers of one row the second
// decides only when the first has told what it Wrote or Marked, and that the tail gives
// what it reads of one row in the order of the binlog.
type Index struct {
	limit   int64
	bytes   int64 // of all shards
	shards  []shard
	shift   uint            // of a key, to find the shard
	regions []change.Region // entry.origin is a place in it
	sweep   int             // the shard to look at next
	// forget is the HLC up to which this round of sweeping forgets, next what the
	// round after may.
	forget, next change.HLC
	// suspects are the keys of those entries that are marked so. More of them may be on disk.
	suspects []Key
	disk     *disk // nil without a Space
	err      error
	order    []*entry
}

// Known is what the index knows of a row.
type Known struct {
	Write
	// Last is the digest of the last image that the tail has read, and Read
	// whether it has read one.
	Last Digest
	Read bool
	// At is a place in the binlog that lies behind this service's own last write
	// of the row.
	At Pos
}

// FullError says that the index holds as much as it may.
type FullError struct{ Limit int64 }

func (e *FullError) Error() string {
	return fmt.Sprintf("the versions of rows written lately, which other regions haven't confirmed yet, take more than %d MiB", e.Limit>>20)
}

// shardBytes is about what a full shard takes: what one costs to rebuild, and
// more than the limit may be wanted while one grows.
const shardBytes = 1 << 20

// NewIndex makes an index that takes at most limit bytes and has forgotten, as it
// starts, all versions up to an HLC: what an earlier one had Forgotten, 0 if there was none.
//
// It is to be told, before anything is decided, all that was written after that:
// Wrote, of each other region's transactions that were decided, with the end of the binlog
// for their place; then Local, Echo and Yielded, of the region's own topics. Where a stream is
// to decide transactions anew, forgotten must be less than their HLCs.
func NewIndex(limit int64, forgotten change.HLC) *Index {
	x := &Index{limit: limit, shift: 64, forget: forgotten, next: forgotten}
	for n := int64(1); n*shardBytes < limit; n *= 2 {
		x.shift--
	}
	x.shards = make([]shard, 1<<(64-x.shift))
	return x
}

// Forgotten returns the HLC up to which versions may have been forgotten. Who
// starts again with it, or a smaller one, finds all that must be known in the topics after it.
func (x *Index) Forgotten() change.HLC { return x.forget }

// Bytes returns how much memory the rows take.
func (x *Index) Bytes() int64 { return x.bytes }

// Len returns how many rows are in memory.
func (x *Index) Len() (n int) {
	for i := range x.shards {
		n += x.shards[i].n
	}
	return n
}

// Of returns what is known of a row.
func (x *Index) Of(key Key) (Known, bool) {
	if e, known := x.peek(key); known {
		return x.known(&e), true
	}
	return Known{}, false
}

// peek returns a copy of a row's entry, which stays where it is.
func (x *Index) peek(key Key) (e entry, known bool) {
	if had := x.find(key); had != nil {
		return *had, true
	}
	return e, x.spilled(key) && x.onDisk(key, &e)
}

func (x *Index) known(e *entry) Known {
	return Known{
		Write: Write{Version: x.version(e), Seq: change.Seq(e.seq), Digest: e.digest, Place: e.place},
		Last:  e.last, Read: e.flags&lastRead != 0, At: e.at,
	}
}

func (x *Index) version(e *entry) change.Version {
	return change.Version{HLC: change.HLC(e.hlc), Origin: x.regions[e.origin]}
}

// Local notes a write of the region itself, which the tail has read.
func (x *Index) Local(key Key, w Write) error {
	e, err := x.raise(key, w)
	if e == nil {
		return err
	}
	return x.read(e, key, w.Digest)
}

// Echo notes an image that this service had written and the tail has read. A
// row that isn't known is left so: it is stable, or will be told in Wrote.
func (x *Index) Echo(key Key, image Digest) error {
	e, err := x.fetch(key)
	if e == nil {
		return err
	}
	return x.read(e, key, image)
}

// read notes the last image in the binlog. If it isn't that of the newest
// version, something has been written over a newer one; or this service has
// since written the newest, which the tail will come to.
func (x *Index) read(e *entry, key Key, image Digest) error {
	e.last = image
	e.flags |= lastRead
	return x.suspect(e, key)
}

// suspect puts the row among the suspects if the last image isn't the newest.
func (x *Index) suspect(e *entry, key Key) error {
	if e.flags&lastRead == 0 || e.last == e.digest {
		return nil
	}
	e.flags |= suspect
	if e.flags&listed != 0 {
		return nil
	}
	e.flags |= listed
	x.shard(key).listed++
	x.suspects = append(x.suspects, key)
	x.bytes += suspectBytes
	return x.room(0)
}

// suspectBytes is what a suspect takes besides its entry.
const suspectBytes = 16

// Wrote notes that this service has written a change of another region, before
// the place at in the binlog. It is to be called when the transaction is committed,
// before anyone else decides on that row.
func (x *Index) Wrote(key Key, w Write, at Pos) error {
	e, err := x.raise(key, w)
	if e != nil {
		e.at = max(e.at, at)
	}
	return err
}

// Marked notes, like Wrote, a change for which only the marker was written.
// The region may have written the row after it was found to be as the change would
// leave it, if that was absent and so couldn't be locked; and the tail may
// have read that already.
func (x *Index) Marked(key Key, w Write, at Pos) error {
	e, err := x.raise(key, w)
	if e == nil {
		return err
	}
	e.at = max(e.at, at)
	return x.suspect(e, key)
}

// Suspected returns how many rows may be suspects.
func (x *Index) Suspected() int {
	n := len(x.suspects)
	if x.disk != nil {
		onDisk, _ := x.disk.doubts()
		n += onDisk
	}
	return n
}

// Settled reports whether no row that was last written by this service up to a place in
// the binlog is a suspect.
func (x *Index) Settled(at Pos) bool {
	if x.disk != nil {
		if n, from := x.disk.doubts(); n > 0 && from <= at {
			return false
		}
	}
	return x.err == nil && !slices.ContainsFunc(x.suspects, func(key Key) bool {
		e := x.find(key)
		return e.flags&suspect != 0 && e.last != e.digest && e.at <= at
	})
}

// Suspect reports whether the last image of a row that the tail has read isn't that
// of its newest version.
func (x *Index) Suspect(key Key) bool {
	var was entry
	e := x.find(key)
	if e == nil && x.spilled(key) && x.onDisk(key, &was) {
		e = &was
	}
	return e != nil && e.flags&suspect != 0 && e.last != e.digest
}

// Cleared notes that a suspect row was looked at and needn't be written.
func (x *Index) Cleared(key Key) {
	if e, _ := x.fetch(key); e != nil {
		e.flags &^= suspect
	}
}

// raise makes w the newest version of the row, unless that is newer. A write of a
// row that isn't known and that is old enough to be forgotten is left so: a
// newer one may have been. The entry is nil then.
func (x *Index) raise(key Key, w Write) (*entry, error) {
	e, err := x.fetch(key)
	if err != nil {
		return nil, err
	}
	if e == nil {
		if w.Version.HLC <= x.forget {
			return nil, nil
		}
		if e, err = x.add(key, 0); err != nil {
			return nil, err
		}
	} else if x.version(e).Compare(w.Version) > 0 {
		return e, nil
	}
	e.put(x, w)
	return e, nil
}

// put makes the entry that of a write.
func (e *entry) put(x *Index, w Write) {
	e.hlc, e.origin, e.seq, e.longer = int64(w.Version.HLC), x.intern(w.Version.Origin), int64(w.Seq), 0
	e.digest, e.place = w.Digest, w.Place
	e.flags &^= overtaken
}

// add adds a row, if there is room for it and some bytes beside it.
func (x *Index) add(key Key, beside int64) (*entry, error) {
	s := x.shard(key)
	if s.n == most {
		if err := x.spill(int(x.part(key)), 0); err != nil {
			return nil, err
		}
	}
	for more := s.growth() + beside; more > 0 && x.bytes+more > x.limit; more = s.growth() + beside {
		if err := x.room(more); err != nil {
			return nil, err
		}
	}
	before := s.bytes()
	e := s.add(key)
	x.bytes += s.bytes() - before
	return e, nil
}

// Suspects returns the keys of rows of which the last image in the binlog isn't
// that of the newest version, the tail having read up to the place given. Each
// is to be locked, and the tail waited for as for a change; then Audit tells what
// to do.
//
// Of those on disk it brings back some at a time, when the tail has read so much that
// all of the same run are due.
func (x *Index) Suspects(tail Pos) (due []Key) {
	x.recall(tail)
	left := x.suspects[:0]
	for _, key := range x.suspects {
		e := x.find(key)
		if e.flags&suspect == 0 || e.last == e.digest {
			e.flags &^= suspect | listed
			x.shard(key).listed--
			x.bytes -= suspectBytes
			continue
		}
		left = append(left, key)
		if e.at <= tail {
			due = append(due, key)
		}
	}
	x.suspects = left
	return due
}

// Repaired notes that a suspect row was written, with its newest version, before
// the place at in the binlog. It stays suspect until the tail has read that.
func (x *Index) Repaired(key Key, at Pos) {
	if e, _ := x.fetch(key); e != nil {
		e.at = max(e.at, at)
	}
}

// Sweep forgets rows that need no remembering: their version is stable, the
// tail has read this service's last write of them, and both is true of every
// older version: one that must be written again could meet, by a unique value,
// a row whose newer version is no longer known. It looks at a part of the index at
// each call, and reports whether that was the last part. What it may forget it learns on
// the round before. Neither stable nor tail is ever less than before.
func (x *Index) Sweep(stable change.HLC, tail Pos) (done bool) {
	if x.sweep == 0 {
		x.forget, x.next = x.next, stable
	}
	s, forget := &x.shards[x.sweep], x.forget
	if x.disk != nil {
		// A suspect on disk has its row's next version in memory, maybe. If that was forgotten, it would be the newest.
		forget = min(forget, x.disk.doubtful(x.sweep)-1)
	}
	before := s.bytes()
	s.keep(func(e *entry) bool {
		settled := e.at <= tail && e.flags&listed == 0
		if !settled {
			x.next = min(x.next, change.HLC(e.hlc)-1)
		}
		return !settled || e.until() > int64(forget)
	})
	x.bytes += s.bytes() - before
	if x.disk != nil && x.err == nil {
		x.sweepDisk(forget, tail)
	}
	x.sweep = (x.sweep + 1) % len(x.shards)
	return x.sweep == 0
}

func (x *Index) shard(key Key) *shard { return &x.shards[x.part(key)] }
func (x *Index) part(key Key) uint64  { return key.A >> x.shift }

// find returns the entry of a row in memory.
func (x *Index) find(key Key) *entry { return x.shard(key).find(key) }

// intern returns the place of a region in regions. There are few.
func (x *Index) intern(r change.Region) uint8 {
	for i, known := range x.regions {
		if known == r {
			return uint8(i)
		}
	}
	if len(x.regions) > 255 {
		panic("converge: more than 256 regions")
	}
	x.regions = append(x.regions, r)
	return uint8(len(x.regions) - 1)
}
