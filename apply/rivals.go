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

// rivals are the index, for the rows of tables with a ranking.
func (v *versions) rivals() converge.Rivals {
	return converge.Rivals{Index: v.index, Digest: func(w converge.Write) converge.Digest { return v.digest(w.Version.Origin, w.Seq) }}
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
	w := r.made.write()
	return v.rivals().Stays(r.id, converge.There, w, v.unmet(r.made)).Version != w.Version
}

// contend notes a change of the source's to a row of a table with a ranking. One that was left
// out counts as well: it is the newest of the source's.
func (v *inbound) contend(t *boundTable, id converge.Key, key []byte, m made, batch change.Seq, at converge.Pos) error {
	w := m.write()
	w.Digest = v.digest(v.source, batch)
	if k, known := v.index.Of(id); known && k.Version == w.Version && k.Seq == w.Seq {
		w.Digest = k.Digest // told before, by an earlier session, as part of another batch
	}
	return v.compete(t, id, key, w, at, v.unmet(m))
}

func (v *inbound) compete(t *boundTable, id converge.Key, key []byte, w converge.Write, at converge.Pos, unmet func(converge.Write) bool) error {
	v.metAgain(id, w)
	if local, known := v.rivals().Of(id, converge.Here); known && unmet(local) {
		v.meet(t, id, key, local, w)
	}
	return v.rivals().Wrote(id, w, at, unmet)
}

// competeLocal notes a local write to a row of such a table, which the tail has read.
func (v *inbound) competeLocal(t *boundTable, id converge.Key, key []byte, w converge.Write, s change.Stamp) error {
	v.clashes.localSeen.note(s.Seq, s.Seen.Of(v.source))
	v.metAgain(id, w)
	unmet := v.unmetLocal(s)
	if remote, known := v.rivals().Of(id, converge.There); known && unmet(remote) {
		v.meet(t, id, key, w, remote)
	}
	return v.rivals().Local(id, w, unmet)
}
