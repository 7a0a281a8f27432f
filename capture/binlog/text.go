package binlog

import (
	"encoding/binary"
	"fmt"
	"math/bits"

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
	out := column{size: size}
	switch c.Charset {
	case "utf8mb4", "utf8mb3", "utf8":
		out.step = stepBytes
	case "ascii":
		out.step = stepASCII
	case "latin1":
		out.step = stepLatin1
	default:
		return column{}, &UnsupportedError{What: fmt.Sprintf("character set %q is not handled yet", c.Charset), Hint: charsetHint}
	}
	return out, err
}

// compileBytes picks the step of BINARY, VARBINARY and BLOB.
func compileBytes(c *schemas.Column, typ byte, meta uint16) (column, error) {
	size, err := lengthBytes(typ, meta)
	if c.Type == schemas.Binary {
		return column{step: stepPadded, size: size, width: c.Length}, err
	}
	return column{step: stepBytes, size: size}, err
}

// stepBytes passes the bytes on as they are; those of a text are UTF-8.
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
		return nil, 0, ErrCharset
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
	out := column{size: int(meta & 0xff)}
	if c.Type == schemas.Set {
		if out.size < 1 || out.size > 8 || len(c.Values) > 64 {
			return column{}, &UnsupportedError{What: "its TABLE_MAP event is malformed: a SET of impossible size"}
		}
		for _, v := range c.Values {
			out.labels = append(out.labels, []byte(v))
		}
		out.step = stepSet
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
	index := int(src[0])
	if index >= len(c.labels) {
		return nil, 0, ErrMalformed
	}
	return append(dst, c.labels[index]...), 1, nil
}

func stepEnum16(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 2 {
		return nil, 0, ErrTruncated
	}
	index := int(binary.LittleEndian.Uint16(src))
	if index >= len(c.labels) {
		return nil, 0, ErrMalformed
	}
	return append(dst, c.labels[index]...), 2, nil
}

// stepSet joins the labels whose bits are set, in the order of definition.
func stepSet(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < c.size {
		return nil, 0, ErrTruncated
	}
	var set uint64
	for i := c.size - 1; i >= 0; i-- {
		set = set<<8 | uint64(src[i])
	}
	if bits.Len64(set) > len(c.labels) {
		return nil, 0, ErrMalformed
	}
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
	return dst, c.size, nil
}
