package converge

import "math/bits"

// filter tells of most keys that a run doesn't have them, without a look at the disk: a
// Bloom filter whose bits for one key are all in one line of the processor's cache.
type filter struct {
	lines []filterLine
	each  int // bits of a key
}

type filterLine [8]uint64

const (
	filterBits = 10 // for each key, if memory allows: one of 80 keys is searched for in vain
	lineBits   = 512
	lineBytes  = 64
)

// newFilter makes one for n keys, with at most so many bits for each. With none
// it tells nothing.
func newFilter(n, perKey int) filter {
	perKey = min(perKey, filterBits)
	if perKey < 1 || n == 0 {
		return filter{}
	}
	return filter{make([]filterLine, (n*perKey+lineBits-1)/lineBits), max(1, perKey*7/10)}
}

func (f filter) bytes() int64 { return int64(len(f.lines)) * lineBytes }

// of returns a key's line, and what its bits are made of. The keys of one run have their
// upper bits in common.
func (f filter) of(key Key) (line *filterLine, hash uint64) {
	hash = (key.B ^ bits.RotateLeft64(key.A, 32)) * 0x9e3779b97f4a7c15
	hash ^= hash >> 29
	hash *= 0xbf58476d1ce4e5b9
	place, _ := bits.Mul64(hash, uint64(len(f.lines)))
	return &f.lines[place], hash * 0x94d049bb133111eb
}

func (f filter) add(key Key) {
	if f.each == 0 {
		return
	}
	line, hash := f.of(key)
	for range f.each {
		line[hash>>61] |= 1 << (hash >> 55 & 63)
		hash <<= 9
	}
}

// may reports whether the key may be among those added.
func (f filter) may(key Key) bool {
	if f.each == 0 {
		return true
	}
	line, hash := f.of(key)
	for range f.each {
		if line[hash>>61]&(1<<(hash>>55&63)) == 0 {
			return false
		}
		hash <<= 9
	}
	return true
}
