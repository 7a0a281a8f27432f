package binlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"

	"duplex/schemas"
)

// The inputs of FuzzStream and FuzzTableMap are events without their headers:
// each a byte for the type, two for the length, and the body. Those kept in
// testdata were taken from MySQL 8.0 and 9.7, MariaDB 10.11 and 11.8, with
// tables of all types, compressed and not, and XA.

// allowed is what may be allocated for some bytes of input: go-mysql's own
// structures, the compiled decoder of a table, a decompressor.
func allowed(input int) uint64 { return 24<<20 + uint64(input)*4096 }

// FuzzStream: whatever comes in packets that are whole, no bytes make the
// reader panic or allocate out of proportion, and a transaction is never given
// in part.
func FuzzStream(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, events []byte) {
		open := false
		limitAllocation(t, len(events), func() {
			err := feed(events, func(e *Event) error {
				switch e.Kind {
				case Begin:
					if open {
						t.Fatal("a transaction begins within another")
					}
					open = true
				case Rows, Marker, Canary:
					if !open {
						t.Fatal("rows outside a transaction")
					}
				case Commit:
					open = false
				}
				return nil
			})
			if err == nil {
				t.Fatal("reading ended without an error")
			}
		})
	})
}

// FuzzTableMap: no description of a table makes the compiler of decoders, or
// the decoder it makes, panic or allocate out of proportion.
func FuzzTableMap(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, body, image []byte) {
		limitAllocation(t, len(body)+len(image), func() {
			s := feeding(nil, func(*Event) error { return nil })
			defer s.close()
			if err := s.run(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			raw := append(make([]byte, replication.EventHeaderSize), body...)
			raw[4] = byte(replication.TABLE_MAP_EVENT)
			binary.LittleEndian.PutUint32(raw[9:], uint32(len(raw)))
			ev, err := s.parse(raw)
			if err != nil {
				return
			}
			tm := ev.Event.(*replication.TableMapEvent)
			version := newTableVersion(s.handler.cfg, tm)
			if version.err != nil || !version.Captured {
				return
			}
			present := bytes.Repeat([]byte{0xff}, (len(version.Table.Columns)+7)/8)
			_, _, _ = version.Decoder.Decode(nil, image, present, make([]Span, len(version.Table.Key)), new(schemas.Exact))
		})
	})
}

// FuzzPosition: a position's text is refused or means the same when it is
// written and read again.
func FuzzPosition(f *testing.F) {
	for _, s := range []string{"", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:11-18", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3:tag:7,\n3e11fa47-71ca-11e1-9e33-c80aa9429563:1"} {
		f.Add("mysql", s)
	}
	for _, s := range []string{"0-1-5", "0-1-5,7-2-9 from 7-2-3", "0-1-5 from 0-0-0"} {
		f.Add("mariadb", s)
	}
	f.Fuzz(func(t *testing.T, engine, text string) {
		limitAllocation(t, len(text), func() {
			p, err := ParsePosition(engine, text)
			if err != nil {
				return
			}
			again, err := ParsePosition(engine, p.String())
			if err != nil || again.String() != p.String() {
				t.Fatalf("%q is written %q, and read as %v, %v", text, p, again, err)
			}
			if p.start() == nil || len(p.start().Encode()) > 64*len(text)+64 {
				t.Fatalf("%q has no beginning, or one out of proportion", text)
			}
			g := GTID{number: 7, server: 1}
			if engine == "mysql" {
				g = GTID{sid: [16]byte{1}, number: 7}
			}
			if err := p.Pass(&Event{GTID: g, undecided: &undecided{prepared: []GTID{g}}}); err != nil {
				t.Fatal(err)
			}
			if engine == "mysql" && strings.Contains(p.String(), g.String()) {
				t.Fatalf("%s has the prepared %s", p, g)
			}
		})
	})
}

// limitAllocation fails the test if f allocates out of proportion to its input.
func limitAllocation(t *testing.T, input int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > allowed(input) {
		t.Fatalf("%d bytes allocated for %d of input", n, input)
	}
}

func feed(events []byte, emit func(*Event) error) error {
	s := feeding(events, emit)
	defer s.close()
	return s.run()
}

// feeding makes a stream of events as they come from a server, each with its
// header, checksum and packet.
func feeding(events []byte, emit func(*Event) error) *stream {
	var wire bytes.Buffer
	sequence := byte(0)
	packet := func(kind replication.EventType, body []byte) {
		size := replication.EventHeaderSize + len(body) + replication.BinlogChecksumLength
		raw := make([]byte, replication.EventHeaderSize, size)
		raw[4] = byte(kind)
		raw[5] = 1 // the server's id
		binary.LittleEndian.PutUint32(raw[9:], uint32(size))
		raw = append(raw, body...)
		raw = binary.LittleEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
		wire.Write([]byte{byte(size + 1), byte((size + 1) >> 8), byte((size + 1) >> 16), sequence, 0})
		wire.Write(raw)
		sequence++
	}
	packet(replication.FORMAT_DESCRIPTION_EVENT, formatDescription())
	for len(events) >= 3 {
		n := min(int(binary.LittleEndian.Uint16(events[1:])), len(events)-3)
		packet(replication.EventType(events[0]), events[3:3+n])
		events = events[3+n:]
	}
	h := newHandler(Config{Captured: func(db, _ string) bool { return db != "other" }, Collations: anyCollations()}, emit)
	s := newStream(&dump{packets: &packets{r: bufio.NewReader(&wire)}, checked: true}, h)
	s.handler.limit = 1 << 20
	return s
}

// anyCollations knows every id that the servers of the seeds use.
func anyCollations() map[uint64]Collation {
	all := map[uint64]Collation{}
	for id := uint64(1); id < 2400; id++ {
		all[id] = Collation{"utf8mb4_bin", "utf8mb4"}
	}
	all[8], all[63] = Collation{"latin1_swedish_ci", "latin1"}, Collation{"binary", "binary"}
	return all
}

// formatDescription is the body of MySQL 8's FORMAT_DESCRIPTION event.
func formatDescription() []byte {
	body := binary.LittleEndian.AppendUint16(nil, 4)
	body = append(body, make([]byte, 50+4)...)
	copy(body[2:], "8.0.31")
	body = append(body, replication.EventHeaderSize)
	lengths := make([]byte, 170)
	for kind, n := range map[replication.EventType]byte{replication.TABLE_MAP_EVENT: 8, replication.WRITE_ROWS_EVENTv2: 10, replication.UPDATE_ROWS_EVENTv2: 10,
		replication.DELETE_ROWS_EVENTv2: 10, replication.WRITE_ROWS_EVENTv1: 8, replication.UPDATE_ROWS_EVENTv1: 8, replication.DELETE_ROWS_EVENTv1: 8} {
		lengths[kind-1] = n
	}
	return append(append(body, lengths...), 1) // with checksums
}
