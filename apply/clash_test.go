package apply

import (
	"fmt"
	"slices"
	"testing"

	"duplex/change"
	"duplex/spine"
)

// localSeen is localWrite of a transaction that had seen the source's up to seen.
func (k *known) localSeen(seq, seen change.Seq, hlc change.HLC, offset int64) {
	k.t.Helper()
	stamp := change.Stamp{Origin: "east", Seq: seq, HLC: hlc, Seen: change.Seen{{Region: "west", Seq: seen}}}
	k.must(k.local(noted{table: k.table, key: k.key, at: spine.Partition{Topic: "east.shop.a"}, offset: offset}, stamp))
}

// wholly has the tail come to the end of a local transaction.
func (k *known) wholly(seq change.Seq) { k.read(change.Stamp{Origin: "east", Seq: seq}) }

// met demands that these conflicts were found since it was last called.
func (k *known) met(want ...string) {
	k.t.Helper()
	var got []string
	for i := range k.clashes.found {
		c := &k.clashes.found[i]
		local, remote := fmt.Sprintf("local %d@%d", c.local.Seq, c.localAt.offset), fmt.Sprintf("remote %d@%d", c.remote.Seq, c.remoteAt.offset)
		if c.localWon() {
			got = append(got, local+" beats "+remote)
		} else {
			got = append(got, remote+" beats "+local)
		}
	}
	k.clashes.found = nil
	slices.Sort(got)
	if !slices.Equal(got, want) {
		k.t.Errorf("found %q, want %q", got, want)
	}
}

// A write that had seen the other is no conflict, in whatever order the region
// comes to know of them.
func TestSeenIsNoConflict(t *testing.T) {
	k := newKnown(t)
	k.apply(1, 10)
	k.localSeen(1, 1, 20, 7)
	k.wholly(1)
	k.met()

	// The local write is on top of the change, and the tail was faster than who wrote it.
	k = newKnown(t)
	k.localSeen(1, 1, 20, 7)
	k.wholly(1)
	k.apply(1, 10)
	k.met()

	// The change is on top of a local write that the tail reads only now.
	k = newKnown(t)
	k.clashes.remoteSeen.note(1, 1)
	k.apply(1, 20)
	k.localSeen(1, 0, 10, 7)
	k.wholly(1)
	k.met()
}

// Neither had seen the other.
func TestConflictIsFoundByWhoeverIsLate(t *testing.T) {
	k := newKnown(t)
	k.localSeen(3, 4, 20, 7)
	k.wholly(3)
	k.apply(5, 10)
	k.met("local 3@7 beats remote 5@5")

	k = newKnown(t)
	k.clashes.remoteSeen.note(4, 0)
	k.clashes.remoteSeen.note(5, 2)
	k.apply(5, 10)
	k.localSeen(3, 4, 20, 7)
	k.met() // it may change the row again
	k.wholly(3)
	k.met("local 3@7 beats remote 5@5")
}

// Of a transaction that changes a row twice, the last image counts.
func TestConflictHasTheLastImage(t *testing.T) {
	k := newKnown(t)
	k.apply(5, 10)
	k.localSeen(3, 4, 20, 7)
	k.localSeen(3, 4, 20, 8)
	k.wholly(3)
	k.met("local 3@8 beats remote 5@5")

	k = newKnown(t)
	k.localSeen(3, 4, 20, 7)
	k.apply(5, 10)
	k.apply(6, 30)
	k.localSeen(3, 4, 20, 8)
	k.wholly(3)
	k.met("local 3@8 beats remote 5@5", "remote 6@6 beats local 3@8")

	k = newKnown(t)
	k.localSeen(3, 4, 20, 7)
	k.wholly(3)
	at := func(offset int64) made {
		return made{hlc: 10, origin: "west", seq: 5, order: offset, place: k.places.add(spine.Partition{Topic: "west.shop.a"}, offset)}
	}
	k.must(k.relearn([]relearnt{{k.table, row{key: k.key, made: at(1)}}, {k.table, row{key: k.key, made: at(2)}}}, 5))
	k.met("local 3@7 beats remote 5@2")

	k = newKnown(t)
	k.localSeen(3, 4, 5, 7)
	k.wholly(3)
	k.must(k.relearn([]relearnt{{k.table, row{key: k.key, made: at(1)}}, {k.table, row{key: k.key, made: at(2)}}}, 5))
	k.met("remote 5@2 beats local 3@7")
}

// A large transaction meets what it overwrites.
func TestBulkMeets(t *testing.T) {
	k := newKnown(t)
	k.localSeen(3, 4, 20, 7)
	k.wholly(3)
	b := &bulk{}
	for offset := range int64(2) {
		_, err := k.addBulk(b, k.table, k.key, made{hlc: 30, origin: "west", seq: 5, place: k.places.add(spine.Partition{Topic: "west.shop.a"}, offset)})
		k.must(err)
		k.wholly(3)
	}
	k.met()
	k.must(k.wroteBulk(b, change.Stamp{Origin: "west", Seq: 5, HLC: 30}, nil))
	k.met("remote 5@1 beats local 3@7")
}

// Both regions give a conflict the same id, whichever spelling of its key they met.
func TestConflictIDs(t *testing.T) {
	k := newKnown(t)
	k.localSeen(3, 4, 20, 7)
	k.wholly(3)
	k.apply(5, 10)
	here := k.clashes.found[0]
	there := here
	there.local, there.remote = here.remote, here.local
	if here.id() != there.id() {
		t.Error("the other region gives it another id")
	}
	there.local.Version.HLC++ // remote is what stays
	if here.id() == there.id() {
		t.Error("two lost writes have one id")
	}
}

// What is noted while an epoch runs keeps it open until it is recorded, in
// whatever order that happens.
func TestClashEpochs(t *testing.T) {
	q := newClashQueue()
	a := clash{epoch: q.noted()}
	b := clash{epoch: q.noted()}
	first := q.mark()
	c := clash{epoch: q.noted()}
	second := q.mark()
	q.recorded([]clash{b})
	if q.passed(first) {
		t.Error("an epoch has passed with one clash that isn't recorded")
	}
	q.recorded([]clash{a})
	if !q.passed(first) || q.passed(second) {
		t.Error("the first epoch should have passed and the second not")
	}
	q.recorded([]clash{c})
	if !q.passed(second) {
		t.Error("the second epoch should have passed")
	}
}

func TestSeensForget(t *testing.T) {
	var s seens
	for seq := change.Seq(1); seq <= 3*maxSeens; seq++ {
		s.note(seq, seq/2)
	}
	if s.unseen(3*maxSeens, maxSeens) || !s.unseen(10, 6) {
		t.Error("what transactions had seen is wrong")
	}
	s.forget(20)
	if s.unseen(10, 6) || !s.unseen(30, 16) {
		t.Error("what was forgotten should matter no more, and the rest should")
	}
}

// What the tail reads while a large transaction is written has met it too.
func TestBulkMeetsWhatComesMeanwhile(t *testing.T) {
	k := newKnown(t)
	b := &bulk{}
	_, err := k.addBulk(b, k.table, k.key, made{hlc: 30, origin: "west", seq: 5})
	k.must(err)
	k.clashes.remoteSeen.note(5, 2)
	k.localSeen(3, 4, 20, 7)
	k.wholly(3)
	k.met()
	k.must(k.wroteBulk(b, change.Stamp{Origin: "west", Seq: 5, HLC: 30, Seen: change.Seen{{Region: "east", Seq: 2}}}, nil))
	k.met("remote 5@0 beats local 3@7")
}
