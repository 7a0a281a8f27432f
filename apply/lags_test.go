package apply

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Quantiles are those of exactly the last n observed, and never negative.
func TestLags(t *testing.T) {
	now := time.UnixMicro(1_700_000_000_000_000)
	rapid.Check(t, func(t *rapid.T) {
		var l lags
		var model []time.Duration
		for range rapid.IntRange(0, 8).Draw(t, "batches") {
			n := rapid.IntRange(1, 1500).Draw(t, "transactions")
			commits := make([]int64, n)
			for i := range commits {
				lag := time.Duration(i*i%977-50) * time.Millisecond
				commits[i] = now.Add(-lag).UnixMicro()
				model = append(model, max(0, lag))
			}
			l.observe(now, commits)
		}
		n := rapid.IntRange(1, 5000).Draw(t, "last")
		got := l.last(n)
		last := slices.Clone(model[max(0, len(model)-min(n, len(l.ring))):])
		if len(last) == 0 {
			if got != (Quantiles{}) {
				t.Fatalf("of nothing: %v", got)
			}
			return
		}
		slices.Sort(last)
		at := func(q float64) time.Duration { return last[min(int(q*float64(len(last))), len(last)-1)] }
		if want := (Quantiles{at(0.5), at(0.95), at(0.99), last[len(last)-1]}); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
