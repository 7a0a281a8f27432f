package apply

import (
	"context"
	"sync"
)

// clashQueue lies between who finds conflicts and the recorder. It is bounded in
// bytes: who finds more than are recorded waits.
type clashQueue struct {
	mu    sync.Mutex
	items []clash
	bytes int64
	// epoch is that of what is noted now; open counts, by epoch, what isn't recorded.
	epoch int64
	open  map[int64]int
	some  chan struct{} // receives when there is something
	room  chan struct{} // closed when there is room again, and made anew
}

const clashQueueBytes = 8 << 20

func newClashQueue() *clashQueue {
	return &clashQueue{epoch: 1, open: map[int64]int{}, some: make(chan struct{}, 1), room: make(chan struct{})}
}

// put adds clashes. It waits while the queue is full, but then takes all of them.
func (q *clashQueue) put(ctx context.Context, found []clash) error {
	for {
		q.mu.Lock()
		if q.bytes < clashQueueBytes {
			break
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for i := range found {
		q.bytes += found[i].size()
	}
	q.items = append(q.items, found...)
	q.mu.Unlock()
	select {
	case q.some <- struct{}{}:
	default:
	}
	return nil
}

// take returns at most n of the clashes, the oldest first; none if there are none.
func (q *clashQueue) take(n int) []clash {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.items))
	taken := q.items[:n:n]
	full := q.bytes >= clashQueueBytes
	for i := range taken {
		q.bytes -= taken[i].size()
	}
	q.items = q.items[n:]
	if len(q.items) == 0 {
		q.items = nil
	}
	if full && q.bytes < clashQueueBytes {
		close(q.room)
		q.room = make(chan struct{})
	}
	return taken
}

// noted counts a clash that isn't recorded yet, and returns its epoch.
func (q *clashQueue) noted() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open[q.epoch]++
	return q.epoch
}

// recorded notes that clashes are recorded.
func (q *clashQueue) recorded(all []clash) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range all {
		if e := all[i].epoch; q.open[e] > 1 {
			q.open[e]--
		} else {
			delete(q.open, e)
		}
	}
}

// mark ends an epoch and returns it.
func (q *clashQueue) mark() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.epoch++
	return q.epoch - 1
}

// passed reports whether all that was noted up to the end of an epoch is recorded.
func (q *clashQueue) passed(epoch int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for e := range q.open {
		if e <= epoch {
			return false
		}
	}
	return true
}
