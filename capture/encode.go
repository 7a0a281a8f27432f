package capture

import (
	"context"
	"slices"
	"time"

	"duplex/capture/binlog"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// encoder turns row events into records. One goroutine uses it; its buffers
// are reused from row to row.
type encoder struct {
	arena         arena
	before, after []byte
	keyBefore     []binlog.Span
	keyAfter      []binlog.Span
	// exactBefore and exactAfter have what the rows can't hold.
	exactBefore, exactAfter schemas.Exact
	change                  schemas.Change
}

// rows produces the changes of a row event, in order.
func (e *encoder) rows(ctx context.Context, t *table, ev *binlog.RowsEvent, txn *transaction, p *publisher) error {
	images := ev.Images
	n := t.version.Decoder.KeyLen()
	e.keyBefore, e.keyAfter = slices.Grow(e.keyBefore[:0], n)[:n], slices.Grow(e.keyAfter[:0], n)[:n]
	e.change.NowMicros = time.Now().UnixMicro()
	for row := 0; len(images) > 0; row++ {
		var err error
		txn.source.Row = row
		if images, err = e.row(ctx, t, ev, images, txn, p); err != nil {
			return err
		}
	}
	return nil
}

// row produces what one row became. An update that changes the primary key is
// published as a delete and an insert, as Debezium does: each record's key is
// then that of the row it speaks of.
func (e *encoder) row(ctx context.Context, t *table, ev *binlog.RowsEvent, images []byte, txn *transaction, p *publisher) (rest []byte, err error) {
	d := t.version.Decoder
	var before, after []byte
	if ev.Op != binlog.Insert {
		if before, images, err = d.Decode(e.before[:0], images, ev.Present, e.keyBefore, &e.exactBefore); err != nil {
			return nil, supervise.Permanent(err)
		}
		e.before = before
	}
	if ev.Op != binlog.Delete {
		present := ev.Present
		if ev.Op == binlog.Update {
			present = ev.PresentAfter
		}
		if after, images, err = d.Decode(e.after[:0], images, present, e.keyAfter, &e.exactAfter); err != nil {
			return nil, supervise.Permanent(err)
		}
		e.after = after
	}
	switch {
	case ev.Op == binlog.Update && !d.SameKey(before, e.keyBefore, &e.exactBefore, after, e.keyAfter, &e.exactAfter):
		if err := e.remove(ctx, t, before, txn, p); err != nil {
			return nil, err
		}
		return images, e.produce(ctx, t, 'c', nil, after, after, e.keyAfter, txn, p)
	case ev.Op == binlog.Delete:
		return images, e.remove(ctx, t, before, txn, p)
	default:
		return images, e.produce(ctx, t, byte(ev.Op), before, after, after, e.keyAfter, txn, p)
	}
}

// remove produces a delete and its tombstone, which lets Kafka compact the
// key away.
func (e *encoder) remove(ctx context.Context, t *table, before []byte, txn *transaction, p *publisher) error {
	if err := e.produce(ctx, t, 'd', before, nil, before, e.keyBefore, txn, p); err != nil {
		return err
	}
	tombstone := e.record(t, before, e.keyBefore, txn)
	return p.produce(ctx, tombstone)
}

func (e *encoder) produce(ctx context.Context, t *table, op byte, before, after, keyed []byte, key []binlog.Span, txn *transaction, p *publisher) error {
	r := e.record(t, keyed, key, txn)
	txn.total++
	t.rows++
	t.counts[r.Partition]++
	c := &e.change
	c.Op, c.Before, c.After, c.Source = op, before, after, &txn.source
	c.TxID, c.TotalOrder, c.CollectionOrder = txn.gtid, txn.total, t.rows
	if exact := schemas.AppendExact(nil, exactOf(before, &e.exactBefore), exactOf(after, &e.exactAfter)); exact != nil {
		r.Headers = append(slices.Clip(r.Headers), kgo.RecordHeader{Key: topics.HeaderExact, Value: exact})
	}
	r.Value = e.arena.keep(t.envelope.Append(schemas.AppendHeader(e.arena.buffer(), t.valueID), c))
	return p.produce(ctx, r)
}

// exactOf leaves out what belongs to a row that the record doesn't have.
func exactOf(row []byte, exact *schemas.Exact) *schemas.Exact {
	if row == nil {
		return nil
	}
	return exact
}

// record returns a record without a value, keyed by the key columns of row.
func (e *encoder) record(t *table, row []byte, key []binlog.Span, txn *transaction) *kgo.Record {
	buf := schemas.AppendHeader(e.arena.buffer(), t.keyID)
	for _, span := range key {
		buf = append(buf, row[span.From:span.To]...)
	}
	r := e.arena.record()
	r.Topic, r.Key, r.Headers = t.topic, e.arena.keep(buf), txn.headers
	r.Partition = t.partition(r)
	return r
}
