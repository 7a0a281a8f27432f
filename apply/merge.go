package apply

import (
	"bytes"
	"slices"
	"strings"

	"duplex/change"
	"duplex/converge"

	"github.com/cespare/xxhash/v2"
)

// row is what one key becomes.
type row struct {
	key []byte // Avro record of the primary key
	// before is the image that the first change found, nil if it found none;
	// after what the last one left, nil if it left none.
	before, after []byte
	next          int32 // of the same hash, -1 for none
	lock          int32 // of the key, in the batch's locks
	id            converge.Key
	// mixed is set if another version of the table had the row before: then
	// before isn't known in this one's form.
	mixed bool
	// void is set if a later version of the table has the row.
	void bool
	// lost is set if the row has a newer version than made.
	lost bool
	made made // its last change
	// parts is set where the table's rows are made of parts.
	parts *rowParts
}

// made tells of a change when and where it was made.
type made struct {
	// hlc and origin are the version: that of the transaction, but for the
	// deletion of a row that yielded a unique value.
	hlc    change.HLC
	origin change.Region
	seq    change.Seq
	// seen is the target's last transaction that had been applied there.
	seen change.Seq
	// saw is all that had been applied there, of any region.
	saw   change.Seen
	order int64 // of the change within its transaction
	place converge.Place
	// existing is set of a row of an initial copy.
	existing existing
	// rank is that among changes that knew nothing of each other, in tables with a ranking.
	rank int64
}

func (m *made) version() change.Version { return change.Version{HLC: m.hlc, Origin: m.origin} }

// tableRows are the rows of one version of one table.
type tableRows struct {
	table *boundTable
	rows  []row
	// late is set if other rows of the batch are written before these.
	late bool
}

// merged is what consecutive changes come to: of each key the last image.
type merged struct {
	tables []*tableRows
	index  map[keyHash]int32 // the first row with that hash
	room   int               // how many rows are expected
}

// keyHash stands for a key: the table's place, and a hash of the key's bytes.
type keyHash struct {
	table int
	hash  uint64
}

func keyHashOf(table int, key []byte) keyHash { return keyHash{table, xxhash.Sum64(key)} }

// newMerged has room for so many rows; there may be more.
func newMerged(room int) merged { return merged{index: make(map[keyHash]int32, room), room: room} }

// merge adds one change and returns its row, and whether that is new. The
// pointer is good until the next change.
func (m *merged) merge(t *boundTable, key, before, after []byte) (r *row, fresh bool) {
	place := m.place(t)
	tr, hash := m.tables[place], keyHashOf(place, key)
	if r := m.find(hash, key); r != nil && !r.void {
		r.after = after
		return r, false
	}
	// Of rows that are made of parts each version's count, one after the other.
	mixed := t.parts == nil && m.forgetOtherVersions(place, hash.hash, key)
	next := int32(-1)
	if first, clash := m.index[hash]; clash {
		next = first
	}
	tr.rows = append(tr.rows, row{key: key, before: before, after: after, next: next, mixed: mixed})
	m.index[hash] = int32(len(tr.rows) - 1)
	return &tr.rows[len(tr.rows)-1], true
}

// find returns the row of that key, nil if there is none.
func (m *merged) find(hash keyHash, key []byte) *row {
	rows := m.tables[hash.table].rows
	i, ok := m.index[hash]
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
func (m *merged) forgetOtherVersions(place int, hash uint64, key []byte) (found bool) {
	name := m.tables[place].table.name
	for other, tr := range m.tables {
		if other == place || tr.table.name != name {
			continue
		}
		if r := m.find(keyHash{other, hash}, key); r != nil && !r.void {
			r.void, found = true, true
		}
	}
	return found
}

// place returns where in tables the table stands, adding it if need be.
func (m *merged) place(t *boundTable) int {
	for i, tr := range m.tables {
		if tr.table == t {
			return i
		}
	}
	m.tables = append(m.tables, &tableRows{table: t, rows: make([]row, 0, m.room)})
	m.room /= 4 // the first table has most
	return len(m.tables) - 1
}

// sortTables puts the tables in the same order everywhere, so that two batches
// lock in the same order. No change may be added after it.
func (m *merged) sortTables() {
	slices.SortStableFunc(m.tables, func(x, y *tableRows) int { return strings.Compare(x.table.name, y.table.name) })
}
