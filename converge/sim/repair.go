package main

import (
	"duplex/change"
	"duplex/converge"
)

// inspect locks a suspect row. It always waits for the tail.
func (w *world) inspect(r *region, _ int) {
	due := r.index.Suspects(w.pos(r))
	key := due[w.pick.intn(len(due))]
	k := uint8(key.A)
	if r.rows[k].latched != 0 {
		return
	}
	r.repair = job{n: 1, stage: waiting, waitFor: len(r.binlog)}
	r.repair.items[0] = item{key: k}
	w.hold(r, &r.repair.items[0], int(r.id))
	w.repairs++
	w.logf("%s suspects key %d", r.name, k)
}

// decideRepair looks whether the row must be written.
func (w *world) decideRepair(r *region) {
	it := &r.repair.items[0]
	for _, it := range r.repair.items[:r.repair.n] {
		if !it.tailed {
			r.repair.waitFor = len(r.binlog)
			return
		}
	}
	newest, restore := r.index.Audit(indexed(it.key), r.rows[it.key].image.digest())
	it.verdict = converge.Skip
	r.repair.stage = decided
	if restore {
		it.verdict, it.write, it.after, it.yields = converge.Put, newest, w.imageOf(newest), false
		r.repair.hlc = newest.Version.HLC
		switch {
		case w.unique > 0 && !w.settle(r, &r.repair, int(r.id)):
			w.release(r, &r.repair)
			r.repair = job{}
		case r.repair.stage == waiting:
			r.repair.waitFor = len(r.binlog)
		default:
			w.restored++
		}
	}
	w.logf("%s repairs key %d: %t", r.name, it.key, restore)
}

// crash ends apply and starts it again: what it must know is read again from
// the topics, from where the saved HLC says. A replay begins somewhere before what was applied.
func (w *world) crash(r *region, _ int) {
	w.crashed++
	for k := range r.rows {
		r.rows[k].held, r.rows[k].latched = 0, 0
	}
	r.repair, r.applied = job{}, r.durable
	r.frontier = converge.NewFrontier(r.name, names[:len(w.regions)])
	if w.pair() {
		w.crashPair(r)
		return
	}
	forgotten := r.saved
	for s := range w.regions {
		if s != int(r.id) {
			forgotten = min(forgotten, w.restart(r, s))
		}
	}
	w.empty(r, forgotten)
	r.began, r.horizon = r.right, converge.Horizon{Least: forgotten}
	w.reborn += count(forgotten > 0)
	w.logf("%s crashed, and forgot all up to %v", r.name, forgotten)
	for s := range w.regions {
		if s != int(r.id) {
			w.learn(r, s, forgotten)
		}
	}
	r.followed, r.reborn = w.regions[r.id].after(forgotten), len(r.binlog)
	r.tail = [maxParts]int{r.followed, r.followed}
	for p := range w.parts {
		for r.tail[p] < r.published && !w.first {
			w.tailed(r, p)
		}
	}
}

// after returns from where on a region's topics must be read for all versions
// greater than that.
func (r *region) after(forgotten change.HLC) int {
	for at, t := range r.binlog[:r.published] {
		if t.stamp.HLC > forgotten {
			return at
		}
	}
	return r.published
}

// restart sets where a stream goes on, and returns the HLC before what it
// decides. That may have been decided before, and be forgotten: skipped without a
// marker, it has left no progress in the database.
func (w *world) restart(r *region, source int) change.HLC {
	s, from := &r.streams[source], &w.regions[source]
	*s = stream{}
	for at := range from.binlog[:from.published] {
		if t := &from.binlog[at]; !t.marked && t.stamp.Seq <= r.durable[source] {
			s.next = at + 1
		}
	}
	if w.replay && s.next > 0 {
		s.next = w.pick.intn(s.next + 1)
	}
	least := r.saved
	for at := s.next; at < from.published; at++ {
		t := &from.binlog[at]
		for i := range t.n {
			if !t.marked {
				least = min(least, t.version(i).HLC-1)
			}
		}
	}
	return least
}

// learn reads again what a stream had decided.
func (w *world) learn(r *region, source int, forgotten change.HLC) {
	s, from := &r.streams[source], &w.regions[source]
	for at := from.after(forgotten); at < from.published; at++ {
		t := &from.binlog[at]
		if at < s.next {
			r.frontier.Read(from.name, t.stamp)
		}
		if t.marked || t.stamp.Seq > r.durable[source] {
			continue
		}
		if w.first {
			w.relearn(r, uint8(source), at)
			continue
		}
		for i := range t.n {
			if t.rows[i].after != 0 || w.broken != noTombstone {
				w.must(r.index.Wrote(indexed(t.rows[i].key), w.writeOf(uint8(source), at, i), converge.Pos(len(r.binlog))))
			}
		}
	}
}
