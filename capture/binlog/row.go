package binlog

import (
	"bytes"
	"errors"
	"fmt"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"duplex/schemas"
)

// The kinds of values that a row image may hold and Decode refuses. They come
// wrapped in a *ValueError.
var (
	// ErrTruncated: the row image ends inside the value.
	ErrTruncated = errors.New("the row image ends inside it")
	// ErrMalformed: the bytes can't be a value of the column's type.
	ErrMalformed = errors.New("the row image is malformed")
	// ErrCharset: bytes that the column's character set doesn't have.
	ErrCharset = errors.New("bytes that its character set doesn't have")
	// ErrJSONDepth: JSON nested deeper than the server itself allows.
	ErrJSONDepth = errors.New("its JSON is nested deeper than 100")
	// ErrPartialImage: the row image lacks columns.
	ErrPartialImage = errors.New("the row image lacks columns; mend: SET PERSIST binlog_row_image='FULL' (MariaDB: SET GLOBAL binlog_row_image='FULL', and the same in its option file), let open sessions reconnect, and take a new snapshot of the table")
)

// ValueError says which column of which table holds a value that can't be
// carried. It never tells the value.
type ValueError struct {
	DB, Table string
	// Column is empty where the row as a whole is meant.
	Column string
	// Err is one of the errors above.
	Err error
}

// Error names the place and the kind of value.
func (e *ValueError) Error() string {
	if e.Column == "" {
		return fmt.Sprintf("table %s.%s: %v", e.DB, e.Table, e.Err)
	}
	return fmt.Sprintf("table %s.%s, column %s: %v", e.DB, e.Table, e.Column, e.Err)
}

// Unwrap gives the kind.
func (e *ValueError) Unwrap() error { return e.Err }

// maxColumns is the most columns that a table of any of the servers has: 4096,
// of InnoDB 1017.
const maxColumns = 4096

// Span is the part [From, To) of a buffer.
type Span struct{ From, To int }

// RowDecoder turns the row images of one table version into Avro. It holds no
// state of a row: any number of goroutines may share it.
type RowDecoder struct {
	table   *schemas.Table
	columns []column
	// bitmap is the number of bytes of a bitmap with a bit for each column.
	bitmap int
}

// column is the compiled decoder of one column.
type column struct {
	step step
	// rough takes over where step gives errInexact.
	rough rough
	// charset is the character set of a text, as the server names it, and
	// convert turns that into UTF-8.
	charset string
	convert func(dst, text []byte) (out []byte, exact bool)
	// key is the column's place in the primary key, or -1.
	key      int
	nullable bool
	// derived is set where an image may lack the column.
	derived bool
	// null and value are the indexes of the union, as Avro writes them, of NULL
	// and of a value.
	null, value byte
	// size is the number of bytes of a fixed-size value, or of the length
	// before one of variable size.
	size int
	// width is the length that BINARY is padded to.
	width int
	// digits is the number of digits of a fraction of a second.
	digits int
	// read reads a DATETIME, for rough.
	read func(c *column, src []byte) (dateTime, error)
	// decimal is the layout of a DECIMAL.
	decimal packing
	// labels are those of ENUM, each encoded as an Avro string with the
	// empty one of index 0 first, or those of SET as they are. blank is where
	// among the table's labels '' is, -1 if it is none.
	labels [][]byte
	set    bool
	blank  int
	// inner is the column without its compression, and most the longest value.
	inner *column
	most  uint64
}

// step appends the Avro encoding of the value at the start of src to dst and
// returns dst and how many bytes of src the value took.
// It gives errInexact for a value that its Avro type can't hold.
type step func(c *column, dst, src []byte) (out []byte, n int, err error)

// errInexact makes Decode call the column's rough.
var errInexact = errors.New("the value has no exact form in Avro")

// rough appends to dst what Debezium gives for a value that its form can't
// hold, index of the union included, and to exact the exact form. It is the
// slow way: few tables ever have such a value.
type rough func(c *column, dst, exact, src []byte) (out, exactOut []byte, n int, err error)

// CompileRow compiles the decoder of one table version, whose model
// TableFromMap has made from the same event. Column types that aren't
// handled yet give an *UnsupportedError.
func CompileRow(t *schemas.Table, tm *replication.TableMapEvent) (*RowDecoder, error) {
	if len(t.Columns) == 0 || len(t.Columns) > maxColumns || len(t.Columns) != len(tm.ColumnType) || len(t.Columns) != len(tm.ColumnMeta) {
		return nil, fmt.Errorf("compiling the row decoder of %s: %d columns in the model, %d in the event", t, len(t.Columns), len(tm.ColumnType))
	}
	d := &RowDecoder{table: t, columns: make([]column, len(t.Columns)), bitmap: (len(t.Columns) + 7) / 8}
	for i := range t.Columns {
		c, err := compileStored(&t.Columns[i], tm.ColumnType[i], tm.ColumnMeta[i])
		var refused *UnsupportedError
		if errors.As(err, &refused) {
			refused.DB, refused.Table, refused.Column = t.DB, t.Name, t.Columns[i].Name
		}
		if err != nil {
			return nil, err
		}
		c.key, c.nullable = -1, t.Columns[i].Optional()
		c.derived = t.Columns[i].Derived && c.nullable
		if c.null, c.value = 0, 2; t.Columns[i].NullLast() {
			c.null, c.value = 2, 0
		}
		if c.inner != nil {
			c.inner.nullable, c.inner.null, c.inner.value = c.nullable, c.null, c.value
		}
		d.columns[i] = c
	}
	for p, i := range t.Key {
		d.columns[i].key, d.columns[i].derived = p, false
	}
	return d, nil
}

// compileStored compiles a column as it is stored: compressed, maybe.
func compileStored(c *schemas.Column, typ byte, meta uint16) (column, error) {
	if !isCompressed(typ) {
		return compileColumn(c, typ, meta)
	}
	size, err := lengthBytes(plainType(typ), meta)
	if err != nil {
		return column{}, err
	}
	// What is unpacked has four bytes of length before it.
	inner, err := compileColumn(c, gomysql.MYSQL_TYPE_BLOB, 4)
	most := uint64(meta)
	if typ == typeBlobCompressed {
		most = 1<<(8*meta) - 1
	}
	return column{step: stepCompressed, rough: roughCompressed, size: size, most: most, inner: &inner}, err
}

// compileColumn picks the step of one column by its type.
func compileColumn(c *schemas.Column, typ byte, meta uint16) (column, error) {
	switch c.Type {
	case schemas.TinyInt, schemas.SmallInt, schemas.MediumInt, schemas.Int, schemas.BigInt:
		return compileInteger(c), nil
	case schemas.Decimal:
		return compileDecimal(c)
	case schemas.Float:
		if c.Precision > 0 {
			return column{step: stepWidenedFloat}, nil
		}
		return column{step: stepFloat}, nil
	case schemas.Double:
		return column{step: stepDouble}, nil
	case schemas.Bit:
		return compileBit(c)
	case schemas.Year:
		return column{step: stepYear}, nil
	case schemas.Date:
		return column{step: stepDate, rough: roughDate}, nil
	case schemas.Time, schemas.DateTime, schemas.Timestamp:
		return compileTemporal(c, typ)
	case schemas.Char, schemas.VarChar, schemas.Text:
		return compileText(c, typ, meta)
	case schemas.Binary, schemas.VarBinary, schemas.Blob:
		return compileBytes(c, typ, meta)
	case schemas.Enum, schemas.Set:
		return compileLabels(c, meta)
	case schemas.JSON:
		return compileJSON(meta)
	case schemas.Point, schemas.Geometry, schemas.Vector:
		return compileSpatial(c, meta)
	case schemas.UUID, schemas.INET4, schemas.INET6:
		return compileAddress(c), nil
	}
	return column{}, &UnsupportedError{What: c.Type.String() + " columns are not handled yet", Hint: "exclude the table, or drop the column"}
}

// KeyLen is the number of columns of the primary key.
func (d *RowDecoder) KeyLen() int { return len(d.table.Key) }

// Decode appends to dst the Avro encoding of the row image at the start of
// src: the record Value, its fields in table order. It returns dst, what is
// left of src after the image, and sets key, which has room for KeyLen spans,
// to where in dst the columns of the primary key stand, in key order: those
// bytes one after another are the record Key.
//
// present is the event's bitmap of the columns in the image: all of them but
// derived ones, which are then NULL, or it is an error. Errors about a value are a *ValueError; dst is then nil.
//
// exact, which Decode empties first, receives the values that the Avro form
// can't hold: those of the row go into the record's header, see
// schemas.AppendExact, and count when two keys are compared, see SameKey.
func (d *RowDecoder) Decode(dst, src, present []byte, key []Span, exact *schemas.Exact) (out, rest []byte, err error) {
	exact.Reset()
	if len(key) < len(d.table.Key) {
		return nil, nil, fmt.Errorf("decoding a row of %s: room for %d key columns, need %d", d.table, len(key), len(d.table.Key))
	}
	if len(present) < d.bitmap {
		return nil, nil, d.fail("", ErrTruncated)
	}
	if !d.isFull(present) {
		return d.decodePartial(dst, src, present, key, exact)
	}
	if len(src) < d.bitmap {
		return nil, nil, d.fail("", ErrTruncated)
	}
	return d.decode(dst, src[:d.bitmap], src[d.bitmap:], key, exact)
}

// decode decodes values; nulls is the bitmap of the columns that have none.
func (d *RowDecoder) decode(dst, nulls, src []byte, key []Span, exact *schemas.Exact) (out, rest []byte, err error) {
	for i := range d.columns {
		c := &d.columns[i]
		if nulls[i>>3]&(1<<(i&7)) != 0 {
			if !c.nullable || c.key >= 0 {
				return nil, nil, d.fail(d.table.Columns[i].Name, ErrMalformed)
			}
			dst = append(dst, c.null)
			continue
		}
		if c.nullable {
			dst = append(dst, c.value)
		}
		from := len(dst)
		out, n, err := c.step(c, dst, src)
		if err == errInexact { //nolint:errorlint // a step gives it as it is
			if c.nullable {
				from--
			}
			out, n, err = c.inexact(i, dst[:from], src, exact)
		}
		if err != nil {
			return nil, nil, d.fail(d.table.Columns[i].Name, err)
		}
		dst, src = out, src[n:]
		if c.key >= 0 {
			key[c.key] = Span{from, len(dst)}
		}
	}
	return dst, src, nil
}

// inexact decodes a value that step has no exact form for.
func (c *column) inexact(i int, dst, src []byte, exact *schemas.Exact) (out []byte, n int, err error) {
	out, value, n, err := c.rough(c, dst, nil, src)
	if err == nil {
		exact.Add(i, value)
	}
	return out, n, err
}

// stand appends, for a value that the Avro form can't hold, NULL where the
// column takes it, else the given value, as Debezium does.
func (c *column) stand(dst []byte, zero string) []byte {
	if c.nullable {
		return append(dst, c.null)
	}
	return append(dst, zero...)
}

// some appends the index of the union before a value that isn't NULL.
func (c *column) some(dst []byte) []byte {
	if c.nullable {
		return append(dst, c.value)
	}
	return dst
}

// SameKey reports whether two rows, as Decode gave them, have the same primary
// key. Two dates that Debezium's form can't hold are one in it.
func (d *RowDecoder) SameKey(before []byte, b []Span, exactBefore *schemas.Exact, after []byte, a []Span, exactAfter *schemas.Exact) bool {
	for p, i := range d.table.Key {
		if !bytes.Equal(before[b[p].From:b[p].To], after[a[p].From:a[p].To]) {
			return false
		}
		if exactBefore.Empty() && exactAfter.Empty() {
			continue
		}
		if !bytes.Equal(exactBefore.Of(i), exactAfter.Of(i)) {
			return false
		}
	}
	return true
}

func (d *RowDecoder) fail(column string, err error) error {
	return &ValueError{DB: d.table.DB, Table: d.table.Name, Column: column, Err: err}
}
