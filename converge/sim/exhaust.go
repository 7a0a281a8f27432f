package main

import (
	"encoding/binary"
	"hash/maphash"
)

// every makes all choices in turn, as an odometer counts: a history follows the
// path and, where that ends, takes the first of each that is left to choose.
type every struct {
	path []uint8 // chosen
	of   []uint8 // among so many
	at   int
}

func (e *every) intn(n int) int {
	if n == 1 {
		return 0
	}
	if e.at == len(e.path) {
		e.path, e.of = append(e.path, 0), append(e.of, uint8(n))
	}
	e.at++
	return int(e.path[e.at-1])
}

// next turns to the next path, and reports whether there is one.
func (e *every) next() bool {
	e.at = 0
	for n := len(e.path) - 1; n >= 0; n-- {
		if e.path[n]+1 < e.of[n] {
			e.path[n]++
			e.path, e.of = e.path[:n+1], e.of[:n+1]
			return true
		}
	}
	return false
}

// exhausted is what a search of all histories of a setting has found.
type exhausted struct {
	histories int // that came to rest, each in a way of its own
	states    int
	fault     string // of the first that failed
	path      []uint8
}

// exhaust tries all histories of a setting: every order of steps, every write.
// What goes on from a state seen before isn't tried again.
func exhaust(s setting) (found exhausted) {
	seen := map[uint64]struct{}{}
	seed := maphash.MakeSeed()
	var state []byte
	for e := new(every); ; {
		w := newWorld(s, e)
		known := false
		was := len(e.path)
		w.run(func(w *world) bool {
			if e.at < was {
				return true // on the way to where this history leaves the one before
			}
			state = w.appendState(state[:0])
			h := maphash.Bytes(seed, state)
			if _, known = seen[h]; known {
				return false
			}
			seen[h] = struct{}{}
			return true
		})
		if !known {
			found.histories++
		}
		if found.states = len(seen); w.fault != "" {
			found.fault, found.path = w.fault, e.path
			return found
		}
		if !e.next() {
			return found
		}
	}
}

// appendState appends all that the rest of a history depends on.
func (w *world) appendState(dst []byte) []byte {
	num := func(n ...int) {
		for _, n := range n {
			dst = binary.AppendVarint(dst, int64(n))
		}
	}
	num(w.written, w.crashed)
	for i := range w.regions {
		r := &w.regions[i]
		num(r.clock, len(r.binlog), r.published, r.followed, r.tail[0], r.tail[1])
		for _, t := range r.binlog {
			num(int(t.origin), int(t.seq), int(t.hlc), int(t.commit.UnixMilli()), t.n)
			for _, c := range t.rows[:t.n] {
				num(int(c.key), int(c.before), int(c.after), int(c.based.HLC))
			}
			dst = append(dst, c(t.marked))
		}
		for k := range w.keys {
			at := &r.rows[k]
			num(int(at.image), int(at.by.HLC), int(at.held), int(at.latched))
			known, is := r.index.Of(indexed(uint8(k)))
			num(int(known.Version.HLC), int(known.Digest), int(known.Last), int(known.At), int(known.Place))
			dst = append(append(dst, c(is), c(known.Read)), known.Version.Origin...)
		}
		for _, key := range r.index.Suspects(1 << 62) {
			dst = append(dst, byte(key.A))
		}
		for s := range w.regions {
			j := r.jobOf(s)
			num(r.streams[s].next, int(j.stage), j.n, j.waitFor, j.upTo, int(j.hlc), int(j.at))
			for _, it := range j.items[:j.n] {
				num(int(it.key), int(it.write.Version.HLC), int(it.after), int(it.change.Before), int(it.verdict))
				dst = append(dst, c(it.absent), c(it.tailed))
			}
		}
	}
	return dst
}

func c(b bool) byte {
	if b {
		return 1
	}
	return 0
}
