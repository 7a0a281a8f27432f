package spine

import (
	"math/rand/v2"
	"testing"

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
