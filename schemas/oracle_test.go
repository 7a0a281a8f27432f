package schemas

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"
	"pgregory.net/rapid"

	"duplex/change"
)

// drawTable draws a table of any types that are carried.
func drawTable(t *rapid.T) *Table {
	types := []Type{TinyInt, SmallInt, MediumInt, Int, BigInt, Decimal, Float, Double, Bit, Year, Date, Time, DateTime, Timestamp,
		Char, VarChar, Text, Binary, VarBinary, Blob, Enum, Set, JSON}
	table := &Table{DB: "shop", Name: rapid.SampledFrom([]string{"orders", "order lines", "a.b"}).Draw(t, "table"), Key: []int{0}}
	for i := range rapid.IntRange(1, 12).Draw(t, "columns") {
		c := Column{Name: fmt.Sprintf("c%d", i), Type: rapid.SampledFrom(types).Draw(t, "type"),
			Unsigned: rapid.Bool().Draw(t, "unsigned"), Nullable: rapid.Bool().Draw(t, "nullable"), Values: []string{"a", "b"}}
		c.Length = rapid.IntRange(1, 64).Draw(t, "length")
		c.Scale = rapid.IntRange(0, 6).Draw(t, "scale")
		c.Precision = max(1, c.Scale) + rapid.IntRange(0, 30).Draw(t, "precision")
		table.Columns = append(table.Columns, c)
	}
	return table
}

// drawRow draws a row: as goavro takes it, and as the compiled writers of
// capture append it.
func drawRow(t *rapid.T, r *Record) (native map[string]any, encoded []byte) {
	native = map[string]any{}
	for i := range r.Fields {
		f := &r.Fields[i]
		null := f.Nullable && rapid.Bool().Draw(t, "null")
		if f.Nullable && null {
			native[f.Name], encoded = nil, append(encoded, 0)
			continue
		}
		if f.Nullable {
			encoded = append(encoded, 2)
		}
		var base string
		var v any
		v, base, encoded = drawValue(t, f.Kind, encoded)
		if native[f.Name] = v; f.Nullable {
			native[f.Name] = map[string]any{base: v}
		}
	}
	return native, encoded
}

func drawValue(t *rapid.T, k Kind, b []byte) (native any, base string, encoded []byte) {
	switch k {
	case KindInt, KindDate, KindYear:
		v := rapid.Int32().Draw(t, "int")
		return v, "int", AppendLong(b, int64(v))
	case KindLong, KindMicroTime, KindTimestamp, KindMicroTimestamp:
		v := rapid.Int64().Draw(t, "long")
		return v, "long", AppendLong(b, v)
	case KindFloat:
		v := rapid.Float32().Draw(t, "float")
		return v, "float", AppendFloat(b, v)
	case KindDouble:
		v := rapid.Float64().Draw(t, "double")
		return v, "double", AppendDouble(b, v)
	case KindBool:
		v := rapid.Bool().Draw(t, "bool")
		return v, "boolean", AppendBool(b, v)
	case KindBytes, KindDecimal, KindBits:
		v := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes")
		return v, "bytes", AppendBytes(b, v)
	}
	v := rapid.String().Draw(t, "string")
	return v, "string", AppendString(b, v)
}

func bareCodec(t interface{ Fatal(...any) }, schema string) *goavro.Codec {
	bare, err := Bare(schema)
	if err != nil {
		t.Fatal(err)
	}
	codec, err := goavro.NewCodec(bare)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

func optionalNative(base string, v any) any {
	if v == nil || v == "" {
		return nil
	}
	return map[string]any{base: v}
}

// nativeChange is a change as goavro takes it. It is written from Debezium's
// description, not from Envelope's code.
func nativeChange(ns string, t *Table, region, engine, version string, c *Change, before, after map[string]any) map[string]any {
	rowOrNil := func(row map[string]any) any {
		if row == nil {
			return nil
		}
		return map[string]any{ns + ".Value": row}
	}
	s := c.Source
	snapshot := s.Snapshot
	if snapshot == "" {
		snapshot = "false"
	}
	source := map[string]any{
		"version": version, "connector": engine, "name": region, "ts_ms": time.UnixMicro(s.TsMicros).UnixMilli(),
		"snapshot": map[string]any{"string": snapshot}, "db": t.DB, "sequence": nil,
		"ts_us": map[string]any{"long": s.TsMicros}, "ts_ns": map[string]any{"long": s.TsMicros * 1000},
		"table": map[string]any{"string": t.Name}, "server_id": int64(s.ServerID), "gtid": optionalNative("string", s.GTID),
		"file": s.File, "pos": int64(s.Pos), "row": s.Row, "thread": nil, "query": nil,
		"origin": nil, "seq": nil, "hlc": nil,
	}
	if s.Stamp.Origin != "" {
		source["origin"] = map[string]any{"string": string(s.Stamp.Origin)}
		source["seq"] = map[string]any{"long": int64(s.Stamp.Seq)}
		source["hlc"] = map[string]any{"long": int64(s.Stamp.HLC)}
	}
	native := map[string]any{
		"before": rowOrNil(before), "after": rowOrNil(after), "source": source, "transaction": nil, "op": string(c.Op),
		"ts_ms": map[string]any{"long": time.UnixMicro(c.NowMicros).UnixMilli()}, "ts_us": map[string]any{"long": c.NowMicros}, "ts_ns": map[string]any{"long": c.NowMicros * 1000},
	}
	if c.TxID != "" {
		native["transaction"] = map[string]any{"event.block": map[string]any{
			"id": c.TxID, "total_order": c.TotalOrder, "data_collection_order": c.CollectionOrder}}
	}
	return native
}

func drawSource(t *rapid.T) *Source {
	micros := rapid.Int64Range(-1e15, 4e15)
	s := &Source{TsMicros: micros.Draw(t, "commit"), ServerID: rapid.Uint32().Draw(t, "server"), GTID: rapid.SampledFrom([]string{"", "uuid:5", "uuid:tag:1"}).Draw(t, "gtid"),
		File: "binlog.000001", Pos: rapid.Uint64Max(1<<62).Draw(t, "pos"), Row: rapid.IntRange(0, 1<<31-1).Draw(t, "row"),
		Snapshot: rapid.SampledFrom([]string{"", "incremental"}).Draw(t, "snapshot")}
	if rapid.Bool().Draw(t, "stamped") {
		s.Stamp = change.Stamp{Origin: "west", Seq: change.Seq(rapid.Int64Min(0).Draw(t, "seq")), HLC: change.HLC(rapid.Int64().Draw(t, "hlc"))}
	}
	return s
}

// goavro, given the same change as maps, must write the same bytes; and the
// reader must get out of them what was put in.
func TestEnvelopeAgainstGoavro(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		engine := rapid.SampledFrom([]string{"mysql", "mariadb"}).Draw(t, "engine")
		schema, err := EnvelopeSchema(table, "eu-west", engine)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := ParseEnvelope(schema)
		if err != nil {
			t.Fatal(err)
		}
		c := &Change{Op: rapid.SampledFrom([]byte("cudr")).Draw(t, "op"), Source: drawSource(t), NowMicros: rapid.Int64Range(-1e15, 4e15).Draw(t, "now")}
		if rapid.Bool().Draw(t, "in transaction") {
			c.TxID, c.TotalOrder, c.CollectionOrder = "uuid:5", rapid.Int64().Draw(t, "order"), rapid.Int64().Draw(t, "order")
		}
		var before, after map[string]any
		if c.Op == 'u' || c.Op == 'd' {
			before, c.Before = drawRow(t, reader.Value)
		}
		if c.Op != 'd' {
			after, c.After = drawRow(t, reader.Value)
		}
		got := NewEnvelope(table, "eu-west", engine, "1.2.3").Append(nil, c)

		native := nativeChange(Namespace("eu-west", table.DB, table.Name), table, "eu-west", engine, "1.2.3", c, before, after)
		want, err := bareCodec(t, schema).BinaryFromNative(nil, native)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("\n got %x\nwant %x", got, want)
		}
		checkDecoded(t, reader, got, table, c)
	})
}

func checkDecoded(t *rapid.T, reader *EnvelopeReader, value []byte, table *Table, c *Change) {
	var d Decoded
	if err := reader.Decode(value, &d); err != nil {
		t.Fatal(err)
	}
	s := c.Source
	if d.Op != c.Op || !bytes.Equal(d.Before, c.Before) || !bytes.Equal(d.After, c.After) || string(d.DB) != table.DB || string(d.Table) != table.Name ||
		d.TsMicros != s.TsMicros && s.TsMicros != 0 || string(d.GTID) != s.GTID || string(d.TxID) != c.TxID || d.TotalOrder != c.TotalOrder || d.CollectionOrder != c.CollectionOrder ||
		string(d.Origin) != string(s.Stamp.Origin) || d.Seq != int64(s.Stamp.Seq) || d.HLC != int64(s.Stamp.HLC) {
		t.Fatalf("decoded %+v from %+v, source %+v", d, c, s)
	}
	spans := make([]Span, len(reader.Value.Fields))
	for _, row := range [][]byte{d.Before, d.After} {
		if row == nil {
			continue
		}
		if err := reader.Value.Split(row, spans); err != nil {
			t.Fatal(err)
		}
		at := 0
		for i, sp := range spans {
			if sp.From != at || sp.Value < sp.From || sp.To < sp.Value || sp.Null() != (reader.Value.Fields[i].Nullable && row[at] == 0) {
				t.Fatalf("field %d has span %+v after position %d", i, sp, at)
			}
			at = sp.To
		}
		if err := reader.Value.Split(append(bytes.Clone(row), 0), spans); err == nil {
			t.Fatal("a byte after the row is taken")
		}
		if at != len(row) {
			t.Fatalf("the spans end at %d of %d", at, len(row))
		}
	}
	if err := reader.Decode(append(value[:len(value):len(value)], 0), &d); err == nil {
		t.Fatal("a byte after the envelope is taken")
	}
	for i := range value {
		// Clipped, so that reading past the end panics.
		if err := reader.Decode(value[:i:i], &d); err == nil {
			t.Fatalf("the first %d of %d bytes are taken for a whole envelope", i, len(value))
		}
	}
}

func TestKeyAgainstGoavro(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		table.Key = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)).Perm(len(table.Columns))
		schema, err := KeySchema(table, "east")
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParseKey(schema)
		if err != nil {
			t.Fatal(err)
		}
		native, got := drawRow(t, key)
		want, err := bareCodec(t, schema).BinaryFromNative(nil, native)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("\n got %x\nwant %x", got, want)
		}
	})
}

func TestAppendAllocatesNothing(t *testing.T) {
	e := NewEnvelope(goldenTable(), "east", "mysql", "1")
	c := &Change{Op: 'u', Before: []byte{2, 4, 6}, After: []byte{2, 4, 6}, TxID: "uuid:77", TotalOrder: 1, CollectionOrder: 1, NowMicros: 1e15,
		Source: &Source{TsMicros: 1e15, GTID: "uuid:77", File: "binlog.000001", Stamp: change.Stamp{Origin: "east", Seq: 9, HLC: 1 << 60}}}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = e.Append(buf[:0], c) }); n != 0 {
		t.Errorf("Append allocates %g times", n)
	}
}
