package spine

import (
	"errors"
	"testing"

	"duplex/change"
	"duplex/schemas"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A region whose Kafka or position was lost counts from 1 again. Its new
// transactions must not be taken for old ones that are read again.
func TestNumbersThatBeginAnewStop(t *testing.T) {
	at := Partition{"east.shop.a", 0}
	end := func(seq change.Seq, hlc change.HLC) Ending {
		return Ending{End: schemas.End{Events: 1, Stamp: change.Stamp{Origin: "east", Seq: seq, HLC: hlc},
			Partitions: []schemas.PartitionCount{{Topic: at.Topic, Partition: at.Index, Count: 1}}}}
	}
	applied := change.Stamp{Origin: "east", Seq: 7, HLC: 700}
	begin := func(spine ...Ending) *Assembler {
		return &Assembler{Source: "east", Accept: fromEast, Wanted: func(string) bool { return true }, Applied: 7, Newest: applied, spine: spine, inboxes: map[Partition]*Inbox{at: {}}}
	}
	var renumbered *RenumberedError
	for _, c := range []struct {
		name  string
		spine []Ending
	}{
		{"after a restart", []Ending{end(1, 701)}},
		{"the same number", []Ending{end(7, 701)}},
		{"after a replay", []Ending{end(6, 600), end(7, 700), end(1, 701)}},
	} {
		if s, _, _, err := begin(c.spine...).Next(); !errors.As(err, &renumbered) {
			t.Errorf("%s: status %d, error %v; want a *RenumberedError", c.name, s, err)
		}
	}
	if s, _, _, err := begin(end(5, 500), end(7, 700)).Next(); s != Nothing || err != nil {
		t.Errorf("a replay: status %d, error %v; want it passed over", s, err)
	}

	// Also where the numbers begin anew while the stream runs.
	a := begin(end(8, 800), end(1, 801))
	a.inboxes[at].push(Record{&kgo.Record{Topic: at.Topic}, "east", 8})
	if s, _, _, err := a.Next(); s != Ready || err != nil {
		t.Fatalf("transaction 8: status %d, error %v", s, err)
	}
	if err := a.Take(func(Record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if s, _, _, err := a.Next(); !errors.As(err, &renumbered) || renumbered.Applied != 8 {
		t.Errorf("after 8: status %d, error %v; want a *RenumberedError", s, err)
	}
}
