package apply

import (
	"context"
	"fmt"

	"duplex/change"
	"duplex/spine"

	"github.com/twmb/franz-go/pkg/kadm"
)

// barrier is what a change waits for whose key has another schema than those
// before it in its partition, as after an ALTER TABLE of a primary key's column.
// The schema's id is part of the key's bytes, so every key may have moved to another
// partition with it: what the other partitions have of older transactions must be
// applied first.
type barrier struct {
	seq    change.Seq // of the change's transaction
	schema int
	// closed is set once the partition isn't fetched for it.
	closed bool
	// ends are the ends of the topic's other partitions when the change had been
	// read, nil before they were asked for: all older transactions lie before.
	ends map[int32]int64
}

// admits reports whether a change may be written now. If not, its partition waits
// at a barrier. The lane's lock must be held.
func (l *lane) admits(t *tenure, r *keyed) bool {
	switch {
	case t.barrier != nil:
		return false
	case t.schema == 0:
		t.schema = r.keySchema
	case t.schema != r.keySchema:
		t.barrier = &barrier{seq: r.Seq, schema: r.keySchema}
		l.s.st.cfg.Log.Info("the primary key's schema has changed: waiting until the table's other partitions have come as far",
			"topic", t.partition.Topic, "partition", t.partition.Index, "seq", r.Seq)
		return false
	}
	return true
}

// shut stops fetching a partition that waits at a barrier. What has come of it
// isn't counted: else those that it waits for could find no room. The lane's lock
// must be held.
func (l *lane) shut(t *tenure) {
	t.barrier.closed = true
	l.s.pause(t.partition)
	l.grow(-l.queued(t))
}

// queued returns how many bytes wait of a partition.
func (l *lane) queued(t *tenure) (n int64) {
	for i := range l.queue {
		if l.queue[i].tenure == t {
			n += l.queue[i].size()
		}
	}
	return n
}

// open opens those barriers of the lane whose time has come. Nothing may be
// current.
func (l *lane) open(ctx context.Context) error {
	for _, t := range l.waiting() {
		passed, err := l.s.passes(ctx, t)
		switch {
		case err != nil && !l.isOver(t):
			return err
		case passed:
			l.lift(t)
		}
	}
	return nil
}

func (l *lane) isOver(t *tenure) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.over
}

// waiting returns the tenures that wait at a barrier.
func (l *lane) waiting() (all []*tenure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.tenures {
		if t.barrier != nil {
			all = append(all, t)
		}
	}
	return all
}

// lift goes on with a partition behind its barrier.
func (l *lane) lift(t *tenure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.over {
		return
	}
	t.schema, t.barrier = t.barrier.schema, nil
	l.grow(l.queued(t))
	if !l.paused {
		l.s.resume(t.partition)
	}
	select {
	case l.filled <- struct{}{}:
	default:
	}
}

// passes reports whether the table's other partitions have come as far as the
// barrier. First it tells them, in duplex.offsets, that this one has: of several
// that wait, the one with the oldest transaction can go on.
func (s *share) passes(ctx context.Context, t *tenure) (bool, error) {
	b := t.barrier
	if b.ends == nil {
		if err := s.truth.arrive(ctx, t, b.seq); err != nil {
			return false, err
		}
		ends, err := s.admin.ListEndOffsets(ctx, t.partition.Topic)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			return false, fmt.Errorf("asking for the end of topic %s: %w", t.partition.Topic, spine.Explain(err))
		}
		b.ends = map[int32]int64{}
		ends.Each(func(o kadm.ListedOffset) { b.ends[o.Partition] = o.Offset })
		delete(b.ends, t.partition.Index)
	}
	standings, err := s.truth.standings(ctx, t.partition.Topic)
	if err != nil {
		return false, err
	}
	offsets, err := s.admin.FetchOffsets(ctx, s.group())
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return false, fmt.Errorf("reading offsets of group %s: %w", s.group(), spine.Explain(err))
	}
	for index, end := range b.ends {
		other := standings[index]
		o, _ := offsets.Lookup(t.partition.Topic, index)
		n := noteOf(o.At, o.Metadata)
		done := other.next
		if n.known && n.written == other.next {
			done = max(done, n.at)
		}
		if other.seq < b.seq && done < end {
			return false, nil
		}
	}
	return true, nil
}
