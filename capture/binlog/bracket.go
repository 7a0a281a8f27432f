package binlog

import (
	"encoding/binary"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// bracket handles the events that stand around every transaction of MySQL's
// (its GTID, BEGIN and the commit) and reports whether this is one: with
// transactions of one row they are most of the binlog. What isn't quite of the
// usual form is left to go-mysql.
func (s *stream) bracket(raw []byte) (bool, error) {
	h, body := s.handler, raw[replication.EventHeaderSize:]
	switch s.kind {
	case replication.GTID_EVENT:
		if g, micros, ok := readGTID(body); ok {
			return true, h.open(transaction{gtid: g, commitMicros: micros, serverID: binary.LittleEndian.Uint32(raw[5:])})
		}
	case replication.QUERY_EVENT:
		if thread, ok := readBegin(body); ok && !h.txn.open {
			h.txn.open, h.txn.thread = true, thread
			return true, nil
		}
	case replication.XID_EVENT:
		if len(body) == 8 {
			return true, h.commit()
		}
	}
	return false, nil
}

// readGTID reads the id and commit time of a GTID event (Gtid_event in the
// server's control_events.h): flags in a byte, the uuid, the number, a byte 2,
// two numbers for replication in parallel, and the time in 7 bytes, whose
// highest bit tells of another after it.
func readGTID(body []byte) (g GTID, commitMicros int64, ok bool) {
	const sid, number, kind, commit, end = 1, 17, 25, 42, 49
	if len(body) < end || body[kind] != 2 {
		return g, 0, false
	}
	g = GTID{sid: [16]byte(body[sid:number]), tag: mysql.Tag{}, number: int64(binary.LittleEndian.Uint64(body[number:]))}
	var time [8]byte
	copy(time[:7], body[commit:end])
	time[6] &= 0x7f
	return g, int64(binary.LittleEndian.Uint64(time[:])), true
}

// readBegin reads the session's thread from a query event (Query_event in the
// server's statement_events.h) that is a plain BEGIN: thread and seconds in 4
// bytes each, the length of the schema in one, an error in 2, the length of the
// variables in 2, these, the schema with a zero, the statement.
func readBegin(body []byte) (thread uint32, ok bool) {
	const schemaLength, variablesLength, fixed = 8, 11, 13
	if len(body) < fixed {
		return 0, false
	}
	at := fixed + int(binary.LittleEndian.Uint16(body[variablesLength:])) + int(body[schemaLength]) + 1
	if at > len(body) || string(body[at:]) != "BEGIN" {
		return 0, false
	}
	return binary.LittleEndian.Uint32(body), true
}
