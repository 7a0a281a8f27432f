package apply

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/converge"
	"duplex/spill"

	"github.com/cespare/xxhash/v2"
)

// versions is what is known in a region of the newest versions of rows, so that of
// several regions' writes of a row that knew nothing of each other the newest stays,
// whichever comes first (promise 4). The tail tells it what is in the region's own
// topics, the pool of each stream what it has written.
//
// What comes in is written without looking at the row: what the index knows to
// be newer is left out, and if it turns out, as the tail comes by, that a newer
// write had been there already, that one is put back (repair). Either way the
// last image in the binlog comes to be the newest version's.
type versions struct {
	region  change.Region
	sources map[change.Region]*inbound
	all     []*inbound // the same

	limits     config.Conflicts
	file       *spill.File // nil if there is none
	remembered *remembered

	mu       sync.Mutex
	index    *converge.Index
	frontier *converge.Frontier
	// least is the HLC up to which all was forgotten at the beginning, cleared that up to
	// which, among several sources, all is forgotten and recorded; clearing waits for that.
	least    change.HLC
	cleared  cleared
	clearing clearing
	// rivals are the index for tables with a ranking, if the task has any (ranked), horizon tells from where a restart must
	// know them.
	ranked  bool
	rivals  converge.Rivals
	horizon converge.Horizon
	// own is the last of the region's own transactions that the tail has read.
	own milestone
	// tickets numbers, among several sources, what is written here in the order in
	// which it is told: the places in the binlog that the index knows.
	tickets converge.Pos
	// deciding is closed when more is decided, nil while nobody waits for that.
	deciding chan struct{}
	bulks    []*bulk
	places   *places
	// restored are rows that a repair is putting back, that of the stream from restorer.
	// What the tail reads of them as applied from there is that.
	restored map[converge.Key]restored
	restorer change.Region
	text     []byte // of a key
	// parted decides of tables whose rows are made of parts, nil if the task has none.
	parted *converge.Parted
	pruned time.Time // when parted last forgot
	// adrift is set while the tail has passed over an unknown part of the own topics.
	adrift bool
	// contested are rows that both regions wrote, or that yielded, a short while ago.
	contested map[converge.Key]struct{}
	// losing are rows that this region is about to delete for their unique values.
	losing map[converge.Key]losing
	// yieldedRows are those of which no record tells: see refer.
	yieldedRows map[converge.Key]yieldedRow
}

// newVersions makes one that knows nothing, and need not know what is up to forgotten,
// for the streams into a region. The first one's status tells how much is remembered.
func newVersions(region change.Region, forgotten cleared, streams ...*Stream) *versions {
	limits := streams[0].cfg.Process.Conflicts
	v := &versions{
		region: region, sources: map[change.Region]*inbound{}, index: converge.NewIndex(int64(limits.Memory), forgotten.least), limits: limits, remembered: &streams[0].remembered,
		least: forgotten.least, cleared: forgotten, horizon: converge.Horizon{Least: forgotten.least}, ranked: anyRanked(streams[0].cfg.Spec),
		places: newPlaces(), yieldedRows: map[converge.Key]yieldedRow{}, contested: map[converge.Key]struct{}{}, losing: map[converge.Key]losing{},
	}
	regions := []change.Region{region}
	for _, st := range streams {
		in := newInbound(v, st)
		v.sources[in.source], v.all, regions = in, append(v.all, in), append(regions, in.source)
	}
	v.frontier = converge.NewFrontier(region, regions)
	v.rivals = v.newRivals(regions, forgotten.right)
	v.newParted(streams[0].cfg.Spec)
	return v
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
func (v *inbound) sift(tables []*tableRows) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, t := range tables {
		if !t.table.tracked {
			continue
		}
		if t.table.parts != nil {
			v.planParts(t)
			if err := v.index.Err(); err != nil {
				return err
			}
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
			if t.table.ranking != nil && r.made.existing == notCopied {
				r.lost = v.outranked(r)
				continue
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
func (v *inbound) wrote(b *batch) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.ticket(b.seq)
	for _, tables := range [2][]*tableRows{b.tables, b.late} {
		for _, t := range tables {
			t.inOrder()
			for i := range t.rows {
				if err := v.wroteRow(t.table, &t.rows[i], b.seq, at); err != nil {
					return err
				}
			}
		}
	}
	if b.ordered != nil {
		for i := range b.ordered.steps {
			if err := v.wroteSteps(b.ordered.steps[i].tables, at); err != nil {
				return err
			}
		}
		v.opaque[b.seq] = opaque{v.opaqueWrite(b.seq, b.hlc), at, v.sawBy(b.stamps)}
	}
	v.decided(b.stamps)
	v.told.upTo(b.seq)
	v.clashes.release()
	v.measure()
	return nil
}

// wroteOpaque notes a batch of which it isn't known which rows it wrote: some by
// foreign keys.
func (v *inbound) wroteOpaque(s change.Stamp) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.opaque[s.Seq] = opaque{v.opaqueWrite(s.Seq, s.HLC), v.ticket(s.Seq), s.Seen}
}

// sawBy returns what the last of the source's own transactions had seen.
func (v *inbound) sawBy(stamps []change.Stamp) (saw change.Seen) {
	for i := range stamps {
		if stamps[i].Origin == v.source {
			saw = stamps[i].Seen
		}
	}
	return saw
}

func (v *inbound) opaqueWrite(seq change.Seq, hlc change.HLC) converge.Write {
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

func (v *inbound) wroteRow(t *boundTable, r *row, batch change.Seq, at converge.Pos) error {
	if r.void || !t.tracked || r.made.existing != notCopied {
		return nil
	}
	if t.ranking != nil {
		return v.contend(t, r.id, r.key, r.made, batch, at)
	}
	if t.parts != nil {
		return v.wroteParts(t, r.id, r.key, &r.parts.merged, r.parts.plan, at)
	}
	k, known, err := v.of(r.id)
	if err != nil {
		return err
	}
	if known {
		v.metBy(t, r.id, r.key, k, r.made)
	}
	if known && v.unmetBy(k, r.made) {
		v.contest(r.id)
	}
	if r.lost {
		return nil
	}
	if r.made.place == 0 {
		v.refer(r.id, t, r.key, r.made.version())
	}
	return v.note(r.id, k, known, r.made, batch, at)
}

// note notes a change that a batch has written to a row of which k is known.
func (v *inbound) note(id converge.Key, k converge.Known, known bool, m made, batch change.Seq, at converge.Pos) error {
	w := converge.Write{Version: m.version(), Seq: m.seq, Digest: v.digest(v.source, batch), Place: m.place}
	if m.origin != v.source {
		w.Seq = 0 // the source's numbers say nothing of a version of this region
	}
	if known && k.Version == w.Version && k.Seq == w.Seq && w.Seq > 0 {
		w.Digest = k.Digest // told before, by an earlier session, as part of another batch
	}
	if known && k.Read && (k.Last&1 == 1 || !v.alone()) {
		// What came in as a delete may have found no row, and one may have been
		// written since.
		return v.index.Marked(id, w, at)
	}
	return v.index.Wrote(id, w, at)
}

// decided notes transactions on the source's spine with which this region is done.
func (v *inbound) decided(stamps []change.Stamp) {
	for _, s := range stamps {
		v.frontier.Read(v.source, s)
		v.clashes.localSeen.forget(s.Seen.Of(v.region))
	}
	v.wake()
}

// passed is decided for those that no batch has.
func (v *inbound) passed(stamps []change.Stamp) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.decided(stamps)
}

// local notes a write of the region itself that the tail has read.
func (v *versions) local(n noted, s change.Stamp) error {
	t := n.table
	if !t.tracked {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	id, err := v.id(t, n.key)
	if err != nil {
		return err
	}
	k, known, err := v.of(id)
	if err != nil {
		return err
	}
	w := converge.Write{Version: s.Version(), Seq: s.Seq, Digest: v.digest(v.region, s.Seq), Place: v.places.add(n.at, n.offset), Rank: n.rank}
	if t.ranking != nil {
		return v.competeLocal(t, id, n.key, w, s)
	}
	if by := v.sources[k.Version.Origin]; known && by != nil && k.Seq > s.Seen.Of(by.source) && k.Seq > 0 {
		v.contest(id)
	}
	for _, in := range v.all {
		in.clashes.localSeen.note(s.Seq, s.Seen.Of(in.source))
		in.metLocal(t, id, n.key, k, w, s)
	}
	return v.index.Local(id, w)
}

// echo notes a row of the source's that was written here and that the tail has read.
func (v *inbound) echo(n noted, s *change.Stamp) error {
	t, batch := n.table, s.Seq
	if !t.tracked || t.parts != nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	id, err := v.id(t, n.key)
	if err != nil {
		return err
	}
	if v.alone() && batch <= v.from && (v.fromOwn == 0 || v.own.seq <= v.fromOwn) {
		return v.settledEcho(id, n, s)
	}
	if err := v.unpack(id); err != nil {
		return err
	}
	if w, ok := v.opaque[batch]; ok && t.ranking != nil {
		w.Place, w.Rank = v.places.add(n.at, n.offset), n.rank
		unseen := func(local converge.Write) bool { return v.clashes.remoteSeen.unseen(batch, local.Seq) }
		if err := v.compete(t, id, n.key, w.Write, w.saw, w.at, unseen); err != nil {
			return err
		}
	} else if ok {
		before, wrote := v.index.Of(id)
		if wrote && before.Version.Origin == v.region && v.clashes.remoteSeen.unseen(batch, before.Seq) {
			found := w.Write
			found.Place = v.places.add(n.at, n.offset) // what a foreign key made of it stands here only
			v.meet(t, id, n.key, before.Write, found)
		}
		if err := v.index.Wrote(id, w.Write, w.at); err != nil {
			return err
		}
	}
	back, ok := v.restored[id]
	k, known := v.index.Of(id)
	var d converge.Digest
	switch {
	case known && v.lost(batch):
		return v.echoAgain(id, batch, s.HLC)
	case ok && v.restorer == v.source && known && k.Digest == back.image: // or it isn't known yet that it was put back
		d = back.image
	case known && k.Version.Origin == v.source && k.Seq > 0 && k.Seq <= batch && k.Digest&1 == 0:
		d = k.Digest // the batch had it, and no third region told of it
	default:
		d = v.digest(v.source, batch)
	}
	return v.index.Echo(id, d)
}

// settledEcho notes a row of a batch that was settled before this session. What it left was what the row must
// have then, over the local writes before it.
func (v *inbound) settledEcho(id converge.Key, n noted, s *change.Stamp) error {
	if n.table.ranking != nil {
		w := v.opaqueWrite(s.Seq, s.HLC)
		w.Place = v.places.add(n.at, n.offset)
		return v.rivals.Settled(id, w)
	}
	// Else the deletion of a row that yielded, whose version is older than its transaction, would seem to have been
	// overwritten, and be put back over what was settled. What is newer comes by later.
	if k, known := v.index.Of(id); known {
		return v.index.Echo(id, k.Digest)
	}
	return nil
}

// read notes that the tail has read a transaction.
func (v *versions) read(s change.Stamp) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frontier.Read(v.region, s)
	if s.Origin == v.region {
		v.own.upTo(s.Seq)
		v.adrift = false
	}
	for _, in := range v.all {
		in.clashes.passed(s, v.region, in.source)
	}
	if in := v.sources[s.Origin]; in != nil {
		in.come(s.Seq)
	}
}

// sweep forgets a part of what needs no remembering. It reports whether that was the last part.
func (v *versions) sweep() (done bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	// What was stable once is: the frontier begins anew with each round.
	stable, tailed := max(v.frontier.Stable(), v.least), v.tailed()
	done = v.index.Sweep(stable, tailed)
	for began := time.Now(); !v.alone() && !done && time.Since(began) < sweepFor; {
		done = v.index.Sweep(stable, tailed)
	}
	v.horizon.Note(v.index.Forgotten(), v.frontier.Newest())
	v.dropBulks(stable)
	v.sweepParts(done)
	v.measure()
	return done
}

// suspects returns the rows that seem to have an older image than the newest
// version's, of those of which the tail has read all that was written; and whether there
// are others.
func (v *versions) suspects() (due []converge.Key, more bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	due = v.index.Suspects(v.tailed())
	return due, v.index.Suspected() > len(due)
}

// behind reports whether the tail hasn't read what was written up to seq.
func (v *inbound) behind(seq change.Seq) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tail < seq
}
