package apply

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
	at := partition{"east.shop.a", 0}
	end := func(seq change.Seq, hlc change.HLC) ending {
		return ending{End: schemas.End{Events: 1, Stamp: change.Stamp{Origin: "east", Seq: seq, HLC: hlc},
			Partitions: []schemas.PartitionCount{{Topic: at.topic, Partition: at.index, Count: 1}}}}
	}
	applied := change.Stamp{Origin: "east", Seq: 7, HLC: 700}
	begin := func(spine ...ending) *assembler {
		return &assembler{source: "east", wanted: func(string) bool { return true }, applied: 7, newest: applied, spine: spine, inboxes: map[partition]*inbox{at: {}}}
	}
	var renumbered *RenumberedError
	for _, c := range []struct {
		name  string
		spine []ending
	}{
		{"after a restart", []ending{end(1, 701)}},
		{"the same number", []ending{end(7, 701)}},
		{"after a replay", []ending{end(6, 600), end(7, 700), end(1, 701)}},
	} {
		if s, _, _, err := begin(c.spine...).next(); !errors.As(err, &renumbered) {
			t.Errorf("%s: status %d, error %v; want a *RenumberedError", c.name, s, err)
		}
	}
	if s, _, _, err := begin(end(5, 500), end(7, 700)).next(); s != nothing || err != nil {
		t.Errorf("a replay: status %d, error %v; want it passed over", s, err)
	}

	// Also where the numbers begin anew while the stream runs.
	a := begin(end(8, 800), end(1, 801))
	a.inboxes[at].push(record{&kgo.Record{Topic: at.topic}, 8})
	if s, _, _, err := a.next(); s != ready || err != nil {
		t.Fatalf("transaction 8: status %d, error %v", s, err)
	}
	if err := a.take(func(record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if s, _, _, err := a.next(); !errors.As(err, &renumbered) || renumbered.Applied != 8 {
		t.Errorf("after 8: status %d, error %v; want a *RenumberedError", s, err)
	}
}
