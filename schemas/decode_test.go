package schemas

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func fuzzTable() *Table {
	return &Table{DB: "d", Name: "t", Key: []int{0}, Columns: []Column{
		{Name: "id", Type: BigInt, Unsigned: true}, {Name: "n", Type: Int, Nullable: true}, {Name: "b", Type: Bit, Length: 1, Nullable: true},
		{Name: "s", Type: VarChar, Nullable: true}, {Name: "f", Type: Float}, {Name: "d", Type: Double, Nullable: true}, {Name: "ts", Type: DateTime, Scale: 6},
	}}
}

func fuzzValue() []byte {
	row := AppendBytes(nil, []byte{5})
	row = AppendLong(append(row, 2), -7)
	row = append(row, 2, 1)
	row = AppendString(append(row, 2), "hello")
	row = AppendFloat(row, 1.5)
	row = append(row, 0)
	row = AppendLong(row, 1e15)
	c := &Change{Op: 'u', Before: row, After: row, TxID: "u:1", TotalOrder: 1, CollectionOrder: 1, NowMicros: 5e15, Source: &Source{TsMicros: 5e15, GTID: "u:1", File: "b.1"}}
	return NewEnvelope(fuzzTable(), "east", "mysql", "1").Append(nil, c)
}

// What is taken, goavro takes too; and nothing makes it panic or read on.
func FuzzDecode(f *testing.F) {
	schema, err := EnvelopeSchema(fuzzTable(), "east", "mysql")
	if err != nil {
		f.Fatal(err)
	}
	reader, err := ParseEnvelope(schema)
	if err != nil {
		f.Fatal(err)
	}
	codec := bareCodec(f, schema)
	f.Add(fuzzValue())
	f.Add([]byte{})
	f.Add([]byte{0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, value []byte) {
		var d Decoded
		if err := reader.Decode(value, &d); err != nil {
			return
		}
		if _, rest, err := codec.NativeFromBinary(value); err != nil || len(rest) > 0 {
			t.Fatalf("goavro leaves %d bytes, error %v", len(rest), err)
		}
		spans := make([]Span, len(reader.Value.Fields))
		for _, row := range [][]byte{d.Before, d.After} {
			if row == nil {
				continue
			}
			if err := reader.Value.Split(row, spans); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Whatever a registry says is either one of our envelopes or an error.
func FuzzParseEnvelope(f *testing.F) {
	schema, err := EnvelopeSchema(fuzzTable(), "east", "mysql")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(schema)
	f.Add(`{"type":"record","name":"Envelope"}`)
	f.Add(`[[[[[[`)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseEnvelope(text)
		if err != nil {
			return
		}
		var d Decoded
		_ = r.Decode(fuzzValue(), &d)
	})
}

func TestForeignSchemasAreRefused(t *testing.T) {
	ours, err := EnvelopeSchema(fuzzTable(), "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) string {
		t.Helper()
		changed := strings.Replace(ours, old, new, 1)
		if changed == ours {
			t.Fatalf("the schema has no %s", old)
		}
		return changed
	}
	many := `{"name":"n","type":["null","int"],"default":null}`
	for name, tt := range map[string]struct{ schema, want string }{
		"no record":         {`"string"`, "a record named"},
		"other name":        {replace(`"name":"Envelope"`, `"name":"Enve"`), `named "Enve"`},
		"fields reordered":  {replace(`{"name":"after","type":["null","Value"],"default":null},`, ``), `field 2 of the envelope is "source"`},
		"unknown type":      {replace(`{"name":"n","type":["null","int"]`, `{"name":"n","type":["null",{"type":"map","values":"int"}]`), `field "n"`},
		"recursion":         {replace(`{"name":"n","type":["null","int"]`, `{"name":"n","type":["null","Value"]`), `Avro type "Value"`},
		"array":             {replace(`{"name":"n","type":["null","int"]`, `{"name":"n","type":{"type":"array","items":"int"}`), `Avro type "array"`},
		"wide union":        {replace(`{"name":"n","type":["null","int"]`, `{"name":"n","type":["null","int","long"]`), "union"},
		"null twice":        {replace(`{"name":"n","type":["null","int"]`, `{"name":"n","type":["null","null"]`), "union"},
		"other semantics":   {replace(`"io.debezium.time.MicroTimestamp"`, `"io.debezium.time.NanoTimestamp"`), "NanoTimestamp"},
		"logical type":      {replace(`{"name":"n","type":["null","int"]`, `{"name":"n","type":["null",{"type":"int","logicalType":"date"}]`), "logicalType"},
		"decimal precision": {replace(`"connect.decimal.precision":"20"`, `"connect.decimal.precision":"99"`), "from 1 to 65"},
		"two columns":       {replace(many, many+`,`+strings.Replace(many, `"n"`, `"N"`, 1)), "two fields"},
		"double property":   {replace(`"type":"record","name":"Envelope"`, `"type":"record","type":"record","name":"Envelope"`), "occurs twice"},
		"source extended":   {replace(`{"name":"hlc"`, `{"name":"evil","type":"string"},{"name":"hlc"`), "field 20 of source"},
		"too many columns":  {replace(many, strings.Repeat(many+",", 5000)+many), "between 1 and 4096"},
		"too deep":          {strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40), "nested deeper"},
		"too long":          {strings.Repeat(" ", maxSchemaBytes+1), "bytes"},
		"more after it":     {ours + ours, "follows after"},
		"bad field name":    {replace(`"name":"n"`, `"name":"n\n"`), "illegal name"},
	} {
		if _, err := ParseEnvelope(tt.schema); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// Debezium's own envelope, without the stamp, is read too.
func TestDebeziumEnvelopeIsRead(t *testing.T) {
	ours, err := EnvelopeSchema(fuzzTable(), "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	from := strings.Index(ours, `,{"name":"origin"`)
	to := strings.Index(ours, `],"connect.version":1,"connect.name":"io.debezium.connector.mysql.Source"`)
	r, err := ParseEnvelope(ours[:from] + ours[to:])
	if err != nil {
		t.Fatal(err)
	}
	value := fuzzValue()
	// The stamp's three nulls stand right before the transaction block.
	at := strings.Index(string(value), "\x00\x00\x00\x00\x00\x02\x06u:1")
	if at < 0 {
		t.Fatalf("no stamp found in %x", value)
	}
	var d Decoded
	if err := r.Decode(append(value[:at:at], value[at+3:]...), &d); err != nil {
		t.Fatal(err)
	}
	if d.Op != 'u' || string(d.TxID) != "u:1" {
		t.Errorf("decoded %+v", d)
	}
}

func TestImagesMustGoWithOp(t *testing.T) {
	schema, err := EnvelopeSchema(fuzzTable(), "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseEnvelope(schema)
	if err != nil {
		t.Fatal(err)
	}
	var whole Decoded
	if err := r.Decode(fuzzValue(), &whole); err != nil {
		t.Fatal(err)
	}
	row := whole.After
	e := NewEnvelope(fuzzTable(), "east", "mysql", "1")
	for _, c := range []Change{{Op: 'c'}, {Op: 'c', Before: row, After: row}, {Op: 'u', After: row}, {Op: 'd', After: row}, {Op: 'd', Before: row, After: row}, {Op: 't'}, {Op: 'x', After: row}} {
		c.Source = &Source{}
		var d Decoded
		if err := r.Decode(e.Append(nil, &c), &d); err == nil {
			t.Errorf("op %q with before=%t, after=%t is taken", c.Op, c.Before != nil, c.After != nil)
		}
	}
	var d Decoded
	value := fuzzValue()
	if n := testing.AllocsPerRun(100, func() { _ = r.Decode(value, &d) }); n != 0 {
		t.Errorf("Decode allocates %g times", n)
	}
}

func TestMalformedIntegers(t *testing.T) {
	ff := func(n int, last ...byte) []byte { return append(bytes.Repeat([]byte{0xff}, n), last...) }
	if v, _, err := ReadLong(ff(9, 1), 0); err != nil || v != math.MinInt64 {
		t.Errorf("the smallest long is read as %d, %v", v, err)
	}
	for _, bad := range [][]byte{nil, {0x80}, ff(9), ff(9, 2), ff(10, 1), ff(20)} {
		if v, _, err := ReadLong(bad, 0); err == nil {
			t.Errorf("%x is read as %d", bad, v)
		}
	}
	if v, _, err := ReadInt(AppendLong(nil, 1<<31), 0); err == nil {
		t.Errorf("2^31 is read as the int %d", v)
	}
	if _, _, err := ReadLong([]byte{2}, 1); err == nil {
		t.Error("a long is read past the end")
	}
}

func TestHeader(t *testing.T) {
	id, value, err := ReadHeader(append(AppendHeader(nil, 123456), 7))
	if err != nil || id != 123456 || len(value) != 1 || value[0] != 7 {
		t.Errorf("got %d, %x, %v", id, value, err)
	}
	for _, bad := range [][]byte{nil, {0, 0, 0, 0}, {1, 0, 0, 0, 1, 7}} {
		if _, _, err := ReadHeader(bad); err == nil {
			t.Errorf("%x is taken for a framed value", bad)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	schema, err := EnvelopeSchema(fuzzTable(), "east", "mysql")
	if err != nil {
		b.Fatal(err)
	}
	r, err := ParseEnvelope(schema)
	if err != nil {
		b.Fatal(err)
	}
	value := fuzzValue()
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	var d Decoded
	for b.Loop() {
		if err := r.Decode(value, &d); err != nil {
			b.Fatal(err)
		}
	}
}
