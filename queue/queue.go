// Package queue is the bounded buffer between two stages of a row's path. Its
// bound is in bytes, since one row may have a hundred bytes or a hundred
// megabytes.
package queue

import (
	"context"
	"sync"
)

// Queue is a first-in first-out buffer for one producer and one consumer.
type Queue[T any] struct {
	limit int64

	mu    sync.Mutex
	items []T
	bytes int64

	filled  chan struct{} // holds a token if items were put since the last Take
	drained chan struct{} // holds a token if items were taken since the last Put
}

// New makes a queue that holds up to limit bytes. An item larger than that
// passes through alone.
func New[T any](limit int64) *Queue[T] {
	return &Queue[T]{limit: limit, filled: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
}

// Put adds an item of the given size, waiting for room. It fails only when ctx
// ends, with its cause.
func (q *Queue[T]) Put(ctx context.Context, item T, size int64) error {
	for {
		first, ok := q.tryPut(item, size)
		switch {
		case first: // of those after it the consumer knows
			select {
			case q.filled <- struct{}{}:
			default:
			}
			return nil
		case ok:
			return nil
		}
		select {
		case <-q.drained:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tryPut puts the item if there is room, and reports whether it is the first.
func (q *Queue[T]) tryPut(item T, size int64) (first, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes > 0 && q.bytes+size > q.limit {
		return false, false
	}
	q.items = append(q.items, item)
	q.bytes += size
	return len(q.items) == 1, true
}

// Filled receives when items may have been put since the last Take.
func (q *Queue[T]) Filled() <-chan struct{} { return q.filled }

// Take returns all items, none if there are none, without waiting. The
// queue keeps spare, which the caller must not use again, to fill it next.
func (q *Queue[T]) Take(spare []T) []T {
	q.mu.Lock()
	taken := q.items
	clear(spare)
	q.items, q.bytes = spare[:0], 0
	q.mu.Unlock()
	select {
	case q.drained <- struct{}{}:
	default:
	}
	return taken
}

// Bytes returns the size of what waits in the queue.
func (q *Queue[T]) Bytes() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}
