package apply

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"duplex/internal/failpoint"
	"duplex/mysql"
)

// lane writes some of the partitions that this process has, on a connection of
// its own. A partition has one lane, so its changes are written in their order;
// lanes don't wait for each other.
type lane struct {
	s *share
	w *writer
	// limit is from how many bytes on its partitions aren't fetched.
	limit int64
	// filled receives when there may be something to write, changed when a batch
	// is done or given up.
	filled  chan struct{}
	changed *sync.Cond

	mu      sync.Mutex // of what follows, and of its tenures
	tenures []*tenure
	queue   []piece
	current []piece // being written
	bytes   int64   // of both
	paused  bool
}

func newLane(s *share, w *writer, limit int64) *lane {
	l := &lane{s: s, w: w, limit: limit, filled: make(chan struct{}, 1)}
	l.changed = sync.NewCond(&l.mu)
	return l
}

// put adds what was read. It never waits: a lane that has enough isn't fetched
// for until it has written.
func (l *lane) put(p piece) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := p.tenure
	if t.over {
		return
	}
	t.fetched = p.next
	if len(p.records) == 0 {
		return
	}
	l.queue = append(l.queue, p)
	t.waiting += len(p.records)
	if t.barrier == nil {
		l.grow(p.size())
	}
	if l.bytes >= l.limit && !l.paused {
		l.paused = true
		for _, t := range l.tenures {
			l.s.pause(t.partition)
		}
	}
	select {
	case l.filled <- struct{}{}:
	default:
	}
}

func (l *lane) grow(n int64) {
	l.bytes += n
	l.s.held(n)
}

// take takes up to a batch of what waits, of each partition changes of one key
// schema. What it takes is current until done.
func (l *lane) take(rows int, bytes int64) []piece {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = nil
	kept := l.queue[:0]
	for _, p := range l.queue {
		n := 0
		for n < len(p.records) && rows > 0 && bytes > 0 && l.admits(p.tenure, &p.records[n]) {
			bytes -= p.records[n].Size()
			rows--
			n++
		}
		switch {
		case n == len(p.records):
			l.current = append(l.current, p)
			continue
		case n > 0:
			l.current = append(l.current, piece{p.tenure, p.records[:n], p.records[n-1].Offset + 1})
			p.records = p.records[n:]
		}
		kept = append(kept, p)
	}
	clear(l.queue[len(kept):])
	l.queue = kept
	for i := range l.queue {
		if t := l.queue[i].tenure; t.barrier != nil && !t.barrier.closed {
			l.shut(t)
		}
	}
	return l.current
}

// done notes that the current pieces are written.
func (l *lane) done(moves []move) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.current {
		p := &l.current[i]
		p.tenure.waiting -= len(p.records)
		l.grow(-p.size())
	}
	for _, m := range moves {
		if i := slices.IndexFunc(l.tenures, func(t *tenure) bool { return t.partition == m.partition }); i >= 0 {
			l.tenures[i].standing = m.to
		}
	}
	l.current = nil
	if l.paused && l.bytes <= l.limit/2 {
		l.paused = false
		for _, t := range l.tenures {
			if t.barrier == nil {
				l.s.resume(t.partition)
			}
		}
	}
	l.changed.Broadcast()
}

// admit begins a tenure.
func (l *lane) admit(t *tenure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tenures = append(l.tenures, t)
	if l.paused {
		l.s.pause(t.partition)
	}
}

// count returns how many partitions the lane has.
func (l *lane) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.tenures)
}

// dismiss ends a tenure: what waits is forgotten, what is being written is waited
// for, but no longer than ctx.
func (l *lane) dismiss(ctx context.Context, t *tenure) {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changed.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.over = true
	kept := l.queue[:0]
	for _, p := range l.queue {
		if p.tenure != t {
			kept = append(kept, p)
			continue
		}
		t.waiting -= len(p.records)
		if t.barrier == nil {
			l.grow(-p.size())
		}
	}
	clear(l.queue[len(kept):])
	l.queue, t.fetched = kept, t.standing.next // what was read and is dropped isn't done with
	for ctx.Err() == nil && slices.ContainsFunc(l.current, func(p piece) bool { return p.tenure == t }) {
		l.changed.Wait()
	}
	l.tenures = slices.DeleteFunc(l.tenures, func(x *tenure) bool { return x == t })
	if l.paused || t.barrier != nil {
		l.s.resume(t.partition)
	}
}

// forget drops from the current pieces those of partitions that aren't ours any
// more, and reports whether there were any.
func (l *lane) forget() (some bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = slices.DeleteFunc(slices.Clone(l.current), func(p piece) bool {
		if !p.tenure.over {
			return false
		}
		some = true
		p.tenure.waiting -= len(p.records)
		l.grow(-p.size())
		return true
	})
	l.changed.Broadcast()
	return some
}

// close gives up what is being written: who waits for it needn't any longer.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = nil
	l.changed.Broadcast()
}

// run writes until ctx ends; work is the context of what must be finished.
func (l *lane) run(ctx, work context.Context) error {
	beat := time.NewTicker(leaseBeat)
	defer beat.Stop()
	defer l.close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-work.Done():
			return context.Cause(work)
		case <-beat.C:
			if err := l.w.ping(work); err != nil {
				return err
			}
			if err := l.open(work); err != nil {
				return err
			}
			continue
		case <-l.filled:
		}
		for len(l.take(l.s.batchRows(), int64(l.s.st.cfg.Spec.Apply.BatchBytes))) > 0 {
			if err := l.write(ctx, work); err != nil {
				return err
			}
			switch {
			case ctx.Err() != nil:
				return nil
			case l.s.goneThrough():
				return errFullSpeed
			}
		}
	}
}

// write writes the current pieces, trying again what is worth it. When ctx ends
// it gives up what doesn't go through.
func (l *lane) write(ctx, work context.Context) error {
	delay := 2 * time.Millisecond
	for {
		b, moves, err := l.merge(work)
		if err != nil {
			return err
		}
		if err = l.try(work, b, moves); err == nil {
			l.done(moves)
			if len(moves) > 0 {
				l.s.wrote(b)
			}
			if b.bytes >= poolBytes {
				debug.FreeOSMemory() // a wide row is alone in memory
			}
			return nil
		}
		l.w.rollback(work)
		fault := mysql.Classify(err)
		switch {
		case l.forget():
		case errors.Is(err, errMoved):
			return err
		case fault.Class != mysql.Retry:
			return l.failure(b, err)
		case ctx.Err() != nil:
			return nil
		}
		l.s.troubled(fault)
		select {
		case <-work.Done():
			return context.Cause(work)
		case <-time.After(delay/2 + rand.N(delay)):
		}
		delay = min(delay*2, time.Second)
	}
}

// try writes a batch in one database transaction.
func (l *lane) try(ctx context.Context, b *batch, moves []move) error {
	if len(moves) == 0 {
		return nil // none of its partitions is ours any more
	}
	// The marker can't tell up to which transaction all were applied; what was
	// before ordering key stays true.
	if err := l.w.begin(ctx, l.s.floor.Seq, b.hlc); err != nil {
		return err
	}
	l.w.text = l.s.truth.appendMoves(l.w.text[:0], moves)
	result, err := l.w.conn.ExecContext(ctx, string(l.w.text))
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != int64(len(moves)) {
		return errMoved
	}
	failpoint.Hit("apply.moved")
	if err := l.w.tables(ctx, b.tables); err != nil {
		return err
	}
	return l.w.commit(ctx)
}

// failure says that the current pieces can't be written.
func (l *lane) failure(b *batch, err error) error {
	first := b.seq
	for i := range l.current {
		first = min(first, l.current[i].records[0].Seq)
	}
	return &batchFailure{first, b.seq, int(b.changes), err}
}

// offset returns up to where a partition is done with, as the consumer group is to
// have it, and what of that is in duplex.offsets.
func (l *lane) offset(t *tenure) (at, written int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.waiting == 0 {
		return max(t.fetched, t.standing.next), t.standing.next
	}
	return t.standing.next, t.standing.next
}
