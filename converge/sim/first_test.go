package main

import (
	"os"
	"strings"
	"testing"
)

// drawFirst makes the world of a history of the way of package apply, with
// unique values.
func drawFirst(seed uint64, broken rule) *world {
	pick := random(seed)
	return newWorld(setting{
		regions: 2, keys: 2 + pick.intn(3), parts: 1 + pick.intn(2), values: 1 + pick.intn(6), unique: 1 + pick.intn(3),
		writes: 2 + pick.intn(6), perTxn: 1 + pick.intn(2), batch: 1 + pick.intn(3), skew: pick.intn(4),
		crashes: max(0, pick.intn(5)-2), evict: pick.intn(2) == 0, first: true, broken: broken,
	}, pick)
}

// Rows are written first, and room for unique values is made only where the server
// refuses them: all ends right. DUPLEX_SOAK tries a million histories.
func TestRoomIsMade(t *testing.T) {
	histories := uint64(20_000)
	if os.Getenv("DUPLEX_SOAK") != "" {
		histories = 1_000_000
	}
	var sum stats
	for seed := range histories {
		w := drawFirst(seed, none)
		w.run(nil)
		if sum.add(w.stats); w.fault != "" {
			t.Errorf("history %d: %s", seed, w.fault)
		}
	}
	if t.Logf("%+v", sum); sum.yielded == 0 || sum.restored == 0 || sum.again == 0 || sum.swept == 0 {
		t.Error("the histories don't reach everything")
	}
	for seed := range uint64(5000) {
		w := drawFirst(seed, noPublishing)
		if w.run(nil); strings.HasPrefix(w.fault, "diverged") {
			return
		}
	}
	t.Error("it ends right without publishing who yields")
}

// What a region held for right before a crash tells what its rows have, though the other region's writes that made it
// so aren't read again.
func TestSettledIsTold(t *testing.T) {
	find := func(broken rule, histories uint64) (faults int) {
		for seed := range histories {
			pick := random(seed)
			w := newWorld(setting{
				regions: 2, keys: 1 + pick.intn(2), parts: 1, values: 2 + pick.intn(2), writes: 4 + pick.intn(4), perTxn: 1, batch: 1 + pick.intn(2),
				skew: pick.intn(3), crashes: 1 + pick.intn(3), policy: newestColumn, evict: true, first: true, broken: broken,
			}, pick)
			if w.run(nil); w.fault != "" {
				faults++
			}
		}
		return faults
	}
	const histories = 10_000
	if n := find(none, histories); n > 0 {
		t.Errorf("%d of %d histories end wrong", n, histories)
	}
	if find(noSettled, histories) == 0 {
		t.Error("it makes no difference")
	}
}

// A deletion that was published of a row that wasn't there must not be taken, after a crash, for one that
// was overwritten: a newer image may have been settled since. One of 200,000 such histories ends wrong without that.
func TestYieldedBeforeACrash(t *testing.T) {
	for _, seed := range []uint64{10_530, 372_103, 442_166} {
		fault := func(broken rule) string {
			w := newWorld(setting{regions: 2, keys: 2, parts: 2, values: 4, unique: 1, writes: 6, perTxn: 2, batch: 2, skew: 1, crashes: 2, evict: true, first: true, broken: broken}, random(seed))
			w.run(nil)
			return w.fault
		}
		if wrong := fault(none); wrong != "" {
			t.Errorf("history %d: %s", seed, wrong)
		}
		if fault(noSettled) == "" {
			t.Errorf("history %d: it makes no difference", seed)
		}
	}
}

// A repair that came over a local write to an absent row, just before a crash, must be found after it, though its marker
// has a number that was settled. One of a million such histories ends wrong without that.
func TestRepairBeforeACrash(t *testing.T) {
	fault := func(broken rule) string {
		pick := random(476_853)
		w := newWorld(setting{
			regions: 2, keys: 2, parts: 1 + pick.intn(2), values: 2 + pick.intn(3), unique: 1 + pick.intn(3), writes: 4 + pick.intn(4), perTxn: 2,
			batch: 1 + pick.intn(2), skew: pick.intn(4), crashes: 1 + pick.intn(3), evict: true, first: true, broken: broken,
		}, pick)
		w.run(nil)
		return w.fault
	}
	if wrong := fault(none); wrong != "" {
		t.Error(wrong)
	}
	if fault(noOwnMark) == "" {
		t.Error("it makes no difference")
	}
}

// most always takes the last of what there is: the largest batch.
type most struct{}

func (most) intn(n int) int { return n - 1 }

// makesRoom lets a region make room for what it was refused.
func (s *script) makesRoom(name, source byte) {
	r, from := s.region(name), int(source-'a')
	s.attempt(r, from)
	if r.jobOf(from).stage != crowded {
		s.t.Fatalf("%c is not refused what %c wrote", name, source)
	}
	s.ask(r, from)
	s.answer(r, from)
	s.makeRoom(r, from)
	s.publishes(name)
	s.reads(name, r.published-s.read(r))
	s.retry(r, from)
	s.attempt(r, from)
	s.remember(r, from)
}

// A row that comes in loses its unique value to a newer one where it never was. Its
// own region gives it other values meanwhile, and never sees the two together: it
// must be told.
func TestYieldsWhereItNeverWas(t *testing.T) {
	s := play(t, setting{regions: 2, keys: 2, unique: 2, first: true})
	const x, y = 0, 1
	a, b := s.region('a'), s.region('b')
	s.write('b', x, 1)
	a.clock += 5
	s.write('a', y, 1)
	s.publishes('a', 'b')
	s.reads('a', 1)
	s.gather(a, 1)
	s.makesRoom('a', 'b')
	s.write('a', y, 2) // the value is free again
	s.publishes('a')
	s.publishes('a')
	s.write('b', x, 3) // the same value, older than y's write
	s.batch, s.pick = 3, most{}
	s.gather(b, 0) // y has given the value up already
	if s.rests(); s.yielded != 1 || b.rows[x].image != 0 {
		t.Errorf("%d rows yielded, b has %v", s.yielded, b.rows)
	}
}

// An older swap of two unique values came over a newer one, and the tail has come by
// one of the rows. To put that back, the other must go back, too, and not yield.
func TestSwapPutBackAtOnce(t *testing.T) {
	s := play(t, setting{regions: 2, keys: 2, unique: 2, first: true})
	const x, y = 0, 1
	a := s.region('a')
	s.write('b', x, 3, y, 4)
	s.publishes('b')
	s.gather(a, 1)
	s.attempt(a, 1)
	s.remember(a, 1)
	s.write('b', x, 4, y, 3)
	s.publishes('b')
	a.clock += 5
	s.write('a', x, 2, y, 1)
	s.write('a', x, 1, y, 2)
	s.gather(a, 1)
	s.attempt(a, 1)
	s.remember(a, 1)
	for a.published < len(a.binlog) {
		s.publishes('a')
	}
	s.reads('a', a.published)
	a.repair = job{n: 1, items: [maxKeys]item{{key: x}}}
	s.holdAll(a)
	s.putBack(a, 0)
	s.attempt(a, 0)
	if a.repair.stage != crowded {
		t.Fatal("there is room for one row alone")
	}
	if s.rests(); s.yielded != 0 {
		t.Errorf("%d rows yielded", s.yielded)
	}
}
