package converge

import (
	"fmt"
	"math"
	"slices"

	"duplex/change"
)

// disk is the part of an index that its memory has no room for: of each shard runs of
// entries, each about twice as long as the next or longer.
type disk struct {
	chunks chunks
	parts  [][]*run // of each shard, oldest first
	limit  int64    // of the index
	memory int64    // bytes that all runs take of it
	n      int      // entries of all runs
	tail   Pos      // of the last sweep

	cached int64 // where block is from, -1 for nowhere
	buffer []byte
}

func newDisk(space Space, parts int, limit int64) *disk {
	return &disk{chunks: chunks{space: space}, parts: make([][]*run, parts), limit: limit, cached: -1, buffer: make([]byte, blockBytes)}
}

// bitsFor returns how many bits of a filter there are for each of n more entries. All filters
// together take a third of the limit, for a while half.
func (d *disk) bitsFor(n int) int {
	return int(min(filterBits, d.limit/3*8/int64(d.n+n)))
}

// find looks a key up, and returns it if it isn't forgotten.
func (d *disk) find(part uint64, key Key, e *entry) (bool, error) {
	runs := d.parts[part]
	for i := len(runs) - 1; i >= 0; i-- {
		if found, err := runs[i].find(d, key, e); found || err != nil {
			// What an older run has of the row isn't newer, so it is forgotten, too.
			return found && !runs[i].forgotten(e.age()), err
		}
	}
	return false, nil
}

// block reads one of a run's. It is good until the next is read.
func (d *disk) block(r *run, i int) ([]byte, error) {
	at := int64(r.chunks[i/chunkBlocks])*chunkBytes + int64(i%chunkBlocks)*blockBytes
	if d.cached == at {
		return d.buffer, nil
	}
	d.cached = -1
	if err := d.read(d.buffer, at); err != nil {
		return nil, err
	}
	d.cached = at
	return d.buffer, nil
}

// read reads whole blocks.
func (d *disk) read(into []byte, at int64) error {
	if _, err := d.chunks.space.ReadAt(into, at); err != nil {
		return fmt.Errorf("reading spilled versions of rows: %w", err)
	}
	for i := 0; i < len(into); i += blockBytes {
		if !whole(into[i : i+blockBytes]) {
			return fmt.Errorf("reading spilled versions of rows: %w", &SpoiltError{at + int64(i)})
		}
	}
	return nil
}

// spill writes entries of a shard, in the order of their keys, together with the runs
// that are no more than twice as long.
func (d *disk) spill(part int, entries []*entry) error {
	runs := d.parts[part]
	n, from, at := len(entries), len(runs), Pos(0)
	for from > 0 && runs[from-1].n < 2*n {
		from--
		n += runs[from].n
	}
	sources := make([]*source, 0, len(runs)-from+1)
	for _, r := range runs[from:] {
		sources, at = append(sources, r.read(d)), max(at, r.at)
	}
	for _, e := range entries {
		at = max(at, e.at)
	}
	sources = append(sources, &source{next: func() (e *entry, _ error) {
		if len(entries) > 0 {
			e, entries = entries[0], entries[1:]
		}
		return e, nil
	}})
	merged, err := merge(d.build(n, at), sources)
	if err != nil {
		return err
	}
	d.replace(part, from, len(runs), merged)
	return nil
}

// merge writes the newest of what the sources have of each row, the last source
// being the newest, without what is forgotten.
func merge(b *builder, sources []*source) (*run, error) {
	for _, s := range sources {
		if err := s.advance(); err != nil {
			return nil, err
		}
	}
	for {
		var first *source
		for _, s := range sources {
			if s.now != nil && (first == nil || s.now.key.compare(first.now.key) <= 0) {
				first = s
			}
		}
		if first == nil {
			return b.done()
		}
		e := *first.now
		if first.run == nil || !first.run.forgotten(e.age()) {
			if err := b.add(&e); err != nil {
				return nil, err
			}
		}
		for _, s := range sources {
			if s.now == nil || s.now.key != e.key {
				continue
			}
			if err := s.advance(); err != nil {
				return nil, err
			}
		}
	}
}

// replace puts a run, if there is one, in the place of others of a shard.
func (d *disk) replace(part, from, to int, by *run) {
	old := slices.Clone(d.parts[part][from:to])
	var now []*run
	if by != nil {
		now = []*run{by}
		d.n += by.n
		d.memory += by.bytes()
	}
	d.parts[part] = slices.Replace(d.parts[part], from, to, now...)
	d.cached = -1
	for _, r := range old {
		d.n -= r.n
		d.memory -= r.bytes()
		d.chunks.give(r.chunks)
	}
}

// sweep forgets what a shard has on disk that isn't newer than forget, the tail having
// read up to a place. It returns an HLC that is no greater than that of any entry of
// which the tail hasn't read this service's own last write, or that is a suspect.
func (d *disk) sweep(part int, forget change.HLC, tail Pos) (late change.HLC, err error) {
	d.tail, late = tail, math.MaxInt64
	for i := len(d.parts[part]) - 1; i >= 0; i-- {
		r := d.parts[part][i]
		d.memory -= r.bytes()
		r.sweep(passed{forget, tail})
		d.memory += r.bytes()
		late = min(late, change.HLC(r.late.after(tail)))
		if r.doubt.n > 0 {
			late = min(late, change.HLC(r.doubt.oldest))
		}
		switch {
		case r.spent():
			d.replace(part, i, i+1, nil)
		case r.stale():
			var kept *run
			if kept, err = merge(d.build(r.n, r.at), []*source{r.read(d)}); err != nil {
				return 0, err
			}
			d.replace(part, i, i+1, kept)
		}
	}
	return late, d.chunks.shrink()
}

// doubtful returns the HLC of the oldest suspect that a shard has on disk, or one that is greater than any.
func (d *disk) doubtful(part int) change.HLC {
	oldest := int64(forever)
	for _, r := range d.parts[part] {
		if r.doubt.n > 0 {
			oldest = min(oldest, r.doubt.oldest)
		}
	}
	return change.HLC(oldest)
}

// doubts returns how many suspects there may be on disk: some may be in memory, too, or
// no longer be suspects; and the least at of them.
func (d *disk) doubts() (n int, from Pos) {
	for _, runs := range d.parts {
		for _, r := range runs {
			if r.doubt.n > 0 && (n == 0 || r.doubt.from < from) {
				from = r.doubt.from
			}
			n += r.doubt.n
		}
	}
	return n, from
}

// due returns a run whose suspects are all due, the tail having read up to a place.
func (d *disk) due(tail Pos) (part int, r *run) {
	for part, runs := range d.parts {
		for _, r := range runs {
			if r.doubt.n > 0 && r.doubt.to <= tail {
				return part, r
			}
		}
	}
	return 0, nil
}
