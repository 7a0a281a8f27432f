package converge

import (
	"math/big"
	"slices"
)

// torn is a row that isn't what it must be.
type torn struct {
	whole  bool
	groups []uint64 // otherwise
	of     []uint64 // all groups of the row
	at     Pos      // of what tore it
	// kept is what was known of it then, as the index may forget it.
	kept map[Key]Known
}

// Right is what a torn row must be.
type Right struct {
	// Whole tells that all of the row is to be put back: none if Deleted, else Exist's image, with Parts
	// instead of its own, and with Added added to its counters. Otherwise only Parts are, if there is a row.
	Whole, Deleted bool
	Exist          Place
	Parts          []Part
	Added          []*big.Int
}

// Part says where the image stands that has a group's value.
type Part struct {
	Group uint64
	Place Place
}

// tear notes that groups of a row, all of it if they are nil, aren't what they must be.
func (p *Parted) tear(row Key, of, groups []uint64, at Pos) {
	t := p.torn[row]
	if t == nil {
		t = &torn{of: of, kept: map[Key]Known{}}
		p.torn[row] = t
	}
	t.whole, t.at = t.whole || groups == nil, max(t.at, at)
	for _, g := range groups {
		if !slices.Contains(t.groups, g) {
			t.groups = append(t.groups, g)
		}
	}
	p.keep(t, row)
	for _, g := range of {
		p.keep(t, GroupKey(row, g))
	}
}

// keep keeps what the index knows, if that isn't older than what is kept.
func (p *Parted) keep(t *torn, key Key) {
	if k, known := p.index.Of(key); known {
		if kept, was := t.kept[key]; !was || kept.Version.Compare(k.Version) <= 0 {
			t.kept[key] = k
		}
	}
}

// Torn returns the rows that aren't what they must be.
func (p *Parted) Torn() (rows []Key) {
	for row := range p.torn {
		rows = append(rows, row)
	}
	return rows
}

// Right returns what a torn row must be; all is to be told of this region that
// was written before the row was locked, and of what came in.
func (p *Parted) Right(row Key) (r Right, is bool) {
	t := p.torn[row]
	if t == nil {
		return r, false
	}
	e, known := p.of(row, row)
	r.Whole, r.Deleted, r.Exist = t.whole, known && e.Digest == gone, e.Place
	if r.Whole && r.Deleted {
		return r, true
	}
	for _, g := range t.of {
		k, touched := p.of(row, GroupKey(row, g))
		newer := touched && !(known && e.Version.Compare(k.Version) > 0)
		switch {
		case newer && (t.whole || slices.Contains(t.groups, g)):
			r.Parts = append(r.Parts, Part{g, k.Place})
		case !t.whole && known && !r.Deleted && slices.Contains(t.groups, g):
			r.Parts = append(r.Parts, Part{g, e.Place})
		}
	}
	if tally := p.tallies[row]; tally != nil && t.whole {
		r.Added = tally.added
	}
	return r, true
}

// Mended notes that a torn row is what it must be.
func (p *Parted) Mended(row Key) { delete(p.torn, row) }
