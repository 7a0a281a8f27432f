package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"
)

// maxEvent is the most bytes that one event may have, decompressed. Only one
// with a very large row has more than the server's binlog_row_event_max_size,
// 8 KiB by default.
const maxEvent = 256 << 20

// stream cuts what the server sends into events, checks them, and hands them
// to the handler.
type stream struct {
	dump    *dump
	handler *handler
	parser  *replication.BinlogParser
	zstd    *zstd.Decoder // made for the first compressed transaction

	file string
	next uint64                // position after the last event, in the file
	kind replication.EventType // of the event being decoded
	slab []byte                // room for the next events
}

const slabBytes = 64 << 10

// keep copies an event to where it lasts: row images are decoded by others,
// later.
func (s *stream) keep(raw []byte) []byte {
	switch size := len(raw); {
	case size > slabBytes/4:
		return bytes.Clone(raw)
	case size > len(s.slab):
		s.slab = make([]byte, slabBytes)
	}
	b := s.slab[:len(raw):len(raw)]
	s.slab = s.slab[len(raw):]
	copy(b, raw)
	return b
}

func newStream(d *dump, h *handler) *stream {
	s := &stream{dump: d, handler: h, parser: replication.NewBinlogParser()}
	s.parser.SetFlavor(h.cfg.Engine)
	s.parser.SetRowsEventDecodeFunc(decodeControl)
	return s
}

func (s *stream) close() {
	if s.zstd != nil {
		s.zstd.Close()
	}
}

// run reads events until the connection or the handler fails.
func (s *stream) run() error {
	for {
		if err := s.packet(); err != nil {
			return err
		}
	}
}

// packet reads one packet: an event, or the server's reason to end.
func (s *stream) packet() error {
	p := s.dump.packets
	if err := p.next(); err != nil {
		return noEOF(err)
	}
	if packet, ok := p.whole(); ok && s.isUsual(packet) {
		p.pass()
		return s.usual(packet[1:])
	}
	var status [1]byte
	if _, err := io.ReadFull(p, status[:]); err != nil {
		return noEOF(err)
	}
	switch status[0] {
	case mysql.OK_HEADER:
		return s.event(p)
	case mysql.ERR_HEADER:
		text, err := io.ReadAll(p)
		if err != nil {
			return err
		}
		return s.dump.conn.HandleErrorPacket(append(status[:], text...))
	case mysql.EOF_HEADER:
		return errors.New("the server has ended the stream")
	default:
		return fmt.Errorf("a packet begins with %#x, which is no event", status[0])
	}
}

// Flags of an event.
const (
	artificial = 0x20 // made for us, not in the file
	ignorable  = 0x80 // who doesn't know it may pass over it
)

// header is the header of an event.
type header [replication.EventHeaderSize]byte

func (h *header) kind() replication.EventType { return replication.EventType(h[4]) }
func (h *header) size() uint32                { return binary.LittleEndian.Uint32(h[9:]) }
func (h *header) end() uint32                 { return binary.LittleEndian.Uint32(h[13:]) }
func (h *header) flags() uint16               { return binary.LittleEndian.Uint16(h[17:]) }

// isUsual reports whether a packet is an event of the size that it says and not
// a compressed transaction, as nearly all are.
func (s *stream) isUsual(packet []byte) bool {
	if len(packet) < 1+replication.EventHeaderSize || packet[0] != mysql.OK_HEADER {
		return false
	}
	h := (*header)(packet[1:])
	return uint64(h.size()) == uint64(len(packet)-1) && h.size() <= s.handler.limit && h.kind() != replication.TRANSACTION_PAYLOAD_EVENT
}

// usual handles an event where the connection's buffer has it: only what must
// last is copied.
func (s *stream) usual(raw []byte) error {
	h := (*header)(raw)
	at := s.place(h)
	raw, err := s.check(raw)
	if err == nil {
		if !isBrief(h.kind()) {
			raw = s.keep(raw)
		}
		err = s.decode(raw, at)
	}
	return s.at(at, err)
}

// event reads an event that fills the rest of r.
func (s *stream) event(r io.Reader) error {
	var h header
	if _, err := io.ReadFull(r, h[:]); s.isShort(err) {
		return s.at(s.next, s.corrupt(h.kind(), "it is too short"))
	} else if err != nil {
		return err
	}
	at := s.place(&h)
	if h.kind() == replication.TRANSACTION_PAYLOAD_EVENT {
		return s.at(at, s.payload(&h, r, at))
	}
	if isRemark(h.kind()) && h.size() > slabBytes {
		return s.at(at, s.passOver(&h, r))
	}
	raw, err := s.readBody(&h, r)
	if err == nil {
		raw, err = s.check(raw)
	}
	if err == nil {
		err = s.decode(raw, at)
	}
	return s.at(at, err)
}

// passOver reads an event for its checksum alone. MariaDB sends the text of each
// statement, which holds a row of 64 MiB once more, or twice.
func (s *stream) passOver(h *header, r io.Reader) error {
	sum, left := crc32.NewIEEE(), int64(h.size())-replication.EventHeaderSize
	sum.Write(h[:])
	var trailer []byte
	if s.dump.checked {
		trailer = make([]byte, replication.BinlogChecksumLength)
		left -= int64(len(trailer))
	}
	_, err := io.CopyN(sum, r, left)
	if err == nil {
		_, err = io.ReadFull(r, trailer)
	}
	if s.isShort(err) {
		return s.corrupt(h.kind(), "it is shorter than it says")
	}
	if err != nil {
		return noEOF(err)
	}
	beyond, err := io.Copy(io.Discard, r)
	if err != nil {
		return err
	}
	if beyond > 0 {
		return s.corrupt(h.kind(), "it is longer than it says")
	}
	if s.dump.checked && binary.LittleEndian.Uint32(trailer) != sum.Sum32() {
		return s.corrupt(h.kind(), "its checksum is wrong")
	}
	return nil
}

// isRemark tells events that hold the text of a statement whose rows follow.
func isRemark(kind replication.EventType) bool {
	return kind == replication.MARIADB_ANNOTATE_ROWS_EVENT || kind == replication.ROWS_QUERY_EVENT
}

// place returns where the event begins. The server leaves the place of some
// events out (MariaDB 11.4 and later), and gives it modulo 2^32.
func (s *stream) place(h *header) uint64 {
	at := s.next
	switch {
	case h.flags()&artificial != 0:
		return at
	case h.end() != 0:
		s.next = uint64(h.end())
		return s.next - uint64(h.size())
	default:
		s.next += uint64(h.size())
		return at
	}
}

// at adds where an event stands to what is wrong with it.
func (s *stream) at(place uint64, err error) error {
	if err == nil {
		return nil
	}
	var refused *RefusedError
	var unsupported *UnsupportedError
	if errors.As(err, &refused) || errors.As(err, &unsupported) {
		return fmt.Errorf("binlog %s at %d: %w", s.file, place, err)
	}
	return err
}

// readBody reads the rest of an event, which must be of the size it says.
func (s *stream) readBody(h *header, r io.Reader) ([]byte, error) {
	size := h.size()
	switch {
	case size < replication.EventHeaderSize:
		return nil, s.corrupt(h.kind(), fmt.Sprintf("it says that it has %d bytes", size))
	case size > s.handler.limit:
		return nil, s.tooLarge(h.kind(), size)
	}
	raw, err := readRest(h, r)
	if s.isShort(err) {
		return nil, s.corrupt(h.kind(), "it is shorter than it says")
	}
	if err != nil {
		return nil, err
	}
	var beyond [1]byte
	switch n, err := r.Read(beyond[:]); {
	case n > 0:
		return nil, s.corrupt(h.kind(), "it is longer than it says")
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return raw, nil
}

// readRest reads the rest of an event of the size that its header says. What it
// allocates grows with what comes, in few steps: each leaves garbage.
func readRest(h *header, r io.Reader) ([]byte, error) {
	const first, growth = slabBytes, 15
	size := int(h.size())
	if size <= first {
		raw := make([]byte, size)
		copy(raw, h[:])
		_, err := io.ReadFull(r, raw[replication.EventHeaderSize:])
		return raw, noEOF(err)
	}
	raw := append(make([]byte, 0, first), h[:]...)
	for len(raw) < size {
		from := len(raw)
		n := min(size-from, growth*from)
		raw = append(make([]byte, 0, from+n), raw...)[:from+n]
		if _, err := io.ReadFull(r, raw[from:]); err != nil {
			return nil, noEOF(err)
		}
	}
	return raw, nil
}

func (s *stream) tooLarge(kind replication.EventType, size uint32) error {
	return refuse("an event of type %s has %d bytes, more than the %d that an event may have; mend: keep such rows out of captured tables; to get past this one: %s", kind, size, s.handler.limit, beginAnew)
}

// isShort tells a packet that ended too early from a connection that did.
func (s *stream) isShort(err error) bool {
	return (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && s.dump.packets.failed == nil
}

func (s *stream) corrupt(kind replication.EventType, how string) error {
	return refuse("an event of type %s is corrupt: %s; nothing of its transaction was published; mend: restart, which reads it again; if it comes again, the server's binlog is damaged: see its error log; %s", kind, how, beginAnew)
}

// check verifies the checksum of an event and takes it off.
func (s *stream) check(raw []byte) ([]byte, error) {
	const length, algorithm, none, crc = replication.BinlogChecksumLength, 1, 0, 1
	kind := (*header)(raw).kind()
	body := len(raw) - length
	if kind == replication.FORMAT_DESCRIPTION_EVENT {
		if body-algorithm < replication.EventHeaderSize {
			return nil, s.corrupt(kind, "it is too short")
		}
		// It tells whether the events of its file have one, and always has room for it.
		s.dump.checked = raw[body-algorithm] == crc
		if s.dump.checked && !hasChecksum(raw) {
			return nil, s.corrupt(kind, "its checksum is wrong")
		}
		raw[body-algorithm] = none // for go-mysql, which finds none in what follows
		return raw, nil
	}
	if !s.dump.checked {
		return raw, nil
	}
	if isMadeUp(kind, (*header)(raw).flags()) && !hasChecksum(raw) {
		return raw, nil
	}
	if !hasChecksum(raw) {
		return nil, s.corrupt(kind, "its checksum is wrong")
	}
	binary.LittleEndian.PutUint32(raw[9:], uint32(body))
	return raw[:body], nil
}

// isMadeUp tells events that the server makes for the stream. Whether they have
// a checksum differs between versions.
func isMadeUp(kind replication.EventType, flags uint16) bool {
	return kind == replication.ROTATE_EVENT && flags&artificial != 0 || kind == replication.HEARTBEAT_EVENT || kind == replication.HEARTBEAT_LOG_EVENT_V2
}

func hasChecksum(raw []byte) bool {
	body := len(raw) - replication.BinlogChecksumLength
	return body >= replication.EventHeaderSize && crc32.ChecksumIEEE(raw[:body]) == binary.LittleEndian.Uint32(raw[body:])
}

// decode decodes an event without a checksum and hands it on. go-mysql's
// decoders trust lengths that they read: whatever they stumble over is an event
// that doesn't keep to its format.
func (s *stream) decode(raw []byte, at uint64) error {
	s.kind = (*header)(raw).kind()
	s.handler.file, s.handler.at = s.file, at
	switch {
	case isNeedless(s.kind):
		return nil
	case s.kind == replication.TABLE_MAP_EVENT:
		if s.handler.knownTableMap(raw) {
			return nil
		}
	case isRows(s.kind):
		rows, err := readRows(s.kind, raw[replication.EventHeaderSize:])
		if err != nil {
			return s.corrupt(s.kind, err.Error())
		}
		if !s.handler.isControl(rows.table) {
			return s.handler.rows(rows)
		}
		if isCompressedRows(s.kind) { // go-mysql would believe any size
			if _, err := inflate(rows.images, s.handler.limit); err != nil {
				return s.corrupt(s.kind, err.Error())
			}
		}
	}
	if done, err := s.bracket(raw); done || err != nil {
		return err
	}
	if isBrief(s.kind) {
		raw = bytes.Clone(raw) // what is made of it keeps parts
	}
	ev, err := s.parse(raw)
	if err != nil {
		return err
	}
	if rotate, ok := ev.Event.(*replication.RotateEvent); ok {
		s.file, s.next = string(rotate.NextLogName), rotate.Position
	}
	s.handler.file = s.file
	return s.handler.handle(ev)
}

// isNeedless tells events that say nothing to us, so that nobody decodes them:
// lists of GTIDs, remarks, and signs of life.
func isNeedless(kind replication.EventType) bool {
	switch kind {
	case replication.PREVIOUS_GTIDS_EVENT, replication.MARIADB_GTID_LIST_EVENT, replication.MARIADB_BINLOG_CHECKPOINT_EVENT,
		replication.MARIADB_ANNOTATE_ROWS_EVENT, replication.ROWS_QUERY_EVENT, replication.HEARTBEAT_EVENT, replication.HEARTBEAT_LOG_EVENT_V2,
		replication.INTVAR_EVENT, replication.BEGIN_LOAD_QUERY_EVENT:
		return true
	default:
		return false
	}
}

// isBrief tells events that are done with at once: those around the rows of
// every transaction.
func isBrief(kind replication.EventType) bool {
	switch kind {
	case replication.TABLE_MAP_EVENT, replication.GTID_EVENT, replication.QUERY_EVENT, replication.XID_EVENT:
		return true
	default:
		return isNeedless(kind)
	}
}

func (s *stream) parse(raw []byte) (ev *replication.BinlogEvent, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.corrupt(s.kind, fmt.Sprint(p))
		}
	}()
	if s.kind == replication.MARIADB_QUERY_COMPRESSED_EVENT {
		if raw, err = inflateQuery(raw, s.handler.limit); err != nil {
			return nil, err
		}
	}
	if ev, err = s.parser.Parse(raw); err == nil {
		return ev, nil
	}
	var refused *RefusedError
	var unsupported *UnsupportedError
	if errors.As(err, &refused) || errors.As(err, &unsupported) {
		return nil, err
	}
	return nil, s.corrupt(s.kind, err.Error())
}
