package apply

import (
	"cmp"
	"context"
	"slices"

	"duplex/change"
	"duplex/conflicts"
	"duplex/converge"
	"duplex/spine"
)

// clash is a write of this region and one that came in, of the same row, neither
// of which had seen the other: a conflict that is to be recorded.
type clash struct {
	table         *boundTable
	key           []byte // Avro record of the row's primary key
	text          []byte // what all spellings of the key have in common
	local, remote converge.Write
	// localAt and remoteAt are where their images stand.
	localAt, remoteAt imagePlace
	epoch             int64 // of the queue
	// overruled is set if the older of the two stays: a delete, where updates never bring a row back.
	overruled bool
	// deleted is set if the local write is the deletion of the row for its unique value, which has the version of the write
	// that took that.
	deleted bool
}

// imagePlace is where an image stands in the topics; the zero one is none.
type imagePlace struct {
	at     spine.Partition
	offset int64
}

func (p imagePlace) known() bool { return p.at.Topic != "" }

// size is about what a clash takes, in bytes.
func (c *clash) size() int64 { return 320 + int64(len(c.key)+len(c.text)) }

// localWon reports whether this region's write stays.
func (c *clash) localWon() bool {
	return (cmp.Or(cmp.Compare(c.local.Rank, c.remote.Rank), c.local.Version.Compare(c.remote.Version)) > 0) != c.overruled
}

func (c *clash) winner() (w converge.Write, at imagePlace) {
	if c.localWon() {
		return c.local, c.localAt
	}
	return c.remote, c.remoteAt
}

func (c *clash) loser() (w converge.Write, at imagePlace) {
	if c.localWon() {
		return c.remote, c.remoteAt
	}
	return c.local, c.localAt
}

// id is that of what was lost, in both regions and however often it is found.
func (c *clash) id() string {
	loser, _ := c.loser()
	return conflicts.ID(c.table.name, c.text, loser.Version)
}

// clashes are the conflicts that versions finds. What isn't recorded yet when a
// process dies is found again, as what isn't recorded isn't settled.
type clashes struct {
	localSeen, remoteSeen seens
	// read is the last of the region's own transactions that the tail has read
	// whole: one that it is reading may change a row again.
	read change.Seq
	// streamed is the source's transaction of which rows are still coming, 0 for none.
	streamed change.Seq
	// during are local writes that the tail has read meanwhile.
	during []localWrite
	// held are those of transactions that aren't read whole, by the row's key in
	// the index; found those that may be recorded.
	held  map[converge.Key][]clash
	found []clash
	queue *clashQueue // where found goes
}

// localWrite is a write that the tail has read.
type localWrite struct {
	table *boundTable
	id    converge.Key
	key   []byte
	write converge.Write
	stamp change.Stamp
}

const (
	// maxHeld bounds held. Of a transaction with more of them a row that it changes
	// again after that may be recorded as it was in between.
	maxHeld = 100_000
	// maxDuring bounds during. What is read beyond that while a single transaction is
	// written has met it only in the other region's record.
	maxDuring = 100_000
)

// meet notes that a local write of the row that id stands for and one of the source's
// were made without either having seen the other.
func (v *inbound) meet(t *boundTable, id converge.Key, key []byte, local, remote converge.Write) {
	c := clash{table: t, local: local, remote: remote, deleted: local.Seq == 0, localAt: v.imageAt(local.Place), remoteAt: v.imageAt(remote.Place)}
	held := v.clashes.held[id]
	for i := range held {
		if other := &held[i]; other.local.Version == local.Version && other.remote.Version == remote.Version {
			return // one of both transactions has changed the row again: metAgain has seen to that
		}
	}
	c.key = append([]byte(nil), key...)
	var err error
	if c.text, err = t.binder.AppendConflictKey(nil, key); err != nil {
		c.text = c.key // the target isn't there to weigh it; what stands for the row has been found before
	}
	c.epoch = v.clashes.queue.noted()
	v.clashes.held[id] = append(held, c)
}

func (v *versions) imageAt(p converge.Place) imagePlace {
	at, offset, ok := v.places.of(p)
	if !ok {
		return imagePlace{}
	}
	return imagePlace{at, offset}
}

// release finds those of held that are complete.
func (c *clashes) release() {
	for key, all := range c.held {
		left := all[:0]
		for _, held := range all {
			if len(c.held) > maxHeld || held.local.Seq <= c.read && held.remote.Seq != c.streamed {
				c.found = append(c.found, held)
			} else {
				left = append(left, held)
			}
		}
		if c.held[key] = left; len(left) == 0 {
			delete(c.held, key)
		}
	}
}

// handOn gives the recorder what was found, waiting for room. No lock may be
// held: the recorder is waited for.
func (v *inbound) handOn(ctx context.Context) error {
	v.mu.Lock()
	found := v.clashes.found
	v.clashes.found = nil
	v.mu.Unlock()
	if len(found) == 0 {
		return nil
	}
	return v.clashes.queue.put(ctx, found)
}

// metBy notes that a change which came in has met a local write of which k is
// known, if it has.
func (v *inbound) metBy(t *boundTable, id converge.Key, key []byte, k converge.Known, m made) {
	w := converge.Write{Version: m.version(), Seq: m.seq, Place: m.place}
	v.metAgain(id, w)
	if m.origin != v.source {
		return // the deletion of a row that yielded to one of this region
	}
	if k.Version.Origin != v.region || k.Seq <= m.seen || !v.clashes.localSeen.unseen(k.Seq, m.seq) {
		return
	}
	v.meet(t, id, key, k.Write, w)
}

// metLocal notes that a local write which the tail has read has met one of the
// source's of which k is known, if it has.
func (v *inbound) metLocal(t *boundTable, id converge.Key, key []byte, k converge.Known, w converge.Write, s change.Stamp) {
	v.metAgain(id, w)
	if v.clashes.streamed != 0 && len(v.clashes.during) < maxDuring && k.Seq != v.clashes.streamed {
		v.clashes.during = append(v.clashes.during, localWrite{t, id, append([]byte(nil), key...), w, s})
	}
	if k.Version.Origin != v.source || k.Seq <= s.Seen.Of(v.source) || !v.clashes.remoteSeen.unseen(k.Seq, s.Seq) {
		return
	}
	v.meet(t, id, key, w, k.Write)
}

// metBulk notes that local writes that the tail has read while a large transaction
// was written have met it, if they have.
func (v *inbound) metBulk(b *bulk, s change.Stamp) {
	for _, d := range v.clashes.during {
		if _, has := slices.BinarySearch(b.rows, d.id.A); !has {
			continue
		}
		b.known = append(b.known, d.id)
		if d.write.Seq > s.Seen.Of(v.region) {
			v.metLocal(d.table, d.id, d.key, converge.Known{Write: b.write}, d.write, d.stamp)
		}
	}
	v.clashes.during, v.clashes.streamed = nil, 0
	v.clashes.release()
}

// metAgain notes a write of a row which the same transaction may have written
// before: where that was found in a conflict, this is what the transaction left.
func (v *inbound) metAgain(id converge.Key, w converge.Write) {
	held := v.clashes.held[id]
	for i := range held {
		switch c := &held[i]; {
		case c.local.Version == w.Version:
			c.local, c.localAt = w, v.imageAt(w.Place)
		case c.remote.Version == w.Version:
			c.remote, c.remoteAt = w, v.imageAt(w.Place)
		}
	}
}

// passed notes that the tail has read a transaction whole.
func (c *clashes) passed(s change.Stamp, region, source change.Region) {
	if s.Origin == region {
		c.read = max(c.read, s.Seq)
		// What comes after it has seen at least as much.
		c.remoteSeen.forget(s.Seen.Of(source))
	}
	c.release()
}
