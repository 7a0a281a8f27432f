package apply

import (
	"sort"
	"sync"

	"duplex/change"
)

// seens tells of one region's own transactions which of the other's each had
// seen, so that a conflict can be told from a change that came late. That number never
// falls, so only where it rises is noted. It is pure, but may be asked by several
// goroutines.
type seens struct {
	mu    sync.Mutex
	steps []seenStep // in order
	// forgot is the last transaction that no longer matters.
	forgot change.Seq
}

// seenStep says that a transaction, and those after it up to the next step, had
// seen the other region's up to seen.
type seenStep struct{ seq, seen change.Seq }

// maxSeens bounds the steps. With fewer of them a transaction seems to have seen
// less, and a change that only came late may be taken for a conflict; never a conflict for none.
const maxSeens = 1 << 18

// note takes in a transaction. They come in order; what came before is left.
func (s *seens) note(seq, seen change.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.steps); n > 0 && (seq <= s.steps[n-1].seq || seen <= s.steps[n-1].seen) {
		return
	}
	if len(s.steps) == maxSeens {
		n := 0
		for i := 0; i < len(s.steps); i += 2 {
			s.steps[n] = s.steps[i]
			n++
		}
		s.steps = s.steps[:n]
	}
	s.steps = append(s.steps, seenStep{seq, seen})
}

// unseen reports whether transaction seq had not seen the other region's
// transaction other. Of those forgotten it is known that they matter no more.
func (s *seens) unseen(seq, other change.Seq) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.forgot {
		return false
	}
	n := sort.Search(len(s.steps), func(i int) bool { return s.steps[i].seq > seq })
	return n == 0 || s.steps[n-1].seen < other
}

// forget notes that of the transactions up to seq nothing will be asked any more:
// whatever comes has seen them.
func (s *seens) forget(seq change.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.forgot {
		return
	}
	s.forgot = seq
	n := sort.Search(len(s.steps), func(i int) bool { return s.steps[i].seq > seq })
	if n > 1 && (n > 1024 || n == len(s.steps)) { // not for each few
		s.steps = append(s.steps[:0], s.steps[n-1:]...)
	}
}
