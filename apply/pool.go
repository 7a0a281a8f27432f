package apply

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"duplex/mysql"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// pool writes batches on several connections at once. Batches whose locks are
// disjoint run together; all commit in the order of the source (promise 5), so
// that every state seen at the target is one the source had had.
type pool struct {
	room *semaphore.Weighted // bytes of batches not done
	// freed receives when a batch is done: the reader may have one to hand on.
	freed chan struct{}
	// starts holds a token for each batch in ready.
	starts chan struct{}
	// written is called after each commit, in order.
	written func(*batch)
	// troubled is called with the reason when a batch must be tried again, and
	// with nil when it went through.
	troubled func(error)

	mu     sync.Mutex
	sched  *scheduler
	undone []*batch // in order
	ready  []*batch // those that may start and that no worker has taken
	last   *batch   // the last added
}

const (
	poolBytes = 24 << 20
	// maxUndone bounds the batches not done for each worker, so that a crash
	// has little to do again.
	maxUndone = 2
)

func newPool(workers int, written func(*batch), troubled func(error)) *pool {
	return &pool{
		room: semaphore.NewWeighted(poolBytes), freed: make(chan struct{}, 1),
		starts: make(chan struct{}, workers*maxUndone), sched: newScheduler(),
		written: written, troubled: troubled,
	}
}

// start runs the workers until ctx ends or one fails.
func (p *pool) start(ctx context.Context, group *errgroup.Group, writers []*writer) {
	for _, w := range writers {
		group.Go(func() error {
			w.beat = time.NewTicker(leaseBeat)
			defer w.beat.Stop()
			for {
				select {
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-w.beat.C:
					if err := w.ping(ctx); err != nil {
						return err
					}
				case <-p.starts:
					if err := p.apply(ctx, w, p.earliest()); err != nil {
						return err
					}
				}
			}
		})
	}
}

// earliest takes the first in source order of the batches that may start. Any
// other choice could lock up: later batches, waiting for its commit, might
// occupy all workers.
func (p *pool) earliest() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := 0
	for i, b := range p.ready {
		if b.seq < p.ready[first].seq {
			first = i
		}
	}
	b := p.ready[first]
	p.ready = slices.Delete(p.ready, first, first+1)
	return b
}

// allow lets a worker take b. The caller holds mu.
func (p *pool) allow(b *batch) {
	p.ready = append(p.ready, b)
	p.starts <- struct{}{} // has room: there are never more than cap undone
}

// count returns how many batches are not done.
func (p *pool) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.undone)
}

// welcome reports whether a worker would start on b at once.
func (p *pool) welcome(b *batch, workers int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.undone) < workers && !p.sched.clashes(b)
}

// add hands a batch over, waiting for room.
func (p *pool) add(ctx context.Context, b *batch) error {
	if err := p.room.Acquire(ctx, min(b.bytes, poolBytes)); err != nil {
		return context.Cause(ctx)
	}
	for p.count() >= cap(p.starts) {
		select {
		case <-p.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil {
		b.after = p.last.done
	}
	p.last = b
	p.undone = append(p.undone, b)
	if p.sched.add(b) {
		p.allow(b)
	}
	return nil
}

// finish notes that b is committed and starts what waited for it.
func (p *pool) finish(b *batch) {
	p.written(b)
	p.mu.Lock()
	for _, next := range p.sched.remove(b) {
		p.allow(next)
	}
	p.undone = slices.DeleteFunc(p.undone, func(u *batch) bool { return u == b })
	p.mu.Unlock()
	close(b.done)
	p.room.Release(min(b.bytes, poolBytes))
	select {
	case p.freed <- struct{}{}:
	default:
	}
}

// errYielded says that a batch gave its locks up for an earlier one.
var errYielded = errors.New("gave way to an earlier batch")

// apply writes one batch, trying again what is worth it. Each try is a new
// transaction with its own marker (promise 2).
func (p *pool) apply(ctx context.Context, w *writer, b *batch) error {
	delay := 2 * time.Millisecond
	for {
		err := p.try(ctx, w, b)
		if err == nil {
			p.finish(b)
			p.troubled(nil)
			return nil
		}
		w.rollback(ctx)
		if errors.Is(err, errYielded) {
			for errors.Is(err, errYielded) {
				err = w.awaitTurn(ctx, b)
			}
			if err != nil {
				return err
			}
			continue
		}
		fault := mysql.Classify(err)
		if errors.Is(err, errFenced) || fault.Class != mysql.Retry {
			return batchError(b, err)
		}
		// It waited for a lock that may be held by a later batch, which waits
		// for this one's commit: a deadlock that no server can see.
		p.askToYield(b)
		p.troubled(fault)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(delay/2 + rand.N(delay)):
		}
		delay = min(delay*2, time.Second)
	}
}

func (p *pool) try(ctx context.Context, w *writer, b *batch) error {
	if err := w.begin(ctx, b.seq, b.hlc); err != nil {
		return err
	}
	for _, t := range b.tables {
		if err := w.rows(ctx, t); err != nil {
			return err
		}
	}
	if err := w.awaitTurn(ctx, b); err != nil {
		return err
	}
	return w.commit(ctx)
}

// awaitTurn waits until all earlier batches are committed, and keeps the
// connection alive meanwhile.
func (w *writer) awaitTurn(ctx context.Context, b *batch) error {
	for b.after != nil {
		select {
		case <-b.after:
			return nil
		case <-b.yield:
			return errYielded
		case <-w.beat.C:
			if err := w.ping(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// askToYield asks all batches after b to give up their locks.
func (p *pool) askToYield(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.undone[slices.Index(p.undone, b)+1:] {
		select {
		case u.yield <- struct{}{}:
		default:
		}
	}
}

// newWriters opens a connection for each worker.
func newWriters(ctx context.Context, db *sql.DB, progress *progress, workers int, maxPacket int64) ([]*writer, error) {
	writers := make([]*writer, 0, workers)
	for i := range workers {
		w, err := newWriter(ctx, db, progress, i, maxPacket)
		if err != nil {
			for _, w := range writers {
				w.conn.Close()
			}
			return nil, err
		}
		writers = append(writers, w)
	}
	return writers, nil
}
