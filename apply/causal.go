package apply

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"duplex/change"
	"duplex/spine"
)

// causal has what was applied before a session and what the region itself wrote
// read again in an order in which both could have happened: a transaction after all that
// it had seen. A write that knew both sides of a conflict would hide it else: the index
// knows only the newest. It is about the record alone, so neither waits for long.
type causal struct {
	read   atomic.Int64 // the region's own transactions that the tail has read
	learnt atomic.Int64 // the source's that are known again; all, once none is left
	// patience is how long each may still wait, in this session, in nanoseconds.
	patience [2]atomic.Int64
}

const (
	causalPatience = 3 * time.Second
	causalPoll     = 2 * time.Millisecond
	allLearnt      = math.MaxInt64
)

// the two that wait.
const (
	learner = iota
	reader
)

func (c *causal) begin(learnt, read change.Seq) {
	c.learnt.Store(int64(learnt))
	c.read.Store(int64(read))
	for i := range c.patience {
		c.patience[i].Store(int64(causalPatience))
	}
}

// await waits until what is at least seq, as long as who has patience.
func (c *causal) await(ctx context.Context, who int, what *atomic.Int64, seq change.Seq) error {
	for began := time.Now(); what.Load() < int64(seq); {
		left := time.Duration(c.patience[who].Load()) - time.Since(began)
		if left <= 0 {
			c.patience[who].Store(0)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(min(left, causalPoll)):
		}
		if what.Load() >= int64(seq) {
			c.patience[who].Add(-int64(time.Since(began)))
		}
	}
	return nil
}

// awaitRead waits, before a transaction that was applied is known again, until
// the tail has read what it had seen.
func (v *versions) awaitRead(ctx context.Context, s change.Stamp) error {
	return v.causal.await(ctx, learner, &v.causal.read, s.Seen.Of(v.region))
}

// awaitLearnt waits, before the tail reads a local transaction, until what that
// had seen is known again.
func (v *versions) awaitLearnt(ctx context.Context, s change.Stamp) error {
	if s.Origin != v.region || v.causal.learnt.Load() == allLearnt {
		return nil
	}
	return v.causal.await(ctx, reader, &v.causal.learnt, s.Seen.Of(v.source))
}

// learnt notes how far what was applied before is known again.
func (s *session) learnt(seq change.Seq) {
	if s.versions == nil {
		return
	}
	if seq >= s.known {
		seq = allLearnt
	}
	s.versions.causal.learnt.Store(int64(seq))
}

// tailNote is what is saved with the tail's offsets: the region's last transaction
// before them.
const tailNote = "tail %d"

func readTailNote(note string) (seq change.Seq) {
	_, _ = fmt.Sscanf(note, tailNote, &seq) // 0 if nothing was saved: all is read
	return seq
}

// takeWhole takes the transaction at the head of the own spine.
func (t *tail) takeWhole(ctx context.Context, stamp *change.Stamp) error {
	if err := t.v.awaitLearnt(ctx, *stamp); err != nil {
		return err
	}
	err := t.asm.Take(func(r spine.Record) error { return t.note(ctx, r, stamp) })
	if err == nil {
		err = t.tellRest(ctx, stamp)
	}
	return err
}
