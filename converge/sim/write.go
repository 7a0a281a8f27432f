package main

import (
	"time"

	"duplex/change"
	"duplex/converge"
)

// local commits a transaction of an application.
func (w *world) local(r *region, _ int) {
	if w.skew > 0 {
		r.clock += w.pick.intn(2*w.skew+1) - w.skew/2
	}
	t := txn{commit: time.UnixMilli(int64(r.clock))}
	for range 1 + w.pick.intn(w.perTxn) {
		k := uint8(w.pick.intn(w.keys))
		at := &r.rows[k]
		if at.held != 0 || t.has(k) {
			continue // it waits for the lock: as if it came later
		}
		after := image(w.pick.intn(w.values))
		if after >= at.image {
			after++
		}
		t.rows[t.n] = rowChange{k, at.image, after, at.by}
		t.n++
	}
	if t.n == 0 {
		return
	}
	for _, c := range t.rows[:t.n] {
		r.rows[c.key].image, r.rows[c.key].by = c.after, change.Version{}
	}
	w.written++
	r.binlog = append(r.binlog, t)
	w.logf("%s writes %s, at %d", r.name, t.text(), len(r.binlog))
}

func (t *txn) has(key uint8) bool {
	for _, c := range t.rows[:t.n] {
		if c.key == key {
			return true
		}
	}
	return false
}

// publish is capture: it stamps transactions and brings them into the topics.
func (w *world) publish(r *region, _ int) {
	for range 1 + w.pick.intn(min(w.batch, len(r.binlog)-r.published)) {
		t := &r.binlog[r.published]
		r.published++
		if t.marked {
			t.stamp = r.stamper.Applied(names[t.origin], t.seq, t.hlc)
		} else {
			t.stamp = r.stamper.Local(t.commit)
			for _, c := range t.rows[:t.n] {
				if c.based.Compare(t.stamp.Version()) >= 0 {
					w.fail("a write has no greater version than what it is based on")
				}
			}
		}
		w.logf("%s publishes %d: %s %d %v, seen %v", r.name, r.published, t.stamp.Origin, t.stamp.Seq, t.stamp.HLC, t.stamp.Seen)
	}
}

// version is the one that the transaction's rows have, as the index is told it.
func (w *world) version(t *txn) change.Version {
	v := t.stamp.Version()
	if w.broken == noOrigin {
		v.Origin = ""
	}
	return v
}

// writeOf is what the index is told of a row of a transaction.
func (w *world) writeOf(source uint8, at, i int) converge.Write {
	t := &w.regions[source].binlog[at]
	return converge.Write{Version: w.version(t), Seq: t.stamp.Seq, Digest: t.rows[i].after.digest(), Place: place(source, at, i)}
}

// tailed is the tail: it reads the next transaction's rows of a partition.
func (w *world) tailed(r *region, part int) {
	at := r.tail[part]
	r.tail[part]++
	t := &r.binlog[at]
	for i, c := range t.rows[:t.n] {
		switch {
		case w.part(c.key) != part:
		case t.marked:
			w.must(r.index.Echo(keyBytes[c.key], c.after.digest()))
		case c.after == 0 && w.broken == noTombstone:
		default:
			w.must(r.index.Local(keyBytes[c.key], w.writeOf(r.id, at, i)))
		}
	}
	for ; r.followed < w.read(r); r.followed++ {
		r.frontier.Read(r.name, r.binlog[r.followed].stamp)
	}
	w.logf("%s has read %v of its own", r.name, r.tail[:w.parts])
}

func (w *world) must(err error) {
	if err != nil {
		w.fail(err.Error())
	}
}

// pos is how far the tail has read.
func (w *world) pos(r *region) converge.Pos { return converge.Pos(w.read(r)) }

// sweep forgets what is stable.
func (w *world) sweep(r *region, _ int) {
	before := r.index.Len()
	stable, tail := r.frontier.Stable(), w.pos(r)
	if w.broken == noStability {
		stable, tail = 1<<62, 1<<62
	}
	r.index.Sweep(stable, tail)
	if n := before - r.index.Len(); n > 0 {
		w.swept += n
		w.logf("%s forgets %d rows", r.name, n)
	}
}

// newest returns the image of the greatest version of a row, over all regions.
func (w *world) newest(key uint8) (newest image, version change.Version) {
	for i := range w.regions {
		for _, t := range w.regions[i].binlog {
			for _, c := range t.rows[:t.n] {
				if c.key == key && !t.marked && t.stamp.Version().Compare(version) > 0 {
					newest, version = c.after, t.stamp.Version()
				}
			}
		}
	}
	return newest, version
}
