package binlog

import (
	"bytes"
	"slices"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"
)

// The header of a rows event of each version, and that no beginning of one is
// taken for a whole.
func TestReadRows(t *testing.T) {
	const columns = 12
	present, after, images := []byte{0xff, 0x0f}, []byte{0xfe, 0x0f}, []byte("the images")
	start := []byte{1, 2, 3, 4, 5, 6, noForeignKeyChecks, 1} // id and flags
	extra := []byte{5, 0, 'e', 'x', 't'}
	for _, tt := range []struct {
		kind replication.EventType
		body [][]byte
	}{
		{replication.WRITE_ROWS_EVENTv1, [][]byte{start, {columns}, present}},
		{replication.UPDATE_ROWS_EVENTv1, [][]byte{start, {columns}, present, after}},
		{replication.DELETE_ROWS_EVENTv2, [][]byte{start, {2, 0}, {columns}, present}},
		{replication.UPDATE_ROWS_EVENTv2, [][]byte{start, extra, {columns}, present, after}},
		{replication.UPDATE_ROWS_EVENTv2, [][]byte{start, extra, {0xfc, columns, 0}, present, after}},
		{replication.PARTIAL_UPDATE_ROWS_EVENT, [][]byte{start, extra, {columns}, present, after}},
		{replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1, [][]byte{start, {columns}, present, after}},
	} {
		header := slices.Concat(tt.body...)
		h, err := readRows(tt.kind, slices.Concat(header, images))
		if err != nil || h.table != 0x060504030201 || h.flags != 0x100|noForeignKeyChecks || !bytes.Equal(h.present, present) || !bytes.Equal(h.images, images) {
			t.Errorf("%s: %+v, %v", tt.kind, h, err)
		}
		if want := isUpdate(tt.kind); want != bytes.Equal(h.presentAfter, after) || !want && len(h.presentAfter) > 0 {
			t.Errorf("%s: bitmap after is %x", tt.kind, h.presentAfter)
		}
		for n := range header {
			if _, err := readRows(tt.kind, header[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes are taken for a header", tt.kind, n, len(header))
			}
		}
	}
}

func FuzzReadRows(f *testing.F) {
	f.Add(byte(replication.UPDATE_ROWS_EVENTv2), []byte{1, 2, 3, 4, 5, 6, 0, 0, 2, 0, 9, 1, 1, 1, 1, 'x'})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		h, err := readRows(replication.EventType(kind), body)
		if err == nil && len(h.present)+len(h.presentAfter)+len(h.images) > len(body) {
			t.Errorf("%d bytes became %d", len(body), len(h.present)+len(h.presentAfter)+len(h.images))
		}
	})
}
