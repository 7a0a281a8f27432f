package apply

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func share(a, b *batch) bool {
	return slices.ContainsFunc(a.lockSet(), func(l uint64) bool { return slices.Contains(b.lockSet(), l) })
}

// Two batches that share a lock never run at once and run in their order;
// those that share none never wait; all run, and no lock is left behind. The
// batches are removed in any order in which they may finish.
func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		batches := lockedBatches(rng, rapid.IntRange(1, 30).Draw(t, "batches"), 4, rapid.IntRange(1, 12).Draw(t, "locks"))
		s := newScheduler()
		var running, waiting, done []*batch
		start := func(b *batch) {
			for _, r := range running {
				if share(r, b) {
					t.Fatalf("batch %d runs together with batch %d, which has a lock of it", b.seq, r.seq)
				}
			}
			for _, w := range waiting {
				if w.seq < b.seq && share(w, b) {
					t.Fatalf("batch %d runs before batch %d, which has a lock of it", b.seq, w.seq)
				}
			}
			running = append(running, b)
		}
		finish := func() {
			i := rng.IntN(len(running))
			b := running[i]
			running = slices.Delete(running, i, i+1)
			done = append(done, b)
			next := s.remove(b)
			for _, n := range next {
				waiting = slices.DeleteFunc(waiting, func(w *batch) bool { return w == n })
				start(n)
			}
			for _, w := range waiting {
				if !slices.ContainsFunc(append(slices.Clone(running), earlier(waiting, w)...), func(o *batch) bool { return share(o, w) }) {
					t.Fatalf("batch %d waits for nothing", w.seq)
				}
			}
		}
		for _, b := range batches {
			clash := slices.ContainsFunc(append(slices.Clone(running), waiting...), func(o *batch) bool { return share(o, b) })
			if s.clashes(b) != clash {
				t.Fatalf("batch %d: clashes says %t", b.seq, !clash)
			}
			if s.add(b) {
				start(b)
			} else if waiting = append(waiting, b); !clash {
				t.Fatalf("batch %d waits, and clashes with none", b.seq)
			}
			for len(running) > 0 && rng.IntN(2) == 0 {
				finish()
			}
		}
		for len(running) > 0 {
			finish()
		}
		if len(done) != len(batches) || len(s.holders) != 0 {
			t.Fatalf("%d of %d batches ran, %d locks are still held", len(done), len(batches), len(s.holders))
		}
	})
}

func earlier(batches []*batch, than *batch) (found []*batch) {
	for _, b := range batches {
		if b.seq < than.seq {
			found = append(found, b)
		}
	}
	return found
}
