package main

import "math/rand/v2"

// chance chooses at random, always the same for the same seed.
type chance struct{ *rand.Rand }

func (c chance) intn(n int) int { return c.IntN(n) }

func random(seed uint64) chance { return chance{rand.New(rand.NewPCG(seed, 6))} }

func (t *totals) add(w *world) {
	t.histories++
	t.stats.add(w.stats)
}

func (t *totals) merge(o totals) {
	t.histories += o.histories
	t.stats.add(o.stats)
}

func (s *stats) add(o stats) {
	s.steps += o.steps
	s.repairs += o.repairs
	s.restored += o.restored
	s.heals += o.heals
	s.swept += o.swept
	s.waits += o.waits
	s.again += o.again
	s.yielded += o.yielded
	s.outranked += o.outranked
	s.conflicts += o.conflicts
	s.reborn += o.reborn
	s.spilled += o.spilled
	s.early += o.early
}
