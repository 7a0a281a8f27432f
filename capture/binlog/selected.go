package binlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"duplex/schemas"
)

// Selected makes row images of what SELECT gives, as they would stand in the binlog
// had the rows been inserted just now. So a row that is copied takes the same way as
// one that changes, and comes out the same to the byte.
//
// The session must have time_zone '+00:00' and character_set_results NULL: texts
// come as they are stored. Only of JSON is something lost: the server's text doesn't tell
// the types of values that JSON doesn't have (a DATE, a DECIMAL), as it doesn't to
// any program.
type Selected struct {
	version *TableVersion
	columns []selected
}

// selected is how one column is asked for and what its text becomes.
type selected struct {
	expression string
	put        func(c *schemas.Column, dst, text []byte) ([]byte, error)
}

// NewSelected compiles the reading of a table of an engine, mysql or mariadb, as information_schema
// tells it. What can't be read gives an *UnsupportedError.
func NewSelected(t *schemas.Table, engine string) (*Selected, error) {
	logged, err := asLogged(t, engine)
	if err != nil {
		return nil, err
	}
	n := len(t.Columns)
	s := &Selected{version: &TableVersion{Table: logged, Captured: true}, columns: make([]selected, n)}
	tm := &replication.TableMapEvent{ColumnType: make([]byte, n), ColumnMeta: make([]uint16, n)}
	for i := range logged.Columns {
		c := &logged.Columns[i]
		tm.ColumnType[i], tm.ColumnMeta[i] = storedAs(c)
		s.columns[i] = selecting(c)
	}
	if s.version.Decoder, err = CompileRow(logged, tm); err != nil {
		return nil, err
	}
	for i := range logged.Columns {
		if logged.Columns[i].Type != schemas.JSON {
			continue
		}
		// Not the server's binary form but the text that this is turned into.
		text, err := compileText(&schemas.Column{Charset: "utf8mb4"}, gomysql.MYSQL_TYPE_BLOB, 4)
		if err != nil {
			return nil, err
		}
		c := &s.version.Decoder.columns[i]
		c.step, c.rough, c.size, c.charset, c.convert = text.step, text.rough, text.size, text.charset, text.convert
	}
	return s, nil
}

// asLogged returns the table as TABLE_MAP and Complete would have it.
func asLogged(t *schemas.Table, engine string) (*schemas.Table, error) {
	refuse := func(what, hint string) error {
		return &UnsupportedError{DB: t.DB, Table: t.Name, What: what, Hint: hint}
	}
	if len(t.Key) == 0 {
		return nil, refuse("it has no primary key", fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…)", t))
	}
	for _, u := range t.Unique {
		if u.Name == "PRIMARY" {
			return nil, refuse("its primary key has only a prefix of a column, so that two values can be one key", fmt.Sprintf("ALTER TABLE %s DROP PRIMARY KEY, ADD PRIMARY KEY (…) with whole columns", t))
		}
	}
	logged := &schemas.Table{DB: t.DB, Name: t.Name, Key: slices.Clone(t.Key), Columns: slices.Clone(t.Columns)}
	for i := range logged.Columns {
		c := &logged.Columns[i]
		c.Literal, c.Default, c.Generated, c.Derived = nil, false, false, false
		switch {
		case c.Type == schemas.Year:
			c.Unsigned = false
		case c.Type == schemas.Vector && engine == gomysql.MariaDBFlavor:
			c.Type = schemas.VarBinary
		case slices.ContainsFunc(c.Values, func(label string) bool { return strings.Contains(label, "?") }):
			// That is what it shows of a character beyond the Basic Multilingual Plane.
			return nil, refuse(fmt.Sprintf("information_schema may not tell the labels of column %s as they are: one has a question mark", c.Name), "rename the label, or copy the table by other means and set initial_copy: {from: none}")
		case c.Scale > 0 && strings.Contains(c.Native, "mariadb-5.3"):
			return nil, refuse(fmt.Sprintf("column %s has the format of MariaDB 5.3, of which the binlog doesn't tell the digits", c.Name), fmt.Sprintf("ALTER TABLE %s FORCE, with mysql56_temporal_format=ON", t))
		}
	}
	logged.Complete(t)
	return logged, nil
}

// Version is the shape of the table that the images have.
func (s *Selected) Version() *TableVersion { return s.version }

// Expressions are what to select, in the order of the columns.
func (s *Selected) Expressions() []string {
	all := make([]string, len(s.columns))
	for i := range s.columns {
		all[i] = s.columns[i].expression
	}
	return all
}

// Present is the bitmap of columns in the images: all.
func (s *Selected) Present() []byte {
	return bytes.Repeat([]byte{0xff}, s.version.Decoder.bitmap)
}

// AppendImage appends the image of a row: the texts of its columns, nil for NULL.
// Errors about a value are a *ValueError.
func (s *Selected) AppendImage(dst []byte, texts [][]byte) ([]byte, error) {
	start := len(dst)
	for range s.version.Decoder.bitmap {
		dst = append(dst, 0)
	}
	for i, text := range texts {
		if text == nil {
			dst[start+i/8] |= 1 << (i % 8)
			continue
		}
		var err error
		if dst, err = s.columns[i].put(&s.version.Table.Columns[i], dst, text); err != nil {
			return nil, s.version.Decoder.fail(s.version.Table.Columns[i].Name, ErrMalformed)
		}
	}
	return dst, nil
}

// storedAs is the type and the metadata that the column has in a made-up TABLE_MAP event:
// of several that the server may use, the most roomy.
func storedAs(c *schemas.Column) (typ byte, meta uint16) {
	switch c.Type {
	case schemas.Time:
		return gomysql.MYSQL_TYPE_TIME2, uint16(c.Scale)
	case schemas.DateTime:
		return gomysql.MYSQL_TYPE_DATETIME2, uint16(c.Scale)
	case schemas.Timestamp:
		return gomysql.MYSQL_TYPE_TIMESTAMP2, uint16(c.Scale)
	case schemas.Enum, schemas.Set:
		return gomysql.MYSQL_TYPE_STRING, uint16(labelBytes(c))
	}
	return gomysql.MYSQL_TYPE_BLOB, 4
}

// labelBytes is the size of an ENUM's index or a SET's bits.
func labelBytes(c *schemas.Column) int {
	n := len(c.Values)
	switch {
	case c.Type == schemas.Enum && n < 256:
		return 1
	case c.Type == schemas.Enum:
		return 2
	case n <= 32:
		return (n + 7) / 8
	}
	return 8
}

// selecting tells how a column is read.
func selecting(c *schemas.Column) selected {
	name := "`" + strings.ReplaceAll(c.Name, "`", "``") + "`"
	switch c.Type {
	case schemas.TinyInt, schemas.SmallInt, schemas.MediumInt, schemas.Int, schemas.BigInt:
		size := map[schemas.Type]int{schemas.TinyInt: 1, schemas.SmallInt: 2, schemas.MediumInt: 3, schemas.Int: 4, schemas.BigInt: 8}[c.Type]
		return selected{name, putInteger(size)}
	case schemas.Enum, schemas.Set:
		return selected{"CAST(" + name + " AS UNSIGNED)", putInteger(labelBytes(c))}
	case schemas.Float, schemas.Double:
		// The text of a FLOAT has six digits, that of a DOUBLE all that it takes. Zero keeps its sign.
		return selected{name + "*1e0", putFloating}
	case schemas.Decimal:
		return selected{name, putDecimal}
	case schemas.Bit:
		return selected{name, putRaw}
	case schemas.Year:
		return selected{name, putYear}
	case schemas.Date:
		return selected{name, putDate}
	case schemas.Time:
		return selected{name, putTime}
	case schemas.DateTime:
		return selected{name, putDateTime}
	case schemas.Timestamp:
		return selected{name, putTimestamp}
	case schemas.UUID, schemas.INET4, schemas.INET6:
		return selected{name, putAddress}
	}
	return selected{name, putBytes}
}

// putInteger makes little endian integers of so many bytes.
func putInteger(size int) func(*schemas.Column, []byte, []byte) ([]byte, error) {
	return func(_ *schemas.Column, dst, text []byte) ([]byte, error) {
		var v uint64
		var err error
		if len(text) > 0 && text[0] == '-' {
			var signed int64
			signed, err = strconv.ParseInt(string(text), 10, 64)
			v = uint64(signed)
		} else {
			v, err = strconv.ParseUint(string(text), 10, 64)
		}
		for range size {
			dst = append(dst, byte(v))
			v >>= 8
		}
		return dst, err
	}
}

func putFloating(c *schemas.Column, dst, text []byte) ([]byte, error) {
	v, err := strconv.ParseFloat(string(text), 64)
	if c.Type == schemas.Float {
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v))), err
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v)), err
}

// putRaw: BIT comes as it is stored.
func putRaw(c *schemas.Column, dst, text []byte) ([]byte, error) {
	size := (c.Length + 7) / 8
	if len(text) > size {
		return nil, ErrMalformed
	}
	for range size - len(text) {
		dst = append(dst, 0)
	}
	return append(dst, text...), nil
}

// putBytes puts the length before a text, bytes, a document or a geometry.
func putBytes(_ *schemas.Column, dst, text []byte) ([]byte, error) {
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(text))), text...), nil
}

// putDecimal packs digits; see packing.
func putDecimal(c *schemas.Column, dst, text []byte) ([]byte, error) {
	p, ok := newPacking(c.Precision, c.Scale)
	if !ok {
		return nil, ErrMalformed
	}
	rest, negative := bytes.CutPrefix(text, []byte("-"))
	integer, fraction, _ := bytes.Cut(rest, []byte("."))
	integer = bytes.TrimLeft(integer, "0")
	missing := c.Precision - c.Scale - len(integer)
	if missing < 0 || len(fraction) > c.Scale {
		return nil, ErrMalformed
	}
	digits := append(append(bytes.Repeat([]byte("0"), missing), integer...), fraction...)
	digits = append(digits, bytes.Repeat([]byte("0"), c.Scale-len(fraction))...)
	start := len(dst)
	for _, g := range p.groups[:p.n] {
		v, err := strconv.ParseUint(string(digits[:g.digits]), 10, 32)
		if err != nil {
			return nil, err
		}
		digits = digits[g.digits:]
		for shift := 8 * (int(g.bytes) - 1); shift >= 0; shift -= 8 {
			dst = append(dst, byte(v>>shift))
		}
	}
	if negative {
		for i := start; i < len(dst); i++ {
			dst[i] = ^dst[i]
		}
	}
	dst[start] ^= 0x80
	return dst, nil
}

func putYear(_ *schemas.Column, dst, text []byte) ([]byte, error) {
	year, err := strconv.Atoi(string(text))
	if year == 0 {
		return append(dst, 0), err
	}
	return append(dst, byte(year-1900)), err
}

// clockParts reads numbers that stand between separators, and returns the fraction
// of a second in microseconds.
func clockParts(text []byte, parts []int64) (micros int64, err error) {
	whole, fraction, _ := bytes.Cut(text, []byte("."))
	for i := range parts {
		n := bytes.IndexAny(whole, "-: ")
		if n < 0 {
			n = len(whole)
		}
		if (n == len(whole)) != (i == len(parts)-1) {
			return 0, ErrMalformed
		}
		if parts[i], err = strconv.ParseInt(string(whole[:n]), 10, 64); err != nil {
			return 0, err
		}
		whole = whole[min(n+1, len(whole)):]
	}
	if len(fraction) == 0 {
		return 0, nil
	}
	if len(fraction) > 6 {
		return 0, ErrMalformed
	}
	micros, err = strconv.ParseInt(string(fraction), 10, 64)
	for range 6 - len(fraction) {
		micros *= 10
	}
	return micros, err
}

// appendFraction is the inverse of fraction.
func appendFraction(dst []byte, micros int64, digits int) []byte {
	switch (digits + 1) / 2 {
	case 1:
		return append(dst, byte(micros/10000))
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(micros/100))
	case 3:
		return append(dst, byte(micros>>16), byte(micros>>8), byte(micros))
	}
	return dst
}

func putDate(_ *schemas.Column, dst, text []byte) ([]byte, error) {
	var p [3]int64
	_, err := clockParts(text, p[:])
	v := p[0]<<9 | p[1]<<5 | p[2]
	return append(dst, byte(v), byte(v>>8), byte(v>>16)), err
}

// putTime is the inverse of stepTime.
func putTime(c *schemas.Column, dst, text []byte) ([]byte, error) {
	var p [3]int64
	rest, negative := bytes.CutPrefix(text, []byte("-"))
	micros, err := clockParts(rest, p[:])
	packed := p[0]<<12 | p[1]<<6 | p[2]
	if negative {
		packed = -packed
		if micros != 0 {
			packed--
			unit := [...]int64{1: 10000 << 8, 2: 100 << 16, 3: 1 << 24}[(c.Scale+1)/2]
			micros = unit - micros
		}
	}
	packed += 0x800000
	return appendFraction(append(dst, byte(packed>>16), byte(packed>>8), byte(packed)), micros, c.Scale), err
}

func putDateTime(c *schemas.Column, dst, text []byte) ([]byte, error) {
	var p [6]int64
	micros, err := clockParts(text, p[:])
	packed := ((p[0]*13+p[1])<<5|p[2])<<17 | p[3]<<12 | p[4]<<6 | p[5]
	packed += 0x8000000000
	dst = append(dst, byte(packed>>32))
	return appendFraction(binary.BigEndian.AppendUint32(dst, uint32(packed)), micros, c.Scale), err
}

func putTimestamp(c *schemas.Column, dst, text []byte) ([]byte, error) {
	var p [6]int64
	micros, err := clockParts(text, p[:])
	if err != nil {
		return nil, err
	}
	seconds := int64(0) // 0000-00-00 00:00:00
	if p[0] != 0 {
		days, err := epochDays(p[0], p[1], p[2])
		if err != nil {
			return nil, err
		}
		seconds = ((days*24+p[3])*60+p[4])*60 + p[5]
	}
	return appendFraction(binary.BigEndian.AppendUint32(dst, uint32(seconds)), micros, c.Scale), nil
}

// putAddress reads the texts of UUID, INET4 and INET6.
func putAddress(c *schemas.Column, dst, text []byte) ([]byte, error) {
	if c.Type == schemas.UUID {
		value, err := hex.DecodeString(strings.ReplaceAll(string(text), "-", ""))
		return append(append(dst, byte(len(value))), value...), err
	}
	addr, err := netip.ParseAddr(string(text))
	if err != nil {
		return nil, err
	}
	if c.Type == schemas.INET4 {
		value := addr.As4()
		return append(append(dst, 4), value[:]...), nil
	}
	value := addr.As16()
	return append(append(dst, 16), value[:]...), nil
}
