package schemas

import (
	"slices"
	"testing"
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
