package binlog

import (
	"encoding/binary"
	"math"

	"duplex/schemas"
)

// compileInteger picks the step of TINYINT to BIGINT. Avro's zigzag varint is
// the one of encoding/binary.
func compileInteger(c *schemas.Column) column {
	steps := map[schemas.Type][2]step{
		schemas.TinyInt:   {stepInt8, stepUint8},
		schemas.SmallInt:  {stepInt16, stepUint16},
		schemas.MediumInt: {stepInt24, stepUint24},
		schemas.Int:       {stepInt32, stepUint32},
		schemas.BigInt:    {stepInt64, stepUint64},
	}[c.Type]
	if c.Unsigned {
		return column{step: steps[1]}
	}
	return column{step: steps[0]}
}

func stepInt8(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 1 {
		return nil, 0, ErrTruncated
	}
	return binary.AppendVarint(dst, int64(int8(src[0]))), 1, nil
}

func stepUint8(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 1 {
		return nil, 0, ErrTruncated
	}
	return binary.AppendVarint(dst, int64(src[0])), 1, nil
}

func stepInt16(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 2 {
		return nil, 0, ErrTruncated
	}
	return binary.AppendVarint(dst, int64(int16(binary.LittleEndian.Uint16(src)))), 2, nil
}

func stepUint16(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 2 {
		return nil, 0, ErrTruncated
	}
	return binary.AppendVarint(dst, int64(binary.LittleEndian.Uint16(src))), 2, nil
}

func stepInt24(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 3 {
		return nil, 0, ErrTruncated
	}
	// In the upper three bytes of an int32, whose shift back brings the sign.
	v := int32(src[0])<<8 | int32(src[1])<<16 | int32(src[2])<<24
	return binary.AppendVarint(dst, int64(v>>8)), 3, nil
}

func stepUint24(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 3 {
		return nil, 0, ErrTruncated
	}
	return binary.AppendVarint(dst, int64(uint24(src))), 3, nil
}

func stepInt32(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 4 {
		return nil, 0, ErrTruncated
	}
	return binary.AppendVarint(dst, int64(int32(binary.LittleEndian.Uint32(src)))), 4, nil
}

func stepUint32(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 4 {
		return nil, 0, ErrTruncated
	}
	return binary.AppendVarint(dst, int64(binary.LittleEndian.Uint32(src))), 4, nil
}

func stepInt64(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 8 {
		return nil, 0, ErrTruncated
	}
	return binary.AppendVarint(dst, int64(binary.LittleEndian.Uint64(src))), 8, nil
}

// stepUint64 writes BIGINT UNSIGNED as a Decimal of scale 0: Avro has no
// unsigned long.
func stepUint64(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 8 {
		return nil, 0, ErrTruncated
	}
	return appendInt128(dst, 0, binary.LittleEndian.Uint64(src)), 8, nil
}

// stepFloat and stepDouble copy: the binlog and Avro both have IEEE 754 in
// little-endian order.
func stepFloat(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 4 {
		return nil, 0, ErrTruncated
	}
	return append(dst, src[:4]...), 4, nil
}

// stepWidenedFloat: FLOAT(M,D) is a double in Avro.
func stepWidenedFloat(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 4 {
		return nil, 0, ErrTruncated
	}
	wide := float64(math.Float32frombits(binary.LittleEndian.Uint32(src)))
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(wide)), 4, nil
}

func stepDouble(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 8 {
		return nil, 0, ErrTruncated
	}
	return append(dst, src[:8]...), 8, nil
}

// stepYear: 0 is the year 0000, else years since 1900.
func stepYear(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 1 {
		return nil, 0, ErrTruncated
	}
	year := int64(src[0])
	if year != 0 {
		year += 1900
	}
	return binary.AppendVarint(dst, year), 1, nil
}

// compileBit picks the step of BIT(n).
func compileBit(c *schemas.Column) (column, error) {
	switch {
	case c.Length == 1:
		return column{step: stepBool}, nil
	case c.Length < 1 || c.Length > 64:
		return column{}, &UnsupportedError{What: "its TABLE_MAP event is malformed: a BIT column of impossible length"}
	}
	return column{step: stepBit, size: (c.Length + 7) / 8}, nil
}

func stepBool(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 1 {
		return nil, 0, ErrTruncated
	}
	if src[0] > 1 {
		return nil, 0, ErrMalformed
	}
	return append(dst, src[0]), 1, nil
}

// stepBit turns the server's big-endian bits into Debezium's little-endian.
func stepBit(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < c.size {
		return nil, 0, ErrTruncated
	}
	dst = append(dst, byte(c.size<<1))
	for i := c.size - 1; i >= 0; i-- {
		dst = append(dst, src[i])
	}
	return dst, c.size, nil
}

func uint24(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
}
