package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The Avro binary encoding: the few primitives that the compiled writers and
// readers are made of. goavro is the oracle that tests hold them against.

// ErrTruncated tells that a value ends before its schema does.
var ErrTruncated = errors.New("avro value is truncated")

var (
	errVarint   = errors.New("avro integer is malformed: more bits than its type has")
	errBoolean  = errors.New("avro boolean is neither 0 nor 1")
	errUnion    = errors.New("avro union index is neither 0 nor 1")
	errTrailing = errors.New("bytes are left after the avro value")
)

// AppendLong appends an Avro int or long.
func AppendLong(dst []byte, v int64) []byte {
	u := uint64(v)<<1 ^ uint64(v>>63)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// AppendString appends an Avro string.
func AppendString(dst []byte, s string) []byte {
	return append(AppendLong(dst, int64(len(s))), s...)
}

// AppendBytes appends Avro bytes, or a string that is at hand as bytes.
func AppendBytes(dst, b []byte) []byte {
	return append(AppendLong(dst, int64(len(b))), b...)
}

// AppendBool appends an Avro boolean.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendFloat appends an Avro float.
func AppendFloat(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// AppendDouble appends an Avro double.
func AppendDouble(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// appendOptional appends a value of union ["null","long"].
func appendOptionalLong(dst []byte, v int64) []byte { return AppendLong(append(dst, 2), v) }

// appendOptionalString appends a value of union ["null","string"]; the empty
// string stands for null.
func appendOptionalString(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, 0)
	}
	return AppendString(append(dst, 2), s)
}

// ReadLong reads an Avro long at position at of b and returns the position
// after it.
func ReadLong(b []byte, at int) (v int64, next int, err error) {
	if uint(at) < uint(len(b)) && b[at] < 0x80 { // most are one byte
		u := uint64(b[at])
		return int64(u>>1) ^ -int64(u&1), at + 1, nil
	}
	var u uint64
	for shift := uint(0); ; shift += 7 {
		if uint(at) >= uint(len(b)) {
			return 0, at, ErrTruncated
		}
		c := b[at]
		at++
		if shift == 63 && c > 1 {
			return 0, at, errVarint
		}
		u |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return int64(u>>1) ^ -int64(u&1), at, nil
		}
	}
}

// ReadInt is ReadLong for an Avro int: it must fit 32 bits.
func ReadInt(b []byte, at int) (v int64, next int, err error) {
	v, next, err = ReadLong(b, at)
	if err == nil && v != int64(int32(v)) {
		return 0, next, errVarint
	}
	return v, next, err
}

// ReadBytes reads Avro bytes, or a string, at position at of b and returns the
// sub-slice of b and the position after it.
func ReadBytes(b []byte, at int) (v []byte, next int, err error) {
	n, at, err := ReadLong(b, at)
	if err != nil {
		return nil, at, err
	}
	if n < 0 || n > int64(len(b)-at) {
		return nil, at, ErrTruncated
	}
	end := at + int(n)
	return b[at:end:end], end, nil
}

// HeaderBytes is the length of what AppendHeader appends.
const HeaderBytes = 5

// AppendHeader appends Confluent's framing: a zero byte and the id under which
// the registry knows the schema.
func AppendHeader(dst []byte, schemaID int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), uint32(schemaID))
}

// ReadHeader splits a Kafka key or value in Confluent's framing into the
// schema's id and the Avro value.
func ReadHeader(data []byte) (schemaID int, value []byte, err error) {
	if len(data) < 5 || data[0] != 0 {
		return 0, nil, fmt.Errorf("record of %d bytes is not in Confluent's wire format (a zero byte, a 4 byte schema id, an Avro value): "+
			"another program wrote to this topic", len(data))
	}
	return int(int32(binary.BigEndian.Uint32(data[1:5]))), data[5:], nil
}
