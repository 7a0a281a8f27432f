package schemas

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// AppendStruct appends an encoded record as Kafka Connect's default header
// converter writes one: {"name":value,…}. Its source is append of
// org.apache.kafka.connect.data.Values: numbers as Java prints them, bytes in
// base64, and of a text only quotes and backslashes are escaped.
func (r *Record) AppendStruct(dst, record []byte) ([]byte, error) {
	dst = append(dst, '{')
	at := 0
	for i := range r.Fields {
		f := &r.Fields[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendEscaped(dst, []byte(AvroName(f.Name))), ':')
		null, value, err := f.ReadNull(record, at)
		if err == nil && null {
			dst, at = append(dst, "null"...), value
			continue
		}
		if err == nil {
			at, err = f.SkipValue(record, value)
		}
		if err == nil {
			dst, err = f.appendConnect(dst, record[value:at])
		}
		if err != nil {
			return nil, fmt.Errorf("writing field %q: %w", f.Name, err)
		}
	}
	return append(dst, '}'), nil
}

// appendConnect appends one encoded value.
func (f *Field) appendConnect(dst, value []byte) ([]byte, error) {
	switch f.Kind {
	case KindBool:
		return strconv.AppendBool(dst, value[0] != 0), nil
	case KindFloat:
		return appendJava(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(value))), 32), nil
	case KindDouble:
		return appendJava(dst, math.Float64frombits(binary.LittleEndian.Uint64(value)), 64), nil
	case KindInt, KindDate, KindYear, KindLong, KindMicroTime, KindTimestamp, KindMicroTimestamp:
		n, _, err := ReadLong(value, 0)
		return strconv.AppendInt(dst, n, 10), err
	}
	b, _, err := ReadBytes(value, 0)
	if err != nil {
		return nil, err
	}
	switch f.Kind {
	case KindDecimal:
		return appendBigDecimal(dst, b, f.Scale), nil
	case KindBytes, KindBits:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"'), nil
	}
	return appendEscaped(dst, b), nil
}

func appendEscaped(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// appendBigDecimal appends a decimal as Java's BigDecimal.toString does: a very
// small one with an exponent.
func appendBigDecimal(dst, unscaled []byte, scale int) []byte {
	n := new(big.Int).SetBytes(unscaled)
	if len(unscaled) > 0 && unscaled[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(unscaled))))
	}
	if n.Sign() < 0 {
		dst = append(dst, '-')
	}
	digits := n.Abs(n).String()
	exponent := len(digits) - 1 - scale
	switch {
	case scale == 0:
		return append(dst, digits...)
	case exponent < -6:
		dst = append(dst, digits[0])
		if len(digits) > 1 {
			dst = append(append(dst, '.'), digits[1:]...)
		}
		return strconv.AppendInt(append(dst, 'E'), int64(exponent), 10)
	}
	for len(digits) <= scale {
		digits = "0" + digits
	}
	point := len(digits) - scale
	dst = append(append(dst, digits[:point]...), '.')
	return append(dst, digits[point:]...)
}

// appendJava appends a floating-point number as Java prints it: between 10^-3
// and 10^7 without an exponent, and always with a digit after the point.
func appendJava(dst []byte, v float64, bits int) []byte {
	mantissa, exponent := strconv.FormatFloat(v, 'f', -1, bits), ""
	if a := math.Abs(v); a != 0 && (a < 1e-3 || a >= 1e7) {
		mantissa, exponent, _ = strings.Cut(strconv.FormatFloat(v, 'e', -1, bits), "e")
		sign, power := exponent[:1], strings.TrimLeft(exponent[1:], "0")
		exponent = "E" + strings.TrimPrefix(sign, "+") + power
	}
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	return append(append(dst, mantissa...), exponent...)
}
