package spine

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// A stream that has taken all must not show bytes that wait.
func TestQueueIsShownEmptyOnceAssembled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 7))
		p := publish(rng, 20)
		r := newReader(p, 0, Offsets{})
		for at := range p.logs {
			if _, known := r.in.asm.inboxes[at]; !known && at != spineOfEast && wantedTopic(at.Topic) {
				r.in.asm.inboxes[at] = &Inbox{}
			}
		}
		for at := range p.logs {
			if at == spineOfEast || wantedTopic(at.Topic) {
				if _, err := r.deliver(at, len(p.logs[at])); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.in.pause()
		if r.in.Queued.Load() == 0 {
			t.Fatal("nothing waits before it is assembled")
		}
		if err := r.assemble(t); err != nil {
			t.Fatal(err)
		}
		r.in.Resume()
		if n := r.in.Queued.Load(); n != 0 {
			t.Fatalf("%d bytes are shown as waiting after all was assembled", n)
		}
	})
}

// A record that can't be read stops the first transaction that needs what is behind
// it, and none before, in whatever order the partitions arrive. Where it was nobody's
// change, passing over it goes on.
func TestUnreadableRecordStopsExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 11))
		p := publish(rng, rapid.IntRange(1, 40).Draw(t, "transactions"))
		var bad *kgo.Record
		for _, at := range p.partitions() {
			if log := p.logs[at]; wantedTopic(at.Topic) && (bad == nil || rng.IntN(2) == 0) {
				bad = log[rng.IntN(len(log))]
			}
		}
		if bad == nil || bad.Attrs.IsControl() || bad.Value == nil {
			t.Skip("nothing to spoil")
		}
		headers := bad.Headers
		bad.Headers = nil
		last, ours := len(p.want)-1, false
		for seq := len(p.want) - 1; seq > 0; seq-- {
			for _, offset := range p.want[seq][Partition{bad.Topic, bad.Partition}] {
				ours = ours || offset == bad.Offset
				if offset >= bad.Offset {
					last = seq - 1
				}
			}
		}
		r := newReader(p, 0, Offsets{})
		err := r.run(t, rng, enoughSteps)
		var unreadable *RecordError
		if stops := last < len(p.want)-1; int(r.applied) != last || errors.As(err, &unreadable) != stops {
			t.Fatalf("%d transactions came out, not %d: %v", r.applied, last, err)
		}
		if unreadable != nil && (unreadable.Topic != bad.Topic || unreadable.Partition != bad.Partition || unreadable.Offset != bad.Offset) {
			t.Fatalf("another record is named: %v", err)
		}
		r = newReader(p, r.applied, r.in.Taken())
		if ours {
			bad.Headers = headers // somebody has made it readable
		} else {
			r.in.Pass = func(record *kgo.Record) bool { return record == bad }
		}
		if err := r.run(t, rng, enoughSteps); err != nil || int(r.applied) != len(p.want)-1 {
			t.Fatalf("%d of %d transactions came out: %v", r.applied, len(p.want)-1, err)
		}
	})
}
