package apply

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"duplex/change"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
)

// madeBy returns what the changes of a transaction have in common.
func (s *session) madeBy(end *spine.Ending) made {
	return made{hlc: end.Stamp.HLC, origin: end.Stamp.Origin, seq: end.Stamp.Seq, seen: end.Stamp.Seen.Of(s.st.cfg.Process.Region), saw: end.Stamp.Seen}
}

// at completes m with the places of a record, in the topics and in its transaction.
func (s *session) at(m made, r spine.Record, order int64) made {
	m.order = order
	if s.versions != nil {
		m.place = s.versions.places.add(spine.Partition{Topic: r.Topic, Index: r.Partition}, r.Offset)
	}
	return m
}

// noteEnd is told of each END record of the source's that is done with. Of many it
// keeps what tells most: the last of each origin.
func (s *session) noteEnd(end *spine.Ending) {
	if isBeat(end.Canary) && end.Stamp.Origin == s.st.cfg.Source {
		if !s.learning() {
			s.beats = append(s.beats, end.CommitMicros)
		}
		return // it has no number
	}
	if s.versions == nil {
		return
	}
	if stamp := &end.Stamp; stamp.Origin == s.st.cfg.Source {
		s.versions.clashes.remoteSeen.note(stamp.Seq, stamp.Seen.Of(s.st.cfg.Process.Region))
	}
	if n := len(s.stamps); n > 0 && s.stamps[n-1].Origin == end.Stamp.Origin {
		s.stamps[n-1] = end.Stamp
		return
	}
	s.stamps = append(s.stamps, end.Stamp)
}

// relearning reports whether the versions of what was applied before are still
// being read. What the tail finds older than a local write may then be newer.
func (s *session) relearning() bool { return s.asm.Applied == spine.Unknown || s.asm.Applied < s.known }

// learning is relearning where there are versions at all.
func (s *session) learning() bool { return s.versions != nil && s.relearning() }

// untracked says, once for each topic, that conflicts in its table aren't looked
// for.
func (st *Stream) untracked(topic string, why error) {
	if _, told := st.told.LoadOrStore(topic, true); !told {
		st.cfg.Log.Warn("conflicts of a table are not looked for", "topic", topic, "error", why)
	}
}

// unlearntError says that what was applied before can't be read again for its
// versions. The next session goes on without them.
type unlearntError struct{ err error }

func (e *unlearntError) Error() string {
	return e.err.Error() + "; it was applied before: going on without knowing its versions, conflicts with it are not looked for"
}
func (e *unlearntError) Unwrap() error { return e.err }

// Permanent tells that the stream goes on.
func (e *unlearntError) Permanent() bool { return false }

// unlessLearning makes an error of the topics permanent, but not while only versions
// are read.
func (s *session) unlessLearning(err error) error {
	var gap *spine.GapError
	if s.versions != nil && s.relearning() && errors.As(err, &gap) {
		return &unlearntError{err}
	}
	return supervise.Permanent(err)
}

// relearn takes a transaction that was applied before this session and may not
// be settled: only its versions count.
func (s *session) relearn(ctx context.Context, end *spine.Ending) error {
	m, stamp, large := s.madeBy(end), end.Stamp, &bulk{}
	var rows []relearnt
	many := s.asm.Events(end) > int64(s.st.cfg.Spec.Apply.BatchRows)
	makesRoom, yielded := end.MakesRoom, end.Yielded
	if err := s.versions.awaitRead(ctx, stamp); err != nil {
		return err
	}
	if err := s.versions.awaitOwn(ctx, nil, stamp.Seen.Of(s.versions.region)); err != nil {
		return err
	}
	wait := spine.Patience{}
	more := func(p spine.Partition) error {
		if err := wait.Lack(ctx, s.in, stamp, p); err != nil {
			return err
		}
		s.in.Resume()
		return s.receive(ctx)
	}
	err := s.asm.TakeLarge(more, func(r spine.Record) error {
		wait = spine.Patience{}
		t, key, err := s.binders.decode(ctx, r, &s.decoded)
		switch {
		case err == nil && s.leftOut(stamp.Seq):
			return nil
		case supervise.IsPermanent(err):
			// It was applied, so its table was fit for it then.
			s.st.untracked(r.Topic, err)
			return nil
		case err != nil:
			return err
		}
		if isCopied(&s.decoded) {
			return nil // it has no version
		}
		if err := t.weigh(key); err != nil {
			return err
		}
		m := s.at(m, r, s.decoded.TotalOrder)
		if err := m.rankOf(t, &s.decoded); err != nil {
			return t.unreadable(r.Record, err)
		}
		if makesRoom {
			if err := m.give(r); err != nil {
				return err
			}
		}
		if t.parts != nil && stamp.Seq <= s.keptUpTo {
			return nil // what it met has been put right, and a later insert may be known to be newer only then
		}
		if t.parts != nil {
			e, err := t.parts.edit(s.decoded.Before, s.decoded.After, m)
			if err != nil {
				return spine.Unreadable(r.Record, err)
			}
			e.Image = nil
			of := &rowParts{}
			of.merged.Merge(e)
			rows = append(rows, relearnt{t, row{key: bytes.Clone(key), made: m, parts: of}})
			return nil
		}
		// Of a row with several spellings the changes stand in several partitions, and their order counts.
		inOrder := t.binder.ExactKey() || len(rows) >= maxVague
		if many && inOrder && m.version() == stamp.Version() {
			_, err = s.versions.addBulk(large, t, key, m)
			return err
		}
		// The record's key would keep the whole answer of Kafka.
		rows = append(rows, relearnt{t, row{key: bytes.Clone(key), made: m}})
		return nil
	})
	s.decoded = schemas.Decoded{}
	if gap := new(spine.GapError); errors.As(err, &gap) {
		return s.unlessLearning(err)
	}
	if err != nil {
		return err
	}
	for i := range yielded {
		t, err := s.tableOf(ctx, &yielded[i])
		if err != nil {
			return err
		}
		if t != nil {
			rows = append(rows, relearnt{t, row{key: yielded[i].Key, made: m.yielded(&yielded[i])}})
		}
	}
	if many {
		s.mu.Lock()
		s.sawUpTo(s.stamps)
		s.mu.Unlock()
		if err := s.versions.wroteBulk(large, stamp, s.stamps); err != nil {
			return err
		}
		s.stamps = nil
	}
	if err := s.versions.relearn(rows, stamp.Seq); err != nil {
		return err
	}
	s.versions.noted(stamp.Seq)
	return s.versions.handOn(ctx)
}

// relearnt is a row that was applied before.
type relearnt struct {
	table *boundTable
	row   row
}

// relearn notes the rows of one transaction that was applied before.
func (v *inbound) relearn(rows []relearnt, seq change.Seq) error {
	slices.SortStableFunc(rows, func(a, b relearnt) int { return cmp.Compare(a.row.made.order, b.row.made.order) })
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.ticket(seq)
	for i := range rows {
		t, m := rows[i].table, rows[i].row.made
		if !t.tracked {
			continue
		}
		id, err := v.id(t, rows[i].row.key)
		if err != nil {
			return err
		}
		if t.ranking != nil {
			if err := v.contend(t, id, rows[i].row.key, m, m.seq, at); err != nil {
				return err
			}
			continue
		}
		if of := rows[i].row.parts; of != nil {
			if err := v.wroteParts(t, id, rows[i].row.key, &of.merged, of.merged.Guess(), at); err != nil {
				return err
			}
			continue
		}
		k, known, err := v.of(id)
		if err == nil && known {
			v.metBy(t, id, rows[i].row.key, k, m)
		}
		if known && v.unmetBy(k, m) {
			v.contest(id)
		}
		if m.place == 0 {
			v.refer(id, t, rows[i].row.key, m.version())
		}
		if err == nil {
			err = v.note(id, k, known, m, m.seq, at)
		}
		if err != nil {
			return err
		}
	}
	v.clashes.release()
	return nil
}
