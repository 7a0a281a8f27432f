package topics

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestCompressor: what is packed in blocks any client unpacks, and what doesn't
// get half as small goes as it is.
func TestCompressor(t *testing.T) {
	c, err := Compressor()
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 3<<20+17)
	rand.NewChaCha8([32]byte{}).Read(random)
	half := append(bytes.Repeat([]byte("a change of a row "), 100_000), random...)
	for _, test := range []struct {
		name  string
		src   []byte
		codec kgo.CompressionCodecType
	}{
		{"small", []byte("abcabcabcabcabcabcabcabc"), kgo.CodecSnappy},
		{"just below wide", bytes.Repeat([]byte("x"), wideBatch-1), kgo.CodecSnappy},
		{"just wide", bytes.Repeat([]byte("x"), wideBatch), kgo.CodecSnappy},
		{"text", bytes.Repeat([]byte("a change of a row "), 300_001), kgo.CodecSnappy},
		{"random", random, kgo.CodecNone},
		{"random after text", half, kgo.CodecNone},
	} {
		packed, codec := c.Compress(new(bytes.Buffer), test.src)
		if codec != test.codec {
			t.Errorf("%s: codec %d, not %d", test.name, codec, test.codec)
		}
		got, err := kgo.DefaultDecompressor().Decompress(packed, codec)
		if err != nil || !bytes.Equal(got, test.src) {
			t.Errorf("%s: %d bytes come back as %d: %v", test.name, len(test.src), len(got), err)
		}
		if size := PackedSize(test.src); len(test.src) >= wideBatch && size != int64(len(packed)) {
			t.Errorf("%s: PackedSize is %d, packed are %d", test.name, size, len(packed))
		}
	}
}
