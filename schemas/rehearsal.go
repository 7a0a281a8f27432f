package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"

	"duplex/change"
)

// rehearsedRows are the made-up rows of a rehearsal: one of NULLs, one for each
// extreme of every kind, the rest random.
const rehearsedRows = 12

// Rehearse holds what is compiled for a table against goavro before there is a
// row of it: made-up rows, of NULLs, extremes, empty and random values, are
// written by the compiled encoders; goavro must read the same values by the
// schema and write the same bytes, and our own reader must find every field. The
// error tells no value.
func (p *Proof) Rehearse(e *Envelope) error {
	r := rand.New(rand.NewPCG(1, uint64(len(p.row.Value.Fields)))) // the same for each start
	var value []byte
	var before, row madeUp
	for n := range rehearsedRows {
		before, row = row, makeUp(p.row.Value, n, r)
		c := Change{Op: "cud"[n%3], After: row.encoded, TxID: "gtid:1", TotalOrder: int64(n), CollectionOrder: 1, NowMicros: r.Int64N(4e15),
			Source: &Source{TsMicros: r.Int64N(4e15), GTID: "gtid:1", File: "binlog.000001", Pos: r.Uint64() >> 1, Row: n, Thread: uint32(n), Stamp: change.Stamp{Origin: "o", Seq: 1, HLC: change.HLC(r.Int64())}}}
		want := [2]madeUp{{}, row}
		switch {
		case n == 0:
			c.Op = 'c'
		case c.Op == 'u':
			c.Before, want[0] = before.encoded, before
		case c.Op == 'd':
			c.Before, c.After, want = row.encoded, nil, [2]madeUp{row, {}}
		}
		value = e.Append(value[:0], &c)
		if err := p.rehearseValue(value, want); err != nil {
			return fmt.Errorf("a value of op %c %w", c.Op, err)
		}
		key := makeUp(p.keyRow, n, r)
		if err := p.rehearseKey(key); err != nil {
			return fmt.Errorf("a key %w", err)
		}
	}
	return nil
}

// rehearseValue checks one envelope; want are its rows before and after.
func (p *Proof) rehearseValue(value []byte, want [2]madeUp) error {
	native, err := same(p.value, value)
	if err != nil {
		return err
	}
	var d Decoded
	if err := p.row.Decode(value, &d); err != nil {
		return fmt.Errorf("isn't read by what reads it: %w", err)
	}
	envelope, _ := native.(map[string]any)
	for i, part := range []struct {
		name string
		row  []byte
	}{{"before", d.Before}, {"after", d.After}} {
		if !bytes.Equal(part.row, want[i].encoded) {
			return fmt.Errorf("has another row in %q by our reader than was written", part.name)
		}
		if err := want[i].check(p.row.Value, branch(envelope[part.name])); err != nil {
			return fmt.Errorf("has in %q %w", part.name, err)
		}
	}
	return nil
}

// rehearseKey checks one key.
func (p *Proof) rehearseKey(want madeUp) error {
	native, err := same(p.key, want.encoded)
	if err != nil {
		return err
	}
	if err := want.check(p.keyRow, native); err != nil {
		return fmt.Errorf("has %w", err)
	}
	return nil
}

// madeUp is a row as goavro has it and as the compiled encoders write it.
type madeUp struct {
	native  map[string]any // nil: no row
	encoded []byte
	ends    []int // of each field
}

// check holds the row against what goavro has read, and what Split finds
// against where each field was written.
func (m madeUp) check(record *Record, read any) error {
	row, _ := read.(map[string]any)
	if m.native == nil || len(row) != len(m.native) {
		if row == nil && m.native == nil {
			return nil
		}
		return errors.New("another number of fields by goavro than was written")
	}
	spans := make([]Span, len(record.Fields))
	if err := record.Split(m.encoded, spans); err != nil {
		return fmt.Errorf("a row that our reader can't split: %w", err)
	}
	for i, s := range spans {
		f := &record.Fields[i]
		got, want := row[AvroName(f.Name)], m.native[AvroName(f.Name)]
		if f.Nullable {
			got = branch(got)
		}
		if !reflect.DeepEqual(got, want) {
			return fmt.Errorf("another value of field %q by goavro than was written", f.Name)
		}
		if s.To != m.ends[i] || s.Null() != (want == nil) {
			return fmt.Errorf("field %q elsewhere by our reader than it was written", f.Name)
		}
	}
	return nil
}

// branch returns what goavro has wrapped in the name of a union's branch.
func branch(v any) any {
	if wrapped, ok := v.(map[string]any); ok && len(wrapped) == 1 {
		for _, v = range wrapped {
		}
	}
	return v
}

// makeUp makes the nth row up: the first is NULL where it may be.
func makeUp(record *Record, n int, r *rand.Rand) madeUp {
	m := madeUp{native: map[string]any{}}
	for i := range record.Fields {
		f := &record.Fields[i]
		name := AvroName(f.Name)
		null := f.Nullable && (n == 0 || n > 4 && r.IntN(4) == 0)
		switch {
		case null && f.NullFirst, f.Nullable && !null && !f.NullFirst:
			m.encoded = append(m.encoded, 0)
		case f.Nullable:
			m.encoded = append(m.encoded, 2)
		}
		if m.native[name] = nil; !null {
			m.native[name], m.encoded = makeValue(f.Kind, n, r, m.encoded)
		}
		m.ends = append(m.ends, len(m.encoded))
	}
	return m
}

// makeValue makes a value up and appends it as capture does.
func makeValue(k Kind, n int, r *rand.Rand, b []byte) (native any, encoded []byte) {
	switch k {
	case KindInt, KindDate, KindYear:
		v := pick(n, int32(r.Uint32()), 0, -1, math.MinInt32, math.MaxInt32)
		return v, AppendLong(b, int64(v))
	case KindLong, KindMicroTime, KindTimestamp, KindMicroTimestamp:
		v := pick(n, int64(r.Uint64()), 0, -1, math.MinInt64, math.MaxInt64)
		return v, AppendLong(b, v)
	case KindFloat:
		v := pick(n, r.Float32(), 0, math.SmallestNonzeroFloat32, -math.MaxFloat32, float32(math.Inf(1)))
		return v, AppendFloat(b, v)
	case KindDouble:
		v := pick(n, r.NormFloat64(), 0, math.SmallestNonzeroFloat64, -math.MaxFloat64, math.Inf(-1))
		return v, AppendDouble(b, v)
	case KindBool:
		v := n%2 == 1
		return v, AppendBool(b, v)
	case KindBytes, KindDecimal, KindBits:
		v := pick(n, bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(99)), []byte{}, []byte{0}, bytes.Repeat([]byte{0xff}, 64), bytes.Repeat([]byte{0x80, 0}, 70))
		return v, AppendBytes(b, v)
	case KindPoint, KindGeometry:
		return makeGeometry(k, n, r, b)
	case KindVector:
		floats := AppendFloat(AppendFloat(nil, -math.MaxFloat32), 0.5)
		return []any{float32(-math.MaxFloat32), float32(0.5)}, AppendVector(b, floats)
	default:
		v := pick(n, strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(99)), "", "\x00", "añ漢😀", strings.Repeat("0,", 70))
		return v, AppendString(b, v)
	}
}

func makeGeometry(k Kind, n int, r *rand.Rand, b []byte) (native any, encoded []byte) {
	x, y, srid := r.NormFloat64(), r.NormFloat64(), pick(n, int32(r.Uint32()>>1)+1, 0, 4326)
	wkb := AppendDouble(AppendDouble([]byte{1, 1, 0, 0, 0}, x), y)
	of := map[string]any{"wkb": any(wkb), "srid": nil}
	if srid != 0 {
		of["srid"] = map[string]any{"int": srid}
	}
	if k == KindPoint {
		of["x"], of["y"], of["wkb"] = x, y, map[string]any{"bytes": wkb}
	}
	return of, AppendGeometry(b, k, wkb, uint32(srid))
}

// pick returns the nth of the extremes, and after them the random value.
func pick[T any](n int, random T, extremes ...T) T {
	if n < len(extremes) {
		return extremes[n]
	}
	return random
}
