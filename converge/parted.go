package converge

import (
	"math/big"
	"slices"
	"unsafe"

	"duplex/change"
)

// Parted decides of rows that are made of parts, for a pair of regions: groups of columns, of each of
// which the newest write stays, and counters, to which what each write has added is
// added. What a row comes to is a function of the set of its writes:
//
//   - Its existence is that of the newest insert or delete, E. If that is a delete there
//     is no row, whatever updates it had not seen.
//   - A group is that of the newest among E and all updates that touched it.
//   - A counter is E's, and what all updates that had seen E have added.
//
// Whoever writes does so first and looks behind: what came in is written but for what is
// known to be older, and of two concurrent writes the second one told finds whether
// what came in lies over what must stay: then the row is Torn, and is to be put right while it is
// locked. For this three orders must hold:
//
//   - What came in is planned when all is told of this region that it had seen.
//   - A write of this region is told when all is told that it had seen.
//   - The tail tells this region's writes of a row in the order of the binlog, and what came in is
//     told in the order of its source.
//
// Then of a write of this region and one that came in, of which neither had seen the other, the
// latter lies over the former. It isn't safe for concurrent use.
type Parted struct {
	index   *Index
	region  change.Region
	sources []change.Region
	// Met, if it isn't nil, is told of each two concurrent writes of which one lost, or a part of it.
	Met func(row Key, local, remote Write, remoteWon bool)

	tallies map[Key]*tally
	torn    map[Key]*torn
	holds   []hold
	limit   int64 // of what the tallies take, in bytes
	bytes   int64
}

// tally is what updates that had seen the newest insert of a row have added since.
type tally struct{ added []*big.Int }

// hold is an insert or delete of the region itself that lost to one that came in and hadn't
// seen it. Until the source has seen it, both must be known after a restart, or neither: else
// it would be taken for the newest.
type hold struct{ local, source change.Seq }

const (
	// gone and there are the digests of existence in the index.
	gone, there = Absent, Digest(1)
	// tallyBytes is about what a tally takes, without its numbers, and numberBytes what each of those does.
	tallyBytes, numberBytes = 120, 72
)

// NewParted makes one for a region and those that it applies, which knows of rows what the index knows. What it remembers besides takes at
// most limit bytes.
func NewParted(index *Index, region change.Region, sources []change.Region, limit int64) *Parted {
	return &Parted{index: index, region: region, sources: sources, limit: limit, tallies: map[Key]*tally{}, torn: map[Key]*torn{}}
}

// GroupKey stands for a group of a row in the index.
func GroupKey(row Key, group uint64) Key { return Key{row.A, row.B ^ (group*2 + 1)} }

// addedKey stands for what came in from a source and added to a row's counters.
func (p *Parted) addedKey(row Key, source change.Region) Key {
	return Key{row.A, row.B ^ (0x5bd1e995_9e3779b0 + 2*uint64(slices.Index(p.sources, source)))}
}

// saw reports whether a write had seen another one, of either region.
func (e *Edit) saw(k *Known) bool {
	if k.Version.Origin == e.Version.Origin {
		return e.Seq >= k.Seq
	}
	return e.Seen.Of(k.Version.Origin) >= k.Seq
}

// without reports whether an update lost its row, the newest insert or delete known being k. One that had
// seen a delete is of a later insert, of which nothing more need be known.
func (e *Edit) without(k *Known) bool { return k.Digest == gone && !e.saw(k) }

func (e *Edit) write() Write {
	w := Write{Version: e.Version, Seq: e.Seq, Place: e.Place, Digest: there}
	if e.Kind == Deleted {
		w.Digest = gone
	}
	return w
}

// Plan says what of that which came in is to be written to a row.
func (p *Parted) Plan(row Key, m *Merged) (plan Plan) {
	e, known := p.of(row, row)
	if m.Exist != nil && (!known || e.Version.Compare(m.Exist.Version) < 0) {
		return m.All()
	}
	for i, t := range m.Touched {
		if known && t.without(&e) {
			continue
		}
		k, touched := p.of(row, GroupKey(row, t.Group))
		if !(known && e.Version.Compare(t.Version) > 0) && !(touched && k.Version.Compare(t.Version) > 0) {
			plan.Touched = append(plan.Touched, i)
		}
	}
	for i, a := range m.Adds {
		if !known || a.saw(&e) {
			plan.Adds = append(plan.Adds, i)
		}
	}
	return plan
}

// Wrote notes that what came in has been written to a row as planned, before the
// place at in the binlog. groups are all those that the row has.
func (p *Parted) Wrote(row Key, groups []uint64, m *Merged, plan Plan, at Pos) error {
	e, known := p.of(row, row)
	if x := m.Exist; x != nil {
		p.meet(row, x, e, known, x.Kind == Deleted)
		if err := p.existed(row, groups, x, e, known, plan.Exist, at); err != nil {
			return err
		}
		e, known = p.of(row, row)
	}
	for i, t := range m.Touched {
		planned := plan.Exist || slices.Contains(plan.Touched, i)
		if plan.Guessed && known && !t.saw(&e) {
			planned = p.older(row, t, &e) // the worse
		}
		if err := p.touched(row, groups, t, e, known, planned, at); err != nil {
			return err
		}
	}
	for i, a := range m.Adds {
		planned := plan.Exist || slices.Contains(plan.Adds, i)
		if planned {
			if err := p.raise(row, p.addedKey(row, a.Version.Origin), a.write(), at); err != nil {
				return err
			}
		}
		switch {
		case !known || e.Digest == gone && a.saw(&e):
		case e.Digest == gone:
			p.meet(row, a, e, known, false)
		case a.saw(&e):
			if err := p.add(row, a.Added); err != nil {
				return err
			}
		default:
			p.meet(row, a, e, known, false)
			if planned {
				p.tear(row, groups, nil, at)
			}
		}
	}
	return nil
}

// existed notes an insert or a delete that came in, the newest one known before being e.
func (p *Parted) existed(row Key, groups []uint64, x *Edit, e Known, known, planned bool, at Pos) error {
	if known && e.Version.Origin == p.region && e.Seq > x.Seen.Of(p.region) && e.Version.Compare(x.Version) < 0 {
		p.hold(e.Seq, x.Seq)
	}
	if known && e.Version.Compare(x.Version) > 0 {
		if planned {
			p.tear(row, groups, nil, at)
		}
		return nil
	}
	if known && e.Version == x.Version && e.Place == x.Place {
		return nil // told before
	}
	over := false
	for _, g := range groups {
		k, touched := p.of(row, GroupKey(row, g))
		if !touched {
			continue
		}
		p.meet(row, x, k, true, x.Kind == Deleted)
		over = over || k.Version.Compare(x.Version) > 0
	}
	if err := p.exist(row, groups, x, at); err != nil {
		return err
	}
	if over && x.Kind == Inserted {
		p.tear(row, groups, nil, at)
	}
	return nil
}

// exist makes x the newest insert or delete.
func (p *Parted) exist(row Key, groups []uint64, x *Edit, at Pos) error {
	if err := p.raise(row, row, x.write(), at); err != nil {
		return err
	}
	p.drop(row)
	for _, g := range groups {
		// What its own transaction had made of a group before is no more.
		if k, known := p.of(row, GroupKey(row, g)); known && k.Version == x.Version {
			if err := p.raise(row, GroupKey(row, g), x.write(), at); err != nil {
				return err
			}
		}
	}
	return nil
}

// older reports whether an update of a group is older than what is known, e being the newest insert or delete.
func (p *Parted) older(row Key, t Touch, e *Known) bool {
	k, had := p.of(row, GroupKey(row, t.Group))
	return had && k.Version.Compare(t.Version) > 0 || e.Version.Compare(t.Version) > 0
}

// touched notes an update of a group that came in.
func (p *Parted) touched(row Key, groups []uint64, t Touch, e Known, known, planned bool, at Pos) error {
	key := GroupKey(row, t.Group)
	k, had := p.of(row, key)
	p.meet(row, t.Edit, k, had, false)
	p.meet(row, t.Edit, e, known && e.Digest != gone, false)
	older := p.older(row, t, &e)
	if err := p.raise(row, key, t.write(), at); err != nil {
		return err
	}
	deleted := known && t.without(&e)
	if older && planned || !older && !planned && !deleted {
		p.tear(row, groups, []uint64{t.Group}, at)
	}
	return nil
}

// Local notes a write of the region itself, which the tail has read.
func (p *Parted) Local(row Key, groups []uint64, y *Edit) error {
	e, known := p.of(row, row)
	if y.Kind != Updated {
		return p.localExist(row, groups, y, e, known)
	}
	for _, g := range y.Groups {
		key := GroupKey(row, g)
		k, had := p.of(row, key)
		p.metBy(row, y, k, had, false)
		p.metBy(row, y, e, known, e.Digest == gone)
		for _, over := range [2]Known{k, e} {
			if p.over(&over, y) && over.Version.Compare(y.Version) < 0 {
				p.tear(row, groups, []uint64{g}, over.At)
			}
		}
		if err := p.raise(row, key, y.write(), 0); err != nil {
			return err
		}
	}
	if y.Added == nil || !known || e.Digest == gone && y.saw(&e) {
		return nil
	}
	if !y.saw(&e) {
		p.metBy(row, y, e, known, true)
		return nil
	}
	return p.add(row, y.Added)
}

// over reports whether what is known came in and lies over a write of the region: that
// hadn't seen it.
func (p *Parted) over(k *Known, y *Edit) bool {
	return k.Version.Origin != p.region && k.Seq > y.Seen.Of(k.Version.Origin)
}

func (p *Parted) localExist(row Key, groups []uint64, y *Edit, e Known, known bool) error {
	p.metBy(row, y, e, known, false)
	if known && e.Version.Compare(y.Version) > 0 {
		p.hold(y.Seq, e.Seq)
		return nil
	}
	whole, at := known && p.over(&e, y), e.At
	var parts []uint64
	if y.Kind == Inserted {
		for _, g := range groups {
			if k, had := p.of(row, GroupKey(row, g)); had && p.over(&k, y) {
				// It lies over y, or was left out as there was no row; which of the two
				// is newer doesn't matter here.
				p.metBy(row, y, k, true, false)
				parts, at = append(parts, g), max(at, k.At)
			}
		}
		for _, source := range p.sources {
			if k, had := p.of(row, p.addedKey(row, source)); had && p.over(&k, y) {
				p.metBy(row, y, k, true, false)
				whole, at = true, max(at, k.At)
			}
		}
	}
	if err := p.exist(row, groups, y, 0); err != nil {
		return err
	}
	if whole {
		p.tear(row, groups, nil, at)
	} else if parts != nil {
		p.tear(row, groups, parts, at)
	}
	return nil
}

// hold notes that two must both be known after a restart, or neither. Among several sources the newer is, if the older is.
func (p *Parted) hold(local, source change.Seq) {
	if len(p.sources) == 1 {
		p.holds = append(p.holds, hold{local, source})
	}
}

// meet tells of what came in and of which k is known, if they were made without
// either having seen the other; wins says that the first wins, however old.
func (p *Parted) meet(row Key, x *Edit, k Known, known, wins bool) {
	if p.Met == nil || !known || k.Version.Origin != p.region || k.Seq <= x.Seen.Of(p.region) {
		return
	}
	p.Met(row, k.Write, x.write(), wins || x.Version.Compare(k.Version) > 0)
}

// metBy is meet for a write of this region; lost says that it lost, however new.
func (p *Parted) metBy(row Key, y *Edit, k Known, known, lost bool) {
	if p.Met == nil || !known || !p.over(&k, y) {
		return
	}
	p.Met(row, y.write(), k.Write, lost || k.Version.Compare(y.Version) > 0)
}

// add notes what was added to a row's counters since its newest insert.
func (p *Parted) add(row Key, added []*big.Int) error {
	t := p.tallies[row]
	if t == nil {
		t = &tally{}
		p.tallies[row] = t
		p.bytes += tallyBytes + int64(len(added))*numberBytes
	}
	t.added = plus(t.added, added)
	if p.bytes > p.limit {
		return &FullError{p.limit}
	}
	return nil
}

func (p *Parted) drop(row Key) {
	if t := p.tallies[row]; t != nil {
		p.bytes -= tallyBytes + int64(len(t.added))*numberBytes
		delete(p.tallies, row)
	}
}

// Bytes returns about how much memory it takes besides the index.
func (p *Parted) Bytes() int64 {
	return p.bytes + int64(len(p.torn))*(tallyBytes+int64(unsafe.Sizeof(Known{})))
}

// of returns what is known of a row's existence, or of a group of it.
func (p *Parted) of(row, key Key) (Known, bool) {
	k, known := p.index.Of(key)
	if t := p.torn[row]; t != nil {
		if kept, was := t.kept[key]; was && (!known || kept.Version.Compare(k.Version) > 0) {
			return kept, true
		}
	}
	return k, known
}

// raise makes w the newest write of a row's existence, or of a group of it, if it is.
func (p *Parted) raise(row, key Key, w Write, at Pos) error {
	if err := p.index.Wrote(key, w, at); err != nil {
		return err
	}
	if t := p.torn[row]; t != nil {
		p.keep(t, key)
	}
	return nil
}

// Settled reports whether, after a restart, nothing need be known of what came in up to its transaction
// written, which is at the place at in the binlog, where what follows it has seen this region's
// transactions up to local. held says that this will not change: a later transaction is to be asked for.
func (p *Parted) Settled(written change.Seq, at Pos, local change.Seq) (settled, held bool) {
	for _, t := range p.torn {
		if t.at <= at {
			return false, false
		}
	}
	for _, h := range p.holds {
		if h.source <= written && h.local > local {
			return false, true
		}
	}
	return true, false
}

// Begin notes that after a restart all is known anew of what this region wrote after local.
func (p *Parted) Begin(local change.Seq) {
	p.holds = slices.DeleteFunc(p.holds, func(h hold) bool { return h.local <= local })
}

// Sweep forgets what was added to rows that the index has forgotten the insert of.
func (p *Parted) Sweep() {
	for row := range p.tallies {
		if p.torn[row] != nil {
			continue
		}
		if _, known := p.of(row, row); !known {
			p.drop(row)
		}
	}
}

// plus returns the sum of two rows of numbers, either nil for zeros. It changes neither.
func plus(a, b []*big.Int) []*big.Int {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	sum := make([]*big.Int, len(a))
	for i := range a {
		sum[i] = new(big.Int).Add(a[i], b[i])
	}
	return sum
}
