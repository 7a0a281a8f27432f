package tasks

import "slices"

// Overlaps reports whether a table may be covered by both, be it one that isn't there yet. It tells two patterns
// of t and o that both may match. Where excluding takes away only a part of what two patterns have in common, that isn't seen.
func (t Tables) Overlaps(o Tables) (mine, theirs string, overlap bool) {
	for i, a := range t.include {
		for j, b := range o.include {
			if !a.meets(b) || covered(b, t.exclude) || covered(a, o.exclude) || covered(a, t.exclude) || covered(b, o.exclude) {
				continue
			}
			return t.Include[i], o.Include[j], true
		}
	}
	return "", "", false
}

// same reports whether both are written alike.
func (t Tables) same(o Tables) bool {
	return slices.Equal(t.Include, o.Include) && slices.Equal(t.Exclude, o.Exclude)
}

// covered reports whether one of the patterns matches all that p matches.
func covered(p pattern, by []pattern) bool {
	return slices.ContainsFunc(by, func(e pattern) bool { return e.db.contains(p.db) && e.table.contains(p.table) })
}

// meets reports whether some table is matched by both.
func (p pattern) meets(o pattern) bool { return p.db.meets(o.db) && p.table.meets(o.table) }

// meets reports whether some name is matched by both. at[j] tells whether what is matched by so much
// of g may be matched by the first j elements of o.
func (g glob) meets(o glob) bool {
	at := make([]bool, len(o)+1)
	at[0] = true
	for j, e := range o {
		at[j+1] = at[j] && e.kind == anyRun
	}
	for _, e := range g {
		next := make([]bool, len(o)+1)
		next[0] = at[0] && e.kind == anyRun
		for j, f := range o {
			switch {
			case e.kind == anyRun || f.kind == anyRun: // the run matches nothing, or what the other element does
				next[j+1] = at[j+1] || next[j]
			default:
				next[j+1] = at[j] && (e.kind == anyChar || f.kind == anyChar || e.char == f.char)
			}
		}
		at = next
	}
	return at[len(o)]
}

// contains reports whether g matches all that o matches, taking what o leaves open for a character that nothing
// but a wildcard matches.
func (g glob) contains(o glob) bool {
	at := make([]bool, len(o)+1)
	at[0] = true
	for _, e := range g {
		next := make([]bool, len(o)+1)
		next[0] = at[0] && e.kind == anyRun
		for j, f := range o {
			switch e.kind {
			case anyRun:
				next[j+1] = at[j+1] || next[j]
			case anyChar:
				next[j+1] = at[j] && f.kind != anyRun
			default:
				next[j+1] = at[j] && f.kind == exact && f.char == e.char
			}
		}
		at = next
	}
	return at[len(o)]
}
