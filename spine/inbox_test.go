package spine

import (
	"errors"
	"testing"

	"duplex/change"
	"duplex/schemas"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// An inbox gives back what it got, in order, and knows how much that is and
// how far it has been taken, however it moves its records about inside.
func TestInbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var box Inbox
		var model []Record
		offset := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			for range rapid.IntRange(0, 400).Draw(t, "push") {
				r := Record{&kgo.Record{Offset: offset, Value: make([]byte, offset%7)}, "east", change.Seq(offset)}
				box.push(r)
				model = append(model, r)
				offset += 1 + offset%3
			}
			for range min(len(model), rapid.IntRange(0, 500).Draw(t, "pop")) {
				if got := box.Pop(); got != model[0] {
					t.Fatalf("pop gave offset %d, want %d", got.Offset, model[0].Offset)
				}
				if box.taken != model[0].Offset+1 {
					t.Fatalf("taken is %d after offset %d", box.taken, model[0].Offset)
				}
				model = model[1:]
			}
			bytes := int64(0)
			for _, r := range model {
				bytes += r.Size()
			}
			if box.Len() != len(model) || box.bytes != bytes {
				t.Fatalf("the inbox has %d records of %d bytes, want %d of %d", box.Len(), box.bytes, len(model), bytes)
			}
			if kept := len(box.records); kept > 2*len(model)+2048 {
				t.Fatalf("the inbox keeps room for %d records to hold %d", kept, len(model))
			}
		}
	})
}

// A partition that is read from somewhere before the first transaction is
// passed over up to it, but not beyond: one that is past it is a gap.
func TestMoor(t *testing.T) {
	at := Partition{"east.shop.a", 0}
	begin := func(end change.Stamp, seqs ...change.Seq) *Assembler {
		box := &Inbox{adrift: true}
		for i, seq := range seqs {
			box.push(Record{&kgo.Record{Topic: at.Topic, Offset: int64(i)}, "east", seq})
		}
		return &Assembler{Source: "east", Wanted: func(string) bool { return true }, Accept: func(change.Region) bool { return true }, Applied: Unknown,
			spine: []Ending{{End: schemas.End{Events: 2, Stamp: end, Partitions: []schemas.PartitionCount{{Topic: at.Topic, Count: 2}}}}}, inboxes: map[Partition]*Inbox{at: box}}
	}
	east := func(seq change.Seq) change.Stamp { return change.Stamp{Origin: "east", Seq: seq} }
	for _, c := range []struct {
		name string
		asm  *Assembler
		want Status
		gap  bool
	}{
		{"what precedes it is passed over", begin(east(7), 3, 6, 6, 7, 7, 8), Ready, false},
		{"it stands at the head", begin(east(7), 7, 7), Ready, false},
		{"it hasn't come yet", begin(east(7), 3, 4), Waiting, false},
		{"half of it has come", begin(east(7), 3, 7), Waiting, false},
		{"half of it is gone", begin(east(7), 7, 8), Nothing, true},
		{"all of it is gone", begin(east(7), 8, 8), Nothing, true},
		{"another region's of that number", begin(change.Stamp{Origin: "west", Seq: 7}, 6, 7, 7), Waiting, false},
	} {
		s, _, _, err := c.asm.Next()
		var gap *GapError
		if s != c.want || errors.As(err, &gap) != c.gap {
			t.Errorf("%s: status %d, error %v", c.name, s, err)
		}
	}
}
