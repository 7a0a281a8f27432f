package binlog

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"duplex/schemas"
)

// lengthBytes is the number of bytes that a value's length takes before it.
func lengthBytes(typ byte, meta uint16) (int, error) {
	if typ == gomysql.MYSQL_TYPE_BLOB {
		if meta < 1 || meta > 4 {
			return 0, &UnsupportedError{What: fmt.Sprintf("its TABLE_MAP event is malformed: a BLOB with %d bytes of length", meta)}
		}
		return int(meta), nil
	}
	if _, length := stringType(typ, meta); length > 255 {
		return 2, nil
	}
	return 1, nil
}

// prefixed takes the value with its length before it from the start of src.
func prefixed(src []byte, size int) (value []byte, n int, err error) {
	if len(src) < size {
		return nil, 0, ErrTruncated
	}
	var length int
	switch size {
	case 1:
		length = int(src[0])
	case 2:
		length = int(binary.LittleEndian.Uint16(src))
	case 3:
		length = int(uint24(src))
	default:
		length = int(binary.LittleEndian.Uint32(src))
	}
	if length > len(src)-size {
		return nil, 0, ErrTruncated
	}
	return src[size : size+length], size + length, nil
}

// compileText picks the step of CHAR, VARCHAR and TEXT by the character set.
func compileText(c *schemas.Column, typ byte, meta uint16) (column, error) {
	size, err := lengthBytes(typ, meta)
	if err != nil {
		return column{}, err
	}
	out := column{size: size, charset: c.Charset, step: stepConverted, rough: roughText}
	if out.convert, err = conversion(c.Charset); err != nil {
		return column{}, err
	}
	switch c.Charset {
	case "utf8mb4", "utf8mb3", "utf8":
		out.step = stepUTF8
	case "ascii":
		out.step = stepASCII
	case "latin1":
		out.step = stepLatin1
	}
	return out, nil
}

// stepConverted converts text by its character set.
func stepConverted(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	start, guess := reserve(&dst, len(value))
	dst, exact := c.convert(dst, value)
	if !exact {
		return nil, 0, errInexact
	}
	return settle(dst, start, guess), n, nil
}

// roughText: to Debezium the characters that can't be are U+FFFD.
func roughText(c *column, dst, exact, src []byte) (out, exactOut []byte, n int, err error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, nil, 0, err
	}
	dst = c.some(dst)
	start, guess := reserve(&dst, len(value))
	dst, _ = c.convert(dst, value)
	exact = binary.AppendVarint(exact, int64(1+len(c.charset)+1+len(value)))
	exact = append(append(append(exact, schemas.RawText), c.charset...), 0)
	return settle(dst, start, guess), append(exact, value...), n, nil
}

// reserve leaves room before a text for its length, which is known only
// afterwards: for as many bytes as it will take if the text has size bytes.
func reserve(dst *[]byte, size int) (start, guess int) {
	start = len(*dst)
	*dst = binary.AppendVarint(*dst, int64(size))
	return start, len(*dst) - start
}

// settle writes the length into the room, and moves the text if it takes
// another.
func settle(dst []byte, start, guess int) []byte {
	var length [binary.MaxVarintLen64]byte
	text := len(dst) - start - guess
	size := binary.PutVarint(length[:], int64(text))
	if size > guess {
		dst = append(dst, length[:size-guess]...)
	}
	if size != guess {
		copy(dst[start+size:], dst[start+guess:start+guess+text])
		dst = dst[:start+size+text]
	}
	copy(dst[start:], length[:size])
	return dst
}

// compileBytes picks the step of BINARY, VARBINARY and BLOB.
func compileBytes(c *schemas.Column, typ byte, meta uint16) (column, error) {
	size, err := lengthBytes(typ, meta)
	if c.Type == schemas.Binary {
		return column{step: stepPadded, size: size, width: c.Length}, err
	}
	return column{step: stepBytes, size: size}, err
}

// stepUTF8 passes text on as it is.
func stepUTF8(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	if !utf8.Valid(value) {
		return nil, 0, errInexact
	}
	dst = binary.AppendVarint(dst, int64(len(value)))
	return append(dst, value...), n, nil
}

// stepBytes passes bytes on as they are.
func stepBytes(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	dst = binary.AppendVarint(dst, int64(len(value)))
	return append(dst, value...), n, nil
}

func stepASCII(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	if !isASCII(value) {
		return nil, 0, errInexact
	}
	dst = binary.AppendVarint(dst, int64(len(value)))
	return append(dst, value...), n, nil
}

func stepLatin1(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	size := latin1Size(value)
	dst = binary.AppendVarint(dst, int64(size))
	if size == len(value) {
		return append(dst, value...), n, nil
	}
	return appendLatin1(dst, value), n, nil
}

// stepPadded gives BINARY(n) back the zero bytes that the binlog leaves out
// at its end.
func stepPadded(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	if len(value) > c.width {
		return nil, 0, ErrMalformed
	}
	dst = binary.AppendVarint(dst, int64(c.width))
	dst = append(dst, value...)
	for range c.width - len(value) {
		dst = append(dst, 0)
	}
	return dst, n, nil
}

// compileLabels prepares the values of ENUM and SET.
func compileLabels(c *schemas.Column, meta uint16) (column, error) {
	out := column{size: int(meta & 0xff), blank: slices.Index(c.Values, ""), rough: roughLabel}
	if c.Type == schemas.Set {
		if out.size < 1 || out.size > 8 || len(c.Values) > 64 {
			return column{}, &UnsupportedError{What: "its TABLE_MAP event is malformed: a SET of impossible size"}
		}
		for _, v := range c.Values {
			out.labels = append(out.labels, []byte(v))
		}
		out.step, out.set = stepSet, true
		return out, nil
	}
	// Index 0 is the server's mark of a value that was none of the labels.
	for _, v := range append([]string{""}, c.Values...) {
		out.labels = append(out.labels, append(binary.AppendVarint(nil, int64(len(v))), v...))
	}
	switch out.size {
	case 1:
		out.step = stepEnum8
	case 2:
		out.step = stepEnum16
	default:
		return column{}, &UnsupportedError{What: "its TABLE_MAP event is malformed: an ENUM of impossible size"}
	}
	return out, nil
}

func stepEnum8(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 1 {
		return nil, 0, ErrTruncated
	}
	dst, err := c.appendLabel(dst, int(src[0]))
	return dst, 1, err
}

func stepEnum16(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 2 {
		return nil, 0, ErrTruncated
	}
	dst, err := c.appendLabel(dst, int(binary.LittleEndian.Uint16(src)))
	return dst, 2, err
}

// appendLabel appends the label of ENUM with that index.
func (c *column) appendLabel(dst []byte, index int) ([]byte, error) {
	switch {
	case index >= len(c.labels):
		return nil, ErrMalformed
	case index == 0 && c.blank >= 0:
		return nil, errInexact
	}
	return append(dst, c.labels[index]...), nil
}

// roughLabel: where ” is a label, the text doesn't tell it from what isn't one.
// The exact form is the number.
func roughLabel(c *column, dst, exact, src []byte) (out, exactOut []byte, n int, err error) {
	number := c.number(src)
	dst = c.some(dst)
	if c.set {
		dst = c.appendSet(dst, number)
	} else {
		dst = append(dst, c.labels[number]...)
	}
	form := strconv.AppendUint([]byte{schemas.RawText, 0}, number, 10)
	return dst, schemas.AppendBytes(exact, form), c.size, nil
}

// number reads the index of an ENUM, or the bits of a SET.
func (c *column) number(src []byte) (v uint64) {
	for i := c.size - 1; i >= 0; i-- {
		v = v<<8 | uint64(src[i])
	}
	return v
}

// stepSet joins the labels whose bits are set, in the order of definition.
func stepSet(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < c.size {
		return nil, 0, ErrTruncated
	}
	set := c.number(src)
	switch {
	case bits.Len64(set) > len(c.labels):
		return nil, 0, ErrMalformed
	case c.blank >= 0 && set>>c.blank&1 != 0:
		return nil, 0, errInexact
	}
	return c.appendSet(dst, set), c.size, nil
}

func (c *column) appendSet(dst []byte, set uint64) []byte {
	length := max(bits.OnesCount64(set)-1, 0) // commas
	for rest := set; rest != 0; rest &= rest - 1 {
		length += len(c.labels[bits.TrailingZeros64(rest)])
	}
	dst = binary.AppendVarint(dst, int64(length))
	for rest := set; rest != 0; rest &= rest - 1 {
		dst = append(dst, c.labels[bits.TrailingZeros64(rest)]...)
		if rest&(rest-1) != 0 {
			dst = append(dst, ',')
		}
	}
	return dst
}
