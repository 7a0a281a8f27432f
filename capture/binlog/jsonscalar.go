package binlog

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// appendJSONDouble appends v as the server prints a double in JSON: the
// shortest digits that give v back, without exponent where that fits, and
// with ".0" after a whole number, so that it stays a double when read again.
func appendJSONDouble(dst []byte, v float64) ([]byte, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, ErrMalformed
	}
	start := len(dst)
	dst = appendDouble(dst, v)
	for _, b := range dst[start:] {
		if b == '.' || b == 'e' {
			return dst, nil
		}
	}
	return append(dst, ".0"...), nil
}

// doublePoint is the most digits before the point, or zeros after it, that the
// server prints before it turns to an exponent.
const doublePoint = 15

// appendDouble appends v as the server's my_gcvt does.
func appendDouble(dst []byte, v float64) []byte {
	if math.Signbit(v) {
		dst = append(dst, '-')
	}
	if v == 0 {
		return append(dst, '0')
	}
	var scratch [32]byte
	text := strconv.AppendFloat(scratch[:0], math.Abs(v), 'e', -1, 64) // d.ddde±xx
	e := bytes.IndexByte(text, 'e')
	exponent, _ := strconv.Atoi(string(text[e+1:])) // AppendFloat wrote it
	digits := append(text[:1], text[min(2, e):e]...)

	point := exponent + 1 // digits before the point
	switch {
	case point < 1-doublePoint || point > doublePoint && point >= len(digits):
		return appendScientific(dst, digits, exponent)
	case point <= 0:
		dst = append(dst, "0."...)
		dst = appendZeros(dst, -point)
		return append(dst, digits...)
	case point < len(digits):
		dst = append(dst, digits[:point]...)
		dst = append(dst, '.')
		return append(dst, digits[point:]...)
	}
	dst = append(dst, digits...)
	return appendZeros(dst, point-len(digits))
}

func appendZeros(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, '0')
	}
	return dst
}

func appendScientific(dst, digits []byte, exponent int) []byte {
	dst = append(dst, digits[0])
	if len(digits) > 1 {
		dst = append(dst, '.')
		dst = append(dst, digits[1:]...)
	}
	dst = append(dst, 'e')
	return strconv.AppendInt(dst, int64(exponent), 10)
}

// appendJSONTime appends a DATE, TIME, DATETIME or TIMESTAMP in quotes, its
// fraction always of six digits. It is eight bytes: like a DATETIME or TIME in
// a row image, with all 24 bits of the fraction, and negative as a whole.
func appendJSONTime(dst []byte, typ byte, value []byte) ([]byte, error) {
	if len(value) != 8 {
		return nil, ErrMalformed
	}
	packed := int64(binary.LittleEndian.Uint64(value))
	dst = append(dst, '"')
	if packed < 0 {
		if typ != gomysql.MYSQL_TYPE_TIME {
			return nil, ErrMalformed
		}
		dst = append(dst, '-')
		packed = -packed
	}
	whole, micros := packed>>24, uint32(packed&0xffffff)
	if typ == gomysql.MYSQL_TYPE_TIME {
		hour := uint32(whole >> 12)
		if packed < 0 || whole>>22 != 0 || micros > 999999 {
			return nil, ErrMalformed
		}
		if hour > 99 {
			dst = append(dst, byte('0'+hour/100%10))
			hour %= 100
		}
		dst = appendPair(dst, hour)
		dst = appendClock(dst, uint32(whole), micros)
		return append(dst, '"'), nil
	}
	month := whole >> 22
	if month/13 > 9999 || micros > 999999 {
		return nil, ErrMalformed
	}
	dst = appendDigits(dst, uint32(month/13), 4)
	dst = append(dst, '-')
	dst = appendPair(dst, uint32(month%13))
	dst = append(dst, '-')
	dst = appendPair(dst, uint32(whole>>17&31))
	if typ != gomysql.MYSQL_TYPE_DATE {
		dst = append(dst, ' ')
		dst = appendPair(dst, uint32(whole>>12&31))
		dst = appendClock(dst, uint32(whole), micros)
	}
	return append(dst, '"'), nil
}

// appendClock appends minute, second and fraction.
func appendClock(dst []byte, packed, micros uint32) []byte {
	dst = append(dst, ':')
	dst = appendPair(dst, packed>>6&63)
	dst = append(dst, ':')
	dst = appendPair(dst, packed&63)
	dst = append(dst, '.')
	return appendDigits(dst, micros, 6)
}
