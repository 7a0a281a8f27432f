package converge

import (
	"fmt"
	"io"
	"math/bits"
)

// Space is where an Index puts what its memory has no room for: a file that
// nobody else uses, empty at first, whose content may be lost when the index is. What is written
// there is read again only where it was written.
type Space interface {
	io.ReaderAt
	io.WriterAt
	// Truncate tells that what lies from size on is no longer needed.
	Truncate(size int64) error
}

// chunks gives out the parts of a Space, the lowest that is free first.
type chunks struct {
	space Space
	used  []uint64 // a bit for each
	free  int      // none below is free
	n     int      // in use
	high  int      // none from there on was ever in use, since the last Truncate
}

// chunkBytes is what is written at once.
const chunkBytes = chunkBlocks * blockBytes

// take returns one that is free.
func (c *chunks) take() uint32 {
	word := c.free / 64
	for word < len(c.used) && c.used[word] == ^uint64(0) {
		word++
	}
	if word == len(c.used) {
		c.used = append(c.used, 0)
	}
	at := word*64 + bits.TrailingZeros64(^c.used[word])
	c.used[word] |= 1 << (at % 64)
	c.free, c.high, c.n = at+1, max(c.high, at+1), c.n+1
	return uint32(at)
}

// give takes them back.
func (c *chunks) give(back []uint32) {
	for _, at := range back {
		c.used[at/64] &^= 1 << (at % 64)
		c.free = min(c.free, int(at))
	}
	c.n -= len(back)
}

// shrink gives back what is free at the end of the space, some of it at each call, since
// giving back gigabytes takes a second.
func (c *chunks) shrink() error {
	end := len(c.used)
	for end > 0 && c.used[end-1] == 0 {
		end--
	}
	if end*64 >= c.high || c.n > 0 && c.high-end*64 < shrinkChunks {
		return nil
	}
	c.high = max(end*64, c.high-shrinkChunks)
	c.used = c.used[:(c.high+63)/64]
	if err := c.space.Truncate(int64(c.high) * chunkBytes); err != nil {
		return fmt.Errorf("giving back what spilled versions of rows took: %w", err)
	}
	return nil
}

const shrinkChunks = 1024
