package apply

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"duplex/change"
	"duplex/spine"

	"github.com/cespare/xxhash/v2"
)

// row is what one key becomes in a batch.
type row struct {
	key []byte // Avro record of the primary key
	// before is the image that the first change of the batch found, nil if it
	// found none; after what the last one left, nil if it left none.
	before, after []byte
	next          int32 // of the same hash, -1 for none
	// mixed is set if the batch had the row in another version of the table
	// before: then before isn't known in this one's form.
	mixed bool
	// void is set if a later version of the table has the row.
	void bool
}

// tableRows are the rows of one version of one table.
type tableRows struct {
	table *boundTable
	rows  []row
}

// batch is one or more whole source transactions, written in one database
// transaction. Of each key only the last image is written.
type batch struct {
	tables []*tableRows
	index  map[keyHash]int32 // the first row with that hash
	// locks are hashes of all that the batch may clash over with another:
	// primary keys, and unique keys before and after.
	locks []uint64

	seq          change.Seq // of the last transaction
	hlc          change.HLC // the greatest
	commits      []int64    // commit time of each transaction, Unix µs
	changes      int64
	bytes        int64
	offsets      spine.Offsets // to commit once it is written
	scratch      []byte
	done         chan struct{} // closed when it is committed
	after        <-chan struct{}
	yield        chan struct{} // receives when an earlier batch needs its locks
	waits        int           // batches that must be committed before it may start
	followers    []*batch      // those that wait for it
	deduplicated bool          // locks are sorted and each there once
}

// keyHash stands for a key in a batch: the table's place, and a hash of the
// key's bytes.
type keyHash struct {
	table int
	hash  uint64
}

func newBatch() *batch {
	return &batch{index: map[keyHash]int32{}, done: make(chan struct{}), yield: make(chan struct{}, 1)}
}

// add merges one change into the batch.
func (b *batch) add(t *boundTable, key, before, after []byte) error {
	place := b.place(t)
	tr, hash := b.tables[place], keyHash{place, xxhash.Sum64(key)}
	if r := b.find(hash, key); r != nil && !r.void {
		r.after = after
		return b.lock(t, key, before, after)
	}
	mixed := b.forgetOtherVersions(place, hash.hash, key)
	next := int32(-1)
	if first, clash := b.index[hash]; clash {
		next = first
	}
	tr.rows = append(tr.rows, row{key: key, before: before, after: after, next: next, mixed: mixed})
	b.index[hash] = int32(len(tr.rows) - 1)
	return b.lock(t, key, before, after)
}

// find returns the row of that key, nil if the batch has none.
func (b *batch) find(hash keyHash, key []byte) *row {
	rows := b.tables[hash.table].rows
	i, ok := b.index[hash]
	for ok && i >= 0 {
		if bytes.Equal(rows[i].key, key) {
			return &rows[i]
		}
		i = rows[i].next
	}
	return nil
}

// forgetOtherVersions makes what other versions of the table at place hold of
// the key void, and reports whether there was anything.
func (b *batch) forgetOtherVersions(place int, hash uint64, key []byte) (found bool) {
	name := b.tables[place].table.name
	for other, tr := range b.tables {
		if other == place || tr.table.name != name {
			continue
		}
		if r := b.find(keyHash{other, hash}, key); r != nil && !r.void {
			r.void, found = true, true
		}
	}
	return found
}

// place returns where in tables the table stands, adding it if need be.
func (b *batch) place(t *boundTable) int {
	for i, tr := range b.tables {
		if tr.table == t {
			return i
		}
	}
	b.tables = append(b.tables, &tableRows{table: t})
	return len(b.tables) - 1
}

// lock notes what the change may clash over with those of another batch.
func (b *batch) lock(t *boundTable, key, before, after []byte) error {
	b.deduplicated = false
	var err error
	b.scratch, err = t.binder.AppendConflictKey(b.scratch[:0], key)
	if err != nil {
		return err
	}
	b.locks = append(b.locks, xxhash.Sum64(b.scratch)^t.seed)
	for i := range t.binder.Unique() {
		for _, image := range [2][]byte{before, after} {
			if image == nil {
				continue
			}
			b.scratch = binary.LittleEndian.AppendUint64(b.scratch[:0], t.seed+uint64(i)+1)
			var null bool
			if b.scratch, null, err = t.binder.AppendUnique(b.scratch, i, image); err != nil {
				return err
			}
			if !null {
				b.locks = append(b.locks, xxhash.Sum64(b.scratch))
			}
		}
	}
	return nil
}

// lockSet returns the locks, each once.
func (b *batch) lockSet() []uint64 {
	if !b.deduplicated {
		slices.Sort(b.locks)
		b.locks = slices.Compact(b.locks)
		b.deduplicated = true
	}
	return b.locks
}

// sortTables puts the tables in the same order in every batch, so that two
// batches lock in the same order. No change may be added after it.
func (b *batch) sortTables() {
	slices.SortStableFunc(b.tables, func(x, y *tableRows) int { return strings.Compare(x.table.name, y.table.name) })
}
