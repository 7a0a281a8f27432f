package apply

import (
	"context"
	"testing"
	"time"

	"duplex/change"
	"duplex/spine"
)

// newTrio is a row of east, with what versions knows of west and of north.
func newTrio(t *testing.T, forgotten change.HLC) (west, north *known) {
	west = newKnown(t)
	v := newVersions("east", cleared{least: forgotten}, from("west"), from("north"))
	west.inbound = v.sources["west"]
	other := *west
	other.inbound = v.sources["north"]
	return west, &other
}

// Of two other regions' writes the older is found where it came over the newer,
// though another stream wrote it.
func TestOlderOfTwoSources(t *testing.T) {
	west, north := newTrio(t, 0)
	west.apply(5, 30)
	if !north.apply(6, 20) {
		t.Error("what is older than another source's write was not left out")
	}
	west, north = newTrio(t, 0)
	north.apply(7, 20)
	west.apply(5, 30) // before it in the binlog, but told after it
	west.comeBy(5)
	if west.due() != 0 {
		t.Error("the row is suspect before the tail has read all that was written")
	}
	north.comeBy(7)
	if west.due() != 1 {
		t.Errorf("%d rows are due", west.due())
	}
}

// A delete that is told when the tail has read an older write of another source may have
// found no row.
func TestDeleteBesideAnotherSource(t *testing.T) {
	west, north := newTrio(t, 0)
	north.apply(7, 20)
	north.comeBy(7)
	west.apply(5, 30)
	west.read(change.Stamp{Origin: "west", Seq: 5}) // without the row
	if west.due() != 1 {
		t.Error("the older write is taken for deleted")
	}
}

// What another stream writes over a row that is being put back is found again.
func TestOverwrittenWhilePutBack(t *testing.T) {
	west, north := newTrio(t, 0)
	north.apply(7, 20)
	west.apply(5, 30)
	west.comeBy(5)
	north.comeBy(7)
	id, err := west.id(west.table, west.key)
	west.must(err)
	row, _ := west.index.Of(id)
	fix := &repair{rows: []repairRow{{key: id, known: row, table: west.table, row: wanted(west)}}}
	if n := len(west.restore(fix)); n != 1 {
		t.Fatalf("%d tables are to be put back", n)
	}
	west.comeBy(5) // that is the repair
	if west.due() != 0 {
		t.Error("the row is suspect though it was put back")
	}
	north.noted(8)
	north.comeBy(8) // sifted before west's write was known
	west.restoredAll()
	if west.due() != 1 {
		t.Error("what came over the row while it was put back is not seen")
	}
}

func wanted(k *known) row { return row{key: k.key, after: image(k.key, "", 0)} }

// Each source is waited for by itself, and one whose stream is down as long as that is.
func TestTailWaitsForEachSource(t *testing.T) {
	west, north := newTrio(t, 0)
	west.start(0, 0, false)
	north.start(0, 0, false)
	west.apply(7, 70)
	waits := func(k *known) bool {
		ended, end := context.WithCancel(t.Context())
		end()
		_, err := k.awaitNoted(ended, change.Stamp{Origin: k.source, Seq: 7})
		return err != nil
	}
	if waits(west) || !waits(north) {
		t.Error("one source's batch was told, and the tail waits for it, or not for the other's")
	}
	if north.learning() {
		t.Error("nothing is still to be told, and for ever waited for")
	}
	if north.leave(); !north.learning() {
		t.Error("what a stream that is down has to tell isn't waited for")
	}
	if north.start(2, 7, false); !north.learning() {
		t.Error("what was applied before a session isn't waited for")
	}
	if north.noted(7); north.learning() {
		t.Error("all is told, and more is waited for")
	}
}

// What a stream's new session tells again is no other image than that the tail has read.
func TestToldAgain(t *testing.T) {
	west, north := newTrio(t, 0)
	west.start(0, 0, false)
	b := newBatch(0)
	b.seq = 7
	west.must(b.add(west.table, west.key, nil, image(west.key, "", 0), made{hlc: 50, origin: "west", seq: 5}))
	west.must(west.wrote(b))
	west.comeBy(7)
	west.leave()
	west.start(4, 7, false)
	west.must(west.relearn([]relearnt{{west.table, row{key: west.key, made: made{hlc: 50, origin: "west", seq: 5}}}}, 5))
	if north.apply(3, 40); west.due() != 0 {
		t.Error("a row is suspect since it was told twice")
	}
	if len(west.unread) > 0 {
		t.Error("the tail has passed what is told again, and waits for it")
	}
}

// Among several sources a checkpoint is settled only when all that is up to one moment
// is forgotten.
func TestSettledTogether(t *testing.T) {
	west, north := newTrio(t, 0)
	seen := func(west, north change.Seq) change.Seen {
		return change.Seen{}.With("west", "", west).With("north", "", north).With("east", "", 0)
	}
	west.apply(5, 30)
	west.passed([]change.Stamp{{Origin: "west", Seq: 5, HLC: 30}})
	west.comeBy(5)
	c := &checkpoint{written: 5, hlc: 30}
	sweep := func() {
		for began := time.Now(); time.Since(began) < 10*time.Millisecond; {
			west.sweep()
			west.clear()
		}
	}
	if sweep(); west.settled(c) {
		t.Error("settled before north has seen it")
	}
	north.passed([]change.Stamp{{Origin: "north", Seq: 1, HLC: 40, Seen: seen(5, 0)}})
	west.passed([]change.Stamp{{Origin: "west", Seq: 6, HLC: 41, Seen: seen(0, 1)}})
	west.read(change.Stamp{Origin: "east", Seq: 1, HLC: 42})
	if sweep(); !west.settled(c) {
		t.Error("not settled though all have seen it")
	}
	north.clashes.queue.noted()
	north.passed([]change.Stamp{{Origin: "north", Seq: 2, HLC: 50, Seen: seen(6, 0)}})
	west.passed([]change.Stamp{{Origin: "west", Seq: 7, HLC: 51, Seen: seen(0, 2)}})
	west.read(change.Stamp{Origin: "east", Seq: 2, HLC: 52})
	before := west.clear() // and one may have been on its way
	sweep()
	if sweep(); west.clear().least > max(before.least, 42) {
		t.Error("settled before a conflict with north is recorded")
	}
}

// What was forgotten before a restart stays so, though the spines aren't read again yet:
// nobody knows what came over it.
func TestForgottenStaysSo(t *testing.T) {
	west, _ := newTrio(t, 60)
	for began := time.Now(); time.Since(began) < 10*time.Millisecond; {
		west.sweep()
	}
	if f := west.index.Forgotten(); f != 60 {
		t.Fatalf("up to %d is forgotten", f)
	}
	west.localWrite(1, 20, 7)
	west.comeBy(4)
	if west.due() != 0 {
		t.Error("a row is suspect that was settled before")
	}
}

// What a large transaction of one source wrote is put back where an older write of another
// one came over it; of a row that it wrote twice, the last image.
func TestBulkIsPutBack(t *testing.T) {
	west, north := newTrio(t, 0)
	north.apply(7, 20)
	b := &bulk{}
	for offset := range int64(3) {
		_, err := west.addBulk(b, west.table, west.key, made{hlc: 30, origin: "west", seq: 4, place: west.places.add(spine.Partition{Topic: "west.shop.a"}, offset)})
		west.must(err)
	}
	west.must(west.wroteBulk(b, change.Stamp{Origin: "west", Seq: 4, HLC: 30}, nil))
	west.comeBy(4)
	north.comeBy(7)
	if topic, offset := west.newest(); west.due() != 1 || topic != "west.shop.a" || offset != 2 {
		t.Errorf("%d rows are due, the newest image stands at %s@%d", west.due(), topic, offset)
	}
}

// Tickets that are joined stand for the batches of both.
func TestHalvedTickets(t *testing.T) {
	west, _ := newTrio(t, 0)
	for seq := range change.Seq(5) {
		west.ticket(seq + 1)
	}
	west.unread = halved(west.unread)
	for _, tt := range []struct {
		seq  change.Seq
		want int
	}{{1, 0}, {2, 2}, {3, 2}, {4, 4}, {5, 5}} {
		if west.come(tt.seq); int(west.tailed()) != tt.want {
			t.Errorf("when batch %d has come by the tail is at %d, not %d", tt.seq, west.tailed(), tt.want)
		}
	}
}

// While the tail reads what the target had before it went back, only what it still has
// is waited for and comes by.
func TestOneOfSeveralWentBack(t *testing.T) {
	west, _ := newTrio(t, 0)
	west.start(3, 5, true)
	west.ticket(4)
	for _, tt := range []struct {
		batch change.Seq
		waits bool
	}{{5, true}, {9, false}} {
		if got := west.waits(tt.batch); got != tt.waits {
			t.Errorf("the tail waits for batch %d: %t", tt.batch, got)
		}
	}
	west.read(change.Stamp{Origin: "west", Seq: 9})
	if west.tail != 3 || west.tailed() == west.mark() {
		t.Errorf("the tail is at %d", west.tail)
	}
	west.read(change.Stamp{Origin: "west", Seq: 5})
	if west.begin(); west.tail != 5 || west.tailed() != west.mark() || !west.waits(9) {
		t.Errorf("the tail is at %d", west.tail)
	}
}
