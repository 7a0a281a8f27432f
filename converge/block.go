package converge

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A block is what is read at once to find an entry: entries in the order of their
// keys, each of recordBytes, zeros, and at the end the CRC-32C of all that. The last block of
// a run has less entries; the run knows how many.
const (
	recordBytes  = 70
	sumBytes     = 4
	blockBytes   = 4096
	blockRecords = (blockBytes - sumBytes) / recordBytes
	chunkBlocks  = 16
)

// SpoiltError says that a Space gave back something else than was put there.
type SpoiltError struct{ At int64 }

func (e *SpoiltError) Error() string {
	return fmt.Sprintf("at byte %d is not what was written there", e.At)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes the sum of a block.
func seal(block []byte) {
	sum := crc32.Checksum(block[:blockBytes-sumBytes], castagnoli)
	binary.BigEndian.PutUint32(block[blockBytes-sumBytes:], sum)
}

// whole reports whether the sum of a block is right.
func whole(block []byte) bool {
	return crc32.Checksum(block[:blockBytes-sumBytes], castagnoli) == binary.BigEndian.Uint32(block[blockBytes-sumBytes:])
}

// record returns the place of the entry i in a block.
func record(block []byte, i int) []byte { return block[i*recordBytes : (i+1)*recordBytes] }

func (e *entry) encode(b []byte) {
	_ = b[recordBytes-1]
	order := binary.BigEndian
	order.PutUint64(b, e.key.A)
	order.PutUint64(b[8:], e.key.B)
	order.PutUint64(b[16:], uint64(e.hlc))
	order.PutUint64(b[24:], uint64(e.seq))
	order.PutUint64(b[32:], uint64(e.digest))
	order.PutUint64(b[40:], uint64(e.last))
	order.PutUint64(b[48:], uint64(e.place))
	order.PutUint64(b[56:], uint64(e.at))
	order.PutUint32(b[64:], e.longer)
	b[68], b[69] = e.origin, e.flags
}

func (e *entry) decode(b []byte) {
	_ = b[recordBytes-1]
	order := binary.BigEndian
	*e = entry{
		key: keyOf(b), hlc: int64(order.Uint64(b[16:])), seq: int64(order.Uint64(b[24:])),
		digest: Digest(order.Uint64(b[32:])), last: Digest(order.Uint64(b[40:])),
		place: Place(order.Uint64(b[48:])), at: Pos(order.Uint64(b[56:])), longer: order.Uint32(b[64:]), origin: b[68], flags: b[69],
	}
}

func keyOf(b []byte) Key { return Key{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])} }

func (k Key) compare(other Key) int {
	switch {
	case k.A < other.A, k.A == other.A && k.B < other.B:
		return -1
	case k == other:
		return 0
	}
	return 1
}
