package converge

import (
	"math/big"
	"slices"

	"duplex/change"
)

// EditKind says what a write did to a row.
type EditKind uint8

// The kinds of an Edit.
const (
	Updated EditKind = iota
	Inserted
	Deleted
)

// Edit is a write of one row.
type Edit struct {
	Version change.Version
	Seq     change.Seq  // of its transaction
	Seen    change.Seen // the other regions' last transactions that it had seen
	Place   Place
	Kind    EditKind
	// Groups are those that an update touched, Added is what it added to each counter,
	// nil for nothing.
	Groups []uint64
	Added  []*big.Int
	Image  []byte // of the row
}

// Merged is what consecutive writes of a row by one region come to.
type Merged struct {
	Exist   *Edit // the last insert or delete; what was before doesn't count
	Touched []Touch
	Adds    []*Edit
}

// Touch is the last update of a group.
type Touch struct {
	Group uint64
	*Edit
}

// Merge adds the next write.
func (m *Merged) Merge(e *Edit) {
	if e.Kind != Updated {
		*m = Merged{Exist: e}
		return
	}
	for _, g := range e.Groups {
		at := slices.IndexFunc(m.Touched, func(t Touch) bool { return t.Group == g })
		if at < 0 {
			m.Touched = append(m.Touched, Touch{g, e})
		} else {
			m.Touched[at].Edit = e
		}
	}
	if e.Added != nil {
		m.Adds = append(m.Adds, e)
	}
}

// Sum is what some of the writes have added; nil for nothing.
func (m *Merged) Sum(adds []int) (sum []*big.Int) {
	for _, i := range adds {
		sum = plus(sum, m.Adds[i].Added)
	}
	return sum
}

// Plan says what of a Merged is to be written: with Exist all of it, the whole row or its
// deletion; otherwise some groups, and what some of Adds have added.
type Plan struct {
	Exist   bool
	Touched []int
	Adds    []int
	// Guessed is set if it isn't known what was written.
	Guessed bool
}

// Nothing reports whether nothing is to be written.
func (p *Plan) Nothing() bool { return !p.Exist && len(p.Touched) == 0 && len(p.Adds) == 0 }

// All is the plan that leaves nothing out.
func (m *Merged) All() Plan {
	p := Plan{Exist: m.Exist != nil}
	for i := range m.Touched {
		p.Touched = append(p.Touched, i)
	}
	for i := range m.Adds {
		p.Adds = append(p.Adds, i)
	}
	return p
}

// Guess is the plan of what was written before a restart, it isn't known how.
func (m *Merged) Guess() Plan {
	p := m.All()
	p.Guessed = true
	return p
}
