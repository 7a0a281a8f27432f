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
	if w.unique > 0 && w.perTxn > 1 && w.pick.intn(3) == 0 {
		w.swap(r, &t)
	} else {
		for range 1 + w.pick.intn(w.perTxn) {
			w.change(r, &t)
		}
	}
	if t.n == 0 || w.clashes(r, &t) {
		return // it waits for a lock, or is refused
	}
	w.commitLocal(r, t)
}

func (w *world) commitLocal(r *region, t txn) {
	for _, c := range t.rows[:t.n] {
		r.rows[c.key].image = c.after
		r.rows[c.key].basedOn(converge.Write{})
	}
	w.written++
	r.binlog = append(r.binlog, t)
	if w.trace != nil {
		w.logf("%s writes %s, at %d", r.name, t.text(), len(r.binlog))
	}
}

// change adds a row to a transaction.
func (w *world) change(r *region, t *txn) {
	k := uint8(w.pick.intn(w.keys))
	at := &r.rows[k]
	if at.held != 0 || t.row(k) != nil {
		return
	}
	after := image(w.pick.intn(w.values))
	if after >= at.image {
		after++
	}
	t.rows[t.n] = rowChange{k, at.image, after, at.by, at.bySeq}
	t.n++
}

// swap gives two rows each other's image.
func (w *world) swap(r *region, t *txn) {
	one := uint8(w.pick.intn(w.keys))
	two := (one + 1) % uint8(w.keys)
	a, b := &r.rows[one], &r.rows[two]
	if a.held == 0 && b.held == 0 && a.image != b.image {
		t.rows = [maxKeys]rowChange{{one, a.image, b.image, a.by, a.bySeq}, {two, b.image, a.image, b.by, b.bySeq}}
		t.n = 2
	}
}

// row returns what the transaction does to a row, nil if nothing.
func (t *txn) row(key uint8) *rowChange {
	for i := range t.n {
		if t.rows[i].key == key {
			return &t.rows[i]
		}
	}
	return nil
}

// uniqueOf returns the unique value of an image, 0 for none.
func (w *world) uniqueOf(i image) int {
	if w.unique == 0 || i == 0 {
		return 0
	}
	return 1 + (int(i)-1)%w.unique
}

// clashes tells whether the server would refuse a transaction, two rows having
// one unique value after it.
func (w *world) clashes(r *region, t *txn) bool {
	var taken [256]bool
	if w.unique == 0 {
		return false
	}
	for k := range uint8(w.keys) {
		after := r.rows[k].image
		if c := t.row(k); c != nil {
			after = c.after
		}
		if u := w.uniqueOf(after); u > 0 {
			if taken[u] {
				return true
			}
			taken[u] = true
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
			t.stamp = r.stamper.Applied(names[t.origin], "", t.seq, t.hlc)
		} else {
			for i := range t.n {
				// What is based on it here must have a greater version.
				r.stamper.HLC = max(r.stamper.HLC, t.version(i).HLC)
			}
			t.stamp = r.stamper.Local(t.commit)
			for _, c := range t.rows[:t.n] {
				switch {
				case t.outbox || c.based == change.Version{}:
				case c.based.Compare(t.stamp.Version()) >= 0:
					w.fail("a write has no greater version than what it is based on")
				case w.policy != lastWriteWins && c.based.Origin != r.name && t.stamp.Seen.Of(c.based.Origin) < c.basedSeq:
					w.fail("a write has not seen what it is based on")
				}
			}
		}
		w.logf("%s publishes %d: %s %d %v, seen %v", r.name, r.published, t.stamp.Origin, t.stamp.Seq, t.stamp.HLC, t.stamp.Seen)
	}
}

// version returns that of a row of a transaction.
func (t *txn) version(i int) change.Version {
	if t.outbox {
		return t.versions[i]
	}
	return t.stamp.Version()
}

// told is a version as the index is told it.
func (w *world) told(v change.Version) change.Version {
	if w.broken == noOrigin && w.policy == lastWriteWins {
		v.Origin = ""
	}
	return v
}

// writeOf is what the index is told of a row of a transaction.
func (w *world) writeOf(source uint8, at, i int) converge.Write {
	t := &w.regions[source].binlog[at]
	write := converge.Write{Version: w.told(t.version(i)), Seq: t.stamp.Seq, Digest: t.rows[i].after.digest(), Place: place(source, at, i)}
	if t.outbox {
		write.Seq = 0
	}
	return write
}

// tailed is the tail: it reads the next transaction's rows of a partition.
func (w *world) tailed(r *region, part int) {
	at := r.tail[part]
	r.tail[part]++
	t := &r.binlog[at]
	for i, c := range t.rows[:t.n] {
		switch {
		case w.part(c.key) != part:
		case w.first:
			w.tailFirst(r, at, i)
		case t.marked:
			w.must(r.index.Echo(indexed(c.key), c.after.digest()))
		case c.after == 0 && w.broken == noTombstone:
		case t.outbox:
			w.must(r.index.Yielded(indexed(c.key), converge.Write{Version: w.told(t.version(i))}))
		default:
			w.judge(r, c.key, t.stamp)
			w.must(r.index.Local(indexed(c.key), w.writeOf(r.id, at, i)))
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
	before := r.knows()
	switch {
	case w.pick.intn(2) != 0:
	case w.pair():
		w.save(r)
	case w.policy == lastWriteWins || w.broken == noHorizon:
		r.saved = r.index.Forgotten()
	default:
		if least, ok := r.horizon.Before(r.index.Forgotten()); ok {
			r.saved, r.right = least, r.index.Forgotten()
		}
	}
	stable, tail := r.frontier.Stable(), w.pos(r)
	if w.broken == noStability {
		stable, tail = 1<<62, 1<<62
		r.index.Sweep(stable, tail)
	}
	for range 1 + w.pick.intn(2) {
		r.index.Sweep(stable, tail)
		r.horizon.Note(r.index.Forgotten(), r.frontier.Newest())
	}
	if n := before - r.knows(); n > 0 {
		w.swept += n
		w.logf("%s forgets %d rows", r.name, n)
	}
}
