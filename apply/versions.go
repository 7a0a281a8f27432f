package apply

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/converge"
	"duplex/spill"
	"duplex/spine"

	"github.com/cespare/xxhash/v2"
)

// versions is what a session knows of the newest versions of rows, so that of two
// regions' writes of a row that knew nothing of each other the newer stays,
// whichever comes first (promise 4). The tail tells it what is in the region's own
// topics, the pool what it has written.
//
// What comes in is written without looking at the row: what the index knows to
// be newer is left out, and if it turns out, as the tail comes by, that a newer local
// write had been there already, that one is put back (repair). Either way the
// last image in the binlog comes to be the newest version's.
type versions struct {
	region, source change.Region

	// repaired counts rows put back.
	repaired *atomic.Int64

	limits     config.Conflicts
	file       *spill.File // nil if there is none
	remembered *remembered

	mu       sync.Mutex
	index    *converge.Index
	frontier *converge.Frontier
	clashes  clashes
	// tail is the last of the source's transactions of which the tail has
	// read what became of it here.
	tail change.Seq
	// from is the last of the source's transactions that was settled before this
	// session: what the tail reads of those needs nothing.
	from change.Seq
	// again is set while the tail reads what had been applied here before the target
	// went back.
	again bool
	// told is the last of the source's transactions of which all that was written is
	// told, own the last of the region's own that the tail has read.
	told, own milestone
	// lax is set once the tail has waited for told in vain: what it reads is of a numbering
	// that is no more, as after a loss of the source's topics.
	lax      bool
	patience time.Duration // left to wait for own
	bulks    []*bulk
	// opaque are batches of which it isn't known which rows they wrote.
	opaque map[change.Seq]converge.Write
	places *places
	// restored are rows that a repair is putting back. What the tail reads of them
	// as applied is that.
	restored map[converge.Key]converge.Digest
	text     []byte // of a key
	// contested are rows that both regions wrote, or that yielded, a short while ago.
	contested map[converge.Key]struct{}
	// yieldedRows are those of which no record tells: see refer.
	yieldedRows map[converge.Key]yieldedRow
}

func newVersions(st *Stream) *versions {
	region, source, limits := st.cfg.Process.Region, st.cfg.Source, st.cfg.Process.Conflicts
	return &versions{
		repaired: &st.repaired, patience: readPatience, clashes: clashes{held: map[converge.Key][]clash{}, queue: newClashQueue()},
		region: region, source: source, index: converge.NewIndex(int64(limits.Memory), 0), limits: limits, remembered: &st.remembered, opaque: map[change.Seq]converge.Write{},
		places: newPlaces(), yieldedRows: map[converge.Key]yieldedRow{}, contested: map[converge.Key]struct{}{},
		frontier: converge.NewFrontier(region, []change.Region{region, source}),
	}
}

// digest stands for what a transaction left of a row. It is odd for those that the
// region itself made.
func (v *versions) digest(origin change.Region, seq change.Seq) converge.Digest {
	d := converge.Digest(xxhash.Sum64String(string(origin))+uint64(seq)*0x9e3779b97f4a7c15) << 1
	if origin == v.region {
		d |= 1
	}
	if d == converge.Absent {
		d = 2
	}
	return d
}

// id returns what stands for a row in the index.
func (v *versions) id(t *boundTable, key []byte) (converge.Key, error) {
	var err error
	v.text, err = t.binder.AppendConflictKey(v.text[:0], key)
	return t.id(v.text), err
}

// sift marks the rows that have a newer version than what came in.
func (v *versions) sift(tables []*tableRows) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range tables {
		if !t.table.tracked {
			continue
		}
		mergeSpellings(t)
		for i := range t.rows {
			r := &t.rows[i]
			if r.void {
				continue
			}
			k, known, err := v.of(r.id)
			if err != nil {
				return err
			}
			r.lost = known && k.Version.Compare(r.made.version()) >= 0
		}
	}
	return nil
}

// mergeSpellings makes rows void that a later change of the batch has under a key of
// other bytes, which is the same to the server: the other region may have given the
// row that key in between, and what it made of it then is all that counts.
func mergeSpellings(t *tableRows) {
	if t.table.binder.ExactKey() {
		return
	}
	last := map[converge.Key]*row{}
	for i := range t.rows {
		r := &t.rows[i]
		if r.void {
			continue
		}
		other := last[r.id]
		switch {
		case other == nil:
		case cmp.Or(cmp.Compare(other.made.seq, r.made.seq), cmp.Compare(other.made.order, r.made.order)) > 0:
			r.void = true
			continue
		default:
			other.void = true
		}
		last[r.id] = r
	}
}

// of returns what is known of a row.
func (v *versions) of(id converge.Key) (k converge.Known, known bool, err error) {
	if err := v.unpack(id); err != nil {
		return k, false, err
	}
	k, known = v.index.Of(id)
	return k, known, v.index.Err()
}

// wrote notes a batch that is committed. Its transactions are decided then.
func (v *versions) wrote(b *batch) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, tables := range [2][]*tableRows{b.tables, b.late} {
		for _, t := range tables {
			t.inOrder()
			for i := range t.rows {
				if err := v.wroteRow(t.table, &t.rows[i], b.seq); err != nil {
					return err
				}
			}
		}
	}
	if b.ordered != nil {
		v.opaque[b.seq] = v.opaqueWrite(b.seq, b.hlc)
	}
	v.decided(b.stamps)
	v.told.upTo(b.seq)
	v.clashes.release()
	v.measure()
	return nil
}

// wroteOpaque notes a batch of which it isn't known which rows it wrote: some by
// foreign keys.
func (v *versions) wroteOpaque(seq change.Seq, hlc change.HLC) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.opaque[seq] = v.opaqueWrite(seq, hlc)
}

func (v *versions) opaqueWrite(seq change.Seq, hlc change.HLC) converge.Write {
	return converge.Write{Version: change.Version{HLC: hlc, Origin: v.source}, Seq: seq, Digest: v.digest(v.source, seq)}
}

// inOrder puts the rows into the order of their last changes, where two keys may
// be of one row to the server: the later one tells what the row is. The batch is
// written already.
func (t *tableRows) inOrder() {
	if t.table.binder.ExactKey() {
		return
	}
	slices.SortStableFunc(t.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.made.seq, b.made.seq), cmp.Compare(a.made.order, b.made.order))
	})
}

func (v *versions) wroteRow(t *boundTable, r *row, batch change.Seq) error {
	if r.void || !t.tracked {
		return nil
	}
	k, known, err := v.of(r.id)
	if err != nil {
		return err
	}
	if known {
		v.metBy(t, r.id, r.key, k, r.made)
	}
	if known && k.Version.Origin == v.region && k.Seq > r.made.seen {
		v.contest(r.id)
	}
	if r.lost {
		return nil
	}
	if r.made.place == 0 {
		v.refer(r.id, t, r.key, r.made.version())
	}
	return v.note(r.id, k, known, r.made, batch)
}

// note notes a change that a batch has written to a row of which k is known.
func (v *versions) note(id converge.Key, k converge.Known, known bool, m made, batch change.Seq) error {
	w := converge.Write{Version: m.version(), Seq: m.seq, Digest: v.digest(v.source, batch), Place: m.place}
	if m.origin != v.source {
		w.Seq = 0 // the source's numbers say nothing of a version of this region
	}
	if known && k.Read && k.Last&1 == 1 {
		// What came in as a delete may have found no row, and one may have been
		// written since.
		return v.index.Marked(id, w, converge.Pos(batch))
	}
	return v.index.Wrote(id, w, converge.Pos(batch))
}

// decided notes transactions on the source's spine with which this region is done.
func (v *versions) decided(stamps []change.Stamp) {
	for _, s := range stamps {
		v.frontier.Read(v.source, s)
		v.clashes.localSeen.forget(s.Seen.Of(v.region))
	}
}

// passed is decided for those that no batch has.
func (v *versions) passed(stamps []change.Stamp) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.decided(stamps)
}

// local notes a write of the region itself that the tail has read.
func (v *versions) local(t *boundTable, key []byte, s change.Stamp, at spine.Partition, offset int64) error {
	if !t.tracked {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	id, err := v.id(t, key)
	if err != nil {
		return err
	}
	k, known, err := v.of(id)
	if err != nil {
		return err
	}
	if known && k.Version.Origin == v.source && k.Seq > s.Seen.Of(v.source) && k.Seq > 0 {
		v.contest(id)
	}
	w := converge.Write{Version: s.Version(), Seq: s.Seq, Digest: v.digest(v.region, s.Seq), Place: v.places.add(at, offset)}
	v.clashes.localSeen.note(s.Seq, s.Seen.Of(v.source))
	v.metLocal(t, id, key, k, w, s)
	return v.index.Local(id, w)
}

// echo notes a row of the source's that was written here and that the tail has read.
func (v *versions) echo(n noted, s *change.Stamp) error {
	t, batch := n.table, s.Seq
	if !t.tracked {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if batch <= v.from {
		return nil
	}
	id, err := v.id(t, n.key)
	if err != nil {
		return err
	}
	if err := v.unpack(id); err != nil {
		return err
	}
	if w, ok := v.opaque[batch]; ok {
		before, wrote := v.index.Of(id)
		if wrote && before.Version.Origin == v.region && v.clashes.remoteSeen.unseen(batch, before.Seq) {
			found := w
			found.Place = v.places.add(n.at, n.offset) // what a foreign key made of it stands here only
			v.meet(t, id, n.key, before.Write, found)
		}
		if err := v.index.Wrote(id, w, converge.Pos(batch)); err != nil {
			return err
		}
	}
	d, ok := v.restored[id]
	k, known := v.index.Of(id)
	switch {
	case known && v.again:
		return v.echoAgain(id, batch, s.HLC)
	case ok && known && k.Digest == d: // or it isn't known yet that it was put back
	case known && k.Version.Origin == v.source && k.Seq <= batch && k.Digest&1 == 0:
		d = k.Digest // the batch had it
	default:
		d = v.digest(v.source, batch)
	}
	return v.index.Echo(id, d)
}

// read notes that the tail has read a transaction.
func (v *versions) read(s change.Stamp) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frontier.Read(v.region, s)
	if s.Origin == v.region {
		v.own.upTo(s.Seq)
	}
	v.clashes.passed(s, v.region, v.source)
	if s.Origin == v.source {
		v.tail = max(v.tail, s.Seq)
		for seq := range v.opaque {
			if seq < s.Seq {
				delete(v.opaque, seq)
			}
		}
	}
}

// reached notes that the tail has read all that was written here up to seq.
func (v *versions) reached(seq change.Seq) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tail = max(v.tail, seq)
}

// sweep forgets a part of what needs no remembering. It reports whether that was the last part.
func (v *versions) sweep() (done bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	stable := v.frontier.Stable()
	done = v.index.Sweep(stable, converge.Pos(v.tail))
	v.dropBulks(stable)
	v.measure()
	return done
}

// suspects returns the rows that seem to have an older image than the newest
// version's, of those of which the tail has read all that was written; and whether there
// are others.
func (v *versions) suspects() (due []converge.Key, more bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	due = v.index.Suspects(converge.Pos(v.tail))
	return due, v.index.Suspected() > len(due)
}

// behind reports whether the tail hasn't read what was written up to seq.
func (v *versions) behind(seq change.Seq) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tail < seq
}

// settled reports whether all that was written up to seq has been read by the
// tail and needs no repair.
func (v *versions) settled(seq change.Seq) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tail >= seq && v.index.Settled(converge.Pos(seq))
}
