package main

import (
	"duplex/change"
	"duplex/converge"
)

// In a pair what needs no remembering is told by numbers, as in package apply: all that the
// other region wrote up to some transaction, if the tail has come by; and of the own transactions those that
// all after that had seen. Of two writes that knew nothing of each other a restart then knows the
// own one, if it knows the other's.

// save notes, of a pair, from where a restart must read again.
func (w *world) save(r *region) {
	other := 1 - int(r.id)
	s, from := &r.streams[other], &w.regions[other]
	if s.job.stage != idle || r.repair.stage != idle && w.broken != noOwnMark || w.read(r) < s.behind || !r.index.Settled(converge.Pos(s.behind)) {
		return
	}
	now := settled{next: s.next}
	for _, t := range from.binlog[:s.next] {
		if !t.marked {
			now.seq, now.local = t.stamp.Seq, t.stamp.Seen.Of(r.name)
		}
	}
	now.own = r.ownBefore(w.read(r))
	r.settled = now
}

// ownBefore returns the number of the region's last own transaction before a place in its binlog.
func (r *region) ownBefore(at int) (last change.Seq) {
	for _, t := range r.binlog[:at] {
		if !t.marked {
			last = t.stamp.Seq
		}
	}
	return last
}

// crashPair lets apply of a pair lose all that it has in memory.
func (w *world) crashPair(r *region) {
	other := 1 - int(r.id)
	w.empty(r, 0)
	w.restart(r, other)
	r.from = r.settled
	s, from := &r.streams[other], &w.regions[other]
	w.reborn += count(r.settled.next > 0)
	w.logf("%s crashed, and reads again what followed transaction %d, and its own after %d", r.name, r.settled.seq, r.settled.local)
	for at := r.settled.next; at < s.next; at++ {
		t := &from.binlog[at]
		r.frontier.Read(from.name, t.stamp)
		if !t.marked && t.stamp.Seq <= r.durable[other] {
			w.relearn(r, uint8(other), at)
		}
	}
	s.behind = len(r.binlog)
	r.followed, r.reborn = 0, len(r.binlog)
	for at, t := range r.binlog[:r.published] {
		if !t.marked && t.stamp.Seq <= r.settled.local {
			r.followed = at + 1
		}
	}
	r.tail = [maxParts]int{r.followed, r.followed}
}
