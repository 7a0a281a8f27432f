package apply

import (
	"slices"
	"sync"
	"time"
)

// lags keeps how long the last of something took: transactions from their commit in the
// origin to being visible here, or batches in one part of that way.
type lags struct {
	mu   sync.Mutex
	ring [4096]int64 // µs
	n    int64       // observed in all
}

// observe adds transactions that became visible at now, given when each had
// committed, Unix µs. A clock that is behind the origin's gives zero.
func (l *lags) observe(now time.Time, commits []int64) {
	at := now.UnixMicro()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, commit := range commits {
		l.add(at - commit)
	}
}

// took adds one, in µs.
func (l *lags) took(micros int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(micros)
}

// add adds one, in µs. l.mu is locked.
func (l *lags) add(micros int64) {
	l.ring[l.n%int64(len(l.ring))] = max(0, micros)
	l.n++
}

// Quantiles of a number of lags.
type Quantiles struct {
	P50, P95, P99, Max time.Duration
}

// last returns the quantiles of at most the last n observed.
func (l *lags) last(n int) Quantiles {
	l.mu.Lock()
	count := min(int64(n), l.n, int64(len(l.ring)))
	sorted := make([]int64, count)
	for i := range sorted {
		sorted[i] = l.ring[(l.n-count+int64(i))%int64(len(l.ring))]
	}
	l.mu.Unlock()
	if count == 0 {
		return Quantiles{}
	}
	slices.Sort(sorted)
	at := func(q float64) time.Duration {
		return time.Duration(sorted[min(int(q*float64(count)), int(count)-1)]) * time.Microsecond
	}
	return Quantiles{at(0.50), at(0.95), at(0.99), at(1)}
}
