package capture

import (
	"context"
	"fmt"
	"slices"

	"duplex/capture/binlog"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// encoder turns row images into records. Each worker has its own; its buffers
// are reused from row to row.
type encoder struct {
	arena         arena
	before, after []byte
	keyBefore     []binlog.Span
	keyAfter      []binlog.Span
	// exactBefore and exactAfter have what the rows can't hold.
	exactBefore, exactAfter schemas.Exact
	// spansBefore and spansAfter are of the rows of a table that has cascades.
	spansBefore, spansAfter []schemas.Span
	source                  schemas.Source
	change                  schemas.Change
}

// encode is a worker: it encodes the rows of one chunk after the other.
func encode(ctx context.Context, in <-chan *chunk) error {
	var e encoder
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case c := <-in:
			e.chunk(c)
			close(c.done)
		}
	}
}

// chunk encodes the rows of a chunk, up to a step that can't be.
func (e *encoder) chunk(c *chunk) {
	for i := range c.steps {
		st := &c.steps[i]
		if st.rows != nil && st.err == nil {
			st.err = e.rows(c, st)
		}
		st.last = len(c.records)
		if st.err != nil {
			return
		}
	}
}

// rows encodes the changes of a row event, in order.
func (e *encoder) rows(c *chunk, st *step) error {
	n := st.table.version.Decoder.KeyLen()
	e.keyBefore, e.keyAfter = slices.Grow(e.keyBefore[:0], n)[:n], slices.Grow(e.keyAfter[:0], n)[:n]
	e.source = st.txn.source
	e.source.File, e.source.Pos = st.rows.File, st.rows.Pos
	e.change.Source = &e.source
	images := st.rows.Images
	for e.source.Row = 0; len(images) > 0; e.source.Row++ {
		var err error
		if images, err = e.row(c, st, images); err != nil {
			return supervise.Permanent(fmt.Errorf("transaction %s at %s:%d: %w", st.txn.gtid, st.rows.File, st.rows.Pos, err))
		}
	}
	return nil
}

// row encodes what one row became. An update that changes the primary key is
// published as a delete and an insert, as Debezium does: each record's key is
// then that of the row it speaks of.
func (e *encoder) row(c *chunk, st *step, images []byte) (rest []byte, err error) {
	d, ev, from := st.table.version.Decoder, st.rows, len(c.records)
	if len(images) >= wideBytes {
		rest, err = e.wideRow(c, st, images)
		if err == nil && cascadesWide(st) {
			markCascade(st, c.records[from:])
		}
		return rest, err
	}
	var before, after []byte
	if ev.Op != binlog.Insert && ev.Op != binlog.Copied {
		if before, images, err = d.Decode(e.before[:0], images, ev.Present, e.keyBefore, &e.exactBefore); err != nil {
			return nil, err
		}
		e.before = before
	}
	if ev.Op != binlog.Delete {
		present := ev.Present
		if ev.Op == binlog.Update {
			present = ev.PresentAfter
		}
		if after, images, err = d.Decode(e.after[:0], images, present, e.keyAfter, &e.exactAfter); err != nil {
			return nil, err
		}
		e.after = after
	}
	switch {
	case ev.Op == binlog.Update && !d.SameKey(before, e.keyBefore, &e.exactBefore, after, e.keyAfter, &e.exactAfter):
		if err := e.move(c, st, before, after); err != nil {
			return nil, err
		}
	case ev.Op == binlog.Delete:
		e.remove(c, st, before)
	default:
		e.put(c, st, byte(ev.Op), before, after, e.record(st, after, e.keyAfter))
	}
	if st.table.cascade != nil {
		return images, e.cascade(st, before, after, c.records[from:])
	}
	return images, nil
}

// move adds a delete with its tombstone and an insert, each with the other's
// key in a header.
func (e *encoder) move(c *chunk, st *step, before, after []byte) error {
	from, to, err := e.moved(st, before, after)
	if err != nil {
		return err
	}
	e.put(c, st, 'd', before, nil, from)
	c.records = append(c.records, encoded{record: e.tombstone(st, before, from)})
	e.put(c, st, 'c', nil, after, to)
	return nil
}

// moved returns the records, without values, of a row that got another key.
func (e *encoder) moved(st *step, before, after []byte) (from, to *kgo.Record, err error) {
	from, to = e.record(st, before, e.keyBefore), e.record(st, after, e.keyAfter)
	oldKey, err := st.table.key.AppendStruct(nil, from.Key[schemas.HeaderBytes:])
	if err != nil {
		return nil, nil, err
	}
	newKey, err := st.table.key.AppendStruct(nil, to.Key[schemas.HeaderBytes:])
	if err != nil {
		return nil, nil, err
	}
	from.Headers = append(slices.Clip(from.Headers), kgo.RecordHeader{Key: topics.HeaderNewKey, Value: newKey})
	to.Headers = append(slices.Clip(to.Headers), kgo.RecordHeader{Key: topics.HeaderOldKey, Value: oldKey})
	return from, to, nil
}

// tombstone returns the tombstone that follows a moved row's delete.
func (e *encoder) tombstone(st *step, before []byte, from *kgo.Record) *kgo.Record {
	r := e.record(st, before, e.keyBefore)
	r.Headers = from.Headers
	return r
}

// remove adds a delete and its tombstone, which lets Kafka compact the key
// away.
func (e *encoder) remove(c *chunk, st *step, before []byte) {
	e.put(c, st, 'd', before, nil, e.record(st, before, e.keyBefore))
	c.records = append(c.records, encoded{record: e.record(st, before, e.keyBefore)})
}

// put adds a change. The end of its value depends on the changes ahead of it:
// publishing writes it, into room that is left here.
func (e *encoder) put(c *chunk, st *step, op byte, before, after []byte, r *kgo.Record) {
	e.setExact(r, exactOf(before, &e.exactBefore), exactOf(after, &e.exactAfter))
	e.change.Before, e.change.After = before, after
	value := st.table.envelope.AppendHead(schemas.AppendHeader(e.arena.buffer(), st.table.valueID), &e.change)
	end, room := len(value), schemas.MaxTail(st.txn.gtid)
	r.Value = e.arena.keep(slices.Grow(value, room)[:end+room])[:end]
	c.encoded += int64(len(r.Key) + end + room)
	c.records = append(c.records, encoded{record: r, op: op})
}

// setExact adds the header with what the images can't hold, if there is any.
func (e *encoder) setExact(r *kgo.Record, before, after *schemas.Exact) {
	if exact := schemas.AppendExact(nil, before, after); exact != nil {
		r.Headers = append(slices.Clip(r.Headers), kgo.RecordHeader{Key: topics.HeaderExact, Value: exact})
	}
}

// record returns a record without a value, keyed by the key columns of row.
func (e *encoder) record(st *step, row []byte, key []binlog.Span) *kgo.Record {
	buf := schemas.AppendHeader(e.arena.buffer(), st.table.keyID)
	for _, span := range key {
		buf = append(buf, row[span.From:span.To]...)
	}
	r := e.arena.record()
	r.Topic, r.Key, r.Headers = st.table.topic, e.arena.keep(buf), st.txn.headers
	if st.version != nil {
		r.Headers = append(slices.Clip(r.Headers), *st.version)
	}
	r.Partition = st.table.partition(r)
	return r
}

// exactOf leaves out what belongs to a row that the record doesn't have.
func exactOf(row []byte, exact *schemas.Exact) *schemas.Exact {
	if row == nil {
		return nil
	}
	return exact
}
