package capture

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"

	"duplex/capture/binlog"
	"duplex/schemas"

	"github.com/twmb/franz-go/pkg/kgo"
)

// wideBytes is from how many bytes of images on a rows event is wide. Nearly
// always it then holds a single row: the servers begin another event when one
// has 8 KiB. One wide row at a time is on its way from the binlog to Kafka.
const wideBytes = 4 << 20

// freeBytes is from how many bytes on garbage isn't left to the collector, which
// might come only when there is twice as much.
const freeBytes = 16 << 20

func isWide(ev *binlog.Event) bool {
	return ev != nil && ev.Rows != nil && len(ev.Rows.Images) >= wideBytes
}

// wideRow encodes a row of a wide event straight into the value of its record.
// Two things would cost memory otherwise: another copy of the images, and
// buffers that never again are as small as they were. What was read of the
// event is let go as soon as its last row is decoded.
func (e *encoder) wideRow(c *chunk, st *step, images []byte) (rest []byte, err error) {
	ev, room := st.rows, st.table.room(st)
	present, presentAfter := ev.Present, ev.PresentAfter
	switch ev.Op {
	case binlog.Insert, binlog.Copied:
		present, presentAfter = nil, ev.Present
	case binlog.Delete:
		presentAfter = nil
	}
	c.wide = true
	value := schemas.AppendHeader(make([]byte, 0, len(images)+room), st.table.valueID)
	start := len(value)
	value, rest, err = e.image(value, images, st, present, e.keyBefore, &e.exactBefore)
	if err != nil {
		return nil, err
	}
	middle := len(value)
	value, rest, err = e.image(value, rest, st, presentAfter, e.keyAfter, &e.exactAfter)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		// The bitmaps are parts of the event, too. One like it, made together with
		// this one, would keep them.
		ev.Images, ev.Present, ev.PresentAfter, rest = nil, nil, nil, nil
	}
	switch {
	case ev.Op == binlog.Insert, ev.Op == binlog.Copied:
		e.putWide(c, st, byte(ev.Op), value, e.record(st, value, e.keyAfter), nil, &e.exactAfter)
	case ev.Op == binlog.Delete:
		e.putWide(c, st, 'd', value, e.record(st, value, e.keyBefore), &e.exactBefore, nil)
		c.records = append(c.records, encoded{record: e.record(st, value, e.keyBefore)})
	case st.table.version.Decoder.SameKey(value, e.keyBefore, &e.exactBefore, value, e.keyAfter, &e.exactAfter):
		e.putWide(c, st, 'u', value, e.record(st, value, e.keyAfter), &e.exactBefore, &e.exactAfter)
	default:
		return rest, e.moveWide(c, st, value, start, middle)
	}
	return rest, nil
}

// image appends the field before or after of an envelope, with the image at the
// start of images, and returns what follows that. present is nil where there is
// no such image.
func (e *encoder) image(dst, images []byte, st *step, present []byte, key []binlog.Span, exact *schemas.Exact) (out, rest []byte, err error) {
	if present == nil {
		return append(dst, 0), images, nil
	}
	return st.table.version.Decoder.Decode(append(dst, 2), images, present, key, exact)
}

// moveWide makes a delete and an insert of an update that changed the key. value
// has the field before from start to middle, and after from there.
func (e *encoder) moveWide(c *chunk, st *step, value []byte, start, middle int) error {
	from, to, err := e.moved(st, value, value)
	if err != nil {
		return err
	}
	tombstone, room := e.tombstone(st, value, from), st.table.room(st)
	if len(value) >= freeBytes {
		debug.FreeOSMemory() // the event; value follows it soon
	}
	before := make([]byte, 0, middle+room)
	before = append(append(before, value[:middle]...), 0)
	after := make([]byte, 0, start+len(value)-middle+room)
	after = append(append(append(after, value[:start]...), 0), value[middle:]...)
	e.putWide(c, st, 'd', before, from, &e.exactBefore, nil)
	c.records = append(c.records, encoded{record: tombstone})
	e.putWide(c, st, 'c', after, to, nil, &e.exactAfter)
	return nil
}

// putWide adds a change whose value has its images.
func (e *encoder) putWide(c *chunk, st *step, op byte, value []byte, r *kgo.Record, before, after *schemas.Exact) {
	own := *r // in its slab it would keep the value for as long as any other record
	r = &own
	e.setExact(r, before, after)
	value = st.table.envelope.AppendSource(value, &e.source)
	r.Value = slices.Grow(value, schemas.MaxTail(st.txn.gtid))
	c.encoded += int64(len(r.Key) + len(value))
	c.records = append(c.records, encoded{record: r, op: op})
}

// room is about how much a record has besides its images: an image may take a
// little more than in the binlog, too.
func (t *table) room(st *step) int {
	return 4<<10 + 8*len(t.version.Table.Columns) + len(st.txn.gtid) + schemas.MaxTail(st.txn.gtid)
}

// put hands an event from the binlog on. After a wide one it waits until Kafka
// has that, so that the next isn't read before.
func (s *session) put(ctx context.Context, ev *binlog.Event) error {
	wide, size := isWide(ev), ev.Size() // asked now: what was read is let go on the way
	if ev.Kind == binlog.DDL {
		s.foreignKeys = nil // it may have made or dropped one
	}
	if err := s.stamping.events.Put(ctx, ev, size); err != nil || !wide {
		return err
	}
	select {
	case <-s.publishing.wideGone:
		if size >= freeBytes {
			runtime.GC() // a pool such as that of Kafka's client keeps what it has for one collection
			debug.FreeOSMemory()
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
