package converge

import "slices"

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

// Spill puts all rows out of memory but suspects, as the lack of it would.
func (x *Index) Spill() error {
	for i := range x.shards {
		if s := &x.shards[i]; s.n > s.listed {
			if err := x.spill(i); err != nil {
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
	e, err := x.add(key)
	if err == nil {
		*e = was
	}
	return e, err
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
		fullest := 0
		for i := range x.shards {
			if s, f := &x.shards[i], &x.shards[fullest]; s.n-s.listed > f.n-f.listed {
				fullest = i
			}
		}
		if err := x.spill(fullest); err != nil {
			return err
		}
	}
	return nil
}

// spill writes the entries of a shard to disk, but for suspects.
func (x *Index) spill(part int) error {
	s := &x.shards[part]
	if x.disk == nil || s.n == s.listed || int64(len(x.suspects))*suspectTotal > x.limit/4 || x.disk.memory > x.limit/8*5 {
		x.err = &FullError{x.limit}
	}
	if x.err != nil {
		return x.err
	}
	x.order = x.order[:0]
	for i := range s.n {
		if e := s.entry(i); e.flags&listed == 0 {
			x.order = append(x.order, e)
		}
	}
	slices.SortFunc(x.order, func(a, b *entry) int { return a.key.compare(b.key) })
	before := s.bytes() + x.disk.memory
	x.err = x.disk.spill(part, x.order)
	clear(x.order)
	s.keep(func(e *entry) bool { return e.flags&listed != 0 })
	x.bytes += s.bytes() + x.disk.memory - before
	return x.err
}

// suspectTotal is what a suspect takes with its entry.
const suspectTotal = suspectBytes + 82

// sweepDisk is Sweep of what one shard has on disk.
func (x *Index) sweepDisk(tail Pos) {
	before := x.disk.memory
	late, err := x.disk.sweep(x.sweep, x.forget, tail)
	x.next = min(x.next, late-1)
	x.bytes += x.disk.memory - before
	if x.err = err; err == nil {
		x.err = x.room(0)
	}
}
