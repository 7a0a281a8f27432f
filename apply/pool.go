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

// pool writes batches on several connections at once. All commit in the order
// of the source (promise 5), so that every state seen at the target is one the
// source had had; what a batch shares with an earlier one it writes after that
// one's commit (scheduler).
type pool struct {
	room *semaphore.Weighted // bytes of batches not done
	// freed receives when a batch is done: the reader may have one to hand on.
	freed chan struct{}
	// queue holds the batches that no worker has taken, in order. Workers must
	// take the earliest first: later ones, waiting for its commit, could
	// otherwise occupy all workers.
	queue chan *batch
	// written is called after each commit, in order.
	written func(*batch)
	// versions, if it isn't nil, knows rows that have a newer version than what came
	// in.
	versions *inbound
	// crowded, if it isn't nil, makes room where a batch was refused with a duplicate
	// key, which is cause; nil means that it is to be tried again.
	crowded func(ctx context.Context, w *writer, b *batch, cause error) error
	// differed, if it isn't nil, is told of rows that are copied and there with other content; then, when the batch is tried again,
	// hold locks those and waits for the tail.
	differed func(ctx context.Context, w *writer, b *batch, cause error) error
	hold     func(ctx context.Context, w *writer, b *batch) error
	// troubled is called with the reason when a batch must be tried again, and
	// with nil when it went through.
	troubled func(error)

	mu     sync.Mutex
	sched  *scheduler
	undone []*batch // in order
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
		queue: make(chan *batch, workers*maxUndone), sched: newScheduler(),
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
				case b := <-p.queue:
					if err := p.apply(ctx, w, b); err != nil {
						return err
					}
				}
			}
		})
	}
}

// count returns how many batches are not done.
func (p *pool) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.undone)
}

// welcome reports whether a batch that isn't full should be handed over. One
// that is being committed and one that is written meanwhile are enough: more
// of them would be smaller, each with a commit of its own in the same row.
func (p *pool) welcome() bool { return p.count() < 2 }

// drain waits until all batches are done.
func (p *pool) drain(ctx context.Context) error {
	for p.count() > 0 {
		select {
		case <-p.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// add hands a batch over, waiting for room. One in which order matters is a
// barrier: add waits until it is done.
func (p *pool) add(ctx context.Context, b *batch) error {
	barrier := b.ordered != nil
	if err := p.put(ctx, b); err != nil || !barrier {
		return err
	}
	return p.drain(ctx)
}

func (p *pool) put(ctx context.Context, b *batch) error {
	if err := p.room.Acquire(ctx, min(b.bytes, poolBytes)); err != nil {
		return context.Cause(ctx)
	}
	for p.count() >= cap(p.queue) {
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
	p.sched.add(b)
	p.queue <- b // has room: there are never more than cap undone
	return nil
}

// finish notes that b is committed.
func (p *pool) finish(b *batch) {
	p.written(b)
	p.mu.Lock()
	p.sched.remove(b)
	p.undone = slices.DeleteFunc(p.undone, func(u *batch) bool { return u == b })
	p.mu.Unlock()
	close(b.done)
	b.merged, b.late, b.ordered = merged{}, nil, nil // last keeps b
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
	if p.versions != nil {
		if err := p.versions.awaitOwn(ctx, w, b.needs); err != nil {
			return err
		}
	}
	for {
		err := p.try(ctx, w, b)
		if err == nil {
			if p.versions != nil {
				err := p.versions.wrote(b)
				if err == nil {
					err = p.versions.handOn(ctx)
				}
				if err != nil {
					return err
				}
			}
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
		if exists := new(existsError); p.differed != nil && errors.As(err, &exists) {
			if err = p.differed(ctx, w, b, err); err == nil {
				continue
			}
		}
		if p.crowded != nil && isDuplicate(err) {
			if err = p.crowded(ctx, w, b, err); err == nil {
				continue
			}
		}
		fault := mysql.Classify(err)
		if errors.Is(err, errFenced) || fault.Class != mysql.Retry {
			p.letEarlierFinish(ctx, w, b, fault)
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

// letEarlierFinish waits, where a batch can't be written, until those before it
// are committed: the error ends them too, and the stream is to stop at exactly
// this one.
func (p *pool) letEarlierFinish(ctx context.Context, w *writer, b *batch, fault mysql.Fault) {
	err := errYielded
	for fault.Class == mysql.Stop && errors.Is(err, errYielded) {
		err = w.awaitTurn(ctx, b) // what it fails with matters less than the fault
	}
}

func (p *pool) try(ctx context.Context, w *writer, b *batch) error {
	if err := w.begin(ctx, b.seq, b.hlc); err != nil {
		return err
	}
	if b.differed > 0 {
		if err := p.hold(ctx, w, b); err != nil {
			return err
		}
	}
	if err := p.sift(b.tables); err != nil {
		return err
	}
	if err := w.tables(ctx, b.tables); err != nil {
		return err
	}
	if err := w.awaitTurn(ctx, b); err != nil {
		return err
	}
	if b.ordered != nil {
		for i := range b.ordered.steps {
			if err := p.siftParts(b.ordered.steps[i].tables); err != nil {
				return err
			}
		}
		if err := w.steps(ctx, b.ordered.steps); err != nil {
			return err
		}
	}
	if err := p.sift(b.late); err != nil {
		return err
	}
	if err := w.tables(ctx, b.late); err != nil {
		return err
	}
	return w.commit(ctx)
}

// sift leaves out rows that have a newer version.
func (p *pool) sift(tables []*tableRows) error {
	if p.versions == nil {
		return nil
	}
	return p.versions.sift(tables)
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
		w, err := newWriter(ctx, db, progress, progress.first+i, maxPacket)
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
