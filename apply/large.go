package apply

import (
	"bytes"
	"context"
	"time"

	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
)

// large writes one transaction that is larger than a batch: alone, its rows
// as they arrive, within one database transaction. Its records are put back
// into the order of the source, so that what is valid there step by step is
// valid here too. Memory stays bounded: only a chunk is held at a time.
type large struct {
	s     *session
	end   *spine.Ending
	heads []head
	// chunk are the rows not yet sent: so many changes, so many bytes.
	chunk          sequence
	changes, bytes int64
	toll           toll
	taken          int64 // when it was begun, Unix µs
	// reading is set while what fails is Kafka's or the registry's trouble.
	reading bool
	rows    bulk // all of them, for versions
	// given are those that have another version than the transaction.
	given []relearnt
	// parted are those of tables whose rows are made of parts, as they were written; partedBytes
	// is about what they take.
	parted      []partedRow
	partedBytes int64
	// refused is the chunk that the server has refused.
	refused []sequenceStep
}

// head is the next record of one partition.
type head struct {
	partition spine.Partition
	left      int64
	record    spine.Record // the zero record if none is fetched yet
	change    schemas.Decoded
	table     *boundTable
	key       []byte
}

// stream writes the transaction at the head of the spine. All batches before
// it must be done.
func (s *session) stream(ctx context.Context, end *spine.Ending) error {
	l := &large{s: s, end: end, taken: time.Now().UnixMicro()}
	for i := range end.Partitions {
		if p := &end.Partitions[i]; s.asm.Wanted(p.Topic) {
			l.heads = append(l.heads, head{partition: spine.Partition{Topic: p.Topic, Index: p.Partition}, left: p.Count})
		}
	}
	var err error
	if s.streamer, err = newWriter(ctx, s.target, s.progress, s.workers, s.maxPacket); err != nil {
		return err
	}
	defer s.streamer.conn.Close()
	// With nothing else under way a lock is a user's, and to begin anew costs
	// much: it is waited for longer than in a batch.
	if _, err := s.streamer.conn.ExecContext(ctx, "SET SESSION innodb_lock_wait_timeout = 30"); err != nil {
		return classify(err)
	}
	if err := l.write(ctx); err != nil {
		s.streamer.rollback(ctx)
		if s.pool.crowded != nil && !l.end.Cascades && isDuplicate(err) {
			err = s.crowdedLarge(ctx, l.refused, err)
		}
		if l.reading && !supervise.IsPermanent(err) {
			return err
		}
		return &batchFailure{end.Stamp.Seq, end.Stamp.Seq, 1, err}
	}
	b := &batch{seq: end.Stamp.Seq, hlc: end.Stamp.HLC, commits: []int64{end.CommitMicros}, changes: s.asm.Events(end), toll: l.toll,
		way: way{end.CommitMicros, end.Millis * 1000, l.taken}, beats: s.beats}
	s.beats = nil
	stamp := end.Stamp
	s.asm.Pass(end)
	if s.versions != nil {
		if l.end.Cascades {
			s.versions.wroteOpaque(stamp)
		}
		b.stamps, s.stamps = s.stamps, nil
		err := s.versions.wroteBulk(&l.rows, stamp, b.stamps)
		if err == nil {
			err = s.versions.relearn(l.given, stamp.Seq)
		}
		if err == nil {
			err = s.versions.wroteLargeParts(l.parted, stamp.Seq)
		}
		if err == nil {
			err = s.versions.handOn(ctx)
		}
		if err != nil {
			return err
		}
		s.versions.noted(stamp.Seq)
	}
	b.offsets = s.in.Taken()
	s.written(b)
	return nil
}

func (l *large) write(ctx context.Context) error {
	w := l.s.streamer
	if l.s.versions != nil {
		if err := l.s.versions.awaitOwn(ctx, w, l.end.Stamp.Seen.Of(l.s.versions.region)); err != nil {
			return err
		}
	}
	if err := w.begin(ctx, l.end.Stamp.Seq, l.end.Stamp.HLC); err != nil {
		return err
	}
	if err := l.mergeYielded(ctx); err != nil {
		return err
	}
	for {
		l.reading = true
		h, err := l.next(ctx)
		if err != nil {
			return err
		}
		l.reading = false
		if h == nil {
			break
		}
		if l.end.Cascades {
			err = l.s.addOrdered(ctx, &l.chunk, h.table, h.key, &h.change, l.s.madeBy(l.end), h.record)
		} else {
			err = l.merge(h)
		}
		if err != nil {
			return err
		}
		l.changes++
		l.bytes += h.record.Size()
		l.toll.add(h.change.Op, h.record.Size())
		h.record, h.change, h.key = spine.Record{}, schemas.Decoded{}, nil // or they would keep the record
		h.left--
		if l.s.full(l.changes, l.bytes) {
			if err := l.flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := l.flush(ctx); err != nil {
		return err
	}
	if l.chunk.moving != nil {
		return supervise.Permanent(errHalfMove)
	}
	return w.commit(ctx)
}

// merge adds the change at the head of a partition to the chunk.
func (l *large) merge(h *head) error {
	if h.table.parts != nil {
		return l.s.addOrderedParts(&l.chunk, h.table, h.key, &h.change, l.s.madeBy(l.end), h.record)
	}
	r := l.chunk.merge(h.table, h.key, h.change.Before, h.change.After)
	r.made = l.s.at(l.s.madeBy(l.end), h.record, h.change.TotalOrder)
	if l.s.versions == nil {
		return nil
	}
	if isCopied(&h.change) {
		var err error
		r.made = l.s.copied(r.made)
		r.id, err = l.s.versions.idOf(h.table, h.key)
		return err
	}
	err := r.made.rankOf(h.table, &h.change)
	if err != nil {
		return h.table.unreadable(h.record.Record, err)
	}
	if l.end.MakesRoom {
		r.made = l.s.at(r.made, h.record, h.change.TotalOrder)
		if err = r.made.give(h.record); err != nil {
			return err
		}
		if r.made.version() != l.end.Stamp.Version() {
			if r.id, err = l.s.versions.idOf(h.table, h.key); err == nil {
				l.given = append(l.given, relearnt{h.table, row{key: bytes.Clone(h.key), made: r.made}})
			}
			return err
		}
	}
	if err := h.table.weigh(h.key); err != nil {
		return err
	}
	r.id, err = l.s.versions.addBulk(&l.rows, h.table, h.key, r.made)
	return err
}

func (l *large) flush(ctx context.Context) error {
	steps := l.chunk.take()
	for i := range steps {
		siftStep := l.s.pool.sift
		if l.end.Cascades {
			siftStep = l.s.pool.siftParts // the order of the others is the source's, whatever is newer
		}
		if err := siftStep(steps[i].tables); err != nil {
			return err
		}
	}
	if err := l.s.streamer.steps(ctx, steps); err != nil {
		l.refused = steps
		return err
	}
	if err := l.keepParts(steps); err != nil {
		return err
	}
	l.changes, l.bytes = 0, 0
	return nil
}

// next returns the change that comes next in the source's order, nil after the
// last. It fetches as long as a partition that has more to give is empty.
func (l *large) next(ctx context.Context) (*head, error) {
	var first *head
	for i := range l.heads {
		h := &l.heads[i]
		if h.left == 0 {
			continue
		}
		if h.record.Record == nil {
			if err := l.fill(ctx, h); err != nil {
				return nil, err
			}
		}
		if first == nil || h.change.TotalOrder < first.change.TotalOrder {
			first = h
		}
	}
	return first, nil
}

func (l *large) fill(ctx context.Context, h *head) error {
	box := l.s.asm.Inbox(h.partition)
	wait := spine.Patience{}
	for box.Len() == 0 {
		if box.Broken() != nil {
			return box.Broken()
		}
		l.s.in.Resume()
		if err := l.s.receive(ctx); err != nil {
			return err
		}
		if err := l.s.streamer.ping(ctx); err != nil {
			return err
		}
		if box.Len() == 0 {
			if err := wait.Lack(ctx, l.s.in, l.end.Stamp, h.partition); err != nil {
				return permanentGap(err)
			}
		}
	}
	r := box.Pop()
	if r.Seq != l.end.Stamp.Seq {
		return supervise.Permanent(l.s.asm.Gap("transaction %d lacks %d changes in %s[%d]: one of transaction %d is in their place", l.end.Stamp.Seq, h.left, h.partition.Topic, h.partition.Index, r.Seq))
	}
	h.record = r
	var err error
	h.table, h.key, err = l.s.binders.decode(ctx, r, &h.change)
	return err
}
