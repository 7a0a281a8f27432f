package capture

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/internal/clock"
	"duplex/queue"
	"duplex/supervise"
)

// stamping is the stage that follows the binlog in order and on one goroutine:
// it stamps each transaction at its first row and finds the table of each rows
// event. What costs time, the rows themselves, it hands on in chunks.
type stamping struct {
	events *queue.Queue[*binlog.Event]
	// ended is why the reading of the binlog ended. It is set before the nil
	// event that tells so.
	ended   error
	stamper change.Stamper
	tables  tables
	out     *pipeline

	transactions transactions
	// busy is set while events are neither in the queue nor in the pipeline.
	busy atomic.Bool

	// parts are chunks of a copy that are to be put between two transactions; nil if there is no copy.
	parts <-chan *part
	// Of the last rows: where they stand in the binlog, and the server.
	file     string
	pos      uint64
	serverID uint32

	txn  *transaction // the open one, if any
	next *chunk
	size int // steps of the last chunk
}

// run stamps until ctx ends. Whatever else ends the stream is a step of it, so
// that all before it is published.
func (s *stamping) run(ctx context.Context) error {
	var events []*binlog.Event
	for {
		var parts <-chan *part
		if s.txn == nil {
			parts = s.parts
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case p := <-parts:
			if err := s.put(ctx, p); err != nil {
				return err
			}
			continue
		case <-s.events.Filled():
		}
		s.busy.Store(true)
		events = s.events.Take(events)
		for _, ev := range events {
			if err := s.add(ctx, ev); err != nil {
				return err
			}
			if s.txn == nil && len(s.parts) > 0 {
				if err := s.put(ctx, <-s.parts); err != nil {
					return err
				}
			}
		}
		if err := s.flush(ctx); err != nil {
			return err
		}
		s.busy.Store(false)
	}
}

// add makes a step of an event.
func (s *stamping) add(ctx context.Context, ev *binlog.Event) error {
	return s.append(ctx, s.step(ctx, ev))
}

// append adds a step to the chunk.
func (s *stamping) append(ctx context.Context, st step) error {
	if s.next == nil {
		s.next = &chunk{done: make(chan struct{}), steps: make([]step, 0, s.size)}
	}
	s.next.steps = append(s.next.steps, st)
	s.next.copied = st.txn != nil && st.txn.part != nil
	switch {
	case st.rows != nil:
		s.next.bytes += int64(len(st.rows.Images))
	case st.kind == binlog.Commit && st.txn != nil:
		s.next.ends++
	}
	if s.next.full() || st.err != nil {
		return s.flush(ctx)
	}
	return nil
}

func (s *stamping) flush(ctx context.Context) error {
	c := s.next
	if c == nil {
		return nil
	}
	s.size = len(c.steps) // the next is likely to be alike
	s.next = nil
	return s.out.put(ctx, c)
}

func (s *stamping) step(ctx context.Context, ev *binlog.Event) step {
	if ev == nil {
		return step{txn: s.txn, err: s.ended}
	}
	st := step{kind: ev.Kind}
	switch ev.Kind {
	case binlog.Begin:
		s.txn = s.transactions.begin(ev)
	case binlog.Marker:
		if ev.Mark.Origin == s.stamper.Region {
			st.err = supervise.Permanent(fmt.Errorf("transaction %s is marked as coming from %s itself: an applier of this region wrote here; mend: give each process file its own region id and database", s.txn.gtid, ev.Mark.Origin))
			break
		}
		s.txn.marked = true
		s.transactions.stamp(s.txn, s.stamper.Applied(ev.Mark.Origin, ev.Mark.Task, ev.Mark.Seq, ev.Mark.HLC))
	case binlog.Canary:
		s.txn.canary = ev.Mark.Token
	case binlog.Yield:
		st.err = s.yield(ev.Yields)
	case binlog.Rows:
		if !s.txn.stamped {
			s.stampLocal()
		}
		st.rows = ev.Rows
		s.file, s.pos, s.serverID = ev.Rows.File, ev.Rows.Pos, s.txn.source.ServerID
		if s.txn.yields != nil {
			st.version = s.txn.yields.of(ev.Rows)
		}
		if st.table, st.err = s.tables.of(ctx, ev.Rows.Table); st.err != nil {
			st.err = fmt.Errorf("transaction %s at %s:%d: %w", s.txn.gtid, ev.Rows.File, ev.Rows.Pos, st.err)
		}
	case binlog.Commit:
		st.event = ev
		st.txn, s.txn = s.txn, nil
		return st
	case binlog.DDL, binlog.Unread:
		st.event = ev
	}
	st.txn = s.txn
	return st
}

// stampLocal stamps a transaction of the region's own.
func (s *stamping) stampLocal() {
	s.transactions.stamp(s.txn, s.stamper.Local(clock.Here(time.UnixMicro(s.txn.source.TsMicros))))
}

// waiting reports whether events are on their way to the pipeline's end. The
// order of looks is that of the path: what moves on meanwhile is seen later.
func (s *stamping) waiting() bool {
	return s.events.Bytes() > 0 || s.busy.Load() || len(s.parts) > 0 || len(s.out.order) > 0
}
