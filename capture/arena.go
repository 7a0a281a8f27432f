package capture

import "github.com/twmb/franz-go/pkg/kgo"

// arena hands out the memory of records, in slabs, so that a record costs no
// allocation of its own. A slab lives as long as Kafka's client holds any
// record of it.
type arena struct {
	bytes   []byte
	records []kgo.Record
}

const (
	slabBytes   = 256 << 10
	slabRecords = 256
)

// buffer returns memory to append to, with room for at least a usual row.
// What was appended is claimed by keep.
func (a *arena) buffer() []byte {
	const usual = 4 << 10
	if cap(a.bytes)-len(a.bytes) < usual {
		a.bytes = make([]byte, 0, slabBytes)
	}
	return a.bytes[len(a.bytes):]
}

// keep claims b, which the caller has grown from buffer, so that the next
// buffer starts after it.
func (a *arena) keep(b []byte) []byte {
	free := a.bytes[len(a.bytes):cap(a.bytes)]
	if len(b) > 0 && len(b) <= len(free) && &b[0] == &free[:1][0] {
		a.bytes = a.bytes[:len(a.bytes)+len(b)]
	}
	return b[:len(b):len(b)]
}

// record returns a zero record.
func (a *arena) record() *kgo.Record {
	if len(a.records) == 0 {
		a.records = make([]kgo.Record, slabRecords)
	}
	r := &a.records[0]
	a.records = a.records[1:]
	return r
}
