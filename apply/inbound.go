package apply

import (
	"sync/atomic"
	"time"

	"duplex/change"
	"duplex/converge"
)

// inbound is what versions knows of one source: how far what comes in from there is
// told, and how far the tail has come by.
type inbound struct {
	*versions
	source change.Region

	clashes clashes
	// repaired counts rows put back.
	repaired *atomic.Int64

	// tail is the last of the source's transactions of which the tail has read what
	// became of it here.
	tail change.Seq
	// from is the last of the source's transactions that was settled before this
	// session: what the tail reads of those needs nothing. Among several sources it is 0:
	// what was settled of one tells nothing of what came over it from another.
	from change.Seq
	// fromOwn is the last of the region's own transactions that the tail had read then: what
	// it reads behind the next one isn't settled, also if its marker has a number up to from, as a repair's may.
	// It is 0 if that isn't known.
	fromOwn change.Seq
	// again is set while the tail reads what had been applied here before the target
	// went back, which lies after until.
	again bool
	// told is the last of the source's transactions of which all that was written is told.
	told milestone
	// applied is the last of the source's transactions that is known to be applied here, told or not.
	applied change.Seq
	// lax is set once the tail has waited for told in vain: what it reads is of a numbering
	// that is no more, as after a loss of the source's topics.
	lax      bool
	patience time.Duration // left to wait for own
	// until is, among several sources, the last of the source's transactions that was applied
	// here before its session, away that it has none.
	until change.Seq
	away  bool
	// unread are, among several sources, the batches told that the tail hasn't come by.
	unread []ticket
	// opaque are batches of which it isn't known which rows they wrote.
	opaque map[change.Seq]opaque
}

// ticket is the place of batches in the binlog.
type ticket struct {
	seq         change.Seq // of the last one's last transaction
	first, last converge.Pos
}

// opaque is a batch, as if it had written a row.
type opaque struct {
	converge.Write
	at  converge.Pos
	saw change.Seen
}

// restored is an image that a repair puts back, and the one that it comes over.
type restored struct{ image, over converge.Digest }

func newInbound(v *versions, st *Stream) *inbound {
	return &inbound{
		versions: v, source: st.cfg.Source, repaired: &st.repaired, patience: readPatience,
		clashes: clashes{held: map[converge.Key][]clash{}, queue: newClashQueue()},
		opaque:  map[change.Seq]opaque{},
	}
}

// alone reports whether only one stream comes into the region. Its own numbers say then
// what lies where in the binlog.
func (v *versions) alone() bool { return len(v.all) == 1 }

// maxUnread is how many tickets are kept apart. When the tail is far behind, some
// stand for several batches.
const maxUnread = 1 << 16

// ticket returns the place in the binlog of a batch that is being told.
func (v *inbound) ticket(seq change.Seq) converge.Pos {
	if v.alone() {
		return converge.Pos(seq)
	}
	v.tickets++
	if seq > v.tail {
		if len(v.unread) == maxUnread {
			v.unread = halved(v.unread)
		}
		v.unread = append(v.unread, ticket{seq, v.tickets, v.tickets})
	}
	return v.tickets
}

// halved joins the tickets in pairs.
func halved(all []ticket) []ticket {
	joined := all[:0]
	for i := 1; i < len(all); i += 2 {
		joined = append(joined, ticket{all[i].seq, all[i-1].first, all[i].last})
	}
	if len(all)%2 == 1 {
		joined = append(joined, all[len(all)-1])
	}
	return joined
}

// come notes that the tail has come by what was applied up to seq.
func (v *inbound) come(seq change.Seq) {
	if v.lost(seq) && !v.alone() {
		return // it is applied again, and comes by again
	}
	v.tail = max(v.tail, seq)
	n := 0
	for n < len(v.unread) && v.unread[n].seq <= seq {
		n++
	}
	v.unread = v.unread[n:]
	for of := range v.opaque {
		if of < seq {
			delete(v.opaque, of)
		}
	}
}

// lost reports whether a batch that the tail reads is one that the target had before it
// went back, and hasn't now.
func (v *inbound) lost(batch change.Seq) bool { return v.again && batch > v.until }

// tailed returns up to where the tail has read what was written here.
func (v *versions) tailed() converge.Pos {
	if v.alone() {
		return converge.Pos(v.all[0].tail)
	}
	at := v.tickets
	for _, in := range v.all {
		if len(in.unread) > 0 {
			at = min(at, in.unread[0].first-1)
		}
	}
	return at
}

// mark returns the place in the binlog behind all that was told.
func (v *versions) mark() converge.Pos {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tickets
}

// reached notes that the tail has read all that was written here up to a mark, and
// what the source's stream has written up to seq.
func (v *inbound) reached(mark converge.Pos, seq change.Seq) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tail = max(v.tail, seq)
	for _, in := range v.all {
		// Of a large transaction that isn't committed rows may have been told (addBulk).
		for len(in.unread) > 0 && in.unread[0].last <= mark && in.unread[0].seq != in.clashes.streamed {
			in.come(in.unread[0].seq)
		}
	}
}

// sweepFor bounds the time of a sweep among several sources, where nothing is settled before
// it is forgotten.
const sweepFor = 200 * time.Microsecond

// learning reports whether what is not told yet is still to be told: the source's
// stream is down, or reads again what was applied before its session.
func (v *inbound) learning() bool { return v.away || v.told.seq < v.until }

// settled reports whether nothing up to a checkpoint need be known after a restart:
// all that was written up to it has been read by the tail and needs no repair. Among
// several sources all that is up to one moment must be settled everywhere at once, or of
// two writes that met the newer might be unknown then and the older not.
func (v *inbound) settled(c *checkpoint) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.alone() {
		return c.hlc <= v.cleared.least
	}
	// While rows are being put back it isn't known yet whether they lie over newer local writes.
	if v.restored != nil || v.tail < c.written || !v.index.Settled(converge.Pos(c.written)) || v.partsSettled(c) != nil {
		return false
	}
	c.own = v.own.seq
	return true
}

// cleared is an HLC up to which nothing need be known after a restart, and the one up to which rows
// of tables with a ranking are right (converge.Rivals.Right).
type cleared struct{ least, right change.HLC }

// clearing is what is cleared when what is to be recorded before has been: an epoch of the conflicts of
// each source.
type clearing struct {
	cleared
	epochs map[change.Region]int64
}

// clear returns up to where nothing need be known after a restart.
func (v *versions) clear() cleared {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.index.Err() != nil {
		return v.cleared
	}
	for _, in := range v.all {
		if epoch, waits := v.clearing.epochs[in.source]; waits && !in.clashes.queue.passed(epoch) {
			return v.cleared
		}
	}
	if c := v.clearing.cleared; c.least >= v.cleared.least && c.right >= v.cleared.right {
		v.cleared = c
	}
	forgotten := v.index.Forgotten()
	least, ok := forgotten, true
	if v.ranked {
		least, ok = v.horizon.Before(forgotten)
	}
	if !ok {
		v.clearing = clearing{}
		return v.cleared
	}
	v.clearing = clearing{cleared{least, forgotten}, map[change.Region]int64{}}
	for _, in := range v.all {
		v.clearing.epochs[in.source] = in.clashes.queue.mark()
	}
	return v.cleared
}

// start begins, among several sources, the telling of one: up to settled all is, up to
// until all was applied before. again says that more was once.
func (v *inbound) start(settled, until change.Seq, again bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tail = max(v.tail, settled)
	v.until, v.away, v.again = until, false, again
	v.lax = false
	v.told.upTo(settled)
}

// leave notes that the source's stream is down.
func (v *inbound) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.away = true
	v.clashes.streamed = 0 // or what others wrote would wait for it
}
