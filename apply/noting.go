package apply

import (
	"context"
	"time"

	"duplex/change"
)

// noting is how far versions was told of what was written here. The tail must not
// read of a batch before: of a row that it doesn't find, or finds with an older
// version, it would take the image for one that came over the newest.
type noting struct {
	seq   change.Seq    // of the last of the source's transactions that was told
	moved chan struct{} // closed when that moves, nil while nobody waits
	// lax is set once the tail has waited in vain: what it reads is of a numbering
	// that is no more, as after a loss of the source's topics.
	lax bool
}

// notingPatience is how long the tail waits while nothing is told.
const notingPatience = time.Minute

func (n *noting) upTo(seq change.Seq) {
	if seq <= n.seq {
		return
	}
	n.seq = seq
	if n.moved != nil {
		close(n.moved)
		n.moved = nil
	}
}

// awaitNoted waits until versions was told of what a batch has written, whose last
// transaction the tail is to read. Who wrote it tells so at once, or reads it
// again at the start, and tells then. It reports whether that came.
func (v *versions) awaitNoted(ctx context.Context, s change.Stamp) (bool, error) {
	for {
		v.mu.Lock()
		n := &v.noting
		if s.Origin != v.source || s.Seq <= n.seq || n.lax || v.again {
			v.mu.Unlock()
			return true, nil
		}
		if n.moved == nil {
			n.moved = make(chan struct{})
		}
		moved := n.moved
		v.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(notingPatience):
			v.mu.Lock()
			n.lax = true
			v.mu.Unlock()
			return false, nil
		}
	}
}
