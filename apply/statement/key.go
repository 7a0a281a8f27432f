package statement

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"duplex/schemas"
)

// appendKey appends one key: `value`, `(value,value)` or, in pairs,
// "(`a`=value AND `b`=value)".
func (b *Binder) appendKey(dst, key []byte) ([]byte, error) {
	at := 0
	if len(b.key) > 1 {
		dst = append(dst, '(')
	}
	var err error
	for i := range b.key {
		c := &b.key[i]
		switch {
		case i > 0 && b.pairs:
			dst = append(dst, " AND "...)
		case i > 0:
			dst = append(dst, ',')
		}
		if b.pairs {
			dst = append(append(dst, c.quoted...), '=')
		}
		if dst, at, err = c.appendLiteral(dst, key, at); err != nil {
			return dst, fmt.Errorf("column %s: %w", c.quoted, err)
		}
	}
	if at != len(key) {
		return dst, errTrailing
	}
	if len(b.key) > 1 {
		dst = append(dst, ')')
	}
	return dst, nil
}

// AppendKeyText appends the canonical text of a key: that of each column as
// the server prints it, each after its length, so that no two keys share one.
func (b *Binder) AppendKeyText(dst, key []byte) ([]byte, error) {
	return b.appendKeyParts(dst, key, (*column).appendText)
}

// AppendConflictKey appends bytes that are equal for all keys that the server
// may take for equal. They may be equal for other keys, too, unless Identity is true.
func (b *Binder) AppendConflictKey(dst, key []byte) ([]byte, error) {
	return b.appendKeyParts(dst, key, (*column).appendCoarse)
}

func (b *Binder) appendKeyParts(dst, key []byte, part func(*column, []byte, []byte, int) ([]byte, int, error)) ([]byte, error) {
	start, at := len(dst), 0
	var err error
	for i := range b.key {
		c := &b.key[i]
		if dst, at, err = appendPart(dst, c, key, at, part); err != nil {
			return dst[:start], fmt.Errorf("reading a key of table %s: column %s: %w", b.table, c.quoted, err)
		}
	}
	if at != len(key) {
		return dst[:start], fmt.Errorf("reading a key of table %s: %w", b.table, errTrailing)
	}
	return dst, nil
}

// appendPart appends what part appends, after its length.
func appendPart(dst []byte, c *column, b []byte, at int, part func(*column, []byte, []byte, int) ([]byte, int, error)) ([]byte, int, error) {
	mark := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst, at, err := part(c, dst, b, at)
	if err == nil {
		binary.BigEndian.PutUint32(dst[mark:], uint32(len(dst)-mark-4))
	}
	return dst, at, err
}

// AppendKeyTextFromResult appends the text that AppendKeyText gives for the
// key of a row that AppendSelectKeys returned, in the text protocol.
func (b *Binder) AppendKeyTextFromResult(dst []byte, cols [][]byte) ([]byte, error) {
	return b.appendResult(dst, cols, func(_ *column, dst []byte, _ int) ([]byte, error) { return dst, nil })
}

// appendResult appends the parts of a key that the server has shown, each after its
// length; as changes a part's text, from mark on.
func (b *Binder) appendResult(dst []byte, cols [][]byte, as func(c *column, dst []byte, mark int) ([]byte, error)) ([]byte, error) {
	if len(cols) != len(b.key) {
		return dst, fmt.Errorf("reading a key of table %s: the result has %d columns, the key %d", b.table, len(cols), len(b.key))
	}
	for i := range b.key {
		c := &b.key[i]
		mark := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		var err error
		if dst, err = c.appendPrinted(dst, cols[i]); err == nil {
			dst, err = as(c, dst, mark+4)
		}
		if err != nil {
			return dst, fmt.Errorf("reading a key of table %s: column %s: %w", b.table, c.quoted, err)
		}
		binary.BigEndian.PutUint32(dst[mark:], uint32(len(dst)-mark-4))
	}
	return dst, nil
}

// appendPrinted turns what the server printed into canonical text.
func (c *column) appendPrinted(dst, text []byte) ([]byte, error) {
	switch c.typ {
	case schemas.TinyInt, schemas.SmallInt, schemas.MediumInt, schemas.Int, schemas.BigInt, schemas.Decimal:
		// ZEROFILL columns are printed with zeros in front.
		if len(text) > 0 && text[0] == '-' {
			dst, text = append(dst, '-'), text[1:]
		}
		for len(text) > 1 && text[0] == '0' && text[1] != '.' {
			text = text[1:]
		}
	case schemas.Year:
		// The driver reads YEAR as a number, which has no leading zeros.
		for range 4 - len(text) {
			dst = append(dst, '0')
		}
	case schemas.Float, schemas.Double:
		v, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			return dst, errors.New("the server printed a number that can't be read")
		}
		return appendFloat(dst, v)
	case schemas.Bit:
		if len(text) > 8 {
			return dst, errors.New("the server returned more than 64 bits")
		}
		var v uint64
		for _, x := range text {
			v = v<<8 | uint64(x)
		}
		return strconv.AppendUint(dst, v, 10), nil
	}
	return append(dst, text...), nil
}

// AppendUnique appends bytes that are equal for all rows between which unique
// key i may clash. null tells that the row clashes with none, since a part of
// its key is NULL.
func (b *Binder) AppendUnique(dst []byte, i int, row []byte) (out []byte, null bool, err error) {
	return b.appendUnique(dst, i, row, (*column).appendCoarse)
}

// AppendUniqueText appends bytes that are equal for rows of which unique key i has
// the same values, not only equal ones.
func (b *Binder) AppendUniqueText(dst []byte, i int, row []byte) (out []byte, null bool, err error) {
	return b.appendUnique(dst, i, row, (*column).appendText)
}

func (b *Binder) appendUnique(dst []byte, i int, row []byte, as func(*column, []byte, []byte, int) ([]byte, int, error)) (out []byte, null bool, err error) {
	start, at, left := len(dst), 0, len(b.unique[i].Fields)
	for f := range b.row {
		if left == 0 {
			break
		}
		c := &b.row[f]
		isNull, next, err := c.field.ReadNull(row, at)
		part := contains(b.unique[i].Fields, f)
		switch {
		case err != nil:
		case isNull && part:
			return dst[:start], true, nil
		case isNull:
		case part:
			dst, next, err = appendPart(dst, c, row, next, as)
			left--
		default:
			next, err = c.field.SkipValue(row, next)
		}
		if err != nil {
			return dst[:start], false, fmt.Errorf("reading a row of table %s: column %s: %w", b.table, c.quoted, err)
		}
		at = next
	}
	return dst, false, nil
}

func contains(fields []int, f int) bool {
	for _, x := range fields {
		if x == f {
			return true
		}
	}
	return false
}

// exactEquality reports whether values of the column that the server takes for
// equal have the same text.
func (c *column) exactEquality() bool {
	switch c.kind {
	case schemas.KindFloat, schemas.KindDouble:
		return false
	}
	if c.typ >= schemas.UUID { // shown as a text that may have another form
		return false
	}
	switch c.kind {
	case schemas.KindString:
		// CHAR has no trailing spaces that could be ignored.
		return !c.vague && (c.fold == foldNone || c.fold == foldSpaces && c.typ == schemas.Char)
	}
	return true
}

const negativeZero = "-0e+00"

// appendFloat appends the shortest text that the server reads back to exactly
// v. FLOAT is widened to double by the caller, which loses nothing.
func appendFloat(dst []byte, v float64) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return dst, errors.New("the number is not finite: MySQL has no such value")
	}
	return strconv.AppendFloat(dst, v, 'e', -1, 64), nil
}
