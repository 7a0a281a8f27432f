package feed

import (
	"context"
	"fmt"
	"iter"
	"time"

	"duplex/change"
	"duplex/spine"
)

// Transaction is one transaction as it was committed in the region that is
// read. Its changes are read once.
type Transaction struct {
	Stamp Stamp
	// ID is its GTID.
	ID string
	// CommitTime is when it was committed in the region that is read.
	CommitTime time.Time
	// Len is the number of its changes in the tables that are read.
	Len int64
	// Offset is that of its END record in the topic <region>.transaction. It
	// rises from one transaction to the next: a program that stores it with
	// its results knows after a restart what it has done already.
	Offset int64

	reader *Reader
	end    *spine.Ending
	heads  []head
	order  int64 // of the last change
	done   bool
}

// head is the next change of one partition.
type head struct {
	partition spine.Partition
	left      int64
	record    spine.Record // taken and not yet decoded
	change    *Change      // nil if none is read yet
}

func newTransaction(r *Reader, end *spine.Ending) *Transaction {
	t := &Transaction{
		Stamp: Stamp{string(end.Stamp.Origin), int64(end.Stamp.Seq), int64(end.Stamp.HLC)}, ID: end.ID,
		CommitTime: time.UnixMicro(end.CommitMicros).UTC(), Len: r.asm.Events(end), Offset: end.Offset(),
		reader: r, end: end,
	}
	for i := range end.Partitions {
		if p := &end.Partitions[i]; r.asm.Wanted(p.Topic) {
			t.heads = append(t.heads, head{partition: spine.Partition{Topic: p.Topic, Index: p.Partition}, left: p.Count})
		}
	}
	return t
}

// Changes returns the transaction's changes in the order in which they were
// made. All of a transaction is there when Next returns it, unless it is too
// large for the memory: such a one is read from Kafka as the loop goes on. In
// any case its end is proven only by a loop that ends without an error.
//
// A loop that was left early may be taken up by another. Once Next or Commit
// is called the rest is gone.
func (t *Transaction) Changes(ctx context.Context) iter.Seq2[*Change, error] {
	return func(yield func(*Change, error) bool) {
		for !t.done {
			c, err := t.next(ctx)
			if err != nil {
				yield(nil, t.reader.fail(ctx, err))
				return
			}
			if c == nil || !yield(c, nil) {
				return
			}
		}
	}
}

// next returns the change that comes next, nil after the last.
func (t *Transaction) next(ctx context.Context) (*Change, error) {
	if t.reader.failed != nil {
		return nil, t.reader.failed
	}
	var first *head
	for i := range t.heads {
		h := &t.heads[i]
		if h.left == 0 {
			continue
		}
		if h.change == nil {
			if err := t.fill(ctx, h); err != nil {
				return nil, err
			}
		}
		if first == nil || h.change.Order < first.change.Order {
			first = h
		}
	}
	if first == nil {
		t.finish()
		return nil, nil
	}
	c := first.change
	if c.Order <= t.order {
		return nil, t.gap(first, "change %d follows change %d", c.Order, t.order)
	}
	t.order, first.change = c.Order, nil
	first.left--
	return c, nil
}

func (t *Transaction) gap(h *head, format string, args ...any) error {
	return t.reader.asm.Gap("transaction %d of %s, in %s[%d]: %s", t.Stamp.Seq, t.Stamp.Origin, h.partition.Topic, h.partition.Index, fmt.Sprintf(format, args...))
}

// fill reads the next change of a partition.
func (t *Transaction) fill(ctx context.Context, h *head) error {
	if h.record.Record == nil {
		var err error
		if h.record, err = t.take(ctx, h); err != nil {
			return err
		}
	}
	c, err := t.reader.decoder.decode(ctx, h.record.Record)
	if err != nil {
		return err
	}
	h.record = spine.Record{}
	if c.TransactionID != t.ID {
		return t.gap(h, "%d of its changes are missing: one of transaction %s is in their place", h.left, c.TransactionID)
	}
	h.change = c
	return nil
}

// take takes the next record of a partition, which may have to be fetched.
func (t *Transaction) take(ctx context.Context, h *head) (spine.Record, error) {
	r := t.reader
	box := r.asm.Inbox(h.partition)
	for wait := (spine.Patience{}); box.Len() == 0; {
		if box.Broken() != nil {
			return spine.Record{}, box.Broken()
		}
		r.in.Resume()
		if err := r.receive(ctx); err != nil {
			return spine.Record{}, err
		}
		if box.Len() == 0 {
			if err := wait.Lack(ctx, r.in, change.Stamp{Origin: change.Region(t.Stamp.Origin), Seq: change.Seq(t.Stamp.Seq)}, h.partition); err != nil {
				return spine.Record{}, err
			}
		}
	}
	return box.Pop(), nil
}

// passOver takes what is left without decoding it.
func (t *Transaction) passOver(ctx context.Context) error {
	for i := range t.heads {
		h := &t.heads[i]
		for ; h.left > 0; h.left-- {
			if h.change != nil || h.record.Record != nil {
				h.change, h.record = nil, spine.Record{}
				continue
			}
			record, err := t.take(ctx, h)
			if err != nil {
				return err
			}
			if int64(record.Seq) != t.Stamp.Seq || string(record.Origin) != t.Stamp.Origin {
				return t.gap(h, "%d of its changes are missing: one of transaction %d of %s is in their place", h.left, record.Seq, record.Origin)
			}
		}
	}
	t.finish()
	return nil
}

// finish notes that all of it is taken.
func (t *Transaction) finish() {
	if !t.done {
		t.done = true
		t.reader.asm.Pass(t.end)
		t.end = nil
	}
}
