package spine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"duplex/change"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Of what another task applied in the region nothing comes out, and it isn't told of; what had been seen is
// what had been seen of this task's.
func TestOtherTask(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	p := &published{logs: map[Partition][]*kgo.Record{}}
	shop, crm := []Partition{{"east.shop.a", 0}}, []Partition{{"east.crm.c", 0}}
	seen := change.Seen{}.With("west", "shop", 5).With("west", "crm", 50)
	p.transaction(rng, change.Stamp{Origin: "west", Task: "crm", Seq: 50, HLC: 50, Seen: seen}, crm)
	p.transaction(rng, change.Stamp{Origin: "west", Task: "shop", Seq: 5, HLC: 5, Seen: seen}, shop)
	p.transaction(rng, change.Stamp{Origin: "east", Seq: 1, HLC: 60, Seen: seen}, shop)
	p.transaction(rng, change.Stamp{Origin: "east", Seq: 2, HLC: 61, Seen: seen}, crm)
	// A table that was the other task's then.
	p.transaction(rng, change.Stamp{Origin: "west", Task: "crm", Seq: 51, HLC: 51, Seen: seen}, shop)

	r := newReader(p, 0, Offsets{})
	asm := r.in.asm
	asm.Task, asm.Accept = "shop", func(change.Region) bool { return true }
	var passed, taken []change.Seq
	asm.Passed = func(end *Ending) {
		passed = append(passed, end.Stamp.Seq)
		if got := end.Stamp.Seen; !slices.Equal(got, change.Seen{{Region: "west", Seq: 5}}) {
			t.Errorf("transaction %d has seen %v", end.Stamp.Seq, got)
		}
	}
	for at := range p.logs {
		if at != spineOfEast {
			asm.inboxes[at] = &Inbox{}
		}
		if _, err := r.deliver(at, 100); err != nil {
			t.Fatal(err)
		}
	}
	for {
		status, end, _, err := asm.Next()
		if err != nil {
			t.Fatal(err)
		}
		if status == Nothing {
			break
		}
		taken = append(taken, end.Stamp.Seq)
		if err := asm.Take(func(Record) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(passed, []change.Seq{5, 1, 2, 51}) || !slices.Equal(taken, []change.Seq{5, 1, 2, 51}) {
		t.Errorf("told of %v, taken %v", passed, taken)
	}
	if asm.spineTaken != 5 {
		t.Errorf("the spine is read up to %d", asm.spineTaken)
	}
}
