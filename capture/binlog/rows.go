package binlog

import (
	"encoding/binary"
	"errors"

	"github.com/go-mysql-org/go-mysql/replication"
)

// rowsHeader is what stands before the row images of a rows event.
type rowsHeader struct {
	kind                  replication.EventType
	table                 uint64
	flags                 uint16
	present, presentAfter []byte
	images                []byte
}

// noForeignKeyChecks is the flag of rows that were written under
// foreign_key_checks=0 (NO_FOREIGN_KEY_CHECKS_F).
const noForeignKeyChecks = 2

var errShortRows = errors.New("it ends inside its header")

// isRows tells the kinds whose header readRows reads.
func isRows(kind replication.EventType) bool {
	return kind >= replication.WRITE_ROWS_EVENTv1 && kind <= replication.DELETE_ROWS_EVENTv1 ||
		isVersion2(kind) || isCompressedRows(kind)
}

// readRows reads the body of a rows event (Rows_event in the servers'
// rows_event.h and log_event.h): the table's id in 6 bytes, flags in 2, from
// version 2 on some more with their length, the number of columns, and a bitmap
// of those in each image. An event of one small row is all header: this is most
// of what reading it costs.
func readRows(kind replication.EventType, body []byte) (h rowsHeader, err error) {
	const fixed = 6 + 2
	if len(body) < fixed {
		return h, errShortRows
	}
	h.kind = kind
	h.table = uint64(binary.LittleEndian.Uint32(body)) | uint64(binary.LittleEndian.Uint16(body[4:]))<<32
	h.flags = binary.LittleEndian.Uint16(body[6:])
	at := fixed
	if isVersion2(kind) {
		if len(body) < at+2 {
			return h, errShortRows
		}
		extra := int(binary.LittleEndian.Uint16(body[at:])) // counts itself
		if extra < 2 {
			return h, errors.New("its extra data has an impossible length")
		}
		at += extra
	}
	columns, n, err := readLength(body, at)
	if err != nil {
		return h, err
	}
	at += n
	bitmap := (columns + 7) / 8
	after := 0
	if isUpdate(kind) {
		after = bitmap
	}
	if len(body)-at < bitmap+after {
		return h, errShortRows
	}
	h.present, h.presentAfter = body[at:at+bitmap], body[at+bitmap:at+bitmap+after]
	h.images = body[at+bitmap+after:]
	return h, nil
}

func isVersion2(kind replication.EventType) bool {
	return kind >= replication.WRITE_ROWS_EVENTv2 && kind <= replication.DELETE_ROWS_EVENTv2 || kind == replication.PARTIAL_UPDATE_ROWS_EVENT
}

func isUpdate(kind replication.EventType) bool {
	switch kind {
	case replication.UPDATE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv2, replication.PARTIAL_UPDATE_ROWS_EVENT, replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1:
		return true
	default:
		return false
	}
}

// readLength reads the number of columns, a length-encoded integer. No table
// has more than 4096.
func readLength(b []byte, at int) (n, size int, err error) {
	const twoBytes = 0xfc
	switch {
	case at >= len(b):
		return 0, 0, errShortRows
	case b[at] < twoBytes-1:
		return int(b[at]), 1, nil
	case b[at] == twoBytes && len(b)-at >= 3:
		return int(binary.LittleEndian.Uint16(b[at+1:])), 3, nil
	default:
		return 0, 0, errors.New("its number of columns is impossible")
	}
}
