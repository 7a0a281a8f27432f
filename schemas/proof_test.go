package schemas

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// What the compiled encoder writes passes; a bit of it that changes its shape
// doesn't.
func TestProof(t *testing.T) {
	table := &Table{DB: "shop", Name: "t", Key: []int{0}, Columns: []Column{
		{Name: "id", Type: Int, Native: "int"},
		{Name: "v", Type: VarChar, Native: "varchar(9)", Nullable: true, Length: 36, Charset: "utf8mb4"},
		{Name: "d", Type: Decimal, Native: "decimal(9,2)", Precision: 9, Scale: 2},
	}}
	keySchema, err := KeySchema(table, "east")
	if err != nil {
		t.Fatal(err)
	}
	valueSchema, err := EnvelopeSchema(table, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	proof, err := NewProof(keySchema, valueSchema)
	if err != nil {
		t.Fatal(err)
	}
	row := AppendLong(nil, 7)
	row = AppendString(append(row, 2), "text")
	row = append(row, 2, 0x7f) // a DECIMAL of one byte
	key := AppendLong(AppendHeader(nil, 1), 7)
	envelope := NewEnvelope(table, "east", "mysql", "0")
	value := envelope.Append(AppendHeader(nil, 2), &Change{Op: 'c', After: row, Source: &Source{GTID: "g:1"}, TxID: "g:1", TotalOrder: 1, CollectionOrder: 1})
	if err := proof.Check(key, value); err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string][2][]byte{
		"a byte too many": {key, append(slices.Clone(value), 0)},
		"a byte too few":  {key, value[:len(value)-1]},
		"no row at all":   {key, value[:6]},
		"another key":     {append(slices.Clone(key), 0), value},
		"no key":          {AppendHeader(nil, 1), value},
		"no header":       {key[:3], value},
	} {
		if err := proof.Check(broken[0], broken[1]); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	long := append(AppendHeader(nil, 1), 0x8e, 0x00) // 7 in two bytes
	if err := proof.Check(long, value); err == nil {
		t.Error("a number that isn't at its shortest passes")
	}
}

// The rehearsal of a table of any types passes; one whose encoder or reader
// is of other columns doesn't.
func TestRehearsal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		if rapid.Bool().Draw(t, "spatial") {
			table.Columns = append(table.Columns, Column{Name: "p", Type: Geometry, Native: "point"}, Column{Name: "g", Type: Geometry, Native: "geometry"}, Column{Name: "v", Type: Vector, Native: "vector(2)", Nullable: true})
		}
		proof := rehearsed(t, table)
		if err := proof.Rehearse(NewEnvelope(table, "east", "mysql", "0")); err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(0, len(table.Columns)-1).Draw(t, "column")
		table.Columns[i].Nullable = !table.Columns[i].Nullable
		spoilt := rehearsed(t, table)
		spoilt.value = proof.value // of the table as it was
		if err := spoilt.Rehearse(NewEnvelope(table, "east", "mysql", "0")); err == nil && table.Columns[i].Type != Geometry {
			t.Fatal("an encoder of other columns than the schema's passes")
		}
	})
}

func rehearsed(t interface{ Fatal(...any) }, table *Table) *Proof {
	keySchema, err := KeySchema(table, "east")
	if err != nil {
		t.Fatal(err)
	}
	valueSchema, err := EnvelopeSchema(table, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	proof, err := NewProof(keySchema, valueSchema)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func BenchmarkRehearse(b *testing.B) {
	table := &Table{DB: "shop", Name: "t", Key: []int{0}}
	for i := range 85 {
		table.Columns = append(table.Columns, Column{Name: fmt.Sprintf("c%d", i), Type: []Type{Int, VarChar, Decimal, DateTime, JSON}[i%5], Nullable: i > 0, Length: 40, Precision: 9, Scale: 2})
	}
	proof := rehearsed(b, table)
	for b.Loop() {
		if err := proof.Rehearse(NewEnvelope(table, "east", "mysql", "0")); err != nil {
			b.Fatal(err)
		}
	}
}
