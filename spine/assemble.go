// Package spine puts the transactions of a region together again out of its
// topics: whole, in commit order, and proven to lack nothing.
//
// A Consumer reads a region's topics and fills an Inbox for each partition;
// the Assembler takes from them what the END records of the spine promise; a
// Committer saves in a consumer group how far that has come. Package apply
// writes what comes out to a database, package feed gives it to any program.
package spine

import (
	"fmt"

	"duplex/change"
	"duplex/schemas"
	"duplex/topics"
)

// Ending is an END record of the spine.
type Ending struct {
	schemas.End
	// Cascades is set where one of the changes has topics.HeaderCascade: their
	// order then matters.
	Cascades bool
	// MakesRoom is set where the transaction made room for unique values: what it deletes
	// may have a version of its own (topics.Version). Yielded are rows that it
	// deletes and that weren't there.
	MakesRoom bool
	Yielded   []topics.Yielded
	offset    int64
}

// empty reports whether it is nobody's transaction: a canary has no number.
func (e *Ending) empty() bool { return e.Events == 0 && !e.MakesRoom && !topics.IsCopy(e.ID) }

// Offset is that of the record on the spine.
func (e *Ending) Offset() int64 { return e.offset }

// Unknown stands for Assembler.Applied where the first of the region's own
// transactions that comes is the one to begin with.
const Unknown change.Seq = -1

// Assembler puts whole transactions together: the spine says in which order
// they committed and how many changes each has in which partition; the changes
// stand at the head of those partitions. The counts prove that nothing is
// missing; where they don't fit, it reports a gap and never guesses (promises
// 1 and 5). It is pure.
type Assembler struct {
	// Source is the region whose topics are read.
	Source change.Region
	// Wanted tells whether a topic's changes are, Accept whether those that an
	// origin made are.
	Wanted func(topic string) bool
	Accept func(origin change.Region) bool
	// Task, if it isn't empty, is the one for which is read: what others applied there is passed over
	// without a word, and Seen is what had been seen of this one's.
	Task string
	// Applied is the last of the region's own transactions that is done with,
	// Newest the stamp of the last that came out.
	Applied change.Seq
	Newest  change.Stamp
	// Same tells whether a record is of a transaction whose origin and seq it
	// has; it is asked where what precedes is passed over. Another region's
	// transaction may be written again under its old number. Nil means yes.
	Same func(r Record, end *Ending) (bool, error)
	// Passed, if it isn't nil, is called with every END record that is done with,
	// in the order of the spine: those of transactions that came out and those that
	// weren't wanted.
	Passed func(end *Ending)
	// Leave is how many transactions at the beginning are left out, since they
	// may lack changes.
	Leave int

	spine   []Ending // spine[head:] are waiting
	head    int
	inboxes map[Partition]*Inbox
	// spineTaken is the offset after the last END record done with, spineBroken why
	// those that follow can't be read.
	spineTaken  int64
	spineBroken error
}

// Status says what the transaction at the head of the spine waits for.
type Status uint8

// What a transaction waits for.
const (
	Nothing Status = iota // the spine has no more
	Waiting               // for changes not fetched yet
	Unread                // for a partition that isn't read yet
	Ready
)

// GapError says that the topics don't hold what the spine says they must.
type GapError struct {
	Source change.Region
	Text   string
}

// Error tells what is missing and the mend.
func (e *GapError) Error() string {
	return fmt.Sprintf("the topics of region %s have a gap: %s; mend: if the group's offsets were moved forward, move them back; "+
		"if another program wrote a record that is named here, pass over it: duplex resume -c <process file> --pass <record>; "+
		"if records are gone, deleted or by retention, copy the tables anew while nobody writes to them", e.Source, e.Text)
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
	return fmt.Sprintf("region %s numbers its transactions anew: number %d was made after number %d, which is applied here: its Kafka or the saved position of its capture was lost; mend: make the tables of the two regions equal, DELETE FROM duplex.progress WHERE origin = '%s' in this region's database, and duplex resume",
		e.Source, e.Seq, e.Applied, e.Source)
}

// Gap returns the error that tells of a gap.
func (a *Assembler) Gap(format string, args ...any) error {
	return &GapError{a.Source, fmt.Sprintf(format, args...)}
}

// Inbox returns that of a partition, nil if it isn't read.
func (a *Assembler) Inbox(p Partition) *Inbox { return a.inboxes[p] }

// skip passes over what isn't wanted at the head of the spine: other origins,
// canaries, what was applied before. Only the region's own numbers have no
// holes; of what apply wrote there, merged and read again, the counts prove
// that it is whole.
func (a *Assembler) skip() error {
	for a.head < len(a.spine) {
		end := &a.spine[a.head]
		switch {
		case a.Leave > 0:
			a.Leave--
		case a.ofOther(end):
			a.dropEnd()
			continue
		case end.empty(), !a.Accept(end.Stamp.Origin):
		case end.Stamp.Origin != a.Source, a.Applied == Unknown:
			return nil
		case end.Stamp.Seq <= a.Newest.Seq && end.Stamp.HLC > a.Newest.HLC:
			return &RenumberedError{a.Source, end.Stamp.Seq, a.Newest.Seq}
		case end.Stamp.Seq <= a.Applied:
		case end.Stamp.Seq != a.Applied+1:
			return a.Gap("transaction %d follows %d on the spine", end.Stamp.Seq, a.Applied)
		default:
			return nil
		}
		a.popEnd()
	}
	return nil
}

// ofOther reports whether another task applied the transaction. One with changes of this task's
// tables is taken like any other: they were the other's then.
func (a *Assembler) ofOther(end *Ending) bool {
	return a.Task != "" && end.Stamp.Task != "" && end.Stamp.Task != a.Task && a.Events(end) == 0
}

func (a *Assembler) popEnd() {
	if a.Passed != nil {
		a.Passed(&a.spine[a.head])
	}
	a.dropEnd()
}

func (a *Assembler) dropEnd() {
	a.spineTaken = a.spine[a.head].offset + 1
	a.spine[a.head] = Ending{}
	a.head++
	if a.head == len(a.spine) {
		a.spine, a.head = a.spine[:0], 0
	}
}

// Next looks at the transaction at the head of the spine. With Ready or
// Waiting, end is its END record; with Unread, missing is the partition.
func (a *Assembler) Next() (s Status, end *Ending, missing Partition, err error) {
	if err := a.skip(); err != nil {
		return Nothing, nil, missing, err
	}
	if a.head == len(a.spine) {
		return Nothing, nil, missing, a.spineBroken
	}
	end = &a.spine[a.head]
	s = Ready
	for i := range end.Partitions {
		p := &end.Partitions[i]
		if !a.Wanted(p.Topic) {
			continue
		}
		box, ok := a.inboxes[Partition{p.Topic, p.Partition}]
		if !ok {
			return Unread, end, Partition{p.Topic, p.Partition}, nil
		}
		if err := a.check(end, p, box); err != nil {
			return Nothing, nil, missing, err
		}
		if int64(box.Len()) >= p.Count {
			continue
		}
		if box.broken != nil {
			return Nothing, nil, missing, fmt.Errorf("transaction %d lacks %d of its changes: %w", end.Stamp.Seq, p.Count-int64(box.Len()), box.broken)
		}
		s = Waiting
	}
	return s, end, missing, nil
}

// check proves that the records at the head of box can be the transaction's.
func (a *Assembler) check(end *Ending, p *schemas.PartitionCount, box *Inbox) error {
	if box.adrift {
		if err := a.moor(end, box); err != nil {
			return err
		}
	}
	have := min(int64(box.Len()), p.Count)
	if have == 0 {
		return nil
	}
	// Seqs rise within a partition: the first and the last tell of all.
	for _, i := range [2]int{0, int(have) - 1} {
		if got := box.records[box.head+i]; got.Seq != end.Stamp.Seq || got.Origin != end.Stamp.Origin {
			return a.Gap("transaction %d of %s has %d changes in %s[%d], but change %d there, record %[4]s:%[5]d:%[9]d, is of transaction %[7]d of %[8]s",
				end.Stamp.Seq, end.Stamp.Origin, p.Count, p.Topic, p.Partition, i+1, got.Seq, got.Origin, got.Offset)
		}
	}
	return nil
}

// moor passes over what stands in a partition before the first transaction
// that comes out. A record of a later transaction ends it: check tells.
func (a *Assembler) moor(end *Ending, box *Inbox) error {
	for box.Len() > 0 {
		head := box.records[box.head]
		later := head.Origin == a.Source && end.Stamp.Origin == a.Source && head.Seq > end.Stamp.Seq
		same := head.Origin == end.Stamp.Origin && head.Seq == end.Stamp.Seq
		if same && a.Same != nil {
			var err error
			if same, err = a.Same(head, end); err != nil {
				return err
			}
		}
		if later || same {
			box.adrift = false
			return nil
		}
		box.Pop()
	}
	return nil
}

// Stuck reports whether the transaction waits for a partition that isn't
// fetched further because its inbox is full: it must be streamed.
func (a *Assembler) Stuck(end *Ending) bool {
	for i := range end.Partitions {
		p := &end.Partitions[i]
		if box, ok := a.inboxes[Partition{p.Topic, p.Partition}]; ok && box.full && int64(box.Len()) < p.Count {
			return true
		}
	}
	return false
}

// Take hands the records of a ready transaction to each, partition by
// partition, and passes over it.
func (a *Assembler) Take(each func(Record) error) error {
	end := &a.spine[a.head]
	for i := range end.Partitions {
		p := &end.Partitions[i]
		box, ok := a.inboxes[Partition{p.Topic, p.Partition}]
		if !ok {
			continue // not wanted
		}
		for range p.Count {
			if err := each(box.Pop()); err != nil {
				return err
			}
		}
	}
	a.Pass(end)
	return nil
}

// TakeLarge is Take for a transaction that needn't be fetched whole. more is called
// until what lacks in a partition has come; its error ends it.
func (a *Assembler) TakeLarge(more func(Partition) error, each func(Record) error) error {
	end := a.spine[a.head] // a copy: more may move the END records
	stamp := end.Stamp
	for _, p := range end.Partitions {
		at := Partition{p.Topic, p.Partition}
		box, ok := a.inboxes[at]
		if !ok {
			continue // not wanted
		}
		for left := p.Count; left > 0; left-- {
			for box.Len() == 0 {
				if box.broken != nil {
					return fmt.Errorf("transaction %d lacks %d of its changes: %w", stamp.Seq, left, box.broken)
				}
				if err := more(at); err != nil {
					return err
				}
			}
			r := box.Pop()
			if r.Seq != stamp.Seq || r.Origin != stamp.Origin {
				return a.Gap("transaction %d of %s lacks %d changes in %s[%d]", stamp.Seq, stamp.Origin, left, p.Topic, p.Partition)
			}
			if err := each(r); err != nil {
				return err
			}
		}
	}
	a.Pass(&a.spine[a.head])
	return nil
}

// Pass notes that the transaction at the head of the spine is taken.
func (a *Assembler) Pass(end *Ending) {
	if end.Stamp.Origin == a.Source {
		a.Applied, a.Newest = end.Stamp.Seq, end.Stamp
	}
	a.popEnd()
}

// Events returns how many of the transaction's changes are wanted.
func (a *Assembler) Events(end *Ending) (n int64) {
	for i := range end.Partitions {
		if a.Wanted(end.Partitions[i].Topic) {
			n += end.Partitions[i].Count
		}
	}
	return n
}
