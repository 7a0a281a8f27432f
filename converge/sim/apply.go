package main

import (
	"time"

	"duplex/converge"
)

// begin takes a batch of transactions of another region, locks its rows and
// decides.
func (w *world) begin(r *region, source int) {
	s, from := &r.streams[source], &w.regions[source]
	j := &s.job
	*j = job{upTo: s.next}
	for left := 1 + w.pick.intn(w.batch); left > 0 && j.upTo < from.published; j.upTo++ {
		t := &from.binlog[j.upTo]
		if t.marked || t.stamp.Seq <= r.durable[source] && !w.replay {
			continue
		}
		for i := range t.n {
			it := j.merge(w, uint8(source), j.upTo, i)
			it.change.Ahead, it.stamp = r.frontier.Ahead(t.stamp.Seen), t.stamp
		}
		j.seq, j.hlc = t.stamp.Seq, t.stamp.HLC
		left--
	}
	w.lock(r, j, source)
}

// merge adds a row to a batch, of which it keeps the last image.
func (j *job) merge(w *world, source uint8, at, i int) *item {
	write := w.writeOf(source, at, i)
	c := &w.regions[source].binlog[at].rows[i]
	for k := range j.n {
		if it := &j.items[k]; it.key == c.key {
			if it.change.Version.Compare(write.Version) < 0 {
				it.change.Version, it.change.After = write.Version, write.Digest
				it.write, it.after = write, c.after
			}
			return it
		}
	}
	j.items[j.n] = item{key: c.key, write: write, after: c.after,
		change: converge.Change{Version: write.Version, Before: c.before.digest(), After: write.Digest}}
	j.n++
	return &j.items[j.n-1]
}

// lock locks the rows that there are, and decides, unless another job has one.
func (w *world) lock(r *region, j *job, source int) {
	for _, it := range j.items[:j.n] {
		if r.rows[it.key].latched != 0 {
			return // still idle: it comes again
		}
	}
	for i := range j.items[:j.n] {
		w.hold(r, &j.items[i], source)
	}
	w.decide(r, j, source)
}

// hold locks one row for a job.
func (w *world) hold(r *region, it *item, source int) {
	at := &r.rows[it.key]
	at.latched = uint8(source) + 1
	if it.absent = at.image == 0; !it.absent || w.careful {
		at.held = uint8(source) + 1
	}
}

// decide asks what to do with each row of a batch.
func (w *world) decide(r *region, j *job, source int) {
	j.stage = decided
	for i := range j.items[:j.n] {
		it := &j.items[i]
		if it.holder {
			it.verdict = converge.Skip
			continue
		}
		it.verdict = r.index.Decide(indexed(it.key), it.change, r.rows[it.key].image.digest(), it.tailed)
		if w.careful && !it.tailed && it.verdict != converge.Skip {
			it.verdict = converge.Wait
		}
		if it.verdict == converge.Wait {
			j.stage = waiting
		}
	}
	if j.stage == decided && w.unique > 0 && !w.settle(r, j, source) {
		w.release(r, j)
		j.stage = idle
		return
	}
	if j.stage == waiting {
		w.waits++
		j.waitFor = len(r.binlog)
	}
	w.logf("%s of %s, up to %d: %v", r.name, names[source], j.seq, j.items[:j.n])
}

// resume decides again, the tail having read what was in the binlog when the
// rows were locked. One that was absent is read again: if it is there now, it was
// written after that.
func (w *world) resume(r *region, source int) {
	j := r.jobOf(source)
	for i := range j.items[:j.n] {
		it := &j.items[i]
		at := &r.rows[it.key]
		it.tailed = !it.absent || at.image == 0
		w.hold(r, it, source)
	}
	if source == int(r.id) {
		w.decideRepair(r)
		return
	}
	w.decide(r, j, source)
}

// outcome makes the transactions that write what was decided: the marked one,
// and that of the deletions to publish. written tells whether there is anything to
// write, refused that a row is there which was absent.
func (w *world) outcome(r *region, j *job, source int) (marked, out txn, written, refused bool) {
	marked = txn{marked: true, origin: uint8(source), seq: j.seq, hlc: j.hlc}
	out = txn{outbox: true, commit: time.UnixMilli(int64(r.clock))}
	for _, it := range j.items[:j.n] {
		at := &r.rows[it.key]
		switch {
		case it.yields:
			out.rows[out.n] = rowChange{key: it.key, before: it.image}
			out.versions[out.n] = it.write.Version
			out.n++
			if at.image == 0 {
				continue
			}
		case it.verdict == converge.Mark:
			written = written || w.broken != noMarker
			continue
		case it.verdict == converge.Skip:
			continue
		case it.absent && at.image != 0:
			refused = true // by the primary key
		case it.verdict == converge.Heal:
			w.heals++
		}
		marked.rows[marked.n] = rowChange{key: it.key, before: at.image, after: it.after}
		marked.n++
	}
	return marked, out, written || marked.n > 0 || out.n > 0, refused
}

// commit writes what was decided, with its marker.
func (w *world) commit(r *region, source int) {
	j := r.jobOf(source)
	t, out, written, refused := w.outcome(r, j, source)
	if refused || w.clashes(r, &t) {
		w.again++
		w.logf("%s of %s: the server refuses a duplicate key", r.name, names[source])
		w.release(r, j)
		j.stage = idle
		return
	}
	if out.n > 0 && w.broken != noPublishing {
		r.binlog = append(r.binlog, out)
		if w.trace != nil {
			w.logf("%s publishes the deletion of %s, at %d", r.name, out.text(), len(r.binlog))
		}
	}
	for _, c := range t.rows[:t.n] {
		r.rows[c.key].image = c.after
		r.rows[c.key].basedOn(j.item(c.key).write)
	}
	if written {
		w.append(r, &t, source)
	}
	for _, it := range j.items[:j.n] {
		w.judge(r, it.key, it.stamp)
		at := &r.rows[it.key]
		at.held = 0
		if it.verdict == converge.Mark && at.image == it.after && at.by.Compare(it.write.Version) < 0 {
			at.basedOn(it.write)
		}
	}
	j.at = converge.Pos(len(r.binlog))
	j.stage = committed
}

// basedOn notes what a row was given.
func (r *row) basedOn(w converge.Write) { r.by, r.bySeq = w.Version, w.Seq }

// append brings a transaction of apply into the binlog. A repair's marker is one
// of a stream, whose progress it leaves as it is.
func (w *world) append(r *region, t *txn, source int) {
	if source == int(r.id) {
		t.origin = uint8(w.repairer(r))
		if t.seq = r.durable[t.origin]; w.policy != lastWriteWins && !w.pair() && w.broken != noNumber {
			t.seq = 0 // or it might be taken for the batch of a write that stays only later
		}
	} else {
		r.durable[source] = max(r.durable[source], t.seq)
		t.seq = r.durable[source]
	}
	r.binlog = append(r.binlog, *t)
	if w.trace != nil {
		w.logf("%s applies %s, at %d, marker %s %d %v", r.name, t.text(), len(r.binlog), names[t.origin], t.seq, t.hlc)
	}
}

// repairer is the source whose stream makes a region's repairs. It has nothing else
// under way then.
func (w *world) repairer(r *region) int { return (int(r.id) + 1) % len(w.regions) }

// note tells the index what was decided, and goes on behind the batch.
func (w *world) note(r *region, source int) {
	j := r.jobOf(source)
	for _, it := range j.items[:j.n] {
		switch {
		case it.yields:
			if w.broken != noTombstone {
				w.must(r.index.Wrote(indexed(it.key), it.write, j.at))
			}
		case source == int(r.id):
			if it.verdict == converge.Put {
				r.index.Repaired(indexed(it.key), j.at)
			}
		case it.verdict == converge.Skip || it.after == 0 && w.broken == noTombstone:
		case it.verdict == converge.Mark:
			w.must(r.index.Marked(indexed(it.key), it.write, j.at))
		default:
			w.must(r.index.Wrote(indexed(it.key), it.write, j.at))
		}
	}
	if source != int(r.id) {
		s := &r.streams[source]
		for ; s.next < j.upTo; s.next++ {
			r.frontier.Read(names[source], w.regions[source].binlog[s.next].stamp)
		}
	}
	w.release(r, j)
	j.stage = idle
}

// release gives up a job's locks.
func (w *world) release(r *region, j *job) {
	for _, it := range j.items[:j.n] {
		if at := &r.rows[it.key]; at.latched != 0 && j == r.jobOf(int(at.latched)-1) {
			at.held, at.latched = 0, 0
		}
	}
}
