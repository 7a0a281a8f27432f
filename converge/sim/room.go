package main

import (
	"slices"
	"time"

	"duplex/change"
	"duplex/converge"
)

// Room for unique values, where a batch, or a repair, was refused because other rows
// have them: the rows and those that hold the values are locked and the tail waited for.
// Then versions tell who yields; that is deleted by a transaction of the region's own, whose
// changes carry the winner's version, even where there is no row. When the tail has
// read it, the batch is tried again.

// ask locks the rows of a job and those that hold their unique values.
func (w *world) ask(r *region, source int) {
	j := r.jobOf(source)
	for i := range j.items[:j.n] {
		w.hold(r, &j.items[i], source)
	}
	for k := range w.holders(r, j) {
		w.hold(r, &item{key: k}, source)
	}
	j.stage, j.waitFor = asking, len(r.binlog)
}

// rooming reports whether a job makes room. One does at a time.
func (w *world) rooming(r *region) bool {
	for arg := range w.regions {
		if at := r.jobOf(arg).stage; at == asking || at == making || at == made {
			return true
		}
	}
	return false
}

// canHold reports whether nobody has locked what a job would lock to make room.
func (w *world) canHold(r *region, j *job) bool {
	for _, it := range j.items[:j.n] {
		if r.rows[it.key].held != 0 {
			return false
		}
	}
	for k := range w.holders(r, j) {
		if r.rows[k].held != 0 {
			return false
		}
	}
	return true
}

// holders are the rows that have unique values which the job is to give to others.
func (w *world) holders(r *region, j *job) map[uint8]bool {
	found := map[uint8]bool{}
	for i := range j.items[:j.n] {
		it := &j.items[i]
		for k := range uint8(w.keys) {
			if other := j.item(k); !it.lost && k != it.key && (other == nil || other.lost) &&
				w.uniqueOf(it.after) != 0 && w.uniqueOf(it.after) == w.uniqueOf(r.rows[k].image) {
				found[k] = true
			}
		}
	}
	return found
}

// answer finds who yields.
func (w *world) answer(r *region, source int) {
	j := r.jobOf(source)
	for i := range j.items[:j.n] {
		it := &j.items[i]
		if source != int(r.id) {
			it.lost = w.loses(r, it)
		} else if k, known := r.index.Of(indexed(it.key)); !known || k.Place != it.write.Place {
			it.lost = true // written again since
		}
	}
	stale := false
	for k := range uint8(w.keys) {
		if !w.holders(r, j)[k] {
			continue
		}
		if r.rows[k].held == 0 {
			w.letGo(r, source, crowded) // one more than was locked
			return
		}
		if r.index.Suspect(indexed(k)) {
			// It is to have another image, and the value may be free then.
			if stale = true; source == int(r.id) && j.item(k) == nil {
				j.items[j.n] = item{key: k}
				j.n++
			}
		}
	}
	switch {
	case stale && source == int(r.id):
		w.letGo(r, source, idle)
		w.holdAll(r)
	case stale:
		w.letGo(r, source, crowded) // the repair comes first
	default:
		w.yieldFirst(r, j)
		j.stage = making
	}
}

// letGo gives up all locks of a job.
func (w *world) letGo(r *region, source int, next stage) {
	for k := range r.rows {
		if r.rows[k].latched == uint8(source)+1 {
			r.rows[k].held, r.rows[k].latched = 0, 0
		}
	}
	r.jobOf(source).stage = next
}

// yieldFirst notes in j.yields what is to be deleted.
func (w *world) yieldFirst(r *region, j *job) {
	var order []*item
	var rows [maxKeys]image // as they will be
	for k := range rows {
		rows[k] = r.rows[k].image
	}
	for i := range j.n {
		if it := &j.items[i]; !it.lost {
			order = append(order, it)
			rows[it.key] = 0
		}
	}
	slices.SortFunc(order, func(a, b *item) int { return a.write.Version.Compare(b.write.Version) })
	j.yields = txn{outbox: true}
	for _, it := range order {
		var held []uint8
		var keys []converge.Key
		for k := range uint8(w.keys) {
			if k != it.key && w.uniqueOf(it.after) > 0 && w.uniqueOf(rows[k]) == w.uniqueOf(it.after) {
				held, keys = append(held, k), append(keys, indexed(k))
			}
		}
		if newest, yields := r.index.Settle(it.write.Version, keys); yields {
			j.yields.yield(it.key, newest)
			continue
		}
		for _, k := range held {
			j.yields.yield(k, it.write.Version)
			rows[k] = 0
		}
		rows[it.key] = it.after
	}
}

func (t *txn) yield(key uint8, v change.Version) {
	t.rows[t.n], t.versions[t.n] = rowChange{key: key}, v
	t.n++
}

// makeRoom commits what yields.
func (w *world) makeRoom(r *region, source int) {
	j := r.jobOf(source)
	t := j.yields
	t.commit = time.UnixMilli(int64(r.clock))
	for i := range t.n {
		at := &r.rows[t.rows[i].key]
		t.rows[i].before = at.image
		at.image = 0
		at.basedOn(converge.Write{Version: t.versions[i]})
		w.yielded++
	}
	if t.n > 0 {
		r.binlog = append(r.binlog, t)
		w.logf("%s makes room: %s, at %d", r.name, t.text(), len(r.binlog))
	}
	w.letGo(r, source, made)
	j.waitFor = len(r.binlog)
}

// retry tries a job again.
func (w *world) retry(r *region, source int) {
	if source != int(r.id) {
		w.sift(r, source)
		return
	}
	w.holdAll(r)
}
