package apply

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"duplex/apply/statement"
	"duplex/schemas"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

// bound binds a version of a table with a binary key and a unique text.
func bound(t testing.TB, name string, more ...schemas.Column) *boundTable {
	t.Helper()
	return boundTo(t, &schemas.Table{DB: "shop", Name: name, Key: []int{0}, Columns: append([]schemas.Column{
		{Name: "id", Type: schemas.VarBinary, Length: 200},
		{Name: "code", Type: schemas.VarChar, Length: 40, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_0900_bin"},
	}, more...), Unique: []schemas.Index{{Name: "code", Columns: []int{1}}}})
}

var secret = maphash.MakeSeed()

// boundTo binds a table to its like.
func boundTo(t testing.TB, table *schemas.Table) *boundTable {
	t.Helper()
	text, err := schemas.EnvelopeSchema(table, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := schemas.ParseEnvelope(text)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = schemas.KeySchema(table, "east"); err != nil {
		t.Fatal(err)
	}
	key, err := schemas.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	binder, err := statement.Compile(envelope.Value, key, table, statement.MySQL)
	if err != nil {
		t.Fatal(err)
	}
	full := table.DB + "." + table.Name
	return &boundTable{name: full, envelope: envelope, binder: binder, seed: xxhash.Sum64String(full), secret: secret}
}

// image is a row of a bound table: its key column, code, and an integer for
// each further column.
func image(key []byte, code string, more int) []byte {
	row := slices.Clone(key)
	if code == "" {
		row = append(row, 0)
	} else {
		row = schemas.AppendString(append(row, 2), code)
	}
	for range more {
		row = schemas.AppendLong(row, 7)
	}
	return row
}

// colliding makes n keys that all have the same xxHash64. Of a block of 32
// bytes, each word goes into a lane of its own, as
// lane = rotl(lane + word*p2, 31) * p1; so for any first word there is a second
// one, 32 bytes on, that brings its lane to where it is to be.
func colliding(n int) [][]byte {
	const p1, p2 = 11400714785074694791, 14029467366897019727
	inverse := uint64(p2) // of p2, modulo 2^64, by Newton's method
	for range 6 {
		inverse *= 2 - p2*inverse
	}
	lane := func(word uint64) uint64 { // the second, whose seed is p2
		return bits.RotateLeft64(p2+word*p2, 31) * p1
	}
	const size = 96
	keys := make([][]byte, n)
	for i := range keys {
		key := schemas.AppendBytes(nil, make([]byte, size))
		first := uint64(i)
		binary.LittleEndian.PutUint64(key[8:], first)
		binary.LittleEndian.PutUint64(key[40:], (lane(0)-lane(first))*inverse)
		keys[i] = key
	}
	return keys
}

func TestKeysCollide(t *testing.T) {
	keys := colliding(20)
	for _, k := range keys[1:] {
		if xxhash.Sum64(k) != xxhash.Sum64(keys[0]) || bytes.Equal(k, keys[0]) {
			t.Fatalf("%x and %x don't collide", k, keys[0])
		}
	}
}

// content is what a set of tables holds: by table and key.
type content map[string]map[string]string

func (c content) set(table string, key, after []byte) {
	if c[table] == nil {
		c[table] = map[string]string{}
	}
	if after == nil {
		delete(c[table], string(key))
	} else {
		c[table][string(key)] = string(after)
	}
}

// What a batch writes is what its changes, one after the other, would have
// left; each key is written once, from the image that the first change found,
// also where all keys have the same hash and where a table changes its
// columns in between.
func TestBatchEqualsItsChanges(t *testing.T) {
	number := schemas.Column{Name: "n", Type: schemas.BigInt}
	tables := []*boundTable{bound(t, "a"), bound(t, "a", number), bound(t, "b"), bound(t, "a", number, schemas.Column{Name: "m", Type: schemas.BigInt})}
	more := []int{0, 1, 0, 2}
	keys := colliding(5)
	for i := range 5 {
		keys = append(keys, schemas.AppendBytes(nil, []byte{byte(i)}))
	}
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 4))
		want, first := content{}, content{}
		b := newBatch(0)
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			v := rng.IntN(len(tables))
			table, key := tables[v], keys[rng.IntN(len(keys))]
			var before, after []byte
			if found, ok := want[table.name][string(key)]; ok {
				before = []byte(found)
			}
			if rng.IntN(3) > 0 || before == nil {
				after = image(key, string('a'+rune(rng.IntN(4))), more[v])
			}
			if _, seen := first[table.name][string(key)]; !seen {
				first.set(table.name, key, append([]byte{}, before...))
			}
			// The image before is of this version only if the version wrote it.
			if err := b.add(table, key, fit(before, key, more[v]), after, made{}); err != nil {
				t.Fatal(err)
			}
			want.set(table.name, key, after)
		}
		checkBatch(t, b, want, first)
	})
}

// fit gives an image the columns of another version, as the binlog would.
func fit(row, key []byte, more int) []byte {
	if row == nil {
		return nil
	}
	code, _, err := schemas.ReadBytes(row, len(key)+1)
	if err != nil {
		panic(err)
	}
	return image(key, string(code), more)
}

func checkBatch(t *rapid.T, b *batch, want, first content) {
	b.sortTables()
	written, last := content{}, ""
	times := map[string]int{}
	for _, table := range b.tables {
		name := table.table.name
		if name < last {
			t.Fatalf("table %s comes after %s", name, last)
		}
		last = name
		for _, r := range table.rows {
			if r.void {
				continue
			}
			if times[name+string(r.key)]++; times[name+string(r.key)] > 1 {
				t.Fatalf("a key of %s is written twice", name)
			}
			written.set(name, r.key, r.after)
			if found := first[name][string(r.key)]; !r.mixed && (found == "") != (r.before == nil) {
				t.Fatalf("a key of %s: before is %x, the first change found %x", name, r.before, found)
			}
		}
	}
	for name, rows := range first {
		for key := range rows {
			if times[name+key] != 1 {
				t.Fatalf("a key of %s was changed and is not in the batch", name)
			}
			if got, want := written[name][key], want[name][key]; got != want {
				t.Fatalf("a key of %s becomes %x, want %x", name, got, want)
			}
		}
	}
}

// Two changes that a server could take for a clash have a lock in common, by
// key and by unique value before and after; two that it couldn't have none;
// and it makes no difference which version of the table they are of.
func TestBatchLocks(t *testing.T) {
	a, later, b := bound(t, "a"), bound(t, "a", schemas.Column{Name: "n", Type: schemas.BigInt}), bound(t, "b")
	key := func(i byte) []byte { return schemas.AppendBytes(nil, []byte{i}) }
	type one struct {
		table         *boundTable
		key           []byte
		before, after []byte
	}
	row := func(t *boundTable, k byte, before, after string) one {
		more := len(t.envelope.Value.Fields) - 2
		c := one{table: t, key: key(k)}
		if before != "-" {
			c.before = image(c.key, before, more)
		}
		if after != "-" {
			c.after = image(c.key, after, more)
		}
		return c
	}
	for _, tt := range []struct {
		name  string
		x, y  one
		clash bool
	}{
		{"same key", row(a, 1, "-", "p"), row(a, 1, "p", "q"), true},
		{"same key, other version", row(a, 1, "-", ""), row(later, 1, "", ""), true},
		{"other key", row(a, 1, "-", "p"), row(a, 2, "-", "q"), false},
		{"same key of another table", row(a, 1, "-", "p"), row(b, 1, "-", "p"), false},
		{"takes a value", row(a, 1, "-", "p"), row(a, 2, "-", "p"), true},
		{"takes a value, other version", row(a, 1, "-", "p"), row(later, 2, "-", "p"), true},
		{"takes what an update gives up", row(a, 1, "p", "q"), row(a, 2, "-", "p"), true},
		{"takes what a delete gives up", row(a, 1, "p", "-"), row(a, 2, "x", "p"), true},
		{"swap", row(a, 1, "p", "q"), row(a, 2, "q", "p"), true},
		{"NULL clashes with nothing", row(a, 1, "-", ""), row(a, 2, "-", ""), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sets [2]*batch
			for i, c := range []one{tt.x, tt.y} {
				sets[i] = newBatch(0)
				if err := sets[i].add(c.table, c.key, c.before, c.after, made{}); err != nil {
					t.Fatal(err)
				}
			}
			got := slices.ContainsFunc(sets[0].locks.hashes, func(l uint64) bool { return slices.Contains(sets[1].locks.hashes, l) })
			if got != tt.clash {
				t.Errorf("clash is %t, want %t", got, tt.clash)
			}
		})
	}
}
