package converge

import (
	"fmt"
	"slices"
	"sort"

	"duplex/change"
)

// run is entries of one shard on the disk, in the order of their keys. It is never
// changed; what is in memory of a row, or in a later run of the shard, is newer.
type run struct {
	n      int
	chunks []uint32
	firsts []uint64 // Key.A of the first entry of each block
	filter filter
	newest int64 // HLC
	at     Pos   // the greatest
	late   late
	sample []age    // of some of the entries
	passed []passed // in the order of HLC, from the greatest on
	doubt  doubt
}

// doubt tells of the suspects in a run. None of them is forgotten, nor what is as new, as long as there are
// any; when all have come back to memory, what their entries here say of that no longer counts.
type doubt struct {
	n        int
	oldest   int64 // HLC
	from, to Pos   // the least and the greatest at
}

func (d *doubt) add(e *entry) {
	if d.n++; d.n == 1 {
		d.oldest, d.from, d.to = e.hlc, e.at, e.at
	}
	d.oldest, d.from, d.to = min(d.oldest, e.hlc), min(d.from, e.at), max(d.to, e.at)
}

// unless takes off an entry that it is a suspect, if that no longer counts.
func (d *doubt) unless(e *entry) {
	if d.n == 0 {
		e.flags &^= suspect | listed
	}
}

// age is what decides whether an entry may be forgotten.
type age struct {
	hlc int64
	at  Pos
}

// passed is a sweep: what was forgotten then is still in the run.
type passed struct {
	forget change.HLC
	tail   Pos
}

const samples = 32

func (r *run) bytes() int64 {
	const fixed = 240 // the run itself, and its place in a list
	return fixed + int64(cap(r.chunks))*4 + int64(cap(r.firsts))*8 + r.filter.bytes() +
		int64(cap(r.sample))*16 + int64(cap(r.passed))*16 + int64(cap(r.late.oldest))*8
}

// sweep notes one.
func (r *run) sweep(p passed) {
	kept := r.passed[:0]
	for _, other := range r.passed {
		if other.forget > p.forget {
			kept = append(kept, other)
		}
	}
	r.passed = append(kept, p)
}

// forgotten reports whether a sweep has forgotten an entry since it is here.
func (r *run) forgotten(a age) bool {
	for _, p := range r.passed {
		if a.hlc <= int64(p.forget) && a.at <= p.tail {
			return true
		}
	}
	return false
}

// spent reports whether all entries are forgotten, and stale whether about half are.
func (r *run) spent() bool { return r.forgotten(age{r.newest, r.at}) }

func (r *run) stale() bool {
	n := 0
	for _, a := range r.sample {
		if r.forgotten(a) {
			n++
		}
	}
	return n*2 >= len(r.sample)
}

// late tells, of the entries whose at the tail hadn't passed when the run was
// written, how old the oldest is beyond each of some places.
type late struct {
	from, width Pos
	oldest      []int64 // HLC; of entries with at in from+i*width to from+(i+1)*width-1
}

const lateSteps = 32

func newLate(tail, at Pos) late {
	if at <= tail {
		return late{}
	}
	return late{from: tail + 1, width: (at-tail-1)/lateSteps + 1}
}

func (l *late) add(a age) {
	if l.width == 0 || a.at < l.from {
		return
	}
	if l.oldest == nil {
		l.oldest = slices.Repeat([]int64{forever}, lateSteps)
	}
	step := &l.oldest[(a.at-l.from)/l.width]
	*step = min(*step, a.hlc)
}

// after returns an HLC that is no greater than that of any entry whose at lies behind the tail.
func (l *late) after(tail Pos) int64 {
	hlc := int64(forever)
	for i, oldest := range l.oldest {
		if l.from+Pos(i+1)*l.width-1 > tail {
			hlc = min(hlc, oldest)
		}
	}
	return hlc
}

const forever = 1<<63 - 1

// find looks a key up.
func (r *run) find(d *disk, key Key, e *entry) (bool, error) {
	if !r.filter.may(key) {
		return false, nil
	}
	i := sort.Search(len(r.firsts), func(i int) bool { return r.firsts[i] >= key.A })
	for i = max(0, i-1); i < len(r.firsts) && r.firsts[i] <= key.A; i++ {
		block, err := d.block(r, i)
		if err != nil {
			return false, err
		}
		n := min(blockRecords, r.n-i*blockRecords)
		at := sort.Search(n, func(i int) bool { return keyOf(record(block, i)).compare(key) >= 0 })
		if at < n && keyOf(record(block, at)) == key {
			e.decode(record(block, at))
			r.doubt.unless(e)
			return true, nil
		}
	}
	return false, nil
}

// source gives entries in the order of their keys.
type source struct {
	next func() (*entry, error) // nil at the end
	now  *entry
	run  *run // nil if it is of memory
}

func (s *source) advance() (err error) {
	s.now, err = s.next()
	return err
}

// read returns what gives a run's entries.
func (r *run) read(d *disk) *source {
	i, buffer, e := 0, make([]byte, 0, min(chunkBlocks, len(r.firsts))*blockBytes), new(entry)
	return &source{run: r, next: func() (*entry, error) {
		if i == r.n {
			return nil, nil
		}
		block, within := i/blockRecords, i%blockRecords
		if block%chunkBlocks == 0 && within == 0 {
			buffer = buffer[:min(chunkBlocks, len(r.firsts)-block)*blockBytes]
			if err := d.read(buffer, int64(r.chunks[block/chunkBlocks])*chunkBytes); err != nil {
				return nil, err
			}
		}
		e.decode(record(buffer[block%chunkBlocks*blockBytes:], within))
		r.doubt.unless(e)
		i++
		return e, nil
	}}
}

// builder writes a run.
type builder struct {
	d      *disk
	run    *run
	buffer []byte // of a chunk
	every  int    // how many entries make a sample
}

// build begins a run of at most n entries, whose greatest at is no greater than that given.
func (d *disk) build(n int, at Pos) *builder {
	return &builder{d: d, buffer: make([]byte, 0, min(chunkBytes, (n/blockRecords+1)*blockBytes)), every: n/samples + 1, run: &run{
		filter: newFilter(n, d.bitsFor(n)), late: newLate(d.tail, at),
		chunks: make([]uint32, 0, n/(blockRecords*chunkBlocks)+1), firsts: make([]uint64, 0, n/blockRecords+1),
	}}
}

func (b *builder) add(e *entry) error {
	r := b.run
	within := r.n % blockRecords
	if within == 0 {
		if len(b.buffer) == chunkBytes {
			if err := b.flush(); err != nil {
				return err
			}
		}
		b.buffer = b.buffer[:len(b.buffer)+blockBytes]
		clear(b.buffer[len(b.buffer)-blockBytes:])
		r.firsts = append(r.firsts, e.key.A)
	}
	e.encode(record(b.buffer[len(b.buffer)-blockBytes:], within))
	r.filter.add(e.key)
	a := e.age()
	if r.n%b.every == 0 {
		r.sample = append(r.sample, a)
	}
	r.newest, r.at = max(r.newest, a.hlc), max(r.at, a.at)
	r.late.add(a)
	if e.flags&listed != 0 {
		r.doubt.add(e)
	}
	r.n++
	return nil
}

func (b *builder) flush() error {
	for i := 0; i < len(b.buffer); i += blockBytes {
		seal(b.buffer[i : i+blockBytes])
	}
	chunk := b.d.chunks.take()
	b.run.chunks = append(b.run.chunks, chunk)
	if _, err := b.d.chunks.space.WriteAt(b.buffer, int64(chunk)*chunkBytes); err != nil {
		return fmt.Errorf("spilling versions of rows: %w", err)
	}
	b.buffer = b.buffer[:0]
	return nil
}

// done returns the run, nil if it has no entry.
func (b *builder) done() (*run, error) {
	if b.run.n == 0 {
		return nil, nil
	}
	return b.run, b.flush()
}
