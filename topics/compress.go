package topics

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Compressor returns what packs batches before they are sent: with Snappy, of
// which encoding costs the least.
func Compressor() (kgo.Compressor, error) {
	usual, err := kgo.DefaultCompressor(kgo.SnappyCompression(), kgo.NoCompression())
	if err != nil {
		return nil, fmt.Errorf("making the compressor: %w", err)
	}
	return compressor{usual}, nil
}

// compressor packs a wide batch, which is a row of many megabytes, block by
// block: in one piece it would need room for one and a sixth of it before it is
// known whether it gets smaller at all. What doesn't get half as small goes as
// it is, so that a reader, too, has it in memory once and not twice.
type compressor struct{ usual kgo.Compressor }

// wideBatch is from how many bytes on a batch is wide.
const wideBatch = 1 << 20

// Compress implements kgo.Compressor.
func (c compressor) Compress(dst *bytes.Buffer, src []byte, flags ...kgo.CompressFlag) ([]byte, kgo.CompressionCodecType) {
	if len(src) < wideBatch {
		return c.usual.Compress(dst, src, flags...)
	}
	if packed := pack(src); packed != nil {
		return packed, kgo.CodecSnappy
	}
	return src, kgo.CodecNone
}

// PackedSize returns about how many bytes of a request a wide record takes.
func PackedSize(value []byte) int64 {
	if packed := pack(value); packed != nil {
		return int64(len(packed))
	}
	return int64(len(value))
}

// framing is how Kafka's Java client begins Snappy in blocks, and what every
// client reads: snappy-java's SnappyOutputStream, versions 1 and 1.
var framing = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

// pack packs src in blocks, each after its length in four bytes. It gives up,
// with nil, as soon as what it has packed isn't half as small.
func pack(src []byte) []byte {
	const block, probe = 64 << 10, 1 << 20
	packed := append(make([]byte, 0, probe), framing...)
	buf := make([]byte, s2.MaxEncodedLen(block))
	for done := 0; done < len(src); {
		n := min(block, len(src)-done)
		piece := s2.EncodeSnappy(buf, src[done:done+n])
		packed = append(binary.BigEndian.AppendUint32(packed, uint32(len(piece))), piece...)
		done += n
		if done >= probe && 2*len(packed) > done {
			return nil
		}
	}
	return packed
}
