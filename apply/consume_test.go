package apply

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
		r := newReader(p, 0, offsets{})
		for at := range p.logs {
			if _, known := r.in.asm.inboxes[at]; !known && at != spineOfEast && wantedTopic(at.topic) {
				r.in.asm.inboxes[at] = &inbox{}
			}
		}
		for at := range p.logs {
			if at == spineOfEast || wantedTopic(at.topic) {
				if _, err := r.deliver(at, len(p.logs[at])); err != nil {
					t.Fatal(err)
				}
			}
		}
		r.in.pause()
		if r.in.queued.Load() == 0 {
			t.Fatal("nothing waits before it is assembled")
		}
		if err := r.assemble(t); err != nil {
			t.Fatal(err)
		}
		r.in.resume()
		if n := r.in.queued.Load(); n != 0 {
			t.Fatalf("%d bytes are shown as waiting after all was assembled", n)
		}
	})
}
