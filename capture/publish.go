package capture

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/internal/failpoint"
	"duplex/schemas"
	"duplex/supervise"
)

const (
	// A Kafka transaction is committed when nothing more is on its way, or
	// when it has grown so large or old.
	commitBytes = 64 << 20
	commitAge   = 200 * time.Millisecond
	// appliedLinger is how long a Kafka transaction may wait for more if it
	// holds only what apply wrote here, or a copy: no region waits for that, and each
	// commit costs the broker milliseconds of a core.
	appliedLinger = 20 * time.Millisecond
	// idleSave is how often a position is saved that moved without anything
	// being published.
	idleSave = 5 * time.Second
	// slowCommit is when a commit that Kafka doesn't answer shows in the state.
	slowCommit = 3 * time.Second
)

// publishing is the last stage: it numbers the changes in order, ends each
// transaction with its record in the spine, and commits to Kafka together with
// the position.
type publishing struct {
	c         *Capture
	in        *pipeline
	waiting   func() bool // whether more is on its way
	publisher *publisher
	positions *positionLog
	spine     spine
	schema    schemaLog
	pulse     pulse

	position *binlog.Position
	numbers  change.Stamper // what the stamps of the published transactions led to
	headAt   int64          // commit time, Unix µs, of the newest published transaction

	inTxn bool
	// produced is set while the open Kafka transaction holds a part of a
	// source transaction.
	produced bool
	urgent   bool // the open Kafka transaction holds a local change or a canary
	moved    bool // the position, since it was last saved
	saved    time.Time
	tail     schemas.Change
	// Of the chunk being published: its room, and when that began.
	lot *lot
	now time.Time

	// goal is where the session ends; nil if it doesn't. touched reports whether a statement is on captured tables.
	goal    *binlog.Position
	touched func(*ddlStatement) bool

	// placing is nil where nothing is copied.
	placing *placing

	limits   limits
	wideGone chan struct{} // receives when Kafka has a wide row

	published counts
}

// run publishes chunks in order, and commits as soon as nothing more is on its
// way: low delay when quiet, large batches when busy.
func (s *publishing) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.drain(context.Cause(ctx))
		case now := <-tick.C:
			if err := s.beat(ctx, now); err != nil {
				return err
			}
		case o := <-s.openings():
			s.openWindow(o)
		case w := <-s.drops():
			s.placing.windows.Close(w)
		case p := <-s.parts():
			s.placing.pending = p
			s.place()
		case <-s.lingered():
		case c := <-s.in.order:
			if err := s.chunk(ctx, c); err != nil {
				return err
			}
			s.place()
		}
		if err := s.reached(ctx); err != nil {
			return err
		}
		if s.overdue() || !s.inTxn && !s.waiting() && s.due() {
			if err := s.commit(ctx); err != nil {
				return err
			}
		}
	}
}

// chunk publishes a chunk when its rows are encoded.
func (s *publishing) chunk(ctx context.Context, c *chunk) error {
	select {
	case <-c.done:
	case <-ctx.Done():
		return s.drain(context.Cause(ctx))
	}
	defer s.in.published(c)
	s.now = time.Now()
	s.tail.NowMicros = s.now.UnixMicro()
	if n := len(c.records) + c.ends; n > 0 {
		var err error
		if s.lot, err = s.publisher.reserve(ctx, n, c.encoded+int64(c.ends)*usualEnd); err != nil {
			return s.drain(err)
		}
		if c.wide && !c.copied {
			s.lot.gone = s.wideGone
		}
		defer s.lot.close()
	}
	from := 0
	for i := range c.steps {
		st := &c.steps[i]
		err := s.step(ctx, st, c.records[from:st.last])
		if err != nil {
			return s.stop(st, err)
		}
		from = st.last
		if st.kind == binlog.Commit && s.publisher.bytes >= commitBytes {
			if err := s.commit(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *publishing) step(ctx context.Context, st *step, records []encoded) error {
	if err := s.rows(ctx, st, records); err != nil {
		return err
	}
	if st.err != nil {
		return st.err
	}
	switch st.kind {
	case binlog.Begin:
		s.inTxn = true
		if st.txn.part != nil {
			s.beginPart(st.txn.part)
		}
		if st.txn.gtid == s.c.suspect && s.moved {
			return s.commit(ctx)
		}
	case binlog.Canary, binlog.Yield:
		s.urgent = true
	case binlog.Commit:
		return s.finish(ctx, st)
	case binlog.DDL:
		return s.ddl(ctx, st.event)
	case binlog.Unread:
		return s.c.unread(st.event)
	}
	return nil
}

// rows publishes changes, numbered within their transaction.
func (s *publishing) rows(ctx context.Context, st *step, records []encoded) error {
	txn, t := st.txn, st.table
	switch {
	case len(records) == 0 || s.placing == nil:
	case txn.part != nil:
		records = txn.part.keep(records)
	default:
		s.placing.note(t, records)
	}
	if len(records) == 0 {
		return nil
	}
	if t.rows == 0 {
		txn.tables = append(txn.tables, t)
	}
	s.urgent = s.urgent || !txn.marked && txn.part == nil
	s.produced = true
	s.tail.TxID = txn.gtid
	for _, e := range records {
		if e.op != 0 {
			txn.cascades = txn.cascades || e.cascade
			txn.total++
			t.rows++
			t.counts[e.record.Partition]++
			s.tail.Op, s.tail.TotalOrder, s.tail.CollectionOrder = e.op, txn.total, t.rows
			e.record.Value = schemas.AppendTail(e.record.Value, &s.tail)
			if len(e.record.Value) >= wideBytes {
				if err := s.admit(ctx, t, e.record); err != nil {
					if supervise.IsPermanent(err) {
						st.err = err
					}
					return err
				}
				if len(e.record.Value) >= freeBytes {
					debug.FreeOSMemory() // the event that it was read from
				}
			} else if t.unproven > 0 { // goavro would have a wide one in memory four times
				if st.err = t.prove(e.record); st.err != nil {
					return st.err
				}
			}
		}
		e.record.Timestamp = s.now
		if err := s.lot.produce(ctx, e.record); err != nil {
			return err
		}
	}
	return nil
}

// finish ends a source transaction: only now does the position include it.
func (s *publishing) finish(ctx context.Context, st *step) error {
	if st.txn != nil && st.txn.part != nil {
		s.inTxn, s.produced = false, false
		return s.finishPart(ctx, st.txn)
	}
	if txn := st.txn; s.inTxn {
		if txn.stamped {
			s.numbers.Pass(txn.source.Stamp)
		}
		if txn.total > 0 || txn.canary != "" || txn.yields != nil {
			if err := s.end(ctx, txn); err != nil {
				return err
			}
		}
		s.inTxn, s.produced = false, false
	}
	if err := s.position.Pass(st.event); err != nil {
		return supervise.Permanent(err)
	}
	s.moved, s.headAt = true, st.event.CommitMicros
	return nil
}

// end publishes the END record of a transaction that published changes, or was
// a canary's, and counts.
func (s *publishing) end(ctx context.Context, txn *transaction) error {
	stamp, numbers := txn.source.Stamp, &s.numbers
	if !txn.stamped {
		// An unmarked canary: it is told as local, without using up a seq.
		stamp = change.Stamp{Origin: numbers.Region, HLC: numbers.HLC, Seen: numbers.Seen}
	}
	s.published.add(txn)
	r := s.spine.record(txn, stamp, s.tail.NowMicros)
	r.Timestamp = s.now
	return s.lot.produce(ctx, r)
}

// overdue reports whether the open Kafka transaction must be committed though
// more is on its way.
func (s *publishing) overdue() bool {
	p := s.publisher
	return !s.inTxn && p.open && (p.bytes >= commitBytes || time.Since(p.since) >= commitAge)
}

// due reports whether to commit now that nothing more is on its way.
func (s *publishing) due() bool {
	if !s.publisher.open {
		return s.moved && time.Since(s.saved) >= idleSave
	}
	return s.urgent || time.Since(s.publisher.since) >= appliedLinger
}

// lingered receives when a Kafka transaction that isn't urgent is due.
func (s *publishing) lingered() <-chan time.Time {
	if !s.publisher.open || s.inTxn {
		return nil
	}
	return time.After(time.Until(s.publisher.since.Add(appliedLinger)))
}

// stop ends a session that can't go on past a step, so that all transactions
// before it are published. If the open Kafka transaction already holds a part
// of the one that failed, it can't be committed: the next session commits what
// lies before that one by itself.
func (s *publishing) stop(st *step, cause error) error {
	switch {
	case st.err == nil && st.kind != binlog.DDL && st.kind != binlog.Unread, !s.moved:
		return cause // Kafka's own error, or nothing to save
	case s.produced:
		s.c.suspect = st.txn.gtid
		if supervise.IsPermanent(cause) {
			return &unfinished{cause}
		}
		return cause
	default:
		s.inTxn = false
		return s.drain(cause)
	}
}

// unfinished is a permanent error that was met before what precedes it was
// committed.
type unfinished struct{ cause error }

func (e *unfinished) Error() string { return e.cause.Error() }

// drain commits the whole transactions that are published but not committed,
// so that a stop leaves nothing to be done twice.
func (s *publishing) drain(cause error) error {
	if s.inTxn || !s.publisher.open && !s.moved {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.commit(ctx); err != nil {
		// The caller only asks for an end; the error would be lost with it.
		s.c.cfg.Log.Warn("not committed at the stop, and published at the next start", "error", err)
	}
	return cause
}

// commit publishes the position and commits the Kafka transaction with it.
func (s *publishing) commit(ctx context.Context) error {
	r, err := s.positions.record(s.numbers.Region, &schemas.Position{
		Engine: s.position.Engine(), Text: s.position.String(),
		Seq: s.numbers.Seq, HLC: s.numbers.HLC, Seen: s.numbers.Seen,
		UpdatedMillis: time.Now().UnixMilli(), Version: s.c.cfg.Version,
	})
	if err != nil {
		return err
	}
	if err := s.publisher.produce(ctx, r); err != nil {
		return err
	}
	failpoint.Hit("capture.produced")
	shown := make(chan struct{})
	slow := time.AfterFunc(slowCommit, func() {
		defer close(shown)
		s.c.service.Enter(supervise.Retrying, fmt.Errorf("kafka at %s has not committed for %s", strings.Join(s.c.cfg.Process.Kafka.Brokers, ","), slowCommit))
	})
	err = s.publisher.commit(ctx)
	if !slow.Stop() {
		<-shown // or it might say so after what follows
		if err == nil {
			s.c.service.Enter(supervise.Streaming, nil)
		}
	}
	if err != nil {
		return err
	}
	s.urgent, s.moved, s.saved = false, false, time.Now()
	s.placing.committed()
	s.c.committed(s)
	return nil
}
