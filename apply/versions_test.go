package apply

import (
	"fmt"
	"testing"

	"duplex/change"
	"duplex/config"
	"duplex/converge"
	"duplex/schemas"
	"duplex/spine"
	"duplex/tasks"
)

// known is a versions of east, whose source is west, and one row of a table.
type known struct {
	*inbound
	t     testing.TB
	table *boundTable
	key   []byte
}

func newKnown(t testing.TB) *known {
	table := bound(t, "a")
	table.tracked = table.binder.Identity()
	return &known{newVersions("east", cleared{}, from("west")).sources["west"], t, table, schemas.AppendBytes(nil, []byte("k"))}
}

func from(source change.Region) *Stream {
	return &Stream{cfg: Config{Process: &config.Process{Region: "east", Conflicts: config.DefaultConflicts()}, Spec: &tasks.Spec{}, Source: source}}
}

func (k *known) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *known) localWrite(seq change.Seq, hlc change.HLC, offset int64) {
	k.t.Helper()
	k.must(k.local(noted{table: k.table, key: k.key, at: spine.Partition{Topic: "east.shop.a"}, offset: offset}, change.Stamp{Origin: "east", Seq: seq, HLC: hlc}))
}

// apply writes the row by a batch, unless it has a newer version.
func (k *known) apply(seq change.Seq, hlc change.HLC) (lost bool) {
	k.t.Helper()
	b := newBatch(0)
	b.seq = seq
	k.must(b.add(k.table, k.key, nil, image(k.key, "", 0), made{hlc: hlc, origin: k.source, seq: seq, place: k.places.add(spine.Partition{Topic: string(k.source) + ".shop.a"}, int64(seq))}))
	k.must(k.sift(b.tables))
	k.must(k.wrote(b))
	return b.tables[0].rows[0].lost
}

// comeBy has the tail read what a batch wrote.
func (k *known) comeBy(batch change.Seq) {
	k.t.Helper()
	k.must(k.echo(noted{table: k.table, key: k.key, at: spine.Partition{Topic: "east.shop.a"}, offset: int64(batch)}, &change.Stamp{Origin: k.source, Seq: batch}))
	k.read(change.Stamp{Origin: k.source, Seq: batch})
}

func (k *known) due() int {
	due, _ := k.suspects()
	return len(due)
}

// newest returns where the image stands that the row should have.
func (k *known) newest() (topic string, offset int64) {
	k.t.Helper()
	id, err := k.id(k.table, k.key)
	k.must(err)
	row, ok, err := k.of(id)
	if err != nil || !ok {
		k.t.Fatal(ok, err)
	}
	at, offset, _ := k.places.of(row.Place)
	return at.Topic, offset
}

// What is older than a known local write is left out, what is newer is not.
func TestOlderIsLeftOut(t *testing.T) {
	k := newKnown(t)
	k.localWrite(1, 20, 7)
	if !k.apply(1, 10) || k.apply(2, 30) {
		t.Error("the older change was written, or the newer one left out")
	}
	k.wholly(1)
	k.met("local 1@7 beats remote 1@1", "remote 2@2 beats local 1@7")
}

// A newer local write that the tail reads only after an older change was written
// over it is to be put back, as soon as the tail has read that too; a newer change
// over an older local write is right.
func TestOverwrittenIsFound(t *testing.T) {
	k := newKnown(t)
	k.apply(5, 10)
	k.localWrite(1, 20, 7)
	if k.due() != 0 {
		t.Error("the row is suspect before the tail has read what was written")
	}
	k.comeBy(5)
	if topic, offset := k.newest(); k.due() != 1 || topic != "east.shop.a" || offset != 7 {
		t.Errorf("%d suspects, the newest at %s@%d", k.due(), topic, offset)
	}
	if k.settled(&checkpoint{written: 5}) {
		t.Error("what must be repaired is taken for settled")
	}
	k.apply(6, 30)
	k.comeBy(6)
	if k.due() != 0 || !k.settled(&checkpoint{written: 6}) {
		t.Error("the newest change is suspect")
	}
}

// Of a row that one transaction deletes and inserts anew the insert stands.
func TestTwiceInOneTransaction(t *testing.T) {
	k := newKnown(t)
	k.localWrite(1, 20, 7)
	k.localWrite(1, 20, 8)
	if _, offset := k.newest(); offset != 8 {
		t.Errorf("the newest image stands at %d", offset)
	}
}

// What a large transaction wrote is known as what a batch did.
func TestBulkIsKnown(t *testing.T) {
	k := newKnown(t)
	b := &bulk{}
	_, err := k.addBulk(b, k.table, k.key, made{hlc: 30, origin: "west", seq: 4})
	k.must(err)
	k.localWrite(1, 20, 7)
	k.must(k.wroteBulk(b, change.Stamp{Origin: "west", Seq: 4, HLC: 30}, nil))
	if !k.apply(5, 25) {
		t.Error("a change was written that is older than the large transaction")
	}
	k.comeBy(4)
	if k.due() != 0 {
		t.Error("the large transaction's row is suspect")
	}
}

// A large transaction that the tail has passed is forgotten at once; what the index
// had of its rows before isn't the newest then.
func TestForgottenBulkIsNewest(t *testing.T) {
	for _, shows := range []bool{true, false} { // or it was a delete that found no row
		k := newKnown(t)
		k.localWrite(1, 20, 7)
		b := &bulk{}
		_, err := k.addBulk(b, k.table, k.key, made{hlc: 30, origin: "west", seq: 4})
		k.must(err)
		k.must(k.wroteBulk(b, change.Stamp{Origin: "west", Seq: 4, HLC: 30}, nil))
		if shows {
			k.comeBy(4)
		} else {
			k.read(change.Stamp{Origin: "west", Seq: 4})
		}
		k.dropBulks(30)
		switch due := k.due(); {
		case shows && due > 0:
			t.Error("the older local write is to be put back over the large transaction")
		case !shows && due == 0:
			t.Error("a row written while the large transaction found none stays, though it is older")
		}
	}
}

// What was applied before a restart comes by as part of a batch of then, which
// nobody remembers.
func TestRelearntIsNotSuspect(t *testing.T) {
	k := newKnown(t)
	k.must(k.relearn([]relearnt{{k.table, row{key: k.key, made: made{hlc: 10, origin: "west", seq: 3}}}}, 3))
	k.comeBy(9)
	if k.due() != 0 {
		t.Error("a row that was applied before is suspect")
	}
	k.localWrite(1, 5, 7) // read late: it lies before
	k.comeBy(9)
	if k.due() != 0 {
		t.Error("the newer change over an older local write is suspect")
	}
}

// What was settled before a restart is known to be right, whatever is read of it
// again.
func TestSettledIsNotSuspect(t *testing.T) {
	k := newKnown(t)
	k.from = 9
	k.localWrite(1, 20, 7)
	k.comeBy(9)
	if k.due() != 0 {
		t.Error("a row is suspect that was settled before")
	}
}

// A repair's marker may have a number that was settled, though it was written after that: over a local write that
// it couldn't lock.
func TestRepairAfterSettled(t *testing.T) {
	k := newKnown(t)
	k.from, k.fromOwn = 9, 1
	k.localWrite(1, 20, 7)
	k.wholly(1)
	k.comeBy(9)
	if k.due() != 0 {
		t.Error("what was settled is to be put back")
	}
	k.localWrite(2, 30, 8)
	k.wholly(2)
	k.comeBy(9)
	if topic, offset := k.newest(); k.due() != 1 || topic != "east.shop.a" || offset != 8 {
		t.Errorf("%d rows are to be put back, from %s@%d", k.due(), topic, offset)
	}
}

// Nothing is settled while rows are being put back.
func TestNotSettledWhilePutBack(t *testing.T) {
	k := newKnown(t)
	k.apply(5, 10)
	k.comeBy(5)
	k.restored = map[converge.Key]restored{}
	if k.settled(&checkpoint{written: 5}) {
		t.Error("it is settled")
	}
	k.restored = nil
	if c := (checkpoint{written: 5}); !k.settled(&c) {
		t.Error("it isn't settled")
	}
}

// What is saved of a checkpoint is what is read.
func TestCheckpointNote(t *testing.T) {
	for _, c := range []checkpoint{{seq: 7, written: 5}, {seq: 7, written: 5, had: 9}, {seq: 7, written: 5, own: 3}, {seq: 7, written: 5, had: 9, own: 3}} {
		got := checkpoint{}
		got.read(c.note())
		if got.seq != c.seq || got.written != c.written || got.had != c.had || got.own != c.own {
			t.Errorf("%q is read as %+v", c.note(), got)
		}
	}
}

// A row of which a deletion was published before a restart, though it wasn't there, may have been written since.
func TestSettledOverYielded(t *testing.T) {
	k := newKnown(t)
	k.from = 9
	k.localWrite(1, 20, 7)
	k.must(k.yielded(noted{table: k.table, key: k.key, version: change.Version{HLC: 25, Origin: "west"}}, change.Stamp{Origin: "east", Seq: 2, HLC: 30}))
	k.comeBy(9)
	if k.due() != 0 {
		t.Error("what was settled is to be deleted")
	}
	k.apply(10, 40)
	k.comeBy(10)
	k.must(k.yielded(noted{table: k.table, key: k.key, version: change.Version{HLC: 50, Origin: "west"}}, change.Stamp{Origin: "east", Seq: 3, HLC: 60}))
	if k.due() != 1 {
		t.Error("what must be deleted isn't")
	}
}

// BenchmarkVersions tells what a row of a batch costs that nobody else writes, until
// it comes by and after.
func BenchmarkVersions(b *testing.B) {
	const rows, window = 2000, 200
	for _, outstanding := range []change.Seq{2, window} {
		b.Run(fmt.Sprintf("batches=%d", outstanding), func(b *testing.B) {
			k := newKnown(b)
			k.table = boundTo(b, &schemas.Table{DB: "shop", Name: "n", Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.BigInt}}})
			k.table.tracked = true
			at, seq := spine.Partition{Topic: "west.shop.n"}, change.Seq(0)
			b.ReportAllocs()
			for b.Loop() {
				seq++
				batch := newBatch(0)
				batch.seq = seq
				for i := range rows {
					n := int64(seq)%window*rows + int64(i)
					k.must(batch.add(k.table, schemas.AppendLong(nil, n), nil, nil, made{origin: "west", hlc: change.HLC(seq) << 20, seq: seq, place: k.places.add(at, n)}))
				}
				k.must(k.sift(batch.tables))
				k.must(k.wrote(batch))
				k.passed([]change.Stamp{{Origin: "west", Seq: seq, HLC: change.HLC(seq) << 20}})
				if past := seq - outstanding; past > 0 {
					k.read(change.Stamp{Origin: "west", Seq: past, HLC: change.HLC(past) << 20})
					k.sweep()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}

// A large transaction that is forgotten leaves nothing older behind that could be
// taken for the newest: after a restart the tail may have read all before it is
// known again.
func TestForgottenBulkLeavesNothingOlder(t *testing.T) {
	k := newKnown(t)
	k.must(k.echo(noted{table: k.table, key: k.key}, &change.Stamp{Origin: "west", Seq: 5}))
	place := k.places.add(spine.Partition{Topic: "west.shop.a"}, 3)
	k.must(k.relearn([]relearnt{{k.table, row{key: k.key, made: made{hlc: 10, origin: "west", seq: 3, place: place}}}}, 3))
	b := &bulk{}
	_, err := k.addBulk(b, k.table, k.key, made{hlc: 30, origin: "west", seq: 5})
	k.must(err)
	k.must(k.wroteBulk(b, change.Stamp{Origin: "west", Seq: 5, HLC: 30}, nil))
	k.read(change.Stamp{Origin: "west", Seq: 5})
	k.dropBulks(40)
	if row, ok, err := k.of(k.id1()); err != nil || ok && row.Version.HLC < 30 {
		t.Errorf("the row's newest version is said to be that of %v (%v)", row.Version.HLC, err)
	}
}

func (k *known) id1() converge.Key {
	k.t.Helper()
	id, err := k.id(k.table, k.key)
	k.must(err)
	return id
}
