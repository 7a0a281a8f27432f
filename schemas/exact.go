package schemas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Debezium's form can't hold every value: it has no date 0000-00-00, and no
// text that UTF-8 lacks. Such a value stands in the row as Debezium would have
// it, and the header "exact" of the record has it as it is:
//
//	header  = version (a byte, 1) section*
//	section = 'b' (of the row before) or 'a' (after), length of the rest (uvarint), entry*
//	entry   = position of the column in record Value (uvarint), length (uvarint), value
//
// The value is an Avro value of the column's own type that no other value of
// that column ever is (a DATE far below year 0, a string that isn't UTF-8):
// put in the row's place it makes a row that is exact, and splits, compares and
// merges like any other. What it says depends on the column; TYPES.md lists it.

// exactVersion is the first byte of the header.
const exactVersion = 1

// ErrExact tells that a header "exact" is malformed.
var ErrExact = errors.New("header exact is malformed: another program, or another version of duplex, wrote it")

// Exact gathers the values of one row that Debezium's form can't hold. The
// zero Exact is empty. One goroutine uses it.
type Exact struct {
	entries []byte
	// at is where each entry begins, and columns whose it is.
	at      []int
	columns []int
}

// Reset empties e and keeps its memory.
func (e *Exact) Reset() { e.entries, e.at, e.columns = e.entries[:0], e.at[:0], e.columns[:0] }

// Empty reports whether the row is as exact as its Avro form.
func (e *Exact) Empty() bool { return len(e.columns) == 0 }

// Add adds the value of a column: Avro, without the index of a union. Columns
// come in order.
func (e *Exact) Add(column int, value []byte) {
	e.at, e.columns = append(e.at, len(e.entries)), append(e.columns, column)
	e.entries = binary.AppendUvarint(e.entries, uint64(column))
	e.entries = binary.AppendUvarint(e.entries, uint64(len(value)))
	e.entries = append(e.entries, value...)
}

// Of returns the entry of a column, nil if it has none.
func (e *Exact) Of(column int) []byte {
	i := slices.Index(e.columns, column)
	switch {
	case i < 0:
		return nil
	case i+1 < len(e.at):
		return e.entries[e.at[i]:e.at[i+1]]
	}
	return e.entries[e.at[i]:]
}

// AppendExact appends the header of a change to dst: nothing if both rows are
// exact, which is nearly always so. A row that the change lacks is nil.
func AppendExact(dst []byte, before, after *Exact) []byte {
	started := false
	for i, e := range [2]*Exact{before, after} {
		if e == nil || e.Empty() {
			continue
		}
		if !started {
			dst, started = append(dst, exactVersion), true
		}
		dst = append(dst, "ba"[i])
		dst = binary.AppendUvarint(dst, uint64(len(e.entries)))
		dst = append(dst, e.entries...)
	}
	return dst
}

// Restore puts the exact values of the header into the rows of a change. The
// rows are then no longer parts of the record that they were read from.
func (r *EnvelopeReader) Restore(c *Decoded, header []byte) error {
	if len(header) == 0 || header[0] != exactVersion {
		return ErrExact
	}
	for rest := header[1:]; len(rest) > 0; {
		image := rest[0]
		entries, after, ok := prefixed(rest[1:])
		if !ok {
			return ErrExact
		}
		row := &c.Before
		switch {
		case image == 'a':
			row = &c.After
		case image != 'b':
			return ErrExact
		}
		spliced, err := r.Value.splice(*row, entries)
		if err != nil {
			return err
		}
		*row, rest = spliced, after
	}
	return nil
}

// splice returns a copy of the row with the entries in it.
func (r *Record) splice(row, entries []byte) ([]byte, error) {
	if row == nil {
		return nil, fmt.Errorf("%w: it has values of a row that isn't there", ErrExact)
	}
	spans := make([]Span, len(r.Fields))
	if err := r.Split(row, spans); err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(row)+len(entries))
	done, next := 0, 0
	for len(entries) > 0 {
		column, n := binary.Uvarint(entries)
		if n <= 0 || column < uint64(next) || column >= uint64(len(r.Fields)) {
			return nil, ErrExact
		}
		value, rest, ok := prefixed(entries[n:])
		f, span := &r.Fields[column], spans[column]
		if !ok || len(value) == 0 {
			return nil, ErrExact
		}
		if end, err := f.SkipValue(value, 0); err != nil || end != len(value) {
			return nil, fmt.Errorf("%w: the value of field %q is not of its type", ErrExact, f.Name)
		}
		out = append(out, row[done:span.From]...)
		out = append(f.appendPresent(out), value...)
		done, next, entries = span.To, int(column)+1, rest
	}
	return append(out, row[done:]...), nil
}

// AppendKey appends the key that a row has: the record of type key, made of
// the row's fields.
func (r *Record) AppendKey(dst []byte, key *Record, row []byte) ([]byte, error) {
	spans := make([]Span, len(r.Fields))
	if err := r.Split(row, spans); err != nil {
		return nil, err
	}
	for i := range key.Fields {
		at := r.Field(key.Fields[i].Name)
		if at < 0 || spans[at].Null() {
			return nil, fmt.Errorf("the row has no value for field %q of the key", key.Fields[i].Name)
		}
		dst = append(dst, row[spans[at].Value:spans[at].To]...)
	}
	return dst, nil
}

// appendPresent appends the union index of a value that isn't null.
func (f *Field) appendPresent(dst []byte) []byte {
	switch {
	case !f.Nullable:
		return dst
	case f.NullFirst:
		return append(dst, 2)
	}
	return append(dst, 0)
}

// prefixed takes bytes with their length before them.
func prefixed(b []byte) (value, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	b = b[size:]
	return b[:n:n], b[n:], true
}

// The numbers by which DATE and DATETIME tell, in the exact form, what the
// calendar lacks. They are far below all that the calendar has.
const (
	exactDate     = -1 << 30
	exactDateTime = -1 << 62
)

// PackDate returns the exact form of a DATE that the calendar lacks.
func PackDate(year, month, day int64) int64 { return exactDate + (year<<9 | month<<5 | day) }

// UnpackDate takes apart what PackDate made; ok is false for every other number.
func UnpackDate(v int64) (year, month, day int64, ok bool) {
	v -= exactDate
	return v >> 9, v >> 5 & 15, v & 31, v >= 0 && v < 10000<<9
}

// PackDateTime returns the exact form of a DATETIME whose date the calendar
// lacks; clock is microseconds since midnight.
func PackDateTime(year, month, day, clock int64) int64 {
	return exactDateTime + (year<<9|month<<5|day)<<37 + clock
}

// UnpackDateTime takes apart what PackDateTime made; ok is false for every
// other number.
func UnpackDateTime(v int64) (year, month, day, clock int64, ok bool) {
	if v >= exactDateTime+10000<<46 {
		return 0, 0, 0, 0, false
	}
	v -= exactDateTime
	date, clock := v>>37, v&(1<<37-1)
	return date >> 9, date >> 5 & 15, date & 31, clock, v >= 0 && clock < 86400e6
}

// ZeroTimestamp is the exact form of TIMESTAMP '0000-00-00 00:00:00'.
const ZeroTimestamp = "0000-00-00T00:00:00Z"

// RawText is the byte before the exact form of a text: then come the name of
// its character set, a zero byte, and the text in that character set. No UTF-8
// has the byte.
const RawText = 0xff

// JSONType is the type of a value in a JSON document that JSON itself lacks.
type JSONType struct {
	Number    byte // that of the type in the binlog; 8 for an unsigned integer
	Precision int  // of a DECIMAL
}

// jsonDecimal is the type of DECIMAL.
const jsonDecimal = 246

// UntypedJSON takes the types out of a document in the exact form, less its
// first byte, and tells before which positions of what is left they stood. What
// is left is the document as it stands on the wire.
func UntypedJSON(doc []byte) (plain []byte, types map[int]JSONType) {
	if bytes.IndexByte(doc, RawText) < 0 {
		return doc, nil
	}
	types = make(map[int]JSONType)
	plain = make([]byte, 0, len(doc))
	for i := 0; i < len(doc); i++ {
		if doc[i] != RawText || i+1 == len(doc) {
			plain = append(plain, doc[i])
			continue
		}
		i++
		typ := JSONType{Number: doc[i]}
		if typ.Number == jsonDecimal && i+1 < len(doc) {
			i++
			typ.Precision = int(doc[i])
		}
		types[len(plain)] = typ
	}
	return plain, types
}
