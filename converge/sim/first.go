package main

import (
	"slices"

	"duplex/change"
	"duplex/converge"
)

// The way of package apply between two regions (setting.first): a batch leaves out what
// the index knows to be older and writes the rest without a look at the rows; what
// it wrote over a newer version is put back when the tail has come by. What stands for
// an image is the transaction that left it. Only where the server refuses a
// duplicate of a unique value is room made for it (room.go).

// left stands, in a region, for what a transaction left of a row: odd if the
// region made it itself.
func (r *region) left(origin uint8, seq change.Seq) converge.Digest {
	d := converge.Digest(seq+1)<<3 | converge.Digest(origin)<<1
	if origin == r.id {
		d |= 1
	}
	return d
}

// gather takes a batch of transactions of the other region.
func (w *world) gather(r *region, source int) {
	s, from := &r.streams[source], &w.regions[source]
	j := &s.job
	*j = job{upTo: s.next}
	for left := 1 + w.pick.intn(w.batch); left > 0 && j.upTo < from.published; j.upTo++ {
		t := &from.binlog[j.upTo]
		if t.marked || t.stamp.Seq <= r.durable[source] {
			continue
		}
		if w.early(r, t) {
			break
		}
		for i := range t.n {
			if t.outbox && w.broken == noPublishing {
				break
			}
			j.take(w.foreign(r, uint8(source), j.upTo, i))
		}
		j.seq, j.hlc = t.stamp.Seq, t.stamp.HLC
		left--
	}
	for i := range j.n {
		j.items[i].write.Digest = r.left(uint8(source), j.seq)
	}
	w.sift(r, source)
}

// early reports whether a transaction of another region has seen one of a third that isn't applied here,
// where that must be known to tell whose a unique value is.
func (w *world) early(r *region, t *txn) bool {
	if w.unique == 0 || w.pair() || w.broken == noWaiting || t.marked {
		return false
	}
	for s, of := range names[:len(w.regions)] {
		if s != int(r.id) && of != t.stamp.Origin && t.stamp.Seen.Of(of) > r.applied[s] && r.frontier.Behind(of, t.stamp) {
			return true
		}
	}
	return false
}

// goesOn reports whether the next transaction of a source can be taken.
func (w *world) goesOn(r *region, source int) bool {
	from, at := &w.regions[source], r.streams[source].next
	if at == from.published {
		return false
	}
	early := w.early(r, &from.binlog[at])
	w.stats.early += count(early)
	return !early
}

// foreign is a row of a transaction of the other region, as a batch has it.
func (w *world) foreign(r *region, source uint8, at, i int) item {
	t := &w.regions[source].binlog[at]
	write := converge.Write{Version: w.told(t.version(i)), Seq: t.stamp.Seq, Digest: r.left(source, t.stamp.Seq), Place: place(source, at, i), Rank: w.rank(source, t.rows[i].after)}
	if t.outbox && t.version(i).Origin != names[source] {
		write.Seq = 0 // the source's numbers say nothing of a version of another region
	}
	return item{key: t.rows[i].key, write: write, after: t.rows[i].after}
}

// take merges a row into a batch: of each key the greatest version stays.
func (j *job) take(it item) {
	had := j.item(it.key)
	switch {
	case had == nil:
		j.items[j.n] = it
		j.n++
	case had.write.Version.Compare(it.write.Version) <= 0:
		*had = it
	}
}

// sift marks what is older than what the index knows.
func (w *world) sift(r *region, source int) {
	j := r.jobOf(source)
	j.stage = decided
	for i := range j.items[:j.n] {
		it := &j.items[i]
		it.lost = w.loses(r, it)
	}
	w.logf("%s of %s, up to %d: %v", r.name, names[source], j.seq, j.items[:j.n])
}

func (w *world) loses(r *region, it *item) bool {
	if w.policy != lastWriteWins {
		stays := w.rivals(r).Stays(indexed(it.key), it.write, w.stampAt(it.write.Place).Seen)
		w.outranked += count(!stays)
		return !stays
	}
	k, known := r.index.Of(indexed(it.key))
	return known && k.Version.Compare(it.write.Version) >= 0
}

// attempt writes a batch, or a repair, unless the server refuses it.
func (w *world) attempt(r *region, source int) {
	j := r.jobOf(source)
	t := txn{marked: true, origin: uint8(source), seq: j.seq, hlc: j.hlc}
	for _, it := range j.items[:j.n] {
		if at := &r.rows[it.key]; !it.lost && at.image != it.after {
			t.rows[t.n] = rowChange{key: it.key, before: at.image, after: it.after}
			t.n++
		}
	}
	if w.clashes(r, &t) {
		w.again++
		w.logf("%s of %s: the server refuses a duplicate of a unique value", r.name, names[source])
		w.release(r, j)
		j.stage = crowded
		return
	}
	for _, c := range t.rows[:t.n] {
		r.rows[c.key].image = c.after
		r.rows[c.key].basedOn(j.item(c.key).write)
	}
	if j.n > 0 {
		w.append(r, &t, source)
	}
	w.release(r, j)
	j.at, j.waitFor = converge.Pos(len(r.binlog)), len(r.binlog)
	j.stage = committed
	if source == int(r.id) {
		w.restored++
		j.stage = watching
	}
}

// remember notes a batch that is committed.
func (w *world) remember(r *region, source int) {
	j, s := r.jobOf(source), &r.streams[source]
	for _, it := range j.items[:j.n] {
		if !it.lost || w.policy != lastWriteWins && w.broken != noLosers { // what is lost tells what the other region's newest is
			w.wroteFirst(r, it.key, it.write, j.at)
		}
	}
	for ; s.next < j.upTo; s.next++ {
		r.frontier.Read(names[source], w.regions[source].binlog[s.next].stamp)
	}
	j.stage, s.behind = idle, max(s.behind, int(j.at))
}

func (w *world) wroteFirst(r *region, key uint8, write converge.Write, at converge.Pos) {
	if w.policy != lastWriteWins {
		w.must(w.rivals(r).Wrote(indexed(key), write, w.stampAt(write.Place).Seen, at))
		return
	}
	if k, known := r.index.Of(indexed(key)); known && k.Read && (k.Last&1 == 1 || !w.pair()) {
		w.must(r.index.Marked(indexed(key), write, at))
		return
	}
	w.must(r.index.Wrote(indexed(key), write, at))
}

// relearn notes again what was applied before a crash.
func (w *world) relearn(r *region, source uint8, at int) {
	for i := range w.regions[source].binlog[at].n {
		it := w.foreign(r, source, at, i)
		if w.policy != lastWriteWins && !w.pair() {
			w.must(w.rivals(r).Learnt(indexed(it.key), it.write, w.stampAt(it.write.Place).Seen, converge.Pos(len(r.binlog))))
			continue
		}
		w.wroteFirst(r, it.key, it.write, converge.Pos(len(r.binlog)))
	}
}

// tailFirst tells the index of one row that the tail has read.
func (w *world) tailFirst(r *region, at, i int) {
	t := &r.binlog[at]
	c, key := t.rows[i], indexed(t.rows[i].key)
	if t.marked {
		w.echoed(r, at, i)
		return
	}
	write := converge.Write{Version: w.told(t.version(i)), Seq: t.stamp.Seq, Digest: r.left(r.id, t.stamp.Seq), Place: place(r.id, at, i)}
	if t.outbox {
		write.Seq = 0
	}
	if t.outbox && c.before == 0 {
		w.must(r.index.Yielded(key, write))
		return
	}
	if write.Rank = w.rank(r.id, c.after); w.policy != lastWriteWins {
		w.must(w.rivals(r).Local(key, write, t.stamp.Seen))
		return
	}
	w.must(r.index.Local(key, write))
}

// rivals are the index of a region, where the policy goes by ranks.
func (w *world) rivals(r *region) converge.Rivals {
	x := converge.Rivals{Index: r.index, Regions: []change.Region{r.name}, Told: r.frontier.Told, Right: r.began, Digest: func(write converge.Write) converge.Digest {
		return r.left(uint8(slices.Index(names[:], write.Version.Origin)), write.Seq)
	}}
	for i := range w.regions {
		if i != int(r.id) {
			x.Regions = append(x.Regions, names[i])
		}
	}
	if w.broken == noAhead {
		x.Told = func(change.Region) change.Seq { return 1 << 62 }
	}
	return x
}

// rank is that of a write, as the index is told it.
func (w *world) rank(region uint8, after image) int64 {
	if w.broken == noRank {
		return 0
	}
	return w.policy.rank(region, after)
}

// unnoted reports whether a transaction is of a batch that the index isn't told of yet.
// The tail waits for that: it must know what it reads.
func (r *region) unnoted(t *txn) bool {
	j := r.jobOf(int(t.origin))
	return t.marked && j.stage == committed && j.seq == t.seq
}

// echoed tells of a row that apply wrote.
func (w *world) echoed(r *region, at, i int) {
	t := &r.binlog[at]
	switch key := t.rows[i].key; {
	case t.seq == 0 || t.seq > r.from.seq || r.ownBefore(at) > r.from.own && w.broken != noOwnMark: // 0 is that of a repair
		w.must(r.index.Echo(indexed(key), w.echo(r, key, t)))
	case w.policy != lastWriteWins && w.broken != noSettled:
		write := converge.Write{Version: change.Version{HLC: t.hlc, Origin: names[t.origin]}, Seq: t.seq, Digest: r.left(t.origin, t.seq), Place: place(r.id, at, i)}
		w.must(w.rivals(r).Settled(indexed(key), write))
	default:
		if k, known := r.index.Of(indexed(key)); known && w.broken != noSettled {
			w.must(r.index.Echo(indexed(key), k.Digest))
		}
	}
}

// echo is what a row that apply wrote is taken for.
func (w *world) echo(r *region, key uint8, t *txn) converge.Digest {
	k, known := r.index.Of(indexed(key))
	if d := r.repair.puts[key]; d != 0 && int(t.origin) == w.repairer(r) && k.Digest == d {
		return d
	}
	if known && k.Version.Origin == names[t.origin] && k.Seq <= t.seq && k.Digest&1 == 0 && (k.Seq > 0 || w.broken == noCarrier) {
		return k.Digest // the batch had it
	}
	return r.left(t.origin, t.seq)
}

// lookBehind begins to put back rows of which the last image isn't the newest.
func (w *world) lookBehind(r *region, _ int) {
	due := r.index.Suspects(w.pos(r))
	if w.pick.intn(2) == 0 {
		due = due[:1]
	}
	j := &r.repair
	*j = job{}
	for k := range uint8(maxKeys) {
		if slices.Contains(due, indexed(k)) {
			j.items[j.n] = item{key: k}
			j.n++
		}
	}
	w.repairs++
	w.holdAll(r)
}

// holdAll fetches the images that a repair puts back, and locks the rows.
func (w *world) holdAll(r *region) {
	j := &r.repair
	j.puts = [maxKeys]converge.Digest{}
	for i := range j.n {
		it := &j.items[i]
		k, _ := r.index.Of(indexed(it.key))
		*it = item{key: it.key, write: k.Write}
		it.after = w.imageAt(k.Place)
		j.hlc = max(j.hlc, k.Version.HLC)
		w.hold(r, it, int(r.id))
	}
	j.stage, j.waitFor = waiting, len(r.binlog)
	w.logf("%s is to put back %v", r.name, j.items[:j.n])
}

func (w *world) imageAt(p converge.Place) image {
	return w.regions[p>>32].binlog[p>>8&0xffffff].rows[p&0xff].after
}

// putBack leaves of a repair what is still wrong, the tail having come by.
func (w *world) putBack(r *region, _ int) {
	j := &r.repair
	left := 0
	for _, it := range j.items[:j.n] {
		if k, known := r.index.Of(indexed(it.key)); known && k.Place == it.write.Place && k.Last != k.Digest {
			j.items[left] = it
			j.puts[it.key], j.over[it.key] = k.Digest, k.Last
			left++
			continue
		}
		r.rows[it.key].held, r.rows[it.key].latched = 0, 0
	}
	if j.n, j.stage = left, decided; left == 0 {
		*j = job{}
	}
}

// putBackAll ends a repair that the tail has read.
func (w *world) putBackAll(r *region, _ int) {
	j := &r.repair
	for _, it := range j.items[:j.n] {
		// What has come over it since makes it suspect anew.
		if k, known := r.index.Of(indexed(it.key)); known && k.Digest == j.puts[it.key] && k.Last == j.over[it.key] {
			r.index.Cleared(indexed(it.key))
		}
	}
	*j = job{}
}

// ofFirst appends what can happen next to the jobs of a region. A repair finds the
// stream idle that makes it; the others go on, and wait only for the rows' locks.
func (w *world) ofFirst(must []action, r *region) []action {
	fix, maker := &r.repair, &r.streams[w.repairer(r)].job
	can := func(do func(*world, *region, int), arg int) { must = append(must, action{do, r.id, int8(arg)}) }
	read := func(j *job) bool { return w.read(r) >= j.waitFor }
	rooming := w.rooming(r)
	for arg := range w.regions {
		j := r.jobOf(arg)
		switch {
		case j.stage == decided && w.free(r, j, arg):
			can((*world).attempt, arg)
		case j.stage == crowded && (j == fix || fix.stage == idle) && (!rooming || w.broken == noTurns && w.canHold(r, j)):
			can((*world).ask, arg)
		case j.stage == asking && read(j):
			can((*world).answer, arg)
		case j.stage == making:
			can((*world).makeRoom, arg)
		case j.stage == made && read(j):
			can((*world).retry, arg)
		}
		if j == fix {
			continue
		}
		switch {
		case j.stage == idle && (fix.stage == idle || j != maker) && w.goesOn(r, arg):
			can((*world).gather, arg)
		case j.stage == committed:
			can((*world).remember, arg)
		}
	}
	switch {
	case w.broken != noAudit && fix.stage == idle && !rooming && (maker.stage == idle || maker.stage == crowded) && len(r.index.Suspects(w.pos(r))) > 0:
		can((*world).lookBehind, int(r.id))
	case fix.stage == waiting && read(fix):
		can((*world).putBack, int(r.id))
	case fix.stage == watching && read(fix):
		can((*world).putBackAll, int(r.id))
	}
	return must
}

// free reports whether nobody else has locked the rows that a job is to write.
func (w *world) free(r *region, j *job, arg int) bool {
	for _, it := range j.items[:j.n] {
		if by := r.rows[it.key].held; !it.lost && by != 0 && by != uint8(arg)+1 {
			return false
		}
	}
	return true
}
