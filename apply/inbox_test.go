package apply

import (
	"testing"

	"duplex/change"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// An inbox gives back what it got, in order, and knows how much that is and
// how far it has been taken, however it moves its records about inside.
func TestInbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var box inbox
		var model []record
		offset := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			for range rapid.IntRange(0, 400).Draw(t, "push") {
				r := record{&kgo.Record{Offset: offset, Value: make([]byte, offset%7)}, change.Seq(offset)}
				box.push(r)
				model = append(model, r)
				offset += 1 + offset%3
			}
			for range min(len(model), rapid.IntRange(0, 500).Draw(t, "pop")) {
				if got := box.pop(); got != model[0] {
					t.Fatalf("pop gave offset %d, want %d", got.Offset, model[0].Offset)
				}
				if box.taken != model[0].Offset+1 {
					t.Fatalf("taken is %d after offset %d", box.taken, model[0].Offset)
				}
				model = model[1:]
			}
			bytes := int64(0)
			for _, r := range model {
				bytes += sizeOf(r.Record)
			}
			if box.len() != len(model) || box.bytes != bytes {
				t.Fatalf("the inbox has %d records of %d bytes, want %d of %d", box.len(), box.bytes, len(model), bytes)
			}
			if kept := len(box.records); kept > 2*len(model)+2048 {
				t.Fatalf("the inbox keeps room for %d records to hold %d", kept, len(model))
			}
		}
	})
}
