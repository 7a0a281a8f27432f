package binlog

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// MariaDB's COMPRESSED columns stand in the binlog as they are stored: a byte
// that tells the method, and what it made of the value. Their TABLE_MAP
// metadata is that of VARCHAR and BLOB; of VARCHAR it counts that byte too.

// isCompressed reports whether a column type is one of those.
func isCompressed(typ byte) bool {
	return typ == typeBlobCompressed || typ == typeVarcharCompressed
}

// plainType is the column type without the compression.
func plainType(typ byte) byte {
	switch typ {
	case typeBlobCompressed:
		return gomysql.MYSQL_TYPE_BLOB
	case typeVarcharCompressed:
		return gomysql.MYSQL_TYPE_VARCHAR
	}
	return typ
}

// readMeta reads the metadata of a TABLE_MAP event's columns anew where
// go-mysql, which doesn't know compressed columns, has misread them. body is
// the event after its header.
func readMeta(tm *replication.TableMapEvent, body []byte) error {
	known := true
	for _, typ := range tm.ColumnType {
		known = known && !isCompressed(typ)
	}
	if known {
		return nil
	}
	meta, err := metaBlock(body)
	if err != nil {
		return err
	}
	for i, typ := range tm.ColumnType {
		size := metaSize(plainType(typ))
		if len(meta) < size {
			return errMeta
		}
		switch {
		case size == 1:
			tm.ColumnMeta[i] = uint16(meta[0])
		case size == 2 && (typ == gomysql.MYSQL_TYPE_STRING || typ == gomysql.MYSQL_TYPE_NEWDECIMAL):
			tm.ColumnMeta[i] = binary.BigEndian.Uint16(meta)
		case size == 2:
			tm.ColumnMeta[i] = binary.LittleEndian.Uint16(meta)
		default:
			tm.ColumnMeta[i] = 0
		}
		meta = meta[size:]
	}
	return nil
}

var errMeta = errors.New("the TABLE_MAP event is malformed")

// metaBlock finds the metadata: after table id and flags, the names of
// database and table, each with its length before and a zero byte after it,
// the number of columns and their types.
func metaBlock(body []byte) ([]byte, error) {
	const fixed = 6 + 2
	if len(body) < fixed {
		return nil, errMeta
	}
	body = body[fixed:]
	for range 2 {
		if len(body) < 1 || len(body) < int(body[0])+2 {
			return nil, errMeta
		}
		body = body[int(body[0])+2:]
	}
	var parts [2][]byte
	for i := range parts {
		n, _, size := gomysql.LengthEncodedInt(body)
		if size == 0 || uint64(len(body)-size) < n {
			return nil, errMeta
		}
		parts[i], body = body[size:size+int(n)], body[size+int(n):]
	}
	return parts[1], nil
}

// metaSize is the number of bytes of metadata that a column type has.
func metaSize(typ byte) int {
	switch typ {
	case gomysql.MYSQL_TYPE_STRING, gomysql.MYSQL_TYPE_NEWDECIMAL, gomysql.MYSQL_TYPE_VAR_STRING, gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_BIT:
		return 2
	case gomysql.MYSQL_TYPE_BLOB, gomysql.MYSQL_TYPE_DOUBLE, gomysql.MYSQL_TYPE_FLOAT, gomysql.MYSQL_TYPE_GEOMETRY, gomysql.MYSQL_TYPE_JSON,
		gomysql.MYSQL_TYPE_TIME2, gomysql.MYSQL_TYPE_DATETIME2, gomysql.MYSQL_TYPE_TIMESTAMP2:
		return 1
	}
	return 0
}

// stepCompressed unpacks the value and has inner, the column without the
// compression, decode it.
func stepCompressed(c *column, dst, src []byte) ([]byte, int, error) {
	value, n, err := c.unpack(src)
	if err != nil {
		return nil, 0, err
	}
	dst, _, err = c.inner.step(c.inner, dst, value)
	return dst, n, err
}

func roughCompressed(c *column, dst, exact, src []byte) (out, exactOut []byte, n int, err error) {
	value, n, err := c.unpack(src)
	if err != nil {
		return nil, nil, 0, err
	}
	out, exactOut, _, err = c.inner.rough(c.inner, dst, exact, value)
	return out, exactOut, n, err
}

// unpack returns the value with four bytes of length before it. It is the only
// decoding that allocates.
func (c *column) unpack(src []byte) (value []byte, n int, err error) {
	const methodZlib, rawDeflate = 8, 8
	packed, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	if len(packed) == 0 || packed[0] == 0 {
		plain := packed[min(1, len(packed)):]
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(plain))), plain...), n, nil
	}
	method, digits := packed[0]>>4, int(packed[0]&7)
	if method != methodZlib || digits < 1 || digits > 4 || len(packed) < 1+digits {
		return nil, 0, ErrMalformed
	}
	var size uint64
	for _, b := range packed[1 : 1+digits] {
		size = size<<8 | uint64(b)
	}
	if size > c.most {
		return nil, 0, ErrMalformed
	}
	in := bytes.NewReader(packed[1+digits:])
	var from io.Reader
	if packed[0]&rawDeflate != 0 {
		from = flate.NewReader(in)
	} else if from, err = zlib.NewReader(in); err != nil {
		return nil, 0, ErrMalformed
	}
	var out bytes.Buffer
	out.Write(binary.LittleEndian.AppendUint32(nil, uint32(size)))
	if got, err := io.Copy(&out, io.LimitReader(from, int64(size)+1)); err != nil || uint64(got) != size {
		return nil, 0, fmt.Errorf("%w: it doesn't unpack", ErrMalformed)
	}
	return out.Bytes(), n, nil
}
