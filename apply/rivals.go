package apply

import (
	"fmt"

	"duplex/apply/statement"
	"duplex/change"
	"duplex/converge"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/tasks"
)

// ranking tells, in tables whose policy goes by more than versions, the rank of a write among those
// that knew nothing of each other.
type ranking struct {
	regions map[change.Region]int64 // region-priority
	column  *statement.Rank         // newest-column
}

// rankingOf returns the ranking that the rule of a table asks for, nil if versions
// alone decide.
func (t *boundTable) rankingOf() (*ranking, error) {
	ranking := &ranking{}
	switch t.rule.Policy {
	case tasks.RegionPriority:
		ranking.regions = map[change.Region]int64{}
		for i, r := range t.rule.Priority {
			ranking.regions[r] = -int64(i)
		}
	case tasks.NewestColumn:
		var err error
		if ranking.column, err = t.binder.Rank(t.rule.Column); err != nil {
			return nil, supervise.Permanent(fmt.Errorf("conflict policy newest-column: %w; mend: name another column for the table: conflicts: {tables: {%q: {policy: newest-column, column: …}}}, or set policy: last-write-wins", err, t.name))
		}
	default:
		return nil, nil
	}
	if len(t.binder.Unique()) > 0 || t.looseUnique {
		return nil, supervise.Permanent(fmt.Errorf("conflict policy %s can't be had for a table with a unique key besides its primary key, as a unique value belongs to the newest write; mend: set conflicts: {tables: {%q: {policy: last-write-wins}}}", t.rule.Policy, t.name))
	}
	return ranking, nil
}

// anyRanked reports whether any table of a task has a ranking.
func anyRanked(s *tasks.Spec) bool {
	ranked := func(policy string) bool { return policy == tasks.RegionPriority || policy == tasks.NewestColumn }
	found := ranked(s.Conflicts.Policy)
	for _, rule := range s.Conflicts.Tables {
		found = found || ranked(rule.Policy)
	}
	return found
}

// before returns what must have been forgotten at most, if that is less than was, where a stream applies anew what came
// from an HLC on. With a ranking, what is applied anew is to meet all that it had met, which may be any older.
func (v *versions) before(again change.HLC) (least change.HLC, less bool) {
	switch {
	case again == 0:
		return 0, false
	case v.ranked:
		return 1, again <= max(v.least, v.rivals.Right)
	}
	return again - 1, again <= v.least
}

// of returns the rank of a write. That of a delete is the deleted row's.
func (r *ranking) of(origin change.Region, before, after []byte) (int64, error) {
	if r.column == nil {
		return r.regions[origin], nil
	}
	if after == nil {
		after = before
	}
	return r.column.Of(after)
}

// rank completes m with the rank of a change.
func (m *made) rankOf(t *boundTable, c *schemas.Decoded) (err error) {
	if t.ranking != nil {
		m.rank, err = t.ranking.of(m.origin, c.Before, c.After)
	}
	return err
}

// write is the change as the index has it.
func (m *made) write() converge.Write {
	return converge.Write{Version: m.version(), Seq: m.seq, Place: m.place, Rank: m.rank}
}

// newRivals are the index, for the rows of tables with a ranking. Of regions the first is this one.
func (v *versions) newRivals(regions []change.Region, right change.HLC) converge.Rivals {
	return converge.Rivals{
		Index: v.index, Regions: regions, Told: v.toldOf, Right: right,
		Digest: func(w converge.Write) converge.Digest { return v.digest(w.Version.Origin, w.Seq) },
	}
}

// toldOf returns a region's transaction up to which the index was told of all rows. What foreign keys wrote it is
// told of when the tail comes by.
func (v *versions) toldOf(region change.Region) change.Seq {
	seq := v.frontier.Told(region)
	if in := v.sources[region]; in != nil {
		for batch := range in.opaque {
			seq = min(seq, batch-1)
		}
	}
	return seq
}

// unmet tells which local writes a change that comes in met without either having seen the other.
func (v *inbound) unmet(m made) func(local converge.Write) bool {
	return func(local converge.Write) bool {
		return local.Seq > m.seen && v.clashes.localSeen.unseen(local.Seq, m.seq)
	}
}

// unmetLocal tells the same of the source's writes and a local one.
func (v *inbound) unmetLocal(s change.Stamp) func(remote converge.Write) bool {
	return func(remote converge.Write) bool {
		return remote.Seq > s.Seen.Of(v.source) && v.clashes.remoteSeen.unseen(remote.Seq, s.Seq)
	}
}

// outranked reports whether what came in doesn't stay.
func (v *inbound) outranked(r *row) bool {
	return !v.rivals.Stays(r.id, r.made.write(), r.made.saw)
}

// contend notes a change of the source's to a row of a table with a ranking. One that was left
// out counts as well: it is the newest of the source's.
func (v *inbound) contend(t *boundTable, id converge.Key, key []byte, m made, batch change.Seq, at converge.Pos) error {
	w := m.write()
	w.Digest = v.digest(v.source, batch)
	if k, known := v.index.Of(id); known && k.Version == w.Version && k.Seq == w.Seq {
		w.Digest = k.Digest // told before, by an earlier session, as part of another batch
	}
	return v.compete(t, id, key, w, m.saw, at, v.unmet(m))
}

func (v *inbound) compete(t *boundTable, id converge.Key, key []byte, w converge.Write, saw change.Seen, at converge.Pos, unmet func(converge.Write) bool) error {
	v.metAgain(id, w)
	if local, known := v.rivals.Of(id, v.region); known && unmet(local) {
		v.meet(t, id, key, local, w)
	}
	if w.Seq <= v.until {
		return v.rivals.Learnt(id, w, saw, at)
	}
	return v.rivals.Wrote(id, w, saw, at)
}

// competeLocal notes a local write to a row of such a table, which the tail has read.
func (v *versions) competeLocal(t *boundTable, id converge.Key, key []byte, w converge.Write, s change.Stamp) error {
	for _, in := range v.all {
		in.clashes.localSeen.note(s.Seq, s.Seen.Of(in.source))
		in.metAgain(id, w)
		if remote, known := v.rivals.Of(id, in.source); known && in.unmetLocal(s)(remote) {
			in.meet(t, id, key, w, remote)
		}
	}
	return v.rivals.Local(id, w, s.Seen)
}
