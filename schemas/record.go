package schemas

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind tells how a field is encoded and what it means.
type Kind uint8

// The kinds of a field. The Go type after the dash is that of the value on the
// wire.
const (
	Invalid            Kind = iota
	KindInt                 // int
	KindLong                // long
	KindFloat               // float
	KindDouble              // double
	KindBool                // boolean: BIT(1)
	KindBytes               // bytes
	KindString              // string
	KindDecimal             // bytes: two's complement, big endian, unscaled
	KindDate                // int: days since 1970
	KindMicroTime           // long: signed microseconds
	KindTimestamp           // long: milliseconds since 1970, a wall clock without zone
	KindMicroTimestamp      // long: microseconds since 1970, a wall clock without zone
	KindZonedTimestamp      // string: ISO 8601, UTC
	KindYear                // int
	KindBits                // bytes: little endian
	KindEnum                // string: the label
	KindEnumSet             // string: the labels, joined by comma
	KindJSON                // string
	KindUUID                // string
	KindPoint               // record: x, y, WKB, SRID
	KindGeometry            // record: WKB, SRID
	KindVector              // array of float
)

var kindNames = [...]string{"invalid", "int", "long", "float", "double", "boolean", "bytes", "string", "decimal", "date", "micro-time", "timestamp", "micro-timestamp", "zoned-timestamp", "year", "bits", "enum", "set", "json", "uuid", "point", "geometry", "vector"}

func (k Kind) String() string { return kindNames[k] }

// kindsOf maps Avro type and connect.name to the kind.
var kindsOf = map[[2]string]Kind{
	{"int", ""}: KindInt, {"long", ""}: KindLong, {"float", ""}: KindFloat, {"double", ""}: KindDouble,
	{"boolean", ""}: KindBool, {"bytes", ""}: KindBytes, {"string", ""}: KindString,
	{"bytes", connectDecimal}: KindDecimal, {"bytes", connectBits}: KindBits,
	{"int", connectDate}: KindDate, {"int", connectYear}: KindYear,
	{"long", connectMicroTime}: KindMicroTime, {"long", connectTimestamp}: KindTimestamp,
	{"long", connectMicroTimestamp}: KindMicroTimestamp, {"string", connectZonedTimestamp}: KindZonedTimestamp,
	{"string", connectEnum}: KindEnum, {"string", connectEnumSet}: KindEnumSet, {"string", connectJSON}: KindJSON, {"string", connectUUID}: KindUUID,
}

// Field is one column of a row as its writer encoded it.
type Field struct {
	// Name is the column's own name, not the adjusted Avro one.
	Name string
	Kind Kind
	// Nullable fields are unions with null; NullFirst tells the order.
	Nullable, NullFirst bool
	// Precision and Scale are those of KindDecimal.
	Precision, Scale int
	// Length is that of KindBits, in bits.
	Length int
}

// Record is the type of a row, or of a key, as its writer encoded it.
type Record struct {
	Name      string
	Namespace string
	Fields    []Field
}

// Field returns the position of the field of that name, or -1. Names are
// compared without case, as MySQL compares names of columns.
func (r *Record) Field(name string) int {
	for i := range r.Fields {
		if strings.EqualFold(r.Fields[i].Name, name) {
			return i
		}
	}
	return -1
}

// Span is the place of one field in an encoded row.
type Span struct {
	// From to To is all of the field, its union index included; Value to To is
	// the encoded value alone (bytes and strings: with their length).
	From, Value, To int
}

// Null reports whether the field is NULL: no other value is empty.
func (s Span) Null() bool { return s.Value == s.To }

// Split finds the fields of an encoded row. spans must have the length of
// r.Fields. It doesn't allocate.
func (r *Record) Split(row []byte, spans []Span) error {
	if len(spans) != len(r.Fields) {
		return fmt.Errorf("splitting a row of %d fields into %d spans", len(r.Fields), len(spans))
	}
	at := 0
	for i := range r.Fields {
		from := at
		null, value, err := r.Fields[i].ReadNull(row, at)
		if err == nil && null {
			at = value
		} else if err == nil {
			at, err = r.Fields[i].SkipValue(row, value)
		}
		if err != nil {
			return fmt.Errorf("reading field %q: %w", r.Fields[i].Name, err)
		}
		spans[i] = Span{from, value, at}
	}
	if at != len(row) {
		return errTrailing
	}
	return nil
}

// skip returns the position after the record that starts at position at.
func (r *Record) skip(b []byte, at int) (int, error) {
	for i := range r.Fields {
		f := &r.Fields[i]
		null, next, err := f.ReadNull(b, at)
		if err == nil && !null {
			next, err = f.SkipValue(b, next)
		}
		if err != nil {
			return 0, fmt.Errorf("reading field %q: %w", f.Name, err)
		}
		at = next
	}
	return at, nil
}

// ReadNull reads the union index of a nullable field at position at; it
// returns the position of the value, or of the next field if it is null.
func (f *Field) ReadNull(b []byte, at int) (null bool, next int, err error) {
	if !f.Nullable {
		return false, at, nil
	}
	if uint(at) >= uint(len(b)) {
		return false, at, ErrTruncated
	}
	switch b[at] {
	case 0:
		return f.NullFirst, at + 1, nil
	case 2:
		return !f.NullFirst, at + 1, nil
	}
	return false, at, errUnion
}

// SkipValue returns the position after the value at position at, which is no null.
func (f *Field) SkipValue(b []byte, at int) (int, error) {
	var err error
	n := 0
	switch f.Kind {
	case KindInt, KindDate, KindYear:
		_, at, err = ReadInt(b, at)
		return at, err
	case KindLong, KindMicroTime, KindTimestamp, KindMicroTimestamp:
		_, at, err = ReadLong(b, at)
		return at, err
	case KindPoint, KindGeometry, KindVector:
		return skipSpatial(f.Kind, b, at)
	case KindFloat:
		n = 4
	case KindDouble:
		n = 8
	case KindBool:
		if uint(at) < uint(len(b)) && b[at] > 1 {
			return at, errBoolean
		}
		n = 1
	default:
		_, at, err = ReadBytes(b, at)
		return at, err
	}
	if n > len(b)-at {
		return at, ErrTruncated
	}
	return at + n, nil
}

// ParseKey parses the schema of a key. Only what KeySchema and Debezium write
// is accepted.
func ParseKey(schema string) (*Record, error) {
	root, err := parseJSON(schema)
	if err != nil {
		return nil, err
	}
	r, err := parseRow(root, "Key")
	if err != nil {
		return nil, fmt.Errorf("parsing key schema: %w", err)
	}
	for _, f := range r.Fields {
		if f.Nullable {
			return nil, fmt.Errorf("parsing key schema: field %q is nullable: a primary key's columns never are", f.Name)
		}
	}
	return r, nil
}

// parseRow parses a record of columns.
func parseRow(n *node, name string) (*Record, error) {
	fields, err := recordFields(n, name)
	if err != nil {
		return nil, err
	}
	if len(fields) == 0 || len(fields) > MaxFields {
		return nil, fmt.Errorf("record %q has %d fields: between 1 and %d are read", name, len(fields), MaxFields)
	}
	r := &Record{Name: name, Namespace: n.text("namespace"), Fields: make([]Field, len(fields))}
	seen, known := make(map[string]bool, len(fields)), make(map[string]bool)
	for i, item := range fields {
		avroName := item.text("name")
		if !legalAvroName(avroName) {
			return nil, fmt.Errorf("field %d of record %q has the illegal name %q", i+1, name, avroName)
		}
		typ := item.object["type"]
		if typ == nil {
			return nil, fmt.Errorf("field %q has no type", avroName)
		}
		f, err := parseField(avroName, typ, known)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", avroName, err)
		}
		if folded := strings.ToLower(f.Name); seen[folded] {
			return nil, fmt.Errorf("two fields of record %q are column %q", name, f.Name)
		} else {
			seen[folded] = true
		}
		r.Fields[i] = f
	}
	return r, nil
}

// recordFields returns the fields of n, which must be a record of that name.
func recordFields(n *node, name string) ([]*node, error) {
	if n.text("type") != "record" || n.text("name") != name {
		return nil, fmt.Errorf("a record named %q is expected, found type %q named %q", name, n.text("type"), n.text("name"))
	}
	fields := n.object["fields"]
	if fields == nil || fields.array == nil {
		return nil, fmt.Errorf("record %q has no list of fields", name)
	}
	return fields.array, nil
}

func parseField(name string, typ *node, known map[string]bool) (Field, error) {
	f := Field{Name: name}
	if typ.array != nil {
		if len(typ.array) != 2 || isNull(typ.array[0]) == isNull(typ.array[1]) {
			return f, fmt.Errorf("its union isn't one of null and one type")
		}
		f.Nullable, f.NullFirst = true, isNull(typ.array[0])
		if f.NullFirst {
			typ = typ.array[1]
		} else {
			typ = typ.array[0]
		}
	}
	if kind, ok := kindOfNode(typ, known); ok {
		f.Kind = kind
		return f, f.parseAttributes(typ)
	}
	base, ok := typ.scalar.(string)
	if !ok {
		base = typ.text("type")
	}
	connectName := typ.text("connect.name")
	if f.Kind, ok = kindsOf[[2]string{base, connectName}]; !ok {
		return f, fmt.Errorf("the Avro type %q with connect.name %q is no column type known here (Debezium's connector must run with "+
			"time.precision.mode=adaptive_time_microseconds, decimal.handling.mode=precise, binary.handling.mode=bytes)", base, connectName)
	}
	if logical := typ.text("logicalType"); logical != "" && f.Kind != KindDecimal {
		return f, fmt.Errorf("logicalType %q is not read", logical)
	}
	return f, f.parseAttributes(typ)
}

// parseAttributes reads the attributes that belong to a field's kind.
func (f *Field) parseAttributes(typ *node) (err error) {
	params := typ.object["connect.parameters"]
	if params == nil {
		params = &node{}
	}
	if original := params.text(OriginalName); original != "" {
		f.Name = original
	}
	number := func(name string, low, high int) int {
		n, e := strconv.Atoi(params.text(name))
		if (e != nil || n < low || n > high) && err == nil {
			err = fmt.Errorf("connect parameter %q is %q: a number from %d to %d is expected", name, params.text(name), low, high)
		}
		return n
	}
	switch f.Kind {
	case KindDecimal:
		f.Precision = number("connect.decimal.precision", 1, 65)
		f.Scale = number("scale", 0, min(30, max(0, f.Precision)))
	case KindBits:
		f.Length = number("length", 2, 64)
	}
	return err
}

func isNull(n *node) bool { return n.scalar == "null" }
