package apply

// scheduler lets batches run at once whose locks are disjoint, and keeps
// those that clash in the order of the source. It is pure: who calls it
// guards it, and starts what it returns.
type scheduler struct {
	holders map[uint64]*batch // the last batch, not yet done, that has that lock
}

func newScheduler() *scheduler { return &scheduler{holders: map[uint64]*batch{}} }

// add takes the next batch in source order and reports whether it may start.
// If not, done will return it.
func (s *scheduler) add(b *batch) (start bool) {
	for _, lock := range b.lockSet() {
		holder := s.holders[lock]
		s.holders[lock] = b
		if holder == nil || holder == b || len(holder.followers) > 0 && holder.followers[len(holder.followers)-1] == b {
			continue
		}
		holder.followers = append(holder.followers, b)
		b.waits++
	}
	return b.waits == 0
}

// remove takes out a batch that is committed, and returns the batches that may
// start now.
func (s *scheduler) remove(b *batch) (start []*batch) {
	for _, lock := range b.lockSet() {
		if s.holders[lock] == b {
			delete(s.holders, lock)
		}
	}
	for _, f := range b.followers {
		if f.waits--; f.waits == 0 {
			start = append(start, f)
		}
	}
	b.followers = nil
	return start
}

// clashes reports whether b would have to wait for another batch.
func (s *scheduler) clashes(b *batch) bool {
	for _, lock := range b.lockSet() {
		if s.holders[lock] != nil {
			return true
		}
	}
	return false
}
