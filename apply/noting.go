package apply

import (
	"context"
	"fmt"
	"time"

	"duplex/change"
)

// What was applied here and what the tail reads are told to versions by two. So that
// neither is ahead of what the other one's transactions had seen, each waits: the tail
// reads of a batch when versions was told of it (awaitNoted), and what was applied before
// a session is known again when the tail has read the local writes that it had seen
// (awaitRead).

// milestone is a transaction's number that only rises. It is guarded by the lock of
// what it is in.
type milestone struct {
	seq   change.Seq
	moved chan struct{} // closed when it rises, nil while nobody waits
}

func (m *milestone) upTo(seq change.Seq) {
	if seq <= m.seq {
		return
	}
	m.seq = seq
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// rises is closed when it rises.
func (m *milestone) rises() <-chan struct{} {
	if m.moved == nil {
		m.moved = make(chan struct{})
	}
	return m.moved
}

const (
	// notingPatience is how long the tail waits while nothing is told.
	notingPatience = time.Minute
	// readPatience is how long, in a session, is waited for the tail: its topics
	// may be behind for hours, and all that is at stake is that a write which knew both
	// sides of a conflict hides it from the record.
	readPatience = 3 * time.Second
)

// awaitNoted waits until versions was told of what a batch has written, whose last
// transaction the tail is to read: of a row that it doesn't find, or finds with an
// older version, it would take the image for one that came over the newest. Who
// wrote it tells so at once, or reads it again at the start, and tells then. It reports
// whether that came.
func (v *inbound) awaitNoted(ctx context.Context, s change.Stamp) (bool, error) {
	for {
		v.mu.Lock()
		if s.Origin != v.source || s.Seq <= v.told.seq || v.lax || v.lost(s.Seq) {
			v.mu.Unlock()
			return true, nil
		}
		rises := v.told.rises()
		v.mu.Unlock()
		select {
		case <-rises:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(notingPatience):
			v.mu.Lock()
			v.lax = !v.learning()
			lax := v.lax
			v.mu.Unlock()
			if lax {
				return false, nil
			}
		}
	}
}

// awaitRead waits, before a transaction that was applied is known again, until the
// tail has read what it had seen.
func (v *inbound) awaitRead(ctx context.Context, s change.Stamp) error {
	for {
		v.mu.Lock()
		left, began := v.patience, time.Now()
		if s.Seen.Of(v.region) <= v.own.seq || left <= 0 {
			v.mu.Unlock()
			return nil
		}
		rises := v.own.rises()
		v.mu.Unlock()
		select {
		case <-rises:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(left):
		}
		v.mu.Lock()
		v.patience -= time.Since(began)
		v.mu.Unlock()
	}
}

// readOwn returns the last of the region's own transactions that the tail has read.
func (v *versions) readOwn() change.Seq {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.own.seq
}

// noted notes that all that was written up to seq has been told.
func (v *inbound) noted(seq change.Seq) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told.upTo(seq)
	v.wake()
}

// tailNote is what is saved with the tail's offsets: the region's last transaction
// before them.
const tailNote = "tail %d"

func readTailNote(note string) (seq change.Seq) {
	_, _ = fmt.Sscanf(note, tailNote, &seq) // 0 if nothing was saved: all is read
	return seq
}
