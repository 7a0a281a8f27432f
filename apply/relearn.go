package apply

import (
	"cmp"
	"context"
	"slices"

	"duplex/converge"
	"duplex/spine"
	"duplex/supervise"
)

// madeBy returns what the changes of a transaction have in common.
func (s *session) madeBy(end *spine.Ending) made {
	return made{hlc: end.Stamp.HLC, seq: end.Stamp.Seq, seen: end.Stamp.Seen.Of(s.st.cfg.Process.Region)}
}

// at completes m with the places of a record, in the topics and in its transaction.
func (s *session) at(m made, r spine.Record, order int64) made {
	m.order = order
	if s.versions != nil {
		m.place = s.versions.place(spine.Partition{Topic: r.Topic, Index: r.Partition}, r.Offset)
	}
	return m
}

// noteEnd is told of each END record of the source's that is done with. Of many it
// keeps what tells most: the last of each origin.
func (s *session) noteEnd(end *spine.Ending) {
	if n := len(s.stamps); n > 0 && s.stamps[n-1].Origin == end.Stamp.Origin {
		s.stamps[n-1] = end.Stamp
		return
	}
	s.stamps = append(s.stamps, end.Stamp)
}

// relearning reports whether the versions of what was applied before are still
// being read. What the tail finds older than a local write may then be newer.
func (s *session) relearning() bool { return s.asm.Applied == spine.Unknown || s.asm.Applied < s.known }

// untracked says, once for each topic, that conflicts in its table aren't looked
// for.
func (st *Stream) untracked(topic string, why error) {
	if _, told := st.told.LoadOrStore(topic, true); !told {
		st.cfg.Log.Warn("conflicts of a table are not looked for", "topic", topic, "error", why)
	}
}

// relearn takes a transaction that was applied before this session and may not
// be settled: only its versions count.
func (s *session) relearn(ctx context.Context, end *spine.Ending) error {
	m, stamp, large := s.madeBy(end), end.Stamp, &bulk{}
	var rows []relearnt
	many := s.asm.Events(end) > int64(s.st.cfg.Spec.Apply.BatchRows)
	for i := range end.Partitions {
		p := &end.Partitions[i]
		at := spine.Partition{Topic: p.Topic, Index: p.Partition}
		box := s.asm.Inbox(at)
		if box == nil {
			continue // not wanted
		}
		for left := p.Count; left > 0; left-- {
			for box.Len() == 0 {
				s.in.Resume()
				if err := s.receive(ctx); err != nil {
					return err
				}
			}
			r := box.Pop()
			if r.Seq != stamp.Seq {
				return supervise.Permanent(s.asm.Gap("transaction %d lacks %d changes in %s[%d]", stamp.Seq, left, p.Topic, p.Partition))
			}
			t, key, err := s.binders.decode(ctx, r, &s.decoded)
			if supervise.IsPermanent(err) {
				// It was applied, so its table was fit for it then.
				s.st.untracked(r.Topic, err)
				continue
			}
			if err != nil {
				return err
			}
			if many {
				err = s.versions.addBulk(large, t, key)
			} else {
				rows = append(rows, relearnt{t, row{key: key, made: s.at(m, r, s.decoded.TotalOrder)}})
			}
			if err != nil {
				return err
			}
		}
	}
	s.asm.Pass(end)
	if err := s.versions.relearn(rows); err != nil {
		return err
	}
	if many {
		s.versions.wroteBulk(large, stamp, s.stamps)
		s.stamps = nil
	}
	return nil
}

// place returns the number of a place in the topics.
func (v *versions) place(at spine.Partition, offset int64) converge.Place {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.places.add(at, offset)
}

// relearnt is a row that was applied before.
type relearnt struct {
	table *boundTable
	row   row
}

// relearn notes the rows of one transaction that was applied before.
func (v *versions) relearn(rows []relearnt) error {
	slices.SortStableFunc(rows, func(a, b relearnt) int { return cmp.Compare(a.row.made.order, b.row.made.order) })
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range rows {
		if err := v.wroteRow(rows[i].table, &rows[i].row, rows[i].row.made.seq); err != nil {
			return err
		}
	}
	return nil
}
