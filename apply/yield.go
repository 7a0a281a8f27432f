package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"duplex/change"
	"duplex/converge"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What a region that made room for unique values tells the other, and its own tail:
// deletions with versions of their own (room), of rows that it had and of rows that
// it hadn't.

// versionOf returns a record's version, which is that of its stamp unless the record
// says otherwise.
func versionOf(r spine.Record, stamp change.Version) (change.Version, error) {
	v, given, err := topics.Version(r.Record)
	if err != nil {
		return v, spine.Unreadable(r.Record, err)
	}
	if !given {
		return stamp, nil
	}
	return v, nil
}

// give gives m the version that its record has.
func (m *made) give(r spine.Record) error {
	v, err := versionOf(r, m.version())
	m.hlc, m.origin = v.HLC, v.Origin
	return err
}

// yielded is m for a row that wasn't there. It has no place.
func (m made) yielded(y *topics.Yielded) made {
	m.hlc, m.origin = y.HLC, y.Origin
	return m
}

// addGiven adds a change of a transaction that made room for unique values.
func (s *session) addGiven(b *batch, t *boundTable, key []byte, m made, r spine.Record) error {
	if err := m.give(r); err != nil {
		return err
	}
	if newer, err := b.hasNewer(t, key, m.version()); err != nil {
		return t.unreadable(r.Record, err)
	} else if newer {
		return nil
	}
	if err := b.add(t, key, s.decoded.Before, s.decoded.After, m); err != nil {
		return t.unreadable(r.Record, err)
	}
	return nil
}

// joinYielded adds the rows that yielded and weren't in the source region.
func (s *session) joinYielded(ctx context.Context, m made, yielded []topics.Yielded) error {
	for i := range yielded {
		y := &yielded[i]
		t, err := s.tableOf(ctx, y)
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		newer, err := s.open.hasNewer(t, y.Key, y.Version())
		if err == nil && !newer {
			err = s.open.add(t, y.Key, nil, nil, m.yielded(y))
		}
		if weigh := new(weighError); errors.As(err, &weigh) {
			return weigh
		}
		if err != nil {
			return supervise.Permanent(t.failure(err))
		}
	}
	return nil
}

// mergeYielded does the same for a large transaction.
func (l *large) mergeYielded(ctx context.Context) error {
	m := l.s.madeBy(l.end)
	for i := range l.end.Yielded {
		y := &l.end.Yielded[i]
		t, err := l.s.tableOf(ctx, y)
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		r := l.chunk.merge(t, y.Key, nil, nil)
		r.made = m.yielded(y)
		if r.id, err = l.s.versions.idOf(t, y.Key); err != nil {
			return err
		}
		l.given = append(l.given, relearnt{t, row{key: y.Key, made: r.made}})
	}
	return nil
}

// hasNewer reports whether a batch has a greater version of a row. Only the deletion
// of a row that yielded may follow one: it was made where the row wasn't locked.
func (b *batch) hasNewer(t *boundTable, key []byte, v change.Version) (newer bool, err error) {
	if b.scratch, err = t.binder.AppendConflictKey(b.scratch[:0], key); err != nil {
		return false, err
	}
	id := t.id(b.scratch)
	for _, tr := range b.tables {
		for i := range tr.rows {
			r := &tr.rows[i]
			same := r.id == id && (t.tracked || bytes.Equal(r.key, key))
			if same && !r.void && v.Compare(r.made.version()) < 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// tableOf binds the table of a row that yielded, nil if it isn't in the task.
func (s *session) tableOf(ctx context.Context, y *topics.Yielded) (*boundTable, error) {
	if s.versions == nil {
		return nil, nil
	}
	return bindYielded(ctx, y, s.st.cfg.Spec, func(region change.Region) (*binders, error) {
		switch {
		case region == s.st.cfg.Source:
			return s.binders, nil
		case region == s.st.cfg.Process.Region:
			return s.ownBinders, nil
		case s.round != nil:
			return s.round.bindersOf(region)
		}
		return nil, nil
	})
}

// bindYielded binds a table by the schemas of the record that tells of the row: of may be any region of the task.
func bindYielded(ctx context.Context, y *topics.Yielded, spec *tasks.Spec, of func(change.Region) (*binders, error)) (*boundTable, error) {
	region, db, table, ok := topics.ParseTable(y.Topic)
	if !ok {
		return nil, supervise.Permanent(fmt.Errorf("header %s of an END record tells of topic %q, which isn't a table's: something other than Duplex writes to the topics; mend: find the producer and keep it out by an ACL", topics.HeaderYielded, y.Topic))
	}
	if !slices.Contains(spec.Regions, region) || !spec.Tables.Match(db, table) {
		return nil, nil
	}
	binders, err := of(region)
	if err != nil || binders == nil {
		return nil, err
	}
	t, _, _, err := binders.of(ctx, spine.Record{Record: &kgo.Record{
		Topic: y.Topic, Key: append(schemas.AppendHeader(nil, y.KeySchema), y.Key...), Value: schemas.AppendHeader(nil, y.ValueSchema),
	}})
	return t, err
}

// tellRest tells versions what stands at the end of a transaction.
func (t *tail) tellRest(ctx context.Context, s *change.Stamp) error {
	if err := t.tellVague(s); err != nil || s.Origin != t.v.region {
		return err
	}
	of := func(region change.Region) (*binders, error) {
		if region == t.v.region {
			return t.binders, nil
		}
		return t.foreign(region)
	}
	for i := range t.yielded {
		y := &t.yielded[i]
		table, err := bindYielded(ctx, y, t.spec, of)
		if supervise.IsPermanent(err) {
			t.binders.untracked(y.Topic, err)
			continue
		}
		if err != nil {
			return err
		}
		if table == nil {
			continue
		}
		if err := t.v.yielded(noted{table: table, key: y.Key, version: y.Version()}, *s); err != nil {
			return err
		}
	}
	return nil
}

// yieldedRow is a row that yielded where it wasn't.
type yieldedRow struct {
	table   *boundTable
	key     []byte
	version change.Version
}

// refer remembers, since no record tells of it, which row yielded: a repair that
// finds it must delete it.
func (v *versions) refer(id converge.Key, t *boundTable, key []byte, version change.Version) {
	const few = 1024
	if len(v.yieldedRows) >= few {
		for id, y := range v.yieldedRows {
			if k, known := v.index.Of(id); !known || k.Version != y.version {
				delete(v.yieldedRows, id)
			}
		}
	}
	v.yieldedRows[id] = yieldedRow{t, key, version}
}

// yielded notes the deletion, by the region itself, of a row that yielded. n has no
// place if the row wasn't there.
func (v *versions) yielded(n noted, s change.Stamp) error {
	if !n.table.tracked {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	id, err := v.id(n.table, n.key)
	if err != nil {
		return err
	}
	if err := v.unpack(id); err != nil {
		return err
	}
	v.contest(id)
	w := converge.Write{Version: n.version, Digest: v.digest(v.region, s.Seq)}
	if n.at.Topic == "" {
		v.refer(id, n.table, n.key, n.version)
		v.lostFor(n, id, w)
		return v.index.Yielded(id, w)
	}
	w.Place = v.places.add(n.at, n.offset)
	v.lostFor(n, id, w)
	return v.index.Local(id, w)
}

// losing is a row that yields: the version of its deletion, and the write that it loses.
type losing struct {
	to    change.Version
	write converge.Write
}

// lostFor notes, for the record, what a row lost that this region has deleted for its unique value.
func (v *versions) lostFor(n noted, id converge.Key, deleted converge.Write) {
	l, decided := v.losing[id]
	if delete(v.losing, id); !decided || l.to != n.version || l.write.Seq == 0 {
		return
	}
	of := v.sources[l.write.Version.Origin]
	if of == nil {
		of = v.all[0] // a write of this region: any recorder reads its topics
	}
	of.meet(n.table, id, n.key, deleted, l.write)
	of.clashes.release()
}

// idOf is id for who doesn't hold v.mu.
func (v *versions) idOf(t *boundTable, key []byte) (converge.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.id(t, key)
}
