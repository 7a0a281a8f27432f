package capture

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// What was kept is never written again, whatever is asked for after it: also
// when it outgrew its slab, was empty, or was given up unkept.
func TestArenaNeverOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a arena
		var kept, want [][]byte
		for i := range rapid.IntRange(1, 300).Draw(t, "buffers") {
			size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 8<<10), rapid.IntRange(0, slabBytes+10)).Draw(t, "size")
			b := a.buffer()
			if len(b) != 0 {
				t.Fatalf("a buffer comes with %d bytes in it", len(b))
			}
			for range size {
				b = append(b, byte(i))
			}
			if rapid.IntRange(0, 9).Draw(t, "give up") == 0 {
				continue
			}
			k := a.keep(b)
			if cap(k) != len(k) {
				t.Fatalf("kept %d bytes with room for %d", len(k), cap(k))
			}
			kept, want = append(kept, k), append(want, bytes.Repeat([]byte{byte(i)}, size))
		}
		for i := range kept {
			if !bytes.Equal(kept[i], want[i]) {
				t.Fatalf("buffer %d of %d bytes was written again", i, len(want[i]))
			}
		}
	})
}

func TestArenaRecordsDiffer(t *testing.T) {
	var a arena
	seen := map[*kgo.Record]bool{}
	for range 3*slabRecords + 1 {
		r := a.record()
		if seen[r] || r.Key != nil || r.Topic != "" {
			t.Fatal("a record came twice, or not empty")
		}
		r.Topic = "used"
		seen[r] = true
	}
}
