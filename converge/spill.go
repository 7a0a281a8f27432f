package converge

import (
	"slices"

	"duplex/change"
)

// SpillTo gives an index that knows no row yet a place for what is beyond its limit. It is
// asked for rows that aren't in memory only if a filter, which is, says that it may have them.
func (x *Index) SpillTo(space Space) {
	if fewest := min(spillShards, x.limit/shardLeast); fewest > int64(len(x.shards)) {
		// What is written at once, and with it each wait for the disk, is short.
		for x.shift = 64; 1<<(64-x.shift) < fewest; {
			x.shift--
		}
		x.shards = make([]shard, 1<<(64-x.shift))
	}
	x.disk = newDisk(space, len(x.shards), x.limit)
}

const (
	spillShards = 256
	shardLeast  = 64 << 10 // bytes
)

// Err returns the error after which the index is of no use, if there was one: it was full, or
// its Space failed. What can't be undone must not be done before this was looked at: who asks for
// a row that stands on disk, by Of, Decide, Settle or Audit, is told that it isn't known.
func (x *Index) Err() error { return x.err }

// Spilled returns how many versions stand on disk, of some rows several, and how many bytes
// they take there.
func (x *Index) Spilled() (versions int, bytes int64) {
	if x.disk == nil {
		return 0, 0
	}
	return x.disk.n, int64(x.disk.chunks.n) * chunkBytes
}

// Spill puts all rows out of memory, as the lack of it would.
func (x *Index) Spill() error {
	for i := range x.shards {
		if x.shards[i].n > 0 {
			if err := x.spill(i, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetch returns the entry of a row, nil if it isn't known. One that stood on disk is in
// memory then.
func (x *Index) fetch(key Key) (*entry, error) {
	e := x.find(key)
	if e != nil || !x.spilled(key) {
		return e, nil
	}
	var was entry
	if !x.onDisk(key, &was) {
		return nil, x.err
	}
	beside := int64(0)
	if was.flags&listed != 0 {
		beside = suspectBytes
	}
	e, err := x.add(key, beside)
	if err != nil {
		return nil, err
	}
	if *e = was; beside > 0 {
		x.shard(key).listed++
		x.suspects = append(x.suspects, key)
		x.bytes += beside
	}
	return e, nil
}

// onDisk looks up a row that isn't in memory.
func (x *Index) onDisk(key Key, e *entry) bool {
	if x.err != nil {
		return false
	}
	found, err := x.disk.find(x.part(key), key, e)
	if err != nil {
		x.err = err
	}
	return found && err == nil
}

// spilled reports whether the disk may have a row.
func (x *Index) spilled(key Key) bool { return x.disk != nil && len(x.disk.parts[x.part(key)]) > 0 }

// room sees to it that there is room for more bytes.
func (x *Index) room(more int64) error {
	for x.bytes+more > x.limit {
		// Suspects are looked at again and again, so they stay in memory while they are few.
		stay := listed
		if int64(len(x.suspects))*suspectTotal > x.limit/4 {
			stay = 0
		}
		fullest, most := 0, 0
		for i := range x.shards {
			s := &x.shards[i]
			n := s.n
			if stay != 0 {
				n -= s.listed
			}
			if n > most {
				fullest, most = i, n
			}
		}
		if most == 0 || x.disk == nil || x.disk.memory > x.limit/8*5 {
			x.err = &FullError{x.limit}
			return x.err
		}
		if err := x.spill(fullest, stay); err != nil {
			return err
		}
	}
	return nil
}

// spill writes the entries of a shard to disk, but for those that have a flag.
func (x *Index) spill(part int, stay uint8) error {
	s := &x.shards[part]
	if x.disk == nil {
		x.err = &FullError{x.limit}
	}
	if x.err != nil {
		return x.err
	}
	x.order = x.order[:0]
	for i := range s.n {
		if e := s.entry(i); e.flags&stay == 0 {
			x.order = append(x.order, e)
		}
	}
	slices.SortFunc(x.order, func(a, b *entry) int { return a.key.compare(b.key) })
	before := s.bytes() + x.disk.memory
	x.err = x.disk.spill(part, x.order)
	clear(x.order)
	if stay == 0 && s.listed > 0 {
		n := len(x.suspects)
		x.suspects = slices.DeleteFunc(x.suspects, func(key Key) bool { return x.part(key) == uint64(part) })
		x.bytes -= int64(n-len(x.suspects)) * suspectBytes
		s.listed = 0
	}
	s.keep(func(e *entry) bool { return e.flags&stay != 0 })
	x.bytes += s.bytes() + x.disk.memory - before
	return x.err
}

// suspectTotal is what a suspect takes with its entry.
const suspectTotal = suspectBytes + 82

// recall brings suspects back to memory, of runs whose suspects are all due, while few are there.
func (x *Index) recall(tail Pos) {
	for x.disk != nil && x.err == nil && x.hasRoomFor(1) {
		part, r := x.disk.due(tail)
		if r == nil {
			return
		}
		x.err = x.recallRun(part, r)
	}
}

// hasRoomFor reports whether there may be n suspects more in memory.
func (x *Index) hasRoomFor(n int) bool { return int64(len(x.suspects)+n)*suspectTotal <= x.limit/8 }

// recallRun brings back suspects of one run.
func (x *Index) recallRun(part int, r *run) error {
	var keys []Key
	s := r.read(x.disk)
	for x.hasRoomFor(len(keys) + 1) {
		if err := s.advance(); err != nil {
			return err
		}
		if s.now == nil {
			break
		}
		if s.now.flags&listed == 0 || x.shards[part].find(s.now.key) != nil {
			continue
		}
		var newest entry
		if x.onDisk(s.now.key, &newest) && newest.flags&listed != 0 {
			keys = append(keys, newest.key)
		}
	}
	for _, key := range keys { // which may put the run in the place of another
		if _, err := x.fetch(key); err != nil {
			return err
		}
	}
	if s.now == nil {
		r.doubt = doubt{}
	}
	return x.err
}

// sweepDisk is Sweep of what one shard has on disk.
func (x *Index) sweepDisk(forget change.HLC, tail Pos) {
	before := x.disk.memory
	late, err := x.disk.sweep(x.sweep, forget, tail)
	x.next = min(x.next, late-1)
	x.bytes += x.disk.memory - before
	if x.err = err; err == nil {
		x.err = x.room(0)
	}
}
