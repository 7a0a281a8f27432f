package apply

import (
	"sync"

	"duplex/converge"
	"duplex/spine"
)

// places are where images stand in topics, as numbers.
type places struct {
	mu      sync.Mutex
	known   []spine.Partition
	numbers map[spine.Partition]uint64 // 1 + the place in known
	// last was asked for last, and has number: records come in runs.
	last   spine.Partition
	number uint64
}

const offsetBits = 44

func newPlaces() *places { return &places{numbers: map[spine.Partition]uint64{}} }

// add returns the number of a record's place.
func (p *places) add(at spine.Partition, offset int64) converge.Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at != p.last {
		n, ok := p.numbers[at]
		if !ok {
			p.known = append(p.known, at)
			n = uint64(len(p.known))
			p.numbers[at] = n
		}
		p.last, p.number = at, n
	}
	return converge.Place(p.number<<offsetBits | uint64(offset))
}

// of returns what add was given; ok is false for no place.
func (p *places) of(place converge.Place) (at spine.Partition, offset int64, ok bool) {
	n := uint64(place) >> offsetBits
	if n == 0 {
		return at, 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[n-1], int64(uint64(place) & (1<<offsetBits - 1)), true
}
