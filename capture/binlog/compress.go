package binlog

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"
)

// MariaDB with log_bin_compress = ON compresses statements and row images, each
// event by itself (its sql/log_event.cc, binlog_buf_compress): a byte whose low
// three bits are the length of the length, bits 4 to 6 the algorithm, 0 for
// zlib; the length when decompressed, high byte first; the compressed bytes.

func isCompressedRows(kind replication.EventType) bool {
	switch kind {
	case replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1, replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1, replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		return true
	default:
		return false
	}
}

// inflate decompresses such bytes.
func inflate(data []byte, limit uint32) ([]byte, error) {
	if len(data) == 0 {
		return nil, errors.New("its compressed part is empty")
	}
	lengths, algorithm := int(data[0]&0x07), data[0]&0x70>>4
	if algorithm != 0 {
		return nil, refuse("an event is compressed by algorithm %d, which is not known; mend: SET GLOBAL log_bin_compress = OFF", algorithm)
	}
	if lengths == 0 || lengths > 4 || len(data) < 1+lengths {
		return nil, errors.New("the length of its compressed part is malformed")
	}
	size := 0
	for _, b := range data[1 : 1+lengths] {
		size = size<<8 | int(b)
	}
	if uint64(size) > uint64(limit) {
		return nil, refuse("an event has %d bytes decompressed, more than the %d that an event may have; mend: keep such rows out of captured tables; to get past this one: %s", size, limit, beginAnew)
	}
	r, err := zlib.NewReader(bytes.NewReader(data[1+lengths:]))
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	// It grows with what comes: a false length allocates nothing.
	var out bytes.Buffer
	if size <= 64<<10 {
		out.Grow(size + bytes.MinRead)
	}
	if _, err := out.ReadFrom(io.LimitReader(r, int64(size)+1)); err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if out.Len() != size {
		return nil, fmt.Errorf("it has not the %d bytes decompressed that it says", size)
	}
	return out.Bytes(), nil
}

// inflateQuery makes a QUERY event of a compressed one.
func inflateQuery(raw []byte, limit uint32) ([]byte, error) {
	// Thread, time, length of the schema's name, error, length of status variables.
	const schemaLength, statusLength, fixed = 4 + 4, 4 + 4 + 1 + 2, 4 + 4 + 1 + 2 + 2
	body := raw[replication.EventHeaderSize:]
	if len(body) < fixed {
		return nil, errors.New("it is too short")
	}
	start := fixed + int(binary.LittleEndian.Uint16(body[statusLength:])) + int(body[schemaLength]) + 1
	if len(body) < start {
		return nil, errors.New("it is too short")
	}
	statement, err := inflate(body[start:], limit)
	if err != nil {
		return nil, err
	}
	out := append(bytes.Clone(raw[:replication.EventHeaderSize+start]), statement...)
	out[4] = byte(replication.QUERY_EVENT)
	binary.LittleEndian.PutUint32(out[9:], uint32(len(out)))
	return out, nil
}

// payload reads a compressed transaction (MySQL with
// binlog_transaction_compression = ON) as it comes: only one of the events in
// it is in memory at a time, however large the whole is. The last is handed on
// when the checksum of the whole has been verified: it is the commit.
func (s *stream) payload(h *header, r io.Reader, at uint64) error {
	sum := crc32.NewIEEE()
	sum.Write(h[:])
	left := int64(h.size()) - replication.EventHeaderSize
	if s.dump.checked {
		left -= replication.BinlogChecksumLength
	}
	body := io.TeeReader(io.LimitReader(r, left), sum)
	if err := readPayloadFields(body); err != nil {
		return s.corruptUnlessRead(h, err)
	}
	if s.zstd == nil {
		var err error
		const maxWindow = 128 << 20 // what zstd's own tools take
		if s.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err != nil {
			return fmt.Errorf("making a decompressor: %w", err)
		}
	}
	if err := s.zstd.Reset(body); err != nil {
		return s.corruptUnlessRead(h, err)
	}
	last, err := s.unverified(h, at)
	if err == nil || isRefusal(err) {
		// A wrong checksum explains whatever was refused.
		if end := s.endOfPayload(h, r, body, sum.Sum32); err == nil || isRefusal(end) {
			err = end
		}
	}
	if err != nil {
		return err
	}
	if last == nil {
		return s.corrupt(h.kind(), "it is empty")
	}
	return s.decode(last, at)
}

// unverified hands on the events of a compressed transaction but for the last,
// which it returns. Their checksum comes after them, so that they may say
// anything; but nothing that could be published as it is.
func (s *stream) unverified(h *header, at uint64) (last []byte, err error) {
	emit := s.handler.emit
	defer func() { s.handler.emit = emit }()
	s.handler.emit = func(e *Event) error {
		if e.Kind == Commit || e.Kind == DDL || e.Kind == Unread {
			return s.corrupt(h.kind(), "its transaction ends before it does")
		}
		return emit(e)
	}
	for {
		raw, err := s.inner()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return nil, s.corruptUnlessRead(h, err)
		}
		if last != nil {
			if err := s.decode(last, at); err != nil {
				return nil, err
			}
		}
		last = raw
	}
}

// inner reads the next event of a compressed transaction; io.EOF is its end.
func (s *stream) inner() ([]byte, error) {
	var h header
	if _, err := io.ReadFull(s.zstd, h[:]); err != nil {
		return nil, err
	}
	size := h.size()
	switch {
	case size < replication.EventHeaderSize:
		return nil, fmt.Errorf("an event in it says that it has %d bytes", size)
	case size > s.handler.limit:
		return nil, s.tooLarge(h.kind(), size)
	}
	return readRest(&h, s.zstd)
}

// endOfPayload reads what the decompressor left and verifies the checksum.
func (s *stream) endOfPayload(h *header, r, body io.Reader, sum func() uint32) error {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	rest, err := io.ReadAll(io.LimitReader(r, replication.BinlogChecksumLength+1))
	switch {
	case err != nil:
		return err
	case !s.dump.checked && len(rest) == 0:
		return nil
	case !s.dump.checked || len(rest) != replication.BinlogChecksumLength:
		return s.corrupt(h.kind(), "it is not as long as it says")
	case binary.LittleEndian.Uint32(rest) != sum():
		return s.corrupt(h.kind(), "its checksum is wrong")
	}
	return nil
}

// isRefusal tells an error of what was read from one of reading, or of emit.
func isRefusal(err error) bool {
	var refused *RefusedError
	var unsupported *UnsupportedError
	return errors.As(err, &refused) || errors.As(err, &unsupported)
}

// corruptUnlessRead tells an event that can't be decompressed from a
// connection that broke, and from a refusal.
func (s *stream) corruptUnlessRead(h *header, err error) error {
	var refused *RefusedError
	if errors.As(err, &refused) || s.dump.packets.failed != nil {
		return err
	}
	return s.corrupt(h.kind(), err.Error())
}

// readPayloadFields reads the fields before the compressed events (the
// server's Transaction_payload_event): for each its type, its length and its
// value, up to an end mark.
func readPayloadFields(r io.Reader) error {
	const endMark, compression, zstdType = 0, 2, 0
	integer := func() (uint64, error) {
		var b [9]byte
		if _, err := io.ReadFull(r, b[:1]); err != nil {
			return 0, err
		}
		n := widthOf(b[0])
		if _, err := io.ReadFull(r, b[1:n]); err != nil {
			return 0, err
		}
		v, _, _ := mysql.LengthEncodedInt(b[:n])
		return v, nil
	}
	for {
		field, err := integer()
		if err != nil || field == endMark {
			return err
		}
		length, err := integer()
		if err != nil {
			return err
		}
		if length == 0 || length > 9 {
			return fmt.Errorf("a field of it has %d bytes", length)
		}
		value := make([]byte, length)
		if _, err := io.ReadFull(r, value); err != nil {
			return err
		}
		if widthOf(value[0]) != len(value) {
			return errors.New("a field of it is longer or shorter than it says")
		}
		if v, _, _ := mysql.LengthEncodedInt(value); field == compression && v != zstdType {
			return refuse("a transaction is compressed by algorithm %d, which is not known; mend: SET PERSIST binlog_transaction_compression = OFF", v)
		}
	}
}

// widthOf returns the bytes of a length-encoded integer, by the first of them.
func widthOf(first byte) int {
	switch first {
	case 0xfc:
		return 1 + 2
	case 0xfd:
		return 1 + 3
	case 0xfe:
		return 1 + 8
	default:
		return 1
	}
}
