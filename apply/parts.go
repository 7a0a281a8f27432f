package apply

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"duplex/apply/statement"
	"duplex/converge"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/tasks"

	"github.com/cespare/xxhash/v2"
)

// parts are what the rows of a table are made of where its rule isn't of whole rows: groups of
// columns of which the newest write stays, and counters, to which all that is added counts
// (converge.Parted).
type parts struct {
	groups   []partGroup
	ids      []uint64 // of the groups
	counters []int    // fields, in the order of the rule
	binder   *statement.Binder
	value    *schemas.Record
}

// partGroup is fields that are one group. Its id is the same in all versions of the table.
type partGroup struct {
	id     uint64
	fields []int
}

// restGroup is the id of the group of all columns that are no counters.
const restGroup = 1

// isParted reports whether a rule isn't of whole rows.
func isParted(r tasks.Rule) bool { return r.Policy == tasks.MergeColumns || len(r.Delta) > 0 }

// anyParted reports whether any table of a task has such a rule.
func anyParted(s *tasks.Spec) bool {
	found := s.Conflicts.Policy == tasks.MergeColumns
	for _, rule := range s.Conflicts.Tables {
		found = found || isParted(rule)
	}
	return found
}

// newParts divides a table's columns by its rule; nil if that is of whole rows.
func newParts(t *boundTable) (*parts, error) {
	if !isParted(t.rule) {
		return nil, nil
	}
	refuse := func(format string, args ...any) error {
		return supervise.Permanent(fmt.Errorf("conflict rule of table %s: "+format, append([]any{t.name}, args...)...))
	}
	const mend = "; mend: correct conflicts.tables in the task file"
	switch {
	case len(t.binder.Unique()) > 0:
		return nil, refuse("merge-columns and delta can't be used for a table with a unique key besides the primary key (%s): two rows that both have a value can't both keep what was merged into them; mend: drop that key in every region, or give the table policy last-write-wins without delta", t.binder.Unique()[0].Name)
	case !t.tracked || !t.binder.ExactKey():
		return nil, refuse("merge-columns and delta need a primary key of which the server takes no two texts for the same; mend: give its text columns a collation that ignores nothing, not even spaces at the end (MySQL: utf8mb4_0900_bin, MariaDB: utf8mb4_nopad_bin), or make them VARBINARY, in every region, or give the table policy last-write-wins without delta")
	}
	p := &parts{binder: t.binder, value: t.envelope.Value}
	for _, name := range t.rule.Delta {
		if err := t.binder.RefuseCounter(name); err != nil {
			if !strings.Contains(err.Error(), "mend:") {
				err = fmt.Errorf("%w"+mend, err)
			}
			return nil, refuse("delta column %s: %w", name, err)
		}
		f := p.value.Field(name)
		if f < 0 {
			return nil, refuse("delta column %s: the source's table has no such column"+mend, name)
		}
		if slices.Contains(p.counters, f) {
			return nil, refuse("delta column %s is named twice"+mend, name)
		}
		p.counters = append(p.counters, f)
	}
	rest := partGroup{id: restGroup}
	for f := range p.value.Fields {
		name := p.value.Fields[f].Name
		switch {
		case slices.Contains(p.counters, f) || t.key.Field(name) >= 0 || t.binder.Generated(f):
		case t.rule.Policy == tasks.MergeColumns:
			p.groups = append(p.groups, partGroup{xxhash.Sum64String(strings.ToLower(name)), []int{f}})
		default:
			rest.fields = append(rest.fields, f)
		}
	}
	if len(rest.fields) > 0 {
		p.groups = append(p.groups, rest)
	}
	for i := range p.groups {
		p.ids = append(p.ids, p.groups[i].id)
	}
	return p, nil
}

var errNoBefore = errors.New("an update has no image of the row before it, from which it is told what it changed; mend: SET GLOBAL binlog_row_image = FULL in the source region")

// edit tells which parts a change is of.
func (p *parts) edit(before, after []byte, m made) (*converge.Edit, error) {
	e := &converge.Edit{Version: m.version(), Seq: m.seq, Seen: m.saw, Place: m.place, Image: after}
	switch {
	case after == nil:
		e.Kind = converge.Deleted
		return e, nil
	case before == nil:
		e.Kind = converge.Inserted
		return e, nil
	}
	n := len(p.value.Fields)
	was, is := make([]schemas.Span, n), make([]schemas.Span, n)
	if err := p.value.Split(before, was); err != nil {
		return nil, err
	}
	if err := p.value.Split(after, is); err != nil {
		return nil, err
	}
	same := func(f int) bool {
		return bytes.Equal(before[was[f].From:was[f].To], after[is[f].From:is[f].To])
	}
	for i := range p.groups {
		if slices.ContainsFunc(p.groups[i].fields, func(f int) bool { return !same(f) }) {
			e.Groups = append(e.Groups, p.groups[i].id)
		}
	}
	if !slices.ContainsFunc(p.counters, func(f int) bool { return !same(f) }) {
		return e, nil
	}
	for _, f := range p.counters {
		from, err := p.binder.Counter(f, before, was[f])
		if err != nil {
			return nil, err
		}
		to, err := p.binder.Counter(f, after, is[f])
		if err != nil {
			return nil, err
		}
		e.Added = append(e.Added, to.Sub(to, from))
	}
	return e, nil
}

// fields are those of a group.
func (p *parts) fields(id uint64) []int {
	for i := range p.groups {
		if p.groups[i].id == id {
			return p.groups[i].fields
		}
	}
	return nil // of another version of the table
}

// additions are what is added to the columns.
func (p *parts) additions(added []*big.Int) (all []statement.Addition) {
	for i := range added {
		if added[i].Sign() != 0 {
			all = append(all, statement.Addition{Field: p.counters[i], Delta: added[i]})
		}
	}
	return all
}

// rowParts is what a row's changes come to, and what of that is written.
type rowParts struct {
	merged converge.Merged
	plan   converge.Plan
}

// join adds a change to what the row's changes come to in a batch.
func (r *row) join(t *boundTable, before, after []byte, m made) error {
	e, err := t.parts.edit(before, after, m)
	if err != nil {
		return err
	}
	if r.parts == nil {
		r.parts = &rowParts{}
	}
	r.parts.merged.Merge(e)
	return nil
}

// patch is what is written of a row besides the whole of it; nil for nothing.
func (r *row) patch(t *boundTable) *statement.Patch {
	m, p := &r.parts.merged, &statement.Patch{Key: r.key}
	for _, i := range r.parts.plan.Touched {
		if fields := t.parts.fields(m.Touched[i].Group); len(fields) > 0 {
			p.Parts = append(p.Parts, statement.Part{Image: m.Touched[i].Image, Fields: fields})
		}
	}
	p.Added = t.parts.additions(m.Sum(r.parts.plan.Adds))
	if len(p.Parts) == 0 && len(p.Added) == 0 {
		return nil
	}
	return p
}
