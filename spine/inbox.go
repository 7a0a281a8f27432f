package spine

import (
	"duplex/change"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Partition is one partition of a topic.
type Partition struct {
	Topic string
	Index int32
}

// Record is one change as it came from Kafka, with what its headers say.
type Record struct {
	*kgo.Record
	Origin change.Region
	Seq    change.Seq
}

// Size returns the bytes that a fetched record keeps alive.
func (r Record) Size() int64 {
	const overhead = 200
	size := int64(len(r.Key)+len(r.Value)) + overhead
	for i := range r.Headers {
		size += int64(len(r.Headers[i].Value)) // header exact may be large
	}
	return size
}

// Inbox is what was fetched of one partition and not yet assembled.
type Inbox struct {
	records []Record // records[head:] are waiting
	head    int
	bytes   int64
	// fetched is the offset after the last record fetched, those left out
	// included; taken the one after the last record assembled.
	fetched, taken int64
	full           bool // fetching is paused
	// adrift is set until the first transaction is found in a partition that
	// is read from somewhere before it: what precedes it is passed over.
	adrift bool
	// broken tells why what follows the records here can't be read. Those here
	// still can: who reads stops at exactly the transaction that lacks something.
	broken error
}

// Broken tells why nothing more will come, nil if more may.
func (b *Inbox) Broken() error { return b.broken }

// Len returns how many records wait.
func (b *Inbox) Len() int { return len(b.records) - b.head }

func (b *Inbox) push(r Record) {
	b.records = append(b.records, r)
	b.bytes += r.Size()
}

// Pop takes the record at the head; there must be one.
func (b *Inbox) Pop() Record {
	r := b.records[b.head]
	b.records[b.head] = Record{}
	b.head++
	b.bytes -= r.Size()
	b.taken = r.Offset + 1
	if b.head == len(b.records) {
		b.records, b.head = b.records[:0], 0
	} else if b.head > 1024 && b.head > len(b.records)/2 {
		n := copy(b.records, b.records[b.head:])
		clear(b.records[n:])
		b.records, b.head = b.records[:n], 0
	}
	return r
}
