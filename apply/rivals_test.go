package apply

import (
	"strings"
	"testing"

	"duplex/change"
	"duplex/spine"
	"duplex/tasks"
)

// preferring makes west's writes stay, of those that knew nothing of east's.
func preferring(t *testing.T, winner change.Region) *known {
	k := newKnown(t)
	k.table.ranking = &ranking{regions: map[change.Region]int64{winner: 1}}
	return k
}

// ranked applies a change of west's that had seen east's up to seen, as a batch of its own.
func (k *known) ranked(seq, seen change.Seq, hlc change.HLC) (lost bool) {
	k.t.Helper()
	b := newBatch(0)
	b.seq = seq
	k.clashes.remoteSeen.note(seq, seen)
	m := made{hlc: hlc, origin: k.source, seq: seq, seen: seen, saw: change.Seen{{Region: "east", Seq: seen}}, place: k.places.add(spine.Partition{Topic: "west.shop.a"}, int64(seq)), rank: k.table.ranking.regions[k.source]}
	k.must(b.add(k.table, k.key, nil, image(k.key, "", 0), m))
	k.must(k.sift(b.tables))
	k.must(k.wrote(b))
	return b.tables[0].rows[0].lost
}

// own is a local write that had seen west's up to seen.
func (k *known) own(seq, seen change.Seq, hlc change.HLC, offset int64) {
	k.t.Helper()
	stamp := change.Stamp{Origin: "east", Seq: seq, HLC: hlc, Seen: change.Seen{{Region: "west", Seq: seen}}}
	k.must(k.local(noted{table: k.table, key: k.key, at: spine.Partition{Topic: "east.shop.a"}, offset: offset, rank: k.table.ranking.regions["east"]}, stamp))
	k.wholly(seq)
}

// The preferred region's write stays though it is older, whichever comes first, and a later one over both.
func TestPreferredStays(t *testing.T) {
	k := preferring(t, "east")
	k.own(1, 0, 10, 7)
	if !k.ranked(1, 0, 20) {
		t.Error("a newer write stays over that of the preferred region")
	}
	k.met("local 1@7 beats remote 1@1")
	if k.ranked(2, 1, 30) {
		t.Error("a write that had seen the preferred region's doesn't stay")
	}
	k.met()

	k = preferring(t, "east")
	k.ranked(1, 0, 20)
	k.own(1, 0, 10, 7) // the tail is behind
	k.comeBy(1)
	if topic, offset := k.newest(); k.due() != 1 || topic != "east.shop.a" || offset != 7 {
		t.Errorf("%d rows are to be put back, from %s@%d", k.due(), topic, offset)
	}
	k.met("local 1@7 beats remote 1@1")

	k = preferring(t, "west")
	k.own(1, 0, 20, 7)
	if k.ranked(1, 0, 10) {
		t.Error("the older write of the preferred region is left out")
	}
	k.own(2, 0, 30, 8) // before it in the binlog, and read later
	k.comeBy(1)
	if topic, _ := k.newest(); k.due() != 0 || topic != "west.shop.a" {
		t.Errorf("%d rows are to be put back, from %s", k.due(), topic)
	}
	k.met("remote 1@1 beats local 1@7", "remote 1@1 beats local 2@8")
}

// What was settled before a session is what the row has, until it must have another image.
func TestSettledEchoOfRankedRow(t *testing.T) {
	k := preferring(t, "east")
	k.from = 5
	k.own(3, 0, 10, 7)
	k.comeBy(5)
	if k.due() != 0 {
		t.Error("what was settled is to be put back")
	}
	if !k.ranked(6, 2, 40) {
		t.Error("what must not stay is not left out")
	}
	k.comeBy(6)
	if topic, offset := k.newest(); k.due() != 1 || topic != "east.shop.a" || offset != 7 {
		t.Errorf("%d rows are to be put back, from %s@%d", k.due(), topic, offset)
	}
}

// A large transaction counts row by row.
func TestLargeOfRankedRows(t *testing.T) {
	k := preferring(t, "east")
	k.own(1, 0, 10, 7)
	b := &bulk{}
	id, err := k.addBulk(b, k.table, k.key, made{hlc: 30, origin: "west", seq: 4, rank: 0})
	k.must(err)
	k.must(k.wroteBulk(b, change.Stamp{Origin: "west", Seq: 4, HLC: 30}, nil))
	if row, _, err := k.of(id); err != nil || row.Version.Origin != "east" {
		t.Errorf("what stays is %v, %v", row.Version, err)
	}
	k.met("local 1@7 beats remote 4@0")
}

// Tables and columns that a ranking isn't for are refused, with the setting that mends it.
func TestRankingIsRefused(t *testing.T) {
	for _, test := range []struct {
		table *boundTable
		rule  tasks.Rule
		says  string
	}{
		{bound(t, "a"), tasks.Rule{Policy: tasks.RegionPriority}, "unique key besides its primary key"},
		{bound(t, "a"), tasks.Rule{Policy: tasks.NewestColumn, Column: "at"}, "no column `at`"},
		{bound(t, "a"), tasks.Rule{Policy: tasks.NewestColumn, Column: "code"}, "column `code`"},
	} {
		test.table.rule = test.rule
		if _, err := test.table.rankingOf(); err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "mend: ") {
			t.Errorf("%+v: %v", test.rule, err)
		}
	}
	for _, policy := range []string{tasks.LastWriteWins, tasks.PolicyStop} {
		table := bound(t, "a")
		table.rule.Policy = policy
		if r, err := table.rankingOf(); r != nil || err != nil {
			t.Errorf("%s: %v, %v", policy, r, err)
		}
	}
}
