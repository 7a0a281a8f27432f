package statement

import (
	"encoding/binary"

	"duplex/schemas"
)

// appendSpatial appends a geometry or a vector as the bytes that the server
// keeps: of a geometry the SRID and Well-Known Binary, longitude first. A
// function that makes one of its text would turn axes round on MySQL, and
// round numbers.
func (c *column) appendSpatial(dst, b []byte, at int) ([]byte, int, error) {
	if c.kind == schemas.KindVector {
		floats, next, err := schemas.ReadVector(b, at)
		return appendHex(dst, floats), next, err
	}
	wkb, srid, next, err := schemas.ReadGeometry(c.kind, b, at)
	if err != nil {
		return dst, next, err
	}
	return appendHex(dst, append(binary.LittleEndian.AppendUint32(nil, srid), wkb...)), next, nil
}
