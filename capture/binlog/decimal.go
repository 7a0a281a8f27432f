package binlog

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"duplex/schemas"
)

// DECIMAL stands in a row image as groups of nine decimal digits, four bytes
// each, on both sides of the point; the group farthest from the point may be
// shorter. A negative number has all its bits inverted, and then the first
// bit is inverted always, so that memcmp sorts.

// Limits of what a server can declare (MariaDB allows the larger scale).
const (
	maxDecimalDigits = 65
	maxDecimalScale  = 38
	maxGroups        = maxDecimalDigits/9 + 2
)

// group is one group of digits.
type group struct {
	bytes, digits uint8
	// power is 10 to the digits: one above the greatest value.
	power uint32
}

// packing is the layout of DECIMAL(precision, scale).
type packing struct {
	groups  [maxGroups]group
	n       int // groups used
	integer int // how many of them are before the point
	size    int // bytes
}

// newPacking lays out DECIMAL(precision, scale), or returns false if there is
// no such type.
func newPacking(precision, scale int) (p packing, ok bool) {
	if precision < 1 || precision > maxDecimalDigits || scale < 0 || scale > maxDecimalScale || scale > precision {
		return p, false
	}
	integer := precision - scale
	p.add(integer % 9)
	for range integer / 9 {
		p.add(9)
	}
	p.integer = p.n
	for range scale / 9 {
		p.add(9)
	}
	p.add(scale % 9)
	return p, true
}

func (p *packing) add(digits int) {
	if digits == 0 {
		return
	}
	bytes := [...]uint8{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}[digits]
	power := uint32(1)
	for range digits {
		power *= 10
	}
	p.groups[p.n] = group{bytes, uint8(digits), power}
	p.n++
	p.size += int(bytes)
}

// invert gives the mask that undoes the sign's inversion of all bits.
func invert(first byte) uint32 {
	if first&0x80 != 0 {
		return 0
	}
	return 0xffffffff
}

// read reads one group from the start of src. flip undoes the inversion of
// the first bit of all, and is 0 for every group but the first.
func (g group) read(src []byte, flip byte, mask uint32) (value uint32, err error) {
	value = uint32(src[0] ^ flip)
	for _, b := range src[1:g.bytes] {
		value = value<<8 | uint32(b)
	}
	value = (value ^ mask) & (1<<(8*uint(g.bytes)) - 1)
	if value >= g.power {
		return 0, ErrMalformed
	}
	return value, nil
}

// compileDecimal picks the step by how wide an integer holds the digits.
func compileDecimal(c *schemas.Column) (column, error) {
	p, ok := newPacking(c.Precision, c.Scale)
	if !ok {
		return column{}, &UnsupportedError{What: fmt.Sprintf("its TABLE_MAP event is malformed: no DECIMAL(%d,%d) can be", c.Precision, c.Scale)}
	}
	switch {
	case c.Precision <= 18:
		return column{step: stepDecimal64, decimal: p}, nil
	case c.Precision <= 38:
		return column{step: stepDecimal128, decimal: p}, nil
	}
	return column{step: stepDecimal256, decimal: p}, nil
}

func stepDecimal64(c *column, dst, src []byte) ([]byte, int, error) {
	p := &c.decimal
	if len(src) < p.size {
		return nil, 0, ErrTruncated
	}
	mask, flip, at := invert(src[0]), byte(0x80), 0
	var v int64
	for _, g := range p.groups[:p.n] {
		digits, err := g.read(src[at:], flip, mask)
		if err != nil {
			return nil, 0, err
		}
		v = v*int64(g.power) + int64(digits)
		at, flip = at+int(g.bytes), 0
	}
	if mask != 0 {
		v = -v
	}
	return appendInt64(dst, v), p.size, nil
}

func stepDecimal128(c *column, dst, src []byte) ([]byte, int, error) {
	p := &c.decimal
	if len(src) < p.size {
		return nil, 0, ErrTruncated
	}
	mask, flip, at := invert(src[0]), byte(0x80), 0
	var high, low uint64
	for _, g := range p.groups[:p.n] {
		digits, err := g.read(src[at:], flip, mask)
		if err != nil {
			return nil, 0, err
		}
		over, product := bits.Mul64(low, uint64(g.power))
		sum, carry := bits.Add64(product, uint64(digits), 0)
		high, low = high*uint64(g.power)+over+carry, sum
		at, flip = at+int(g.bytes), 0
	}
	if mask != 0 {
		var borrow uint64
		low, borrow = bits.Sub64(0, low, 0)
		high, _ = bits.Sub64(0, high, borrow)
	}
	return appendInt128(dst, high, low), p.size, nil
}

// stepDecimal256 does the same for up to 65 digits, which need 216 bits.
func stepDecimal256(c *column, dst, src []byte) ([]byte, int, error) {
	p := &c.decimal
	if len(src) < p.size {
		return nil, 0, ErrTruncated
	}
	mask, flip, at := invert(src[0]), byte(0x80), 0
	var v [4]uint64 // least significant first
	for _, g := range p.groups[:p.n] {
		digits, err := g.read(src[at:], flip, mask)
		if err != nil {
			return nil, 0, err
		}
		carry := uint64(digits)
		for i := range v {
			over, product := bits.Mul64(v[i], uint64(g.power))
			var c uint64
			v[i], c = bits.Add64(product, carry, 0)
			carry = over + c
		}
		at, flip = at+int(g.bytes), 0
	}
	if mask != 0 {
		var borrow uint64
		for i := range v {
			v[i], borrow = bits.Sub64(0, v[i], borrow)
		}
	}
	return appendInt256(dst, &v), p.size, nil
}

// appendInt64 appends v as Avro bytes: two's complement, most significant
// byte first, as few bytes as keep the sign.
func appendInt64(dst []byte, v int64) []byte {
	n := bits.Len64(uint64(v^v>>63))/8 + 1
	dst = append(dst, byte(n<<1))
	for shift := 8 * (n - 1); shift >= 0; shift -= 8 {
		dst = append(dst, byte(v>>shift))
	}
	return dst
}

// appendInt128 appends the 128-bit two's complement number likewise. high and
// low are its halves; an unsigned 64-bit number has high 0.
func appendInt128(dst []byte, high, low uint64) []byte {
	if high == uint64(int64(low)>>63) {
		return appendInt64(dst, int64(low))
	}
	n := bits.Len64(high^uint64(int64(high)>>63))/8 + 9
	dst = append(dst, byte(n<<1))
	for shift := 8 * (n - 9); shift >= 0; shift -= 8 {
		dst = append(dst, byte(int64(high)>>shift))
	}
	return binary.BigEndian.AppendUint64(dst, low)
}

// appendInt256 appends the 256-bit two's complement number likewise.
func appendInt256(dst []byte, v *[4]uint64) []byte {
	top := len(v) - 1
	for top > 0 && v[top] == uint64(int64(v[top-1])>>63) {
		top--
	}
	high := int64(v[top])
	n := bits.Len64(uint64(high^high>>63))/8 + 1
	dst = append(dst, byte((8*top+n)<<1))
	for shift := 8 * (n - 1); shift >= 0; shift -= 8 {
		dst = append(dst, byte(high>>shift))
	}
	for i := top - 1; i >= 0; i-- {
		dst = binary.BigEndian.AppendUint64(dst, v[i])
	}
	return dst
}

// appendText appends the number at the start of src as the server prints it.
func (p *packing) appendText(dst, src []byte) ([]byte, error) {
	if len(src) < p.size {
		return nil, ErrTruncated
	}
	mask, flip, at := invert(src[0]), byte(0x80), 0
	sign := len(dst)
	if mask != 0 {
		dst = append(dst, '-')
	}
	start, zero := len(dst), true
	for i, g := range p.groups[:p.n] {
		value, err := g.read(src[at:], flip, mask)
		if err != nil {
			return nil, err
		}
		if i == p.integer {
			dst = endInteger(dst, start)
			dst = append(dst, '.')
		}
		zero = zero && value == 0
		dst = appendDigits(dst, value, int(g.digits))
		at, flip = at+int(g.bytes), 0
	}
	if p.integer == p.n {
		dst = endInteger(dst, start)
	}
	if zero && mask != 0 { // the server has no minus zero
		dst = append(dst[:sign], dst[start:]...)
	}
	return dst, nil
}

// endInteger takes the zeros from the front of the integer part in
// dst[start:] and leaves one digit at least.
func endInteger(dst []byte, start int) []byte {
	first := start
	for first < len(dst)-1 && dst[first] == '0' {
		first++
	}
	if first == len(dst) {
		return append(dst, '0')
	}
	return append(dst[:start], dst[first:]...)
}

// appendDigits appends v in decimal with zeros in front, n digits in all.
func appendDigits(dst []byte, v uint32, n int) []byte {
	var text [10]byte
	for i := n - 1; i >= 0; i-- {
		text[i] = byte('0' + v%10)
		v /= 10
	}
	return append(dst, text[:n]...)
}
