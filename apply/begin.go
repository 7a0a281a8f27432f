package apply

import (
	"context"
	"database/sql"
	"fmt"

	"duplex/change"
	"duplex/spine"
	"duplex/supervise"
)

// begin tells since when the tables of a task are captured, by the last transaction before: in the source region, and in
// the stream's own. The topics may hold older changes of the same tables, of another task's time. In between nobody captured
// them, so those changes may be older than what the rows have now, and nothing would tell that.
type begin struct{ source, own change.Seq }

func (c *Config) begin() begin { return begin{c.Since[c.Source], c.Since[c.Process.Region]} }

// beginAfter has a stream that has applied nothing yet begin after what was published before its tables were captured for it:
// as if it had applied that, and all of it were settled. It returns what is applied.
func (s *session) beginAfter(ctx context.Context, applied change.Stamp) (change.Stamp, error) {
	b := s.st.cfg.begin()
	if b.source <= applied.Seq {
		return applied, nil
	}
	if applied.Seq > 0 {
		return applied, s.refuseInterrupted(ctx, applied.Seq)
	}
	if s.round != nil {
		return applied, s.st.refuseOlder(ctx)
	}
	kafka, _ := s.st.cfg.source()
	f, err := spine.NewFinder(kafka, s.st.cfg.Source)
	if err != nil {
		return applied, err
	}
	defer f.Close()
	all, err := f.Partitions(ctx, s.asm.Wanted)
	if err != nil {
		return applied, err
	}
	cuts, err := f.Cut(ctx, all, func(m *change.Stamp) bool { return m.Seq > b.source })
	if err != nil {
		return applied, err
	}
	at := cuts[f.Spine()]
	last, err := f.LastBefore(ctx, f.Spine(), at.Start, at.At)
	if err != nil {
		return applied, err
	}
	start := change.Stamp{Origin: s.st.cfg.Source, Seq: b.source, HLC: last.HLC}
	now := checkpoint{offsets: spine.Offsets{}, seq: b.source, written: b.source}
	for p, cut := range cuts {
		now.offsets[p] = cut.At
	}
	// duplex.progress comes last: what a crash leaves half done is done again.
	for _, to := range []*spine.Committer{s.saver, s.keeper} {
		if _, _, err := to.Load(ctx); err != nil {
			return applied, err
		}
	}
	if err := save(ctx, s.saver, now); err != nil {
		return applied, err
	}
	if err := s.keep(ctx, now); err != nil {
		return applied, err
	}
	if s.tail != nil {
		if _, _, err := s.tailSaver.Load(ctx); err != nil {
			return applied, err
		}
		own, _, err := s.tail.startFrom(ctx, func(m *change.Stamp) bool { return m.Seq > b.own })
		if err == nil {
			err = s.tailSaver.Save(ctx, own.offsets, fmt.Sprintf(tailNote, b.own))
		}
		if err != nil {
			return applied, err
		}
	}
	if err := s.progress.set(ctx, s.target, start); err != nil {
		return applied, err
	}
	s.st.applied(start.Seq)
	s.asm.Applied, s.asm.Newest = start.Seq, start
	s.st.cfg.Log.Info("beginning where the tables began to be captured for this task", "after", b.source, "own", b.own, "offset", at.At)
	return start, nil
}

// set notes that all up to a transaction counts as applied.
func (p *progress) set(ctx context.Context, db *sql.DB, at change.Stamp) error {
	result, err := db.ExecContext(ctx, string(p.appendMarker(nil, p.first, at.Seq, at.HLC)))
	if err != nil {
		return classify(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errFenced
	}
	return nil
}

// refuseInterrupted refuses to go on over a time in which the tables weren't captured. What had nothing for the task
// doesn't count.
func (s *session) refuseInterrupted(ctx context.Context, applied change.Seq) error {
	saved, err := load(ctx, s.saver)
	if err != nil || saved.seq >= s.st.cfg.begin().source {
		return err
	}
	c := s.st.cfg
	return supervise.Permanent(fmt.Errorf("transactions of %s are applied up to %d, and the task's tables are captured there after %d only: what changed in between may be in no topic; mend: make the tables equal while nobody writes to them, then, in the database of %s: "+
		"DELETE FROM duplex.progress WHERE task = '%s' AND origin = '%s', and duplex resume", c.Source, max(applied, saved.seq), c.begin().source, c.Process.Region, c.Spec.Task, c.Source))
}

// refuseOlder refuses topics with changes from before the tables were captured for the task, where a stream can't begin
// after them.
func (st *Stream) refuseOlder(ctx context.Context) error {
	kafka, _ := st.cfg.source()
	f, err := spine.NewFinder(kafka, st.cfg.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := f.Partitions(ctx, st.wanted())
	if err != nil {
		return err
	}
	cuts, err := f.Cut(ctx, all, func(m *change.Stamp) bool { return m.Seq > st.cfg.begin().source })
	if err != nil {
		return err
	}
	for p, cut := range cuts {
		if p != f.Spine() && cut.After > cut.Start {
			return supervise.Permanent(fmt.Errorf("topic %s holds changes from before the table was captured for this task: to begin after them is not built yet with ordering key, nor among three regions; mend: use a task of two regions with ordering: transaction, or wait until kafka.retention has passed, then duplex resume", p.Topic))
		}
	}
	return nil
}

// refuseOlderUnlessBegun is refuseOlder for a stream with ordering key that has applied nothing yet.
func (s *share) refuseOlderUnlessBegun(ctx context.Context) error {
	if s.st.cfg.begin().source == 0 {
		return nil
	}
	var begun bool
	c := s.st.cfg
	err := s.target.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM duplex.offsets WHERE task = ? AND origin = ?) OR EXISTS (SELECT 1 FROM duplex.progress WHERE task = ? AND origin = ? AND seq > 0)",
		c.Spec.Task, string(c.Source), c.Spec.Task, string(c.Source)).Scan(&begun)
	if err != nil {
		return classify(err)
	}
	if begun {
		return nil
	}
	return s.st.refuseOlder(ctx)
}
