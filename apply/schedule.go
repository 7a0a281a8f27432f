package apply

// scheduler lets all batches be written at once and still gives each row the
// images of the source in their order. Batches commit in the order of the
// source; so a row needs to wait only if an earlier batch, not yet done, has a
// lock of it, and then only that row's group: it is written late, when all
// earlier batches are committed. In a large table batches seldom share more
// than a few rows, and a hot row costs one statement in turn.
//
// It is pure: who calls it guards it.
type scheduler struct {
	holders map[uint64]*batch // the last batch, not yet done, that has that lock
}

func newScheduler() *scheduler { return &scheduler{holders: map[uint64]*batch{}} }

// add takes the next batch in source order and puts off what clashes with
// those before it.
func (s *scheduler) add(b *batch) {
	var clash map[int32]bool // by group
	for i, hash := range b.locks.hashes {
		if s.holders[hash] != nil {
			if clash == nil {
				clash = map[int32]bool{}
			}
			clash[b.locks.group(int32(i))] = true
		}
		s.holders[hash] = b
	}
	if clash != nil {
		b.putOff(clash)
	}
}

// remove takes out a batch that is committed.
func (s *scheduler) remove(b *batch) {
	for _, hash := range b.locks.hashes {
		if s.holders[hash] == b {
			delete(s.holders, hash)
		}
	}
}
