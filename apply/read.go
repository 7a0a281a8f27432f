package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// read assembles transactions and fills batches until ctx ends; work is the
// context of what must be finished.
func (s *session) read(ctx, work context.Context) error {
	if s.round == nil {
		if err := s.awaitTail(ctx, work); err != nil {
			return err
		}
	}
	mends := time.NewTicker(repairEvery)
	defer mends.Stop()
	// For a stop no other transaction is begun, though it is fetched; and what is only
	// read again for its versions needn't be finished.
	going, halt := context.WithCancelCause(work)
	defer halt(nil)
	defer context.AfterFunc(ctx, func() { halt(context.Cause(ctx)) })()
	for {
		s.getHungry()
		select {
		case <-ctx.Done():
			return nil
		case <-work.Done():
			return context.Cause(work)
		case fetches := <-s.fetches:
			if err := s.accept(work, fetches); err != nil {
				return s.stopAt(work, err)
			}
		case <-s.pool.freed:
		case <-s.overdue():
		case <-s.ahead.decided:
		case err := <-s.resets:
			// Where the group was is no longer known: what isn't settled now could not
			// be found again.
			limited, cancel := context.WithTimeout(work, drainLimit)
			defer cancel()
			return errors.Join(s.finish(limited), s.keepSettled(limited), err)
		case <-mends.C:
			if err := s.mend(work); err != nil {
				return err
			}
		}
		if err := s.assemble(work, going); err != nil {
			if ctx.Err() != nil && s.learning() {
				return nil
			}
			return s.stopAt(work, err)
		}
		if err := s.handOn(work); err != nil {
			return err
		}
		if s.st.careful && s.cautiously <= 0 {
			return errFullSpeed
		}
		s.in.Resume()
	}
}

// stopAt commits, before an error that stops the stream, what precedes the
// transaction that it is about.
func (s *session) stopAt(ctx context.Context, err error) error {
	if !supervise.IsPermanent(err) {
		return err
	}
	if spoilt := new(batchFailure); errors.As(err, &spoilt) {
		s.open = newBatch(0) // it has a part of that transaction
	}
	if earlier := s.settle(ctx); earlier != nil {
		return earlier
	}
	return err
}

// cautious is how many transactions are applied one by one after a batch has
// failed.
const cautious = 2000

// errFullSpeed ends a session that applied them.
var errFullSpeed = errors.New("the transactions of the failed batch went through one by one: going on at full speed")

// getHungry asks fetch for one answer, if it hasn't been asked yet.
func (s *session) getHungry() {
	if s.asked {
		return
	}
	s.asked = true
	s.hungry <- struct{}{} // has room: there is one at a time
}

// accept sorts an answer into the inboxes.
func (s *session) accept(ctx context.Context, fetches kgo.Fetches) error {
	s.asked = false
	err := s.in.Accept(ctx, fetches)
	// Those who handed it over keep the slice until the next one comes: with
	// what is in it, a row of 64 MiB would stay in memory for as long.
	clear(fetches)
	return err
}

// receive waits for one answer of Kafka and accepts it.
func (s *session) receive(ctx context.Context) error {
	s.getHungry()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case fetches := <-s.fetches:
		return s.accept(ctx, fetches)
	case <-time.After(time.Second):
		return nil
	}
}

// overdue receives when it must be looked whether what the head of the spine waits for
// still comes.
func (s *session) overdue() <-chan time.Time {
	at, waits := s.wait.Due()
	if !waits {
		return nil
	}
	return time.After(time.Until(at))
}

// assemble takes every transaction that is whole, until going ends.
func (s *session) assemble(ctx, going context.Context) error {
	for {
		if going.Err() != nil {
			return nil
		}
		status, end, missing, err := s.asm.Next()
		if err != nil {
			return s.unlessLearning(err)
		}
		if status != spine.Waiting {
			s.wait = spine.Patience{}
		}
		if end != nil && s.asm.Applied == spine.Unknown && end.Stamp.Seq > s.known+1 {
			return s.unlessLearning(s.asm.Gap("transaction %d is the first on the spine, and %d is the last that was applied", end.Stamp.Seq, s.known))
		}
		if end != nil && end.Stamp.Seq > s.known {
			if err := s.st.checkClock(end.Stamp.Seq, end.Stamp.HLC); err != nil {
				return errors.Join(s.settle(ctx), err) // what came before is done with
			}
		}
		if end != nil && end.Stamp.Seq > s.known && s.round != nil && !s.awaited {
			// The tail reads on when what was applied is known again.
			s.note()
			if err := s.awaitTail(going, ctx); err != nil || going.Err() != nil {
				return err
			}
			s.awaited = true
		}
		if end != nil && end.Stamp.Seq > s.known && status != spine.Unread {
			if early, err := s.early(ctx, end); early || err != nil {
				return err
			}
		}
		switch {
		case status == spine.Nothing:
			return nil
		case status == spine.Unread:
			if err := s.in.Discover(ctx, missing); err != nil {
				return err
			}
		case end.Stamp.Seq <= s.known:
			if err := s.relearn(going, end); err != nil {
				return err
			}
		case s.asm.Events(end) > int64(s.st.cfg.Spec.Apply.BatchRows) && !end.MakesRoom && !isCopy(end), status == spine.Waiting && s.asm.Stuck(end):
			if err := s.alone(ctx, end); err != nil {
				return err
			}
		case status == spine.Waiting:
			return permanentGap(s.wait.Lack(ctx, s.in, end.Stamp, s.asm.Lacking(end)))
		default:
			if err := s.join(ctx, end); err != nil {
				return err
			}
		}
	}
}

// permanentGap makes a gap in the topics permanent, but no other error.
func permanentGap(err error) error {
	if gap := new(spine.GapError); errors.As(err, &gap) {
		return supervise.Permanent(err)
	}
	return err
}

// join merges the transaction at the head of the spine into the open batch.
func (s *session) join(ctx context.Context, end *spine.Ending) error {
	n := s.asm.Events(end)
	limit := int64(s.st.cfg.Spec.Apply.BatchRows)
	if b := s.open; len(b.commits) > 0 && (b.changes+n > limit || s.st.careful || end.Cascades != (b.ordered != nil)) {
		if err := s.handOver(ctx); err != nil {
			return err
		}
	}
	b := s.open
	if len(b.commits) == 0 {
		s.openedAt = time.Now()
	}
	m, yielded := s.madeBy(end), end.Yielded
	b.seq, b.hlc = end.Stamp.Seq, max(b.hlc, end.Stamp.HLC)
	b.commits = append(b.commits, end.CommitMicros)
	b.way.committed, b.way.published = end.CommitMicros, end.Millis*1000
	b.changes += n
	s.cautiously--
	var err error
	if end.Cascades {
		err = s.joinOrdered(ctx, m)
	} else {
		err = s.merge(ctx, end)
	}
	if err == nil && len(yielded) > 0 {
		err = s.joinYielded(ctx, m, yielded)
	}
	s.decoded = schemas.Decoded{} // or it would keep the last record
	if supervise.IsPermanent(err) {
		return batchError(b, err)
	}
	if err == nil && s.full(b.changes, b.bytes) {
		err = s.handOver(ctx)
	}
	return err
}

// merge merges the transaction at the head of the spine into the open batch.
func (s *session) merge(ctx context.Context, end *spine.Ending) error {
	b, m, makesRoom := s.open, s.madeBy(end), end.MakesRoom
	return s.asm.Take(func(r spine.Record) error {
		b.bytes += r.Size()
		t, key, err := s.binders.decode(ctx, r, &s.decoded)
		if err != nil {
			return err
		}
		b.toll.add(s.decoded.Op, r.Size())
		if isCopied(&s.decoded) {
			if err := b.addCopied(t, key, s.decoded.After, s.copied(m)); err != nil {
				return t.unreadable(r.Record, err)
			}
			return nil
		}
		if makesRoom {
			return s.addGiven(b, t, key, s.at(m, r, s.decoded.TotalOrder), r)
		}
		m := s.at(m, r, s.decoded.TotalOrder)
		if err = m.rankOf(t, &s.decoded); err == nil {
			err = b.add(t, key, s.decoded.Before, s.decoded.After, m)
		}
		if err != nil {
			return t.unreadable(r.Record, err)
		}
		return nil
	})
}

// joinOrdered adds the transaction at the head of the spine to the open batch
// change by change, in the order of the source.
func (s *session) joinOrdered(ctx context.Context, m made) error {
	b := s.open
	if b.ordered == nil {
		b.ordered = new(sequence)
	}
	b.needs = max(b.needs, m.seen)
	type change struct {
		schemas.Decoded
		table  *boundTable
		key    []byte
		record spine.Record
	}
	var changes []change
	err := s.asm.Take(func(r spine.Record) (err error) {
		b.bytes += r.Size()
		c := change{record: r}
		if c.table, c.key, err = s.binders.decode(ctx, r, &c.Decoded); err == nil {
			b.toll.add(c.Op, r.Size())
			changes = append(changes, c)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(changes, func(x, y change) int { return cmp.Compare(x.TotalOrder, y.TotalOrder) })
	for i := range changes {
		c := &changes[i]
		if err := s.addOrdered(ctx, b.ordered, c.table, c.key, &c.Decoded, m, c.record); err != nil {
			return err
		}
	}
	if b.ordered.moving != nil {
		return supervise.Permanent(errHalfMove)
	}
	return nil
}

// addOrdered adds a change to a sequence, with what it asks for.
func (s *session) addOrdered(ctx context.Context, q *sequence, t *boundTable, key []byte, c *schemas.Decoded, m made, r spine.Record) error {
	var k *kin
	if keys := topics.Cascade(r.Record); keys != nil && t.parts != nil {
		return supervise.Permanent(errPartedParent(t))
	} else if keys != nil {
		var err error
		if k, err = s.binders.kinOf(ctx, t, keys); err != nil {
			return err
		}
	}
	if t.parts != nil {
		return s.addOrderedParts(q, t, key, c, m, r)
	}
	if err := q.add(t, key, c, r.Record, k); err != nil {
		return spine.Unreadable(r.Record, err)
	}
	return nil
}

// decode reads a record. The change's slices are parts of the record's.
func (b *binders) decode(ctx context.Context, r spine.Record, into *schemas.Decoded) (t *boundTable, key []byte, err error) {
	t, key, value, err := b.of(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	if err := t.envelope.Decode(value, into); err != nil {
		return nil, nil, spine.Unreadable(r.Record, fmt.Errorf("reading its value: %w", err))
	}
	if t.parts != nil && into.Op == 'u' && into.Before == nil {
		return nil, nil, spine.Unreadable(r.Record, errNoBefore)
	}
	if exact := topics.Exact(r.Record); exact != nil {
		if key, err = t.restore(into, exact); err != nil {
			return nil, nil, spine.Unreadable(r.Record, fmt.Errorf("reading its headers: %w", err))
		}
	}
	return t, key, nil
}

// keyed reads of a record the table and the key, and decodes the rest only where more is asked of the table's
// changes: a third of what reading them costs.
func (b *binders) keyed(ctx context.Context, r spine.Record, into *schemas.Decoded) (t *boundTable, key []byte, err error) {
	t, key, _, err = b.of(ctx, r)
	if err == nil && t.ranking == nil && t.parts == nil && t.binder.ExactKey() && topics.Exact(r.Record) == nil {
		return t, key, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return b.decode(ctx, r, into)
}

// restore puts into the rows what Debezium's form can't hold, and returns the
// key that they then have: in the record's own, dates that the calendar lacks
// are all 1970-01-01.
func (t *boundTable) restore(into *schemas.Decoded, exact []byte) (key []byte, err error) {
	if err := t.envelope.Restore(into, exact); err != nil {
		return nil, err
	}
	row := into.After
	if row == nil {
		row = into.Before
	}
	return t.envelope.Value.AppendKey(nil, t.key, row)
}

// full reports whether so many changes of so many bytes are a batch.
func (s *session) full(changes, bytes int64) bool {
	a := &s.st.cfg.Spec.Apply
	return changes >= int64(a.BatchRows) || bytes >= int64(a.BatchBytes)
}

// handOn gives the open batch to a worker that would start on it at once: an
// idle system adds no wait, a busy one fills its batches.
func (s *session) handOn(ctx context.Context) error {
	b := s.open
	if len(b.commits) == 0 {
		s.note()
		return nil
	}
	old := time.Since(s.openedAt) >= s.st.cfg.Spec.Apply.BatchWait
	if len(b.tables) > 0 && !old && !s.pool.welcome() {
		return nil
	}
	return s.handOver(ctx)
}

// maxRoom bounds what a batch has room for from the start: as many as the one before had.
const maxRoom = 4096

// handOver gives the open batch to the pool and opens the next.
func (s *session) handOver(ctx context.Context) error {
	b := s.open
	s.open = newBatch(int(min(b.changes, maxRoom)))
	b.stamps, s.stamps = s.stamps, nil
	b.beats, s.beats = s.beats, nil
	b.way.taken = time.Now().UnixMicro()
	if time.Since(s.attached) > saveEvery/2 {
		b.offsets, s.attached = s.in.Taken(), time.Now()
	}
	if len(b.tables) == 0 && (b.ordered == nil || len(b.ordered.steps) == 0) {
		// Nothing of the task in it: nothing to write means nothing written.
		s.stamps, s.beats = b.stamps, b.beats
		return nil
	}
	b.sortTables()
	if err := s.pool.add(ctx, b); err != nil {
		return err
	}
	if b.bytes < poolBytes {
		return nil
	}
	// A wide row is alone in memory, but for what is fetched already.
	if err := s.pool.drain(ctx); err != nil {
		return err
	}
	debug.FreeOSMemory()
	return nil
}

// alone writes a large transaction with nothing else under way.
func (s *session) alone(ctx context.Context, end *spine.Ending) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.stream(ctx, end)
}

// settle hands the open batch over and waits until every batch is done.
func (s *session) settle(ctx context.Context) error {
	if len(s.open.commits) > 0 {
		if err := s.handOver(ctx); err != nil {
			return err
		}
	}
	return s.pool.drain(ctx)
}
