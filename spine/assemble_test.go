package spine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"duplex/change"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// published is what a region's topics hold, and what of it is to be applied.
type published struct {
	logs map[Partition][]*kgo.Record // the spine's too; an offset is an index
	// want holds, by seq, the offsets that each partition of the task
	// contributes; nil for a transaction that has nothing for it.
	want [](map[Partition][]int64)
}

var spineOfEast = Partition{topics.Spine("east"), 0}

// wantedTopic is the task of the tests: all of schema shop.
func wantedTopic(topic string) bool {
	_, db, _, ok := topics.ParseTable(topic)
	return ok && db == "shop"
}

func (p *published) add(at Partition, r kgo.Record) int64 {
	r.Topic, r.Partition, r.Offset = at.Topic, at.Index, int64(len(p.logs[at]))
	p.logs[at] = append(p.logs[at], &r)
	return r.Offset
}

// publish writes n transactions of east, and between them applied ones of
// west, canaries, tombstones and commit markers, as capture does.
func publish(rng *rand.Rand, n int) *published {
	p := &published{logs: map[Partition][]*kgo.Record{}, want: make([](map[Partition][]int64), n+1)}
	var tables []Partition
	for _, topic := range []string{"east.shop.a", "east.shop.b", "east.crm.c"} {
		for i := range int32(2) {
			tables = append(tables, Partition{topic, i})
		}
	}
	seen := change.Seq(0)
	for seq := 1; seq <= n; {
		stamp := change.Stamp{Origin: "east", Seq: change.Seq(seq), HLC: change.HLC(seq * 10)}
		switch rng.IntN(8) {
		case 0: // what apply wrote for west; merged, so seqs of west are skipped and repeated
			seen += change.Seq(rng.IntN(3))
			stamp = change.Stamp{Origin: "west", Seq: seen, HLC: 5}
			p.transaction(rng, stamp, tables)
		case 1:
			stamp.Seq--
			p.end(&schemas.End{ID: "canary", Stamp: stamp, Canary: "token"})
		case 2:
			for _, at := range tables {
				p.add(at, kgo.Record{Attrs: controlAttrs()})
			}
		default:
			p.want[seq] = p.transaction(rng, stamp, tables)
			seq++
		}
	}
	return p
}

// fromEast leaves out what other regions wrote, as apply does.
func fromEast(origin change.Region) bool { return origin == "east" }

// controlAttrs are those of a commit marker.
func controlAttrs() kgo.RecordAttrs { return kgo.NewRecordAttrs(kgo.RecordAttrsOpts{Control: true}) }

func (p *published) transaction(rng *rand.Rand, stamp change.Stamp, tables []Partition) map[Partition][]int64 {
	end := &schemas.End{ID: fmt.Sprintf("%s:%d", stamp.Origin, stamp.Seq), Stamp: stamp}
	offsets, counts := map[Partition][]int64{}, map[Partition]int64{}
	for range 1 + rng.IntN(6) {
		at := tables[rng.IntN(len(tables))]
		offset := p.add(at, kgo.Record{Value: []byte{1}, Headers: topics.Headers(stamp)})
		end.Events++
		counts[at]++
		if wantedTopic(at.Topic) {
			offsets[at] = append(offsets[at], offset)
		}
		if rng.IntN(4) == 0 {
			p.add(at, kgo.Record{Headers: topics.Headers(stamp)}) // a tombstone
		}
	}
	for _, at := range tables {
		if counts[at] > 0 {
			end.Partitions = append(end.Partitions, schemas.PartitionCount{Topic: at.Topic, Partition: at.Index, Count: counts[at]})
		}
	}
	p.end(end)
	return offsets
}

func (p *published) end(e *schemas.End) {
	p.add(spineOfEast, kgo.Record{Value: schemas.AppendEnd(schemas.AppendHeader(nil, 1), e)})
}

// reader reads what was published through a consumer and an assembler, as a
// session does, and checks all that comes out.
type reader struct {
	from    *published
	in      *Consumer
	next    map[Partition]int64 // offsets to deliver next
	applied change.Seq          // the last transaction that came out
}

// newReader begins at the given offsets, where there are any.
func newReader(from *published, applied change.Seq, start Offsets) *reader {
	asm := &Assembler{Source: "east", Accept: fromEast, Wanted: wantedTopic, Applied: applied, inboxes: map[Partition]*Inbox{}, spineTaken: start[spineOfEast]}
	return &reader{from: from, applied: applied, next: map[Partition]int64{spineOfEast: start[spineOfEast]}, in: &Consumer{
		spine: spineOfEast, spineFetched: start[spineOfEast], asm: asm, Start: start, Left: new(atomic.Int64), Queued: new(atomic.Int64), names: map[string]change.Region{},
		endOK: map[int]bool{}, check: func(context.Context, int) error { return nil },
	}}
}

// deliver hands over up to n records of a partition and reports whether there
// was any.
func (r *reader) deliver(at Partition, n int) (any bool, err error) {
	for ; n > 0 && r.next[at] < int64(len(r.from.logs[at])); n-- {
		if err := r.in.push(context.Background(), r.from.logs[at][r.next[at]]); err != nil {
			return any, err
		}
		r.next[at]++
		any = true
	}
	return any, nil
}

// assemble takes all that is whole, and fails if any of it is not exactly the
// next transaction.
func (r *reader) assemble(t *rapid.T) (err error) {
	for {
		s, end, missing, err := r.in.asm.Next()
		switch {
		case err != nil:
			return err
		case s == Unread:
			at := r.in.Start[missing]
			r.in.asm.inboxes[missing], r.next[missing] = &Inbox{fetched: at, taken: at}, at
		case s != Ready:
			return nil
		default:
			r.take(t, end)
		}
	}
}

func (r *reader) take(t *rapid.T, end *Ending) {
	seq := end.Stamp.Seq
	if seq != r.applied+1 || end.Stamp.Origin != "east" {
		t.Fatalf("transaction %s:%d came after %d", end.Stamp.Origin, seq, r.applied)
	}
	want, events := r.from.want[seq], r.in.asm.Events(end)
	got, n := map[Partition][]int64{}, int64(0)
	if err := r.in.asm.Take(func(rec Record) error {
		at := Partition{rec.Topic, rec.Partition}
		got[at] = append(got[at], rec.Offset)
		n++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n != events {
		t.Fatalf("transaction %d: %d changes came, %d were announced", seq, n, events)
	}
	for at := range r.from.logs {
		if !slices.Equal(got[at], want[at]) {
			t.Fatalf("transaction %d, %s[%d]: offsets %v came out, %v went in", seq, at.Topic, at.Index, got[at], want[at])
		}
	}
	r.applied = seq
}

// run delivers everything in any order.
func (r *reader) run(t *rapid.T, rng *rand.Rand, steps int) error {
	for range steps {
		places := []Partition{spineOfEast}
		for at := range r.in.asm.inboxes {
			places = append(places, at)
		}
		slices.SortFunc(places, comparePartitions)
		rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
		moved := false
		for _, at := range places {
			any, err := r.deliver(at, 1+rng.IntN(5))
			if err != nil {
				return err
			}
			if moved = moved || any; any {
				break
			}
		}
		if err := r.assemble(t); err != nil {
			return err
		}
		if !moved && len(places) == len(r.in.asm.inboxes)+1 {
			return nil // nothing left to deliver
		}
	}
	return nil
}

const enoughSteps = 100_000

// Whatever the order in which partitions arrive, every transaction comes out
// once, whole and in order; also when the reader starts again, from where it
// had got to or from anywhere before.
func TestAssembleWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		p := publish(rng, rapid.IntRange(1, 40).Draw(t, "transactions"))
		r := newReader(p, 0, Offsets{})
		for range rapid.IntRange(0, 3).Draw(t, "restarts") {
			if err := r.run(t, rng, rng.IntN(60)); err != nil {
				t.Fatal(err)
			}
			start := r.in.Taken()
			for _, at := range p.partitions() {
				if _, ok := start[at]; !ok {
					continue
				}
				switch rng.IntN(4) {
				case 0:
					start[at] = rng.Int64N(start[at] + 1)
				case 1:
					delete(start, at) // never committed: from the first record
				}
			}
			r = newReader(p, r.applied, start)
		}
		if err := r.run(t, rng, enoughSteps); err != nil {
			t.Fatal(err)
		}
		if int(r.applied) != len(p.want)-1 {
			t.Fatalf("%d of %d transactions came out", r.applied, len(p.want)-1)
		}
		for at, end := range r.in.Taken() {
			if end != int64(len(p.logs[at])) {
				t.Errorf("%s[%d] is taken to %d of %d", at.Topic, at.Index, end, len(p.logs[at]))
			}
		}
	})
}

// A record or an END record that is missing, doubled or moved is never passed
// over: what comes out before is right, and then there is a gap or silence.
func TestAssembleNeverGuesses(t *testing.T) {
	gaps := 0
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		p := publish(rng, rapid.IntRange(2, 40).Draw(t, "transactions"))
		if !p.damage(rng) {
			return
		}
		r := newReader(p, 0, Offsets{})
		err := r.run(t, rng, enoughSteps) // checks each transaction that comes out
		var gap *GapError
		switch {
		case errors.As(err, &gap):
			gaps++
		case err != nil:
			t.Fatal(err)
		case int(r.applied) == len(p.want)-1:
			t.Fatal("all transactions came out of topics that lack something")
		}
	})
	if gaps == 0 {
		t.Error("no damage gave a GapError")
	}
}

// damage hurts one record that matters; want stays as it was. It reports
// whether there was one to hurt.
func (p *published) damage(rng *rand.Rand) bool {
	type place struct {
		Partition
		offset int64
	}
	var places []place
	// Of the last transaction, silence is all there can be.
	for seq := 1; seq < len(p.want)-1; seq++ {
		for _, at := range p.partitions() {
			for _, o := range p.want[seq][at] {
				places = append(places, place{at, o})
			}
		}
	}
	if len(places) == 0 {
		return false
	}
	victim := places[rng.IntN(len(places))]
	log := p.logs[victim.Partition]
	switch rng.IntN(3) {
	case 0: // lost; the others keep their offsets
		lost := *log[victim.offset]
		lost.Value = nil
		log[victim.offset] = &lost
		return true
	case 1: // in the place of one of a later transaction
		for i := victim.offset + 1; i < int64(len(log)); i++ {
			a, b := log[victim.offset], log[i]
			if b.Value != nil && string(b.Headers[0].Value) == "east" && string(a.Headers[1].Value) != string(b.Headers[1].Value) {
				a.Headers, b.Headers = b.Headers, a.Headers
				return true
			}
		}
		return false
	default:
		return p.loseEnd(rng)
	}
}

// loseEnd takes the END record of one of east's transactions away.
func (p *published) loseEnd(rng *rand.Rand) bool {
	spine := p.logs[spineOfEast]
	for _, i := range rng.Perm(len(spine)) {
		var e schemas.End
		_, value, err := schemas.ReadHeader(spine[i].Value)
		if err == nil {
			err = new(schemas.EndReader).Read(value, &e)
		}
		if err == nil && e.Stamp.Origin == "east" && e.Events > 0 && int(e.Stamp.Seq) < len(p.want)-1 {
			lost := *spine[i]
			lost.Attrs = controlAttrs()
			spine[i] = &lost
			return true
		}
	}
	return false
}

// partitions returns those that hold anything, always in the same order.
func (p *published) partitions() []Partition {
	return slices.SortedFunc(maps.Keys(p.logs), comparePartitions)
}

func comparePartitions(a, b Partition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Index, b.Index))
}
