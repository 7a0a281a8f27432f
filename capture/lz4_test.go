package capture

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLZ4Blocks: any reader unpacks what was packed, and its frames ask for
// buffers of 64 KiB (bits 4 to 6 of the BD byte, LZ4 frame format).
func TestLZ4Blocks(t *testing.T) {
	compressor := newLZ4Blocks()
	for _, size := range []int{0, 1, 300, 64 << 10, 300_000} {
		src := bytes.Repeat([]byte("a row, "), size/7+1)[:size]
		packed, codec := compressor.Compress(new(bytes.Buffer), src)
		if codec != kgo.CodecLz4 {
			t.Fatalf("%d bytes: codec %d, want LZ4", size, codec)
		}
		if block := packed[5] >> 4 & 7; block != 4 {
			t.Errorf("%d bytes: block size code %d, want 4 (64 KiB)", size, block)
		}
		got, err := kgo.DefaultDecompressor().Decompress(packed, codec)
		if err != nil || !bytes.Equal(got, src) {
			t.Errorf("%d bytes came back as %d: %v", size, len(got), err)
		}
	}
}
