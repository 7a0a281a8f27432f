package spine

import (
	"context"
	"time"

	"duplex/change"
)

// Patience waits for changes that an END record promises. Both were committed at
// once, so they are there at once, and what lacks in a partition that is read
// to its end never comes. The zero value waits for nothing yet.
type Patience struct{ since, asked time.Time }

const (
	// gapAfter is when it ends though Kafka doesn't say where the partition ends.
	gapAfter = 60 * time.Second
	askEvery = time.Second
)

// Due returns when Lack must be called again at the latest, if it waits.
func (w *Patience) Due() (at time.Time, waits bool) { return w.asked.Add(askEvery), !w.asked.IsZero() }

// Lack is called whenever changes of a transaction, and which partition they are
// to come from. It returns a *GapError when it is certain that they don't.
func (w *Patience) Lack(ctx context.Context, c *Consumer, s change.Stamp, p Partition) error {
	now := time.Now()
	if w.since.IsZero() {
		w.since, w.asked = now, now
	}
	if now.Sub(w.asked) < askEvery {
		return nil
	}
	w.asked = now
	switch ended, err := c.ended(ctx, p); {
	case err == nil && ended:
		return c.asm.Gap("transaction %d of %s lacks changes in %s[%d], which holds no more of them", s.Seq, s.Origin, p.Topic, p.Index)
	case now.Sub(w.since) > gapAfter:
		return c.asm.Gap("transaction %d of %s lacks changes in %s[%d] after %s", s.Seq, s.Origin, p.Topic, p.Index, gapAfter)
	}
	return ctx.Err()
}

// ended reports whether a partition has been read to its end, or no longer has what
// comes next. The end is that of what is written, committed or not, as a commit's
// markers come to its partitions one by one.
func (c *Consumer) ended(ctx context.Context, p Partition) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	starts, ends, err := c.bounds(ctx, p.Topic)
	box := c.asm.inboxes[p]
	if err != nil || box == nil {
		return false, err
	}
	start, end := starts[p.Topic][p.Index].Offset, ends[p.Topic][p.Index].Offset
	if box.fetched == unknownOffset {
		return start == end, nil
	}
	return box.fetched < start || box.fetched >= end, nil
}

// Lacking returns the first partition that hasn't all of a transaction's changes.
func (a *Assembler) Lacking(end *Ending) (p Partition) {
	for i := range end.Partitions {
		c := &end.Partitions[i]
		p = Partition{c.Topic, c.Partition}
		if box, ok := a.inboxes[p]; ok && int64(box.Len()) < c.Count {
			break
		}
	}
	return p
}
