package statement

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"duplex/schemas"
)

// column is one field of the writer's row, bound to a column of the target.
type column struct {
	field  *schemas.Field
	kind   schemas.Kind
	name   string // in the target
	quoted string
	typ    schemas.Type
	// scale and length are those of the target's column.
	scale, length int
	nullable      bool
	generated     bool
	fold          fold
	collation     string   // of text
	weights       *Weights // of the collation, where keys are told apart by them
	form          form
	// foreign is set for text that the column keeps in another character set
	// than the statement has; charset is that set.
	foreign bool
	charset string
	// zero is, of an ENUM, the text that the server reads as index 0, a value
	// that isn't valid; invalid is set if it lacks the label '': there the empty
	// string is what the server shows for it.
	zero    string
	invalid bool
	// vague is set for text of which the server may print less than it holds.
	vague bool
}

// form tells how a text becomes a literal.
type form uint8

const (
	bare  form = iota // a number
	plain             // in quotes, nothing in it needs an escape
	text              // in quotes, escaped
	binar             // in quotes, escaped, not in the connection's character set
)

// bindColumn binds a field to the column of the same name.
func bindColumn(f *schemas.Field, target *schemas.Table, dialect Dialect) (column, error) {
	at := target.Column(f.Name)
	if at < 0 {
		return column{}, fmt.Errorf("column %s is missing; mend: ALTER TABLE %s ADD COLUMN %s %s", quote(f.Name), qualified(target), quote(f.Name), nativeOf(f))
	}
	t := &target.Columns[at]
	c := column{field: f, kind: f.Kind, name: t.Name, quoted: quote(t.Name), typ: t.Type, scale: t.Scale, length: t.Length,
		nullable: t.Nullable, generated: t.Generated, form: formOf(f.Kind)}
	if t.Type < schemas.UUID && (f.Kind == schemas.KindString || f.Kind == schemas.KindEnum || f.Kind == schemas.KindEnumSet || f.Kind == schemas.KindJSON) {
		c.fold, c.collation = foldOf(t.Collation), t.Collation
		c.foreign, c.charset = t.Charset != "utf8mb4", t.Charset
		c.vague = c.foreign && !wholly(t.Charset, dialect)
	}
	if f.Kind == schemas.KindEnum {
		// In strict mode '' and 0 are refused, but '0' is read as index 0, and so
		// are '00' and '000' (not by MariaDB 10.11, which has no way to write it).
		for c.zero = "0"; slices.Contains(t.Values, c.zero); c.zero += "0" {
		}
		c.invalid = !slices.Contains(t.Values, "")
	}
	if t.Generated {
		// Never written, but a key may be made of it.
		return c, nil
	}
	if !fits(f, t, dialect) {
		return c, fmt.Errorf("column %s is %s here, the origin's is %s, which it can't hold exactly; mend: ALTER TABLE %s MODIFY COLUMN %s %s",
			quote(t.Name), nativeName(t), describe(f), qualified(target), quote(t.Name), nativeOf(f))
	}
	return c, nil
}

func formOf(k schemas.Kind) form {
	switch k {
	case schemas.KindString, schemas.KindEnum, schemas.KindEnumSet, schemas.KindJSON, schemas.KindUUID:
		return text
	case schemas.KindBytes, schemas.KindPoint, schemas.KindGeometry, schemas.KindVector:
		return binar
	case schemas.KindDate, schemas.KindMicroTime, schemas.KindTimestamp, schemas.KindMicroTimestamp, schemas.KindZonedTimestamp, schemas.KindYear:
		return plain
	}
	return bare
}

// fits reports whether a column can hold every value of a field, or refuses
// those that it can't: integers out of range and strings that are too long
// fail in strict mode, so they need no check here.
func fits(f *schemas.Field, t *schemas.Column, dialect Dialect) bool {
	integer := t.Type >= schemas.TinyInt && t.Type <= schemas.BigInt
	switch f.Kind {
	case schemas.KindInt, schemas.KindLong:
		return integer
	case schemas.KindDecimal:
		if integer {
			return f.Scale == 0
		}
		return t.Type == schemas.Decimal && t.Scale >= f.Scale && t.Precision-t.Scale >= f.Precision-f.Scale
	case schemas.KindFloat:
		return t.Type == schemas.Float || t.Type == schemas.Double
	case schemas.KindDouble: // FLOAT(M,D) travels as a double; appendText checks each value
		return t.Type == schemas.Double || t.Type == schemas.Float && t.Precision > 0
	case schemas.KindBool:
		return t.Type == schemas.Bit
	case schemas.KindBits:
		return t.Type == schemas.Bit && t.Length >= f.Length
	case schemas.KindBytes: // as which MariaDB logs the types after Blob
		return t.Type == schemas.Binary || t.Type == schemas.VarBinary || t.Type == schemas.Blob ||
			t.Type == schemas.UUID || t.Type == schemas.INET4 || t.Type == schemas.INET6 || t.Type == schemas.Vector
	case schemas.KindUUID:
		return t.Type == schemas.UUID
	case schemas.KindPoint:
		return t.Type == schemas.Point || t.Type == schemas.Geometry
	case schemas.KindGeometry:
		return t.Type == schemas.Geometry
	case schemas.KindVector:
		return t.Type == schemas.Vector
	case schemas.KindString:
		return t.Type == schemas.Char || t.Type == schemas.VarChar || t.Type == schemas.Text ||
			t.Type == schemas.JSON || // see checkDocument
			t.Type == schemas.INET4 || t.Type == schemas.INET6
	case schemas.KindJSON: // MariaDB's JSON is a LONGTEXT
		return t.Type == schemas.JSON || t.Type == schemas.Text && dialect == MariaDB
	case schemas.KindEnum:
		return t.Type == schemas.Enum
	case schemas.KindEnumSet:
		return t.Type == schemas.Set
	case schemas.KindDate:
		return t.Type == schemas.Date
	case schemas.KindYear:
		return t.Type == schemas.Year
	case schemas.KindMicroTime:
		return t.Type == schemas.Time
	case schemas.KindTimestamp, schemas.KindMicroTimestamp:
		return t.Type == schemas.DateTime
	case schemas.KindZonedTimestamp:
		return t.Type == schemas.Timestamp
	}
	return false
}

func describe(f *schemas.Field) string {
	switch f.Kind {
	case schemas.KindDecimal:
		return fmt.Sprintf("decimal(%d,%d)", f.Precision, f.Scale)
	case schemas.KindBits:
		return fmt.Sprintf("bit(%d)", f.Length)
	}
	return "of kind " + f.Kind.String()
}

// nativeOf returns a column type that holds every value of a field, as far as
// the field tells.
func nativeOf(f *schemas.Field) string {
	switch f.Kind {
	case schemas.KindDecimal:
		return fmt.Sprintf("decimal(%d,%d)", f.Precision, f.Scale)
	case schemas.KindBits:
		return fmt.Sprintf("bit(%d)", f.Length)
	case schemas.KindBool:
		return "bit(1)"
	case schemas.KindInt:
		return "int"
	case schemas.KindLong:
		return "bigint"
	case schemas.KindFloat, schemas.KindDouble, schemas.KindDate, schemas.KindYear, schemas.KindJSON, schemas.KindUUID, schemas.KindPoint, schemas.KindGeometry:
		return f.Kind.String()
	case schemas.KindMicroTime:
		return "time(6)"
	case schemas.KindTimestamp:
		return "datetime(3)"
	case schemas.KindMicroTimestamp:
		return "datetime(6)"
	case schemas.KindZonedTimestamp:
		return "timestamp(6)"
	}
	return "<the type it has in the origin>"
}

func nativeName(t *schemas.Column) string {
	if t.Native != "" {
		return t.Native
	}
	return t.Type.String()
}

var errNull = errors.New("the value is NULL and the column is NOT NULL here")

// appendValue appends the value of the field that is at that position of row, and returns the position
// after it. What the server generates itself is passed over. A large value goes to wide, unless that is nil,
// with a placeholder in its place.
func (c *column) appendValue(dst, row []byte, at int, wide *[]WideValue) ([]byte, int, error) {
	null, next, err := c.field.ReadNull(row, at)
	switch {
	case err != nil:
	case c.generated && !null:
		next, err = c.field.SkipValue(row, next)
	case c.generated:
	case null && !c.nullable:
		err = errNull
	case null:
		dst = append(dst, "NULL"...)
	case c.invalid && next < len(row) && row[next] == 0:
		dst = append(append(append(dst, '\''), c.zero...), '\'')
		next++
	case wide != nil && c.isWide(row, next):
		var value []byte
		if value, next, err = c.readString(row, next); err == nil {
			dst = append(dst, '?')
			*wide = append(*wide, WideValue{c.quoted, value})
		}
	default:
		return c.appendLiteral(dst, row, next)
	}
	return dst, next, err
}

// appendLiteral appends the value at position at of b as an SQL literal, and
// returns the position after it.
func (c *column) appendLiteral(dst, b []byte, at int) ([]byte, int, error) {
	switch c.form {
	case bare:
		return c.appendText(dst, b, at)
	case plain:
		dst, at, err := c.appendText(append(dst, '\''), b, at)
		return append(dst, '\''), at, err
	}
	if c.kind >= schemas.KindPoint {
		return c.appendSpatial(dst, b, at)
	}
	v, at, err := c.readString(b, at)
	if err != nil {
		return dst, at, err
	}
	if c.isRaw(v) {
		dst, err = c.appendRaw(dst, v)
		return dst, at, err
	}
	if c.typ == schemas.JSON {
		if c.kind == schemas.KindString {
			if err := checkDocument(v); err != nil {
				return dst, at, err
			}
		}
		dst, err = appendJSON(dst, v)
		return dst, at, err
	}
	if c.form == binar && c.typ >= schemas.UUID {
		return appendHex(dst, v), at, nil // a quoted one would be read as text
	}
	if c.form == binar && len(v) > 0 {
		// An introducer, not x'..': half the bytes on the wire.
		dst = append(dst, "_binary"...)
	}
	return appendQuoted(dst, v), at, nil
}

// isWide reports whether the value at position at of b goes by a placeholder:
// one of bytes or text, and large. JSON and what comes in the exact form are
// expressions.
func (c *column) isWide(b []byte, at int) bool {
	const large = 4 << 10
	if c.kind != schemas.KindBytes && c.kind != schemas.KindString {
		return false
	}
	switch c.typ {
	case schemas.VarChar, schemas.Text, schemas.VarBinary, schemas.Blob:
		v, _, err := schemas.ReadBytes(b, at)
		return err == nil && len(v) >= large && !c.isRaw(v)
	}
	return false
}

// readString reads bytes or a string and checks that the column keeps them as
// they are.
func (c *column) readString(b []byte, at int) ([]byte, int, error) {
	v, at, err := schemas.ReadBytes(b, at)
	switch {
	case err != nil:
		return nil, at, err
	case c.isRaw(v):
	case c.form == text && !utf8.Valid(v):
		return nil, at, errors.New("the text is not valid UTF-8")
	case c.generated:
	case c.typ == schemas.Char && len(v) > 0 && v[len(v)-1] == ' ':
		return nil, at, errors.New("the text ends with a space, which CHAR doesn't keep; mend: make the column VARCHAR here, as in the origin")
	case c.typ == schemas.Binary && len(v) != c.length:
		return nil, at, fmt.Errorf("the value has %d bytes, and BINARY(%d) would pad it; mend: make the column VARBINARY here, as in the origin", len(v), c.length)
	}
	return v, at, nil
}

// appendText appends the value at position at of b as the server prints it.
func (c *column) appendText(dst, b []byte, at int) ([]byte, int, error) {
	switch c.kind {
	case schemas.KindInt:
		v, at, err := schemas.ReadInt(b, at)
		return strconv.AppendInt(dst, v, 10), at, err
	case schemas.KindLong:
		v, at, err := schemas.ReadLong(b, at)
		return strconv.AppendInt(dst, v, 10), at, err
	case schemas.KindFloat:
		if len(b)-at < 4 {
			return dst, at, schemas.ErrTruncated
		}
		dst, err := appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(b[at:]))))
		return dst, at + 4, err
	case schemas.KindDouble:
		if len(b)-at < 8 {
			return dst, at, schemas.ErrTruncated
		}
		v := math.Float64frombits(binary.LittleEndian.Uint64(b[at:]))
		if c.typ == schemas.Float && v != float64(float32(v)) {
			return dst, at, errors.New("the value is of a DOUBLE, and FLOAT would round it; mend: make the column DOUBLE here, as in the origin")
		}
		dst, err := appendFloat(dst, v)
		return dst, at + 8, err
	case schemas.KindBool:
		if at >= len(b) || b[at] > 1 {
			return dst, at, errors.New("the boolean is malformed")
		}
		return append(dst, '0'+b[at]), at + 1, nil
	case schemas.KindDecimal, schemas.KindBits, schemas.KindBytes, schemas.KindZonedTimestamp,
		schemas.KindString, schemas.KindEnum, schemas.KindEnumSet, schemas.KindJSON, schemas.KindUUID:
		v, at, err := c.readString(b, at)
		if err == nil {
			dst, err = c.appendStringText(dst, v)
		}
		return dst, at, err
	}
	if c.kind >= schemas.KindPoint {
		return c.appendSpatial(dst, b, at)
	}
	return c.appendTemporal(dst, b, at)
}

// appendStringText appends the text of a value that stands on the wire as
// bytes or string.
func (c *column) appendStringText(dst, v []byte) ([]byte, error) {
	switch c.kind {
	case schemas.KindDecimal:
		scale := c.field.Scale
		if c.typ == schemas.Decimal {
			scale = max(scale, c.scale)
		}
		return appendDecimal(dst, v, c.field.Scale, scale)
	case schemas.KindBits:
		if len(v) > 8 {
			return dst, errors.New("the value has more than 64 bits")
		}
		var u uint64
		for i, x := range v {
			u |= uint64(x) << (8 * i)
		}
		return strconv.AppendUint(dst, u, 10), nil
	case schemas.KindZonedTimestamp:
		return appendZoned(dst, v, c.scale)
	}
	return append(dst, v...), nil
}

// appendTemporal appends dates and times that stand on the wire as integers.
func (c *column) appendTemporal(dst, b []byte, at int) ([]byte, int, error) {
	v, at, err := schemas.ReadLong(b, at)
	if err != nil {
		return dst, at, err
	}
	switch c.kind {
	case schemas.KindYear:
		if v < 0 || v > 9999 {
			return dst, at, errRange
		}
		return appendDigits(dst, uint64(v), 4), at, nil
	case schemas.KindDate:
		dst, err = appendDate(dst, v)
	case schemas.KindMicroTime:
		dst, err = appendTime(dst, v, c.scale)
	case schemas.KindTimestamp:
		if v < exactBelow {
			dst, err = appendDateTime(dst, v, c.scale)
			break
		}
		if v > math.MaxInt64/1000 || v < math.MinInt64/1000 {
			return dst, at, errRange
		}
		dst, err = appendDateTime(dst, v*1000, c.scale)
	case schemas.KindMicroTimestamp:
		dst, err = appendDateTime(dst, v, c.scale)
	default:
		err = fmt.Errorf("a value of kind %s can't be written", c.kind)
	}
	return dst, at, err
}

// quote returns an identifier in backticks.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func qualified(t *schemas.Table) string { return quote(t.DB) + "." + quote(t.Name) }
