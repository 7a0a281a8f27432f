package apply

import (
	"encoding/binary"

	"duplex/change"
	"duplex/spine"

	"github.com/cespare/xxhash/v2"
)

// batch is one or more whole source transactions, written in one database
// transaction. Of each key only the last image is written.
type batch struct {
	merged
	// late are the rows that must wait until all earlier batches are committed.
	late  []*tableRows
	locks locks
	// ordered are instead all changes of a batch in which the order of the source
	// matters. It is a barrier: it is written when all before it are committed,
	// and none after it is begun before it is.
	ordered *sequence

	seq     change.Seq // of the last transaction
	hlc     change.HLC // the greatest
	commits []int64    // commit time of each transaction, Unix µs
	beats   []int64    // those of canaries after which nothing is under way once it is written
	way     way        // of the last transaction
	toll    toll
	changes int64
	bytes   int64
	offsets spine.Offsets  // to commit once it is written
	stamps  []change.Stamp // what is decided once it is written
	scratch []byte
	done    chan struct{}   // closed when it is committed
	after   <-chan struct{} // closed when the batch before is
	yield   chan struct{}   // receives when an earlier batch needs its locks
	vain    int             // how often in a row room couldn't be made for it
	// differed is how often rows that it copies were there with other content.
	differed int
	needs    change.Seq // of this region: what the tail must have read before it is written
}

// newBatch has room for so many changes; there may be more.
func newBatch(room int) *batch {
	return &batch{merged: newMerged(room), locks: newLocks(room), done: make(chan struct{}), yield: make(chan struct{}, 1)}
}

// add merges one change into the batch.
func (b *batch) add(t *boundTable, key, before, after []byte, made made) error {
	r, fresh := b.merge(t, key, before, after)
	r.made = made
	if t.parts != nil {
		if b.hasLater(t) {
			return errVersionsMixed
		}
		if err := r.join(t, before, after, made); err != nil {
			return err
		}
		b.needs = max(b.needs, made.seen)
	}
	if fresh {
		var err error
		if b.scratch, err = t.binder.AppendConflictKey(b.scratch[:0], key); err != nil {
			return err
		}
		r.id = t.id(b.scratch)
		r.lock = b.locks.add(r.id.B)
	}
	return b.lockUnique(t, r.lock, before, after)
}

// lockUnique notes the unique values of a change, in the group of lock key.
func (b *batch) lockUnique(t *boundTable, key int32, before, after []byte) error {
	for i := range t.binder.Unique() {
		for _, image := range [2][]byte{before, after} {
			if image == nil {
				continue
			}
			b.scratch = binary.LittleEndian.AppendUint64(b.scratch[:0], t.seed+uint64(i)+1)
			var null bool
			var err error
			if b.scratch, null, err = t.binder.AppendUnique(b.scratch, i, image); err != nil {
				return err
			}
			if !null {
				b.locks.join(key, b.locks.add(xxhash.Sum64(b.scratch)))
			}
		}
	}
	return nil
}

// putOff moves the rows of the groups that clash to those written late.
func (b *batch) putOff(clash map[int32]bool) {
	for _, tr := range b.tables {
		early, late := tr.rows[:0], &tableRows{table: tr.table, late: true}
		for _, r := range tr.rows {
			if clash[b.locks.group(r.lock)] {
				late.rows = append(late.rows, r)
			} else {
				early = append(early, r)
			}
		}
		tr.rows = early
		if len(late.rows) > 0 {
			b.late = append(b.late, late)
		}
	}
	b.index = nil // its places hold no longer
}
