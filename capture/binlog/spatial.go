package binlog

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"

	"duplex/schemas"
)

// compileSpatial picks the step of GEOMETRY and its subtypes, and of VECTOR:
// each has its length before it, like a BLOB.
func compileSpatial(c *schemas.Column, meta uint16) (column, error) {
	if meta < 1 || meta > 4 {
		return column{}, &UnsupportedError{What: "its TABLE_MAP event is malformed: a length of impossible size"}
	}
	out := column{size: int(meta)}
	switch c.Type {
	case schemas.Point:
		out.step = stepPoint
	case schemas.Geometry:
		out.step = stepGeometry
	default:
		out.step = stepVector
	}
	return out, nil
}

// geometry takes a value of GEOMETRY apart: four bytes of SRID, little endian,
// and Well-Known Binary, also little endian, longitude first.
func (c *column) geometry(src []byte) (wkb []byte, srid uint32, n int, err error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, 0, err
	}
	if len(value) < 4 {
		return nil, 0, 0, ErrMalformed
	}
	return value[4:], binary.LittleEndian.Uint32(value), n, nil
}

// wkbPoint is the start of a point in Well-Known Binary, and wkbPointSize the
// length of one.
const (
	wkbPoint     = "\x01\x01\x00\x00\x00"
	wkbPointSize = len(wkbPoint) + 16
)

func stepPoint(c *column, dst, src []byte) ([]byte, int, error) {
	wkb, srid, n, err := c.geometry(src)
	if err != nil {
		return nil, 0, err
	}
	if len(wkb) != wkbPointSize || string(wkb[:len(wkbPoint)]) != wkbPoint {
		return nil, 0, ErrMalformed
	}
	return schemas.AppendGeometry(dst, schemas.KindPoint, wkb, srid), n, nil
}

func stepGeometry(c *column, dst, src []byte) ([]byte, int, error) {
	wkb, srid, n, err := c.geometry(src)
	if err != nil {
		return nil, 0, err
	}
	return schemas.AppendGeometry(dst, schemas.KindGeometry, wkb, srid), n, nil
}

// stepVector: floats, little endian.
func stepVector(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	if len(value)%4 != 0 {
		return nil, 0, ErrMalformed
	}
	return schemas.AppendVector(dst, value), n, nil
}

// compileAddress picks the step of UUID, INET4 and INET6, which MariaDB logs as
// BINARY: without the zero bytes at the end.
func compileAddress(c *schemas.Column) column {
	switch c.Type {
	case schemas.UUID:
		return column{step: stepUUID, size: 1, width: 16}
	case schemas.INET4:
		return column{step: stepINET, size: 1, width: 4}
	}
	return column{step: stepINET, size: 1, width: 16}
}

// address takes a value with its zero bytes.
func (c *column) address(src []byte) (value [16]byte, n int, err error) {
	short, n, err := prefixed(src, c.size)
	if err == nil && len(short) > c.width {
		err = ErrMalformed
	}
	copy(value[:], short)
	return value, n, err
}

func stepUUID(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := c.address(src)
	if err != nil {
		return nil, 0, err
	}
	dst = append(dst, 36<<1)
	from := 0
	for i, to := range [...]int{4, 6, 8, 10, 16} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, value[from:to])
		from = to
	}
	return dst, n, nil
}

func stepINET(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := c.address(src)
	if err != nil {
		return nil, 0, err
	}
	addr := netip.AddrFrom16(value)
	if c.width == 4 {
		addr = netip.AddrFrom4([4]byte(value[:4]))
	}
	start, guess := reserve(&dst, 40)
	return settle(addr.AppendTo(dst), start, guess), n, nil
}
