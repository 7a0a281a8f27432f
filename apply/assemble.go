package apply

import (
	"fmt"

	"duplex/change"
	"duplex/schemas"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partition is one partition of a table's topic.
type partition struct {
	topic string
	index int32
}

// record is one change as it came from Kafka, with what its headers say.
type record struct {
	*kgo.Record
	seq change.Seq
}

// inbox is what was fetched of one partition and not yet assembled.
type inbox struct {
	records []record // records[head:] are waiting
	head    int
	bytes   int64
	// fetched is the offset after the last record fetched, own echoes
	// included; taken the one after the last record assembled.
	fetched, taken int64
	full           bool // fetching is paused
}

func (b *inbox) len() int { return len(b.records) - b.head }

func (b *inbox) push(r record) {
	b.records = append(b.records, r)
	b.bytes += sizeOf(r.Record)
}

func (b *inbox) pop() record {
	r := b.records[b.head]
	b.records[b.head] = record{}
	b.head++
	b.bytes -= sizeOf(r.Record)
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

// sizeOf returns the bytes that a fetched record keeps alive.
func sizeOf(r *kgo.Record) int64 {
	const overhead = 200
	size := int64(len(r.Key)+len(r.Value)) + overhead
	for i := range r.Headers {
		size += int64(len(r.Headers[i].Value)) // header exact may be large
	}
	return size
}

// ending is an END record of the spine.
type ending struct {
	schemas.End
	offset int64
}

// assembler puts whole transactions together: the spine says in which order
// they committed and how many changes each has in which partition; the changes
// stand at the head of those partitions. The counts prove that nothing is
// missing; where they don't fit, it reports a gap and never guesses (promises
// 1 and 5). It is pure.
type assembler struct {
	source  change.Region
	wanted  func(topic string) bool // whether the task has that table
	applied change.Seq              // the last transaction that is done with
	newest  change.Stamp            // of the last one that was applied
	spine   []ending                // spine[head:] are waiting
	head    int
	inboxes map[partition]*inbox
	// spineTaken is the offset after the last END record done with.
	spineTaken int64
}

// status says what the transaction at the head of the spine waits for.
type status uint8

const (
	nothing status = iota // the spine has no more
	waiting               // for changes not fetched yet
	unknown               // for a partition that isn't read yet
	ready
)

// GapError says that the topics don't hold what the spine says they must.
type GapError struct {
	Source change.Region
	Text   string
}

// Error tells what is missing and the mend.
func (e *GapError) Error() string {
	return fmt.Sprintf("the topics of region %s have a gap: %s; mend: if the group's offsets were moved forward, move them back; if the retention of the topics has passed it, copy the tables anew", e.Source, e.Text)
}

// RenumberedError says that a region began to number its transactions anew.
// Within one numbering a smaller seq has a smaller hlc; so a new transaction
// under an old number is told from an old one that is read again, which is
// passed over.
type RenumberedError struct {
	Source       change.Region
	Seq, Applied change.Seq
}

// Error tells the mend.
func (e *RenumberedError) Error() string {
	return fmt.Sprintf("region %s numbers its transactions anew: number %d was made after number %d, which is applied here: its Kafka or the saved position of its capture was lost; mend: make the tables of the two regions equal, DELETE FROM duplex.progress WHERE origin = '%s' in this region's database, and restart",
		e.Source, e.Seq, e.Applied, e.Source)
}

func (a *assembler) gap(format string, args ...any) error {
	return &GapError{a.source, fmt.Sprintf(format, args...)}
}

// skip passes over what isn't to be applied at the head of the spine: other
// origins, canaries, what was applied before.
func (a *assembler) skip() error {
	for a.head < len(a.spine) {
		end := &a.spine[a.head]
		switch {
		case end.Stamp.Origin != a.source, end.Events == 0:
		case end.Stamp.Seq <= a.newest.Seq && end.Stamp.HLC > a.newest.HLC:
			return &RenumberedError{a.source, end.Stamp.Seq, a.newest.Seq}
		case end.Stamp.Seq <= a.applied:
		case end.Stamp.Seq != a.applied+1:
			return a.gap("transaction %d follows %d on the spine", end.Stamp.Seq, a.applied)
		default:
			return nil
		}
		a.popEnd()
	}
	return nil
}

func (a *assembler) popEnd() {
	a.spineTaken = a.spine[a.head].offset + 1
	a.spine[a.head] = ending{}
	a.head++
	if a.head == len(a.spine) {
		a.spine, a.head = a.spine[:0], 0
	}
}

// next looks at the transaction at the head of the spine. With ready or
// waiting, end is its END record; with unknown, missing is the partition.
func (a *assembler) next() (s status, end *ending, missing partition, err error) {
	if err := a.skip(); err != nil {
		return nothing, nil, missing, err
	}
	if a.head == len(a.spine) {
		return nothing, nil, missing, nil
	}
	end = &a.spine[a.head]
	s = ready
	for i := range end.Partitions {
		p := &end.Partitions[i]
		if !a.wanted(p.Topic) {
			continue
		}
		box, ok := a.inboxes[partition{p.Topic, p.Partition}]
		if !ok {
			return unknown, end, partition{p.Topic, p.Partition}, nil
		}
		if err := a.check(end, p, box); err != nil {
			return nothing, nil, missing, err
		}
		if int64(box.len()) < p.Count {
			s = waiting
		}
	}
	return s, end, missing, nil
}

// check proves that the records at the head of box can be the transaction's.
func (a *assembler) check(end *ending, p *schemas.PartitionCount, box *inbox) error {
	have := min(int64(box.len()), p.Count)
	if have == 0 {
		return nil
	}
	// Seqs rise within a partition: the first and the last tell of all.
	for _, i := range [2]int{0, int(have) - 1} {
		if got := box.records[box.head+i].seq; got != end.Stamp.Seq {
			return a.gap("transaction %d has %d changes in %s[%d], but change %d there is of transaction %d", end.Stamp.Seq, p.Count, p.Topic, p.Partition, i+1, got)
		}
	}
	return nil
}

// stuck reports whether the transaction waits for a partition that isn't
// fetched further because its inbox is full: it must be streamed.
func (a *assembler) stuck(end *ending) bool {
	for i := range end.Partitions {
		p := &end.Partitions[i]
		if box, ok := a.inboxes[partition{p.Topic, p.Partition}]; ok && box.full && int64(box.len()) < p.Count {
			return true
		}
	}
	return false
}

// take hands the records of a ready transaction to each, partition by
// partition, and passes over it.
func (a *assembler) take(each func(record) error) error {
	end := &a.spine[a.head]
	for i := range end.Partitions {
		p := &end.Partitions[i]
		box, ok := a.inboxes[partition{p.Topic, p.Partition}]
		if !ok {
			continue // not of this task
		}
		for range p.Count {
			if err := each(box.pop()); err != nil {
				return err
			}
		}
	}
	a.pass(end)
	return nil
}

// pass notes that the transaction at the head of the spine is taken.
func (a *assembler) pass(end *ending) {
	a.applied, a.newest = end.Stamp.Seq, end.Stamp
	a.popEnd()
}

// events returns how many of the transaction's changes are of this task.
func (a *assembler) events(end *ending) (n int64) {
	for i := range end.Partitions {
		if a.wanted(end.Partitions[i].Topic) {
			n += end.Partitions[i].Count
		}
	}
	return n
}
