package converge

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"duplex/change"

	"pgregory.net/rapid"
)

// memorySpace is a Space that fails when it is told to.
type memorySpace struct {
	data  []byte
	fails error
	limit int
}

func (m *memorySpace) ReadAt(b []byte, at int64) (int, error) {
	if m.fails != nil {
		return 0, m.fails
	}
	if at+int64(len(b)) > int64(len(m.data)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(b, m.data[at:]), nil
}

func (m *memorySpace) WriteAt(b []byte, at int64) (int, error) {
	if m.fails != nil || m.limit > 0 && int(at)+len(b) > m.limit {
		return 0, errors.Join(m.fails, errors.New("there is no more room"))
	}
	if n := int(at) + len(b) - len(m.data); n > 0 {
		m.data = append(m.data, make([]byte, n)...)
	}
	return copy(m.data[at:], b), nil
}

func (m *memorySpace) Truncate(size int64) error {
	m.data = m.data[:min(len(m.data), int(size))]
	return nil
}

// spilling makes an index that spills.
func spilling(limit int64) *Index {
	x := NewIndex(limit, 0)
	x.SpillTo(&memorySpace{})
	return x
}

// An index answers the same whether it has room for all or hardly for any, whatever
// it is told and asked.
func TestSpilledIsTheSame(t *testing.T) {
	spills, looks, sweeps, doubts := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		small, large := spilling(rapid.SampledFrom([]int64{32 << 10, 48 << 10, 80 << 10, 400 << 10}).Draw(t, "limit")), NewIndex(1<<30, 0)
		keys := rapid.SampledFrom([]int{3, 10, 60, 500}).Draw(t, "keys")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		key := func() Key { i := uint64(r.IntN(keys)); return Key{i % 7 << 61, i / 7 << 14} }
		stable, tail, at := change.HLC(0), Pos(0), Pos(0)
		both := func(f func(x *Index) error) {
			if err := cmpErr(f(small), f(large)); err != nil {
				t.Fatal(err)
			}
		}
		for step := range rapid.IntRange(100, 600).Draw(t, "steps") {
			k := key()
			w := Write{change.Version{HLC: stable + change.HLC(r.IntN(40)-5), Origin: []change.Region{"east", "west"}[r.IntN(2)]}, change.Seq(step), Digest(r.Uint64N(3)), Place(step), 0}
			switch r.IntN(16) {
			case 0, 1, 2:
				both(func(x *Index) error { return x.Local(k, w) })
			case 3, 4, 5:
				at++
				both(func(x *Index) error { return x.Wrote(k, w, at) })
			case 6:
				both(func(x *Index) error { return x.Marked(k, w, at) })
			case 7, 8:
				both(func(x *Index) error { return x.Echo(k, w.Digest) })
			case 9:
				both(func(x *Index) error { return x.Yielded(k, w) })
			case 10:
				if _, known := large.Of(k); known {
					both(func(x *Index) error { x.Repaired(k, at); return x.Err() })
				}
			case 11:
				if _, known := large.Of(k); known {
					wa, ra := small.Audit(k, w.Digest)
					if wb, rb := large.Audit(k, w.Digest); wa != wb || ra != rb {
						t.Fatalf("audit: %v, %t; %v, %t", wa, ra, wb, rb)
					}
				}
			case 12:
				both(func(x *Index) error { x.Cleared(k); return x.Err() })
			case 13:
				if r.IntN(2) == 0 {
					if err := small.Spill(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				// Other rows, so that these must go.
				for range r.IntN(400) {
					w.Version.HLC++
					other := Key{r.Uint64(), r.Uint64()}
					both(func(x *Index) error { return x.Local(other, w) })
				}
			case 14:
				tail = Pos(r.Uint64N(uint64(at-tail)+1)) + tail
			case 15:
				// The tail has read all, and no suspect is on disk, or what stands there more than once would
				// be remembered for longer.
				tail = at
				small.Suspects(tail)
				if n, _ := small.disk.doubts(); n > 0 {
					continue
				}
				stable += change.HLC(r.IntN(20))
				sweeps++
				forgetAll(large, stable, tail)
				forgetAll(small, stable, tail)
				if small.Forgotten() != large.Forgotten() {
					t.Fatalf("forgotten up to %d and %d", small.Forgotten(), large.Forgotten())
				}
			}
			sameAnswers(t, small, large, k, key(), tail, at)
			n, _ := small.Spilled()
			spills = max(spills, n)
			n, _ = small.disk.doubts()
			doubts += n
			if small.find(k) == nil && small.spilled(k) {
				looks++
			}
		}
		for i := range uint64(keys) {
			sameAnswers(t, small, large, Key{i % 7 << 61, i / 7 << 14}, Key{}, tail, at)
		}
	})
	if t.Logf("at most %d rows on disk, %d looked up there, %d sweeps, %d suspects", spills, looks, sweeps, doubts); spills < 1000 || looks < 1000 || sweeps < 100 || doubts < 1000 {
		t.Error("that is not enough")
	}
}

func cmpErr(a, b error) error {
	if errors.Is(a, b) {
		return nil
	}
	return errors.Join(a, b)
}

func sameAnswers(t *rapid.T, small, large *Index, a, b Key, tail, at Pos) {
	if err := small.Err(); err != nil {
		t.Fatal(err)
	}
	for _, k := range []Key{a, b} {
		got, known := small.Of(k)
		if want, is := large.Of(k); got != want || known != is {
			t.Fatalf("key %x: %+v, %t; want %+v, %t", k, got, known, want, is)
		}
		if got, want := small.Suspect(k), large.Suspect(k); got != want {
			t.Fatalf("key %x: suspect %t, want %t", k, got, want)
		}
	}
	one, yields := small.Settle(change.Version{HLC: 20, Origin: "east"}, []Key{a, b})
	if other, is := large.Settle(change.Version{HLC: 20, Origin: "east"}, []Key{a, b}); one != other || yields != is {
		t.Fatalf("settle: %v, %t; want %v, %t", one, yields, other, is)
	}
	// Those on disk may come later, but not be taken for settled.
	want := large.Suspects(tail)
	if settled := small.Settled(tail); settled && len(want) > 0 || large.Settled(tail) != (len(want) == 0) {
		t.Fatalf("settled: %t, %t with %v being suspect", settled, large.Settled(tail), want)
	}
	due := small.Suspects(tail)
	for _, k := range due {
		if !slices.Contains(want, k) {
			t.Fatalf("%x is suspect", k)
		}
	}
	if n, _ := small.disk.doubts(); len(due) < len(want) && (n < len(want)-len(due) || len(due) == 0 && tail == at) || small.Suspected() < large.Suspected() {
		t.Fatalf("suspects: %v, and %d on disk; want %v", due, n, want)
	}
	if small.Bytes() > small.limit {
		t.Fatalf("%d bytes, the limit is %d", small.Bytes(), small.limit)
	}
}

// Where the space fails, or gives back something else, the index says so, and
// goes on saying it.
func TestSpaceFails(t *testing.T) {
	w := Write{Version: change.Version{HLC: 5, Origin: "east"}}
	fill := func(x *Index, n int) (err error) {
		for i := 0; i < n && err == nil; i++ {
			err = x.Local(Key{uint64(i) * 0x9e3779b97f4a7c15, 1}, w)
		}
		return err
	}
	broken := errors.New("broken")
	for name, spoil := range map[string]func(*memorySpace){
		"fails":  func(m *memorySpace) { m.fails = broken },
		"spoilt": func(m *memorySpace) { m.data[100]++; m.data[chunkBytes+100]++ },
		"short":  func(m *memorySpace) { m.data = m.data[:10] },
	} {
		x, space := NewIndex(64<<10, 0), &memorySpace{}
		x.SpillTo(space)
		if err := fill(x, 3000); err != nil {
			t.Fatal(err)
		}
		spoil(space)
		for i := range 3000 {
			x.Of(Key{uint64(i) * 0x9e3779b97f4a7c15, 1})
		}
		if x.Err() == nil {
			t.Errorf("%s: nothing is said of it", name)
		}
		if name == "fails" && !errors.Is(x.Err(), broken) || name == "spoilt" && !errors.As(x.Err(), new(*SpoiltError)) {
			t.Errorf("%s: %v", name, x.Err())
		}
		if err := x.Echo(Key{0, 1}, 5); x.find(Key{0, 1}) == nil && err == nil {
			t.Errorf("%s: it goes on", name)
		}
	}
	x, space := NewIndex(64<<10, 0), &memorySpace{limit: 300_000}
	x.SpillTo(space)
	if err := fill(x, 100_000); err == nil || x.Err() == nil {
		t.Error("a space that is full is written to")
	}
}

// All that was spilled is given back once it is forgotten.
func TestSpaceIsGivenBack(t *testing.T) {
	x, space := NewIndex(256<<10, 0), &memorySpace{}
	x.SpillTo(space)
	const n = 60_000
	fill(t, x, n)
	full, before := len(space.data), 0
	before, _ = x.Spilled()
	for part := 1; part <= 10; part++ {
		forgetAll(x, change.HLC(n*part/10), 0)
		if got, known := x.Of(Key{}); known && part > 1 {
			t.Errorf("knows %v", got)
		}
		now, bytes := x.Spilled()
		if now > before*(10-part)/10*2+1000 || bytes > int64(now)*recordBytes*2+64*chunkBytes {
			t.Errorf("%d of %d rows are still on disk, in %d bytes, %d tenths being forgotten", now, before, bytes, part)
		}
	}
	if n, bytes := x.Spilled(); n != 0 || bytes != 0 || len(space.data) != 0 || x.Bytes() > 0 {
		t.Errorf("%d rows, %d bytes, %d of %d of space left, %d of memory", n, bytes, len(space.data), full, x.Bytes())
	}
}

// What the tail hasn't read stays, though it came when versions of its age were about to be forgotten.
func TestSpilledAndNotRead(t *testing.T) {
	x, key := spilling(1<<20), Key{1, 2}
	round := func(tail Pos) {
		for !x.Sweep(10, tail) {
		}
	}
	round(0) // from the next round on, 10 may be forgotten
	if err := errors.Join(x.Wrote(key, Write{Version: change.Version{HLC: 5, Origin: "east"}}, 9), x.Spill()); err != nil {
		t.Fatal(err)
	}
	for tail := range Pos(9) {
		round(tail)
		if k, known := x.Of(key); !known || k.At != 9 {
			t.Fatalf("the tail at %d: %+v, %t", tail, k, known)
		}
	}
	round(9)
	round(9)
	if _, known := x.Of(key); known || x.Bytes() != 0 || x.Err() != nil {
		t.Errorf("%d bytes are left, %v", x.Bytes(), x.Err())
	}
}

// A suspect on disk is forgotten as little as one in memory, nor is anything newer; and what is left of
// it there, once it is none, is not taken for one again.
func TestSpilledSuspects(t *testing.T) {
	x, key := spilling(1<<20), Key{1, 2}
	sweep := func() {
		for !x.Sweep(10, 10) {
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sweep() // from the next round on, 10 may be forgotten
	newest := Write{Version: change.Version{HLC: 7, Origin: "west"}, Digest: 2}
	must(errors.Join(x.Wrote(key, newest, 3), x.Echo(key, 9), x.Spill()))
	for range 4 {
		if sweep(); !x.Suspect(key) || x.Settled(3) || !x.Settled(2) || x.Suspected() != 1 {
			t.Fatalf("suspect: %t, settled: %t", x.Suspect(key), x.Settled(3))
		}
	}
	if x.Forgotten() >= 7 {
		t.Errorf("forgets up to %d, and 7 may be written again", x.Forgotten())
	}
	if due := x.Suspects(2); len(due) != 0 {
		t.Errorf("%v are due too early", due)
	}
	if due := x.Suspects(3); !slices.Equal(due, []Key{key}) || x.Suspected() != 1 {
		t.Fatalf("due are %v of %d", due, x.Suspected())
	}
	must(errors.Join(x.Echo(key, 2), x.Spill()))
	if due := x.Suspects(3); len(due) != 0 || x.Suspect(key) {
		t.Errorf("%v are due", due)
	}
	if x.Suspected() != 0 || !x.Settled(3) {
		t.Errorf("%d are still suspects", x.Suspected())
	}
	sweep()
	sweep()
	if _, known := x.Of(key); known || x.Bytes() != 0 || x.Err() != nil {
		t.Errorf("%d bytes are left, %v", x.Bytes(), x.Err())
	}
}

// A run knows of each age whether one of the sweeps has forgotten it.
func TestSweepsOfARun(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, all, p := &run{}, []passed(nil), passed{}
		for range rapid.IntRange(1, 20).Draw(t, "sweeps") {
			p.tail += Pos(rapid.IntRange(0, 3).Draw(t, "tail"))
			p.forget = change.HLC(rapid.IntRange(0, 10).Draw(t, "forget"))
			all = append(all, p)
			r.sweep(p)
			a := age{rapid.Int64Range(0, 12).Draw(t, "hlc"), Pos(rapid.IntRange(0, 30).Draw(t, "at"))}
			want := slices.ContainsFunc(all, func(p passed) bool { return a.hlc <= int64(p.forget) && a.at <= p.tail })
			if r.forgotten(a) != want {
				t.Fatalf("%v after %v: %t", a, all, !want)
			}
		}
	})
}

// What the tail hasn't read of a run is never thought to be newer than it is.
func TestLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tail := Pos(rapid.IntRange(0, 5).Draw(t, "tail"))
		ages := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) age {
			return age{rapid.Int64Range(1, 50).Draw(t, "hlc"), Pos(rapid.IntRange(0, 200).Draw(t, "at"))}
		}), 1, 50).Draw(t, "ages")
		at := Pos(0)
		for _, a := range ages {
			at = max(at, a.at)
		}
		l := newLate(tail, at)
		for _, a := range ages {
			l.add(a)
		}
		for ; tail < 210; tail++ {
			oldest, exact := int64(forever), int64(forever)
			for _, a := range ages {
				if a.at > tail {
					oldest = min(oldest, a.hlc)
				}
				if a.at > tail-min(tail, 7) {
					exact = min(exact, a.hlc)
				}
			}
			if got := l.after(tail); got > oldest || got < exact {
				t.Fatalf("tail %d: %d, want %d to %d", tail, got, exact, oldest)
			}
		}
	})
}

// Nearly no key that isn't there is looked for on disk.
func TestFilter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 2000).Draw(t, "n")
		f, r := newFilter(n, rapid.IntRange(0, 20).Draw(t, "bits")), rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))
		keys := make([]Key, n)
		for i := range keys {
			keys[i] = Key{5<<60 | r.Uint64()>>8, r.Uint64()}
			f.add(keys[i])
		}
		for _, k := range keys {
			if !f.may(k) {
				t.Fatalf("%x was forgotten", k)
			}
		}
	})
	for bits, most := range map[int]float64{10: 0.02, 5: 0.13, 2: 0.45} {
		f, r, found := newFilter(100_000, bits), rand.New(rand.NewPCG(1, 2)), 0
		for range 100_000 {
			f.add(Key{5<<56 | r.Uint64()>>8, r.Uint64()})
		}
		for range 100_000 {
			if f.may(Key{5<<56 | r.Uint64()>>8, r.Uint64()}) {
				found++
			}
		}
		t.Logf("%d bits: %.3f of all keys are searched for in vain", bits, float64(found)/100_000)
		if float64(found) > most*100_000 {
			t.Errorf("%d bits: %d of 100000", bits, found)
		}
	}
}

// What was written as an entry is read as the same, and what was not is told.
func FuzzBlock(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		block := make([]byte, blockBytes)
		copy(block, data)
		for i := range blockRecords {
			var e entry
			e.decode(record(block, i))
			again := make([]byte, recordBytes)
			if e.encode(again); !slices.Equal(again, record(block, i)) {
				t.Fatalf("%x was read from %x", again, record(block, i))
			}
		}
		seal(block)
		if !whole(block) {
			t.Fatal("a sealed block isn't whole")
		}
		if len(data) > 0 {
			block[int(data[0])*13%blockBytes] ^= 1 + data[0]&0x7f
			if whole(block) {
				t.Fatal("a spoilt block is whole")
			}
		}
	})
}

// A chunk is never given out twice, and the space is no longer than it need be, after some time.
func TestChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := &memorySpace{}
		c, taken := chunks{space: space}, []uint32(nil)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if n := rapid.IntRange(0, len(taken)).Draw(t, "give"); rapid.Bool().Draw(t, "gives") {
				c.give(taken[n:])
				taken = taken[:n]
			}
			for range rapid.IntRange(0, 200).Draw(t, "take") {
				at := c.take()
				if slices.Contains(taken, at) {
					t.Fatalf("%d is given out twice", at)
				}
				taken = append(taken, at)
			}
			if err := c.shrink(); err != nil {
				t.Fatal(err)
			}
			if c.n != len(taken) || len(taken) > 0 && int(slices.Max(taken)) >= c.high {
				t.Fatalf("%d are in use, up to %d; the space ends at %d", len(taken), slices.Max(taken), c.high)
			}
		}
		c.give(taken)
		for range 100 {
			if err := c.shrink(); err != nil {
				t.Fatal(err)
			}
		}
		if c.high != 0 || c.n != 0 {
			t.Errorf("%d in use, %d long", c.n, c.high)
		}
	})
}
