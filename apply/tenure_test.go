package apply

import (
	"errors"
	"testing"

	"duplex/change"
	"duplex/spine"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What follows what in a partition: an old transaction is passed over only where
// ordering transaction had applied it; what can't be told is never guessed.
func TestFollow(t *testing.T) {
	s := &share{source: "east", floor: change.Stamp{Origin: "east", Seq: 10, HLC: 1000}}
	var gap *spine.GapError
	var renumbered *spine.RenumberedError
	for _, c := range []struct {
		name    string
		seq     change.Seq // of the change before
		forward int64
		at      int64
		next    change.Seq
		hlc     change.HLC
		passed  bool
		refused any
	}{
		{"the next transaction", 20, 0, 5, 23, 2300, false, nil},
		{"more of the same", 20, 0, 5, 20, 2000, false, nil},
		{"the first after ordering transaction", 10, 0, 5, 11, 1100, false, nil},
		{"applied before", 10, 0, 5, 10, 1000, true, nil},
		{"applied long before", 10, 0, 5, 3, 300, true, nil},
		{"the region counts anew", 20, 0, 5, 1, 2001, false, &renumbered},
		{"an older one further on", 20, 0, 5, 15, 1500, false, &gap},
		{"the group was moved over it", 20, 6, 5, 21, 2100, false, &gap},
		{"the group was moved up to it", 20, 5, 5, 21, 2100, false, nil},
	} {
		tenure := &tenure{seq: c.seq, hlc: change.HLC(c.seq) * 100, forward: c.forward}
		passed, err := s.follow(tenure, &kgo.Record{Topic: "east.shop.a", Offset: c.at}, c.next, c.hlc)
		if passed != c.passed || (err != nil) != (c.refused != nil) || err != nil && !errors.As(err, c.refused) {
			t.Errorf("%s: passed %t, %v", c.name, passed, err)
		}
		if err == nil && !passed && tenure.seq != c.next {
			t.Errorf("%s: the next is compared with %d", c.name, tenure.seq)
		}
	}
}
