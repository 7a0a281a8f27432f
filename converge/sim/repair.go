package main

import (
	"duplex/converge"
)

// inspect locks a suspect row. It always waits for the tail.
func (w *world) inspect(r *region, _ int) {
	due := r.index.Suspects(w.pos(r))
	key := due[w.pick.intn(len(due))]
	for k := range keyBytes {
		if string(keyBytes[k]) != string(key) || r.rows[k].latched != 0 {
			continue
		}
		r.repair = job{n: 1, stage: waiting, waitFor: len(r.binlog)}
		r.repair.items[0] = item{key: uint8(k)}
		w.hold(r, &r.repair.items[0], int(r.id))
		w.repairs++
		w.logf("%s suspects key %d", r.name, k)
	}
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
	newest, restore := r.audit(it.key)
	it.verdict = converge.Skip
	r.repair.stage = decided
	if restore {
		it.verdict, it.write, it.after, it.yields = converge.Put, converge.Claim{Write: newest}, w.imageOf(newest), false
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

// crash ends apply and starts it again: what it knew is read again from the
// topics. A replay begins somewhere before what was applied.
func (w *world) crash(r *region, _ int) {
	w.crashed++
	for k := range r.rows {
		r.rows[k].held, r.rows[k].latched = 0, 0
	}
	w.forget(r)
	r.frontier = converge.NewFrontier(r.name, names[:len(w.regions)])
	r.repair = job{}
	r.tail, r.followed = [maxParts]int{}, 0
	for s := range w.regions {
		if s != int(r.id) {
			w.restart(r, s)
		}
	}
	for p := range w.parts {
		for r.tail[p] < r.published {
			w.tailed(r, p)
		}
	}
	w.logf("%s crashed", r.name)
}

// restart reads again what a stream had applied.
func (w *world) restart(r *region, source int) {
	s, from := &r.streams[source], &w.regions[source]
	*s = stream{}
	for at := range from.binlog[:from.published] {
		t := &from.binlog[at]
		if t.marked {
			continue
		}
		if t.stamp.Seq > r.durable[source] {
			break
		}
		s.next = at + 1
		for i := range t.n {
			if t.rows[i].after != 0 || w.broken != noTombstone {
				w.must(r.wrote(t.rows[i].key, w.claimOf(uint8(source), at, i), converge.Pos(len(r.binlog))))
			}
		}
	}
	if w.replay && s.next > 0 {
		s.next = w.pick.intn(s.next + 1)
	}
	for _, t := range from.binlog[:s.next] {
		r.frontier.Read(from.name, t.stamp)
	}
}
