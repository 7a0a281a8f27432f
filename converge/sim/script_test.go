package main

import (
	"testing"
	"time"
)

// first always takes the first of what there is: batches of one transaction.
type first struct{}

func (first) intn(int) int { return 0 }

// script plays a history step by step. What is left undone at its end is done
// in some order.
type script struct {
	*world
	t *testing.T
}

func play(t *testing.T, s setting) *script {
	s.keys, s.values, s.perTxn, s.batch, s.parts = max(s.keys, 1), 9, 1, 1, 1
	w := newWorld(s, first{})
	w.trace = t.Logf
	return &script{w, t}
}

func (s *script) region(name byte) *region { return &s.regions[name-'a'] }

// write commits a transaction: pairs of a key and an image.
func (s *script) write(name byte, pairs ...int) {
	r := s.region(name)
	t := txn{commit: time.UnixMilli(int64(r.clock))}
	for i := 0; i < len(pairs); i += 2 {
		at := &r.rows[pairs[i]]
		if at.held != 0 {
			s.t.Fatalf("key %d is locked in %c", pairs[i], name)
		}
		t.rows[t.n] = rowChange{uint8(pairs[i]), at.image, image(pairs[i+1]), at.by, at.bySeq}
		t.n++
	}
	s.commitLocal(r, t)
}

func (s *script) publishes(names ...byte) {
	for _, name := range names {
		s.publish(s.region(name), 0)
	}
}

// reads lets the tail read n transactions.
func (s *script) reads(name byte, n int) {
	for range n {
		s.tailed(s.region(name), 0)
	}
}

// decides begins with the next transaction of a source, applies ends it.
func (s *script) decides(name, source byte) { s.begin(s.region(name), int(source-'a')) }
func (s *script) ends(name, source byte) {
	r, from := s.region(name), int(source-'a')
	if r.jobOf(from).stage == waiting {
		s.resume(r, from)
	}
	s.commit(r, from)
	s.note(r, from)
}

func (s *script) applies(name, source byte) {
	s.decides(name, source)
	s.ends(name, source)
}

// rests runs the history to its end.
func (s *script) rests() {
	s.t.Helper()
	s.pick, s.writes = random(1), 0
	if s.run(nil); s.fault != "" {
		s.t.Error(s.fault)
	}
}

// A delete arrives where the row is absent, so it can't be locked; the region
// inserts it, with a smaller version than the delete's, before the marker is
// committed, and the tail has read that before the marker is noted.
func TestInsertUnderADeleteBeingMarked(t *testing.T) {
	s := play(t, setting{regions: 2})
	s.write('b', 0, 1)
	s.publishes('b')
	s.applies('a', 'b')
	s.write('a', 0, 0)
	s.region('b').clock += 5
	s.write('b', 0, 0)
	s.publishes('a', 'a', 'b')
	s.reads('a', 2)
	s.decides('a', 'b') // absent, as the delete would leave it
	s.write('a', 0, 1)
	s.publishes('a')
	s.reads('a', 1)
	s.ends('a', 'b')
	if s.rests(); s.restored == 0 {
		t.Error("it ended right without the audit")
	}
}

// The row has come back, in a region's latest writes, to what a change of
// another region found: it is written over a newer version, which the audit puts back.
func TestBackToWhatAChangeFound(t *testing.T) {
	s := play(t, setting{regions: 2})
	s.write('b', 0, 1)
	s.publishes('b')
	s.region('a').clock += 5
	s.write('a', 0, 2)
	s.write('a', 0, 0)
	s.applies('a', 'b')
	if s.rests(); s.restored == 0 {
		t.Error("it ended right without the audit")
	}
}

// A change comes before the one of a third region that it is based on. The row
// isn't as it found it, and yet nothing has drifted.
func TestChangeBeforeWhatItIsBasedOn(t *testing.T) {
	s := play(t, setting{regions: 3})
	s.write('b', 0, 3)
	s.publishes('b')
	s.applies('c', 'b')
	s.write('c', 0, 2)
	s.publishes('c', 'c')
	s.decides('a', 'c') // passes b's own, applied there
	s.ends('a', 'c')
	if s.applies('a', 'c'); s.region('a').rows[0].image != 2 {
		t.Errorf("a has %d", s.region('a').rows[0].image)
	}
	if s.rests(); s.heals != 0 {
		t.Error("it was taken for drift")
	}
}

// Both regions write over a newer version what a delete of the other left, and then
// take the one unique value that both rows have. The repairs bring back older versions,
// which meet the other row, stable by now: its version must be known still.
func TestRepairMeetsANewerRow(t *testing.T) {
	s := play(t, setting{regions: 2, keys: 2, unique: 1})
	const x, y = 0, 1
	s.write('a', y, 1)
	s.write('a', y, 0)
	s.write('b', x, 1)
	s.write('b', x, 0)
	s.region('a').clock += 5
	s.write('a', x, 1)
	s.region('b').clock += 9
	s.write('b', y, 1)
	s.publishes('a', 'a', 'a', 'b', 'b', 'b')
	for range 3 {
		s.applies('a', 'b')
		s.applies('b', 'a')
	}
	for _, name := range []byte{'a', 'b'} {
		for r := s.region(name); r.published < len(r.binlog); {
			s.publishes(name)
		}
		s.reads(name, s.region(name).published)
	}
	s.applies('a', 'b') // nothing new: what b has seen
	s.applies('b', 'a')
	for range 3 {
		for _, name := range []byte{'a', 'b'} {
			r := s.region(name)
			if due := r.index.Suspects(s.pos(r)); len(due) != 1 {
				t.Errorf("%c suspects %v", name, due)
			}
			s.sweep(r, 0)
		}
	}
	if s.rests(); s.restored == 0 {
		t.Error("it ended right without the audit")
	}
}

// A row that is to be restored is absent, so it can't be locked; the region
// inserts and deletes it before it is restored, and the tail reads all of that
// before the repair is noted. It must be looked at once more.
func TestRepairOverLaterWrites(t *testing.T) {
	s := play(t, setting{regions: 2})
	a := s.region('a')
	s.write('b', 0, 1)
	s.write('b', 0, 0)
	s.publishes('b', 'b')
	a.clock += 5
	s.write('a', 0, 1)
	s.applies('a', 'b')
	s.applies('a', 'b') // the delete finds what it found, though the row is newer
	s.publishes('a', 'a', 'a')
	s.reads('a', 3)
	s.inspect(a, 0)
	s.write('a', 0, 2)
	s.write('a', 0, 0)
	s.resume(a, 0)
	s.commit(a, 0)
	s.publishes('a', 'a', 'a')
	s.reads('a', 3)
	s.note(a, 0)
	if s.rests(); s.restored != 2 {
		t.Errorf("%d repairs, want two", s.restored)
	}
}

// The deletion of a row that yielded has the version of the other one, which
// may be far ahead of the clock of the region that publishes it. What is
// written there or elsewhere after it must have a greater one.
func TestWriteAfterARowYielded(t *testing.T) {
	s := play(t, setting{regions: 3, keys: 2, unique: 1})
	const x, y = 0, 1
	s.write('b', y, 1)
	s.region('a').clock += 20
	s.write('a', x, 1)
	s.publishes('a', 'b')
	s.decides('b', 'a')
	s.reads('b', 1)
	s.ends('b', 'a')
	s.publishes('b', 'b')
	s.applies('c', 'b')
	s.applies('c', 'b')
	s.write('c', y, 1)
	for r := s.region('c'); r.published < len(r.binlog); {
		s.publishes('c')
	}
	if s.rests(); s.yielded == 0 || s.region('a').rows[y].image != 1 {
		t.Errorf("%d rows yielded, and the last writer's value is taken: %v", s.yielded, s.region('a').rows)
	}
}

// settles lets a region read all of its own topics and of another's, and forget.
func (s *script) settles(name, other byte) *region {
	r := s.region(name)
	for r.published < len(r.binlog) {
		s.publishes(name)
	}
	s.reads(name, r.published-s.read(r))
	s.applies(name, other)
	for range 3 {
		r.index.Suspects(s.pos(r))
		s.sweep(r, 0)
	}
	r.saved = r.index.Forgotten()
	return r
}

// A change that was skipped leaves no progress in the database, so it is
// decided again after a crash: what it lost against must be read again then, even if it
// had been forgotten.
func TestSkippedBeforeACrash(t *testing.T) {
	s := play(t, setting{regions: 2})
	s.write('b', 0, 1)
	s.write('b', 0, 0)
	s.write('a', 0, 1)
	s.publishes('a', 'b', 'b')
	s.reads('b', 2)
	s.applies('b', 'a') // skipped
	s.applies('a', 'b')
	s.applies('a', 'b')
	s.settles('a', 'b')
	if b := s.settles('b', 'a'); b.index.Len() != 0 || b.saved == 0 {
		t.Fatalf("b knows %d rows, and may have forgotten what is up to %v", b.index.Len(), b.saved)
	}
	s.crash(s.region('b'), 0)
	s.rests()
}
