package apply

import "time"

// way is where the last transaction of a batch was when. Of each batch it tells where the lag
// comes from: the source's capture, Kafka, or here.
type way struct {
	committed int64 // in the source's database, Unix µs
	published int64 // by its capture, Unix µs
	taken     int64 // from Kafka, whole, to be written here, Unix µs
}

// ways keeps how long the last batches took in each part of the way.
type ways struct{ capture, kafka, apply lags }

// observe adds a batch that became visible at now. One that says nothing of its way,
// as with ordering key, isn't counted.
func (w *ways) observe(now time.Time, of way) {
	if of.taken == 0 {
		return
	}
	w.capture.took(of.published - of.committed)
	w.kafka.took(of.taken - of.published)
	w.apply.took(now.UnixMicro() - of.taken)
}

// Part is how long batches took in one part of the way, of the last 4,096.
type Part struct {
	P50Millis float64 `json:"p50_ms"`
	P95Millis float64 `json:"p95_ms"`
	P99Millis float64 `json:"p99_ms"`
}

// Parts are those of the lag. Capture is from the commit in the source to the record that its capture
// makes of it; Kafka from there until apply has taken the transaction whole, a backlog there included; Apply from there to
// visible in the target. Where the clocks of two machines differ, so do the first two.
type Parts struct {
	Capture Part `json:"capture"`
	Kafka   Part `json:"kafka"`
	Apply   Part `json:"apply"`
}

func (w *ways) show() Parts {
	part := func(l *lags) Part {
		q := l.last(len(l.ring))
		return Part{millis(q.P50), millis(q.P95), millis(q.P99)}
	}
	return Parts{part(&w.capture), part(&w.kafka), part(&w.apply)}
}
