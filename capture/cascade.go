package capture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"duplex/capture/binlog"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// cascades notes what the server does by itself to other rows when one of the
// table is deleted or changed, if it doesn't log that. Like the rest that
// describe asks for it is as of now; who makes or drops such a foreign key must
// not delete parents meanwhile. load asks for all foreign keys.
func (s *session) cascades(t *schemas.Table, load func() ([]mysql.ForeignKey, error)) error {
	if s.server.LogsCascades {
		return nil
	}
	if s.foreignKeys == nil {
		all, err := load()
		if err != nil {
			return classify(err)
		}
		s.foreignKeys = slices.DeleteFunc(append([]mysql.ForeignKey{}, all...), func(k mysql.ForeignKey) bool { return !k.Cascades() })
	}
	t.Cascades = cascadesOf(s.foreignKeys, t)
	return nil
}

// cascadesOf returns what foreign keys make of a table as a parent, nil if
// nothing.
func cascadesOf(all []mysql.ForeignKey, t *schemas.Table) *schemas.Cascades {
	keys := mysql.Cascades(all, t.DB, t.Name)
	if len(keys) == 0 {
		return nil
	}
	c := new(schemas.Cascades)
	for _, k := range keys {
		if k.ParentDB != t.DB || k.Parent != t.Name {
			continue
		}
		c.Delete = c.Delete || k.OnDelete != ""
		for _, name := range k.ParentColumns {
			if at := t.Column(name); k.OnUpdate != "" && at >= 0 && !slices.Contains(c.Columns, at) {
				c.Columns = append(c.Columns, at)
			}
		}
	}
	c.Keys, _ = json.Marshal(keys) // of texts only: it can't fail
	return c
}

// cascading prepares for what the server changes along with the table's rows.
func (t *table) cascading(valueSchema string) error {
	envelope, err := schemas.ParseEnvelope(valueSchema)
	if err != nil {
		return err
	}
	var keys []mysql.ForeignKey
	if err := json.Unmarshal(t.version.Table.Cascades.Keys, &keys); err != nil {
		return fmt.Errorf("reading the foreign keys that refer to %s: %w", t.collection, err)
	}
	for _, k := range keys {
		t.cascaded = append(t.cascaded, k.DB+"."+k.Table)
	}
	t.values = envelope.Value
	t.cascade = &kgo.RecordHeader{Key: topics.HeaderCascade, Value: t.version.Table.Cascades.Keys}
	return nil
}

// cascade marks the records of one row that became after of before, if the
// server changed other rows along with it.
func (e *encoder) cascade(st *step, before, after []byte, records []encoded) error {
	does, err := e.cascades(st, before, after)
	if does {
		markCascade(st, records)
	}
	return err
}

// cascades reports whether the server changed other rows, unlogged, along with
// one that became after of before.
func (e *encoder) cascades(st *step, before, after []byte) (bool, error) {
	if st.rows.Unchecked || before == nil {
		return false, nil
	}
	c := st.table.version.Table.Cascades
	if after == nil || len(c.Columns) == 0 {
		return after == nil && c.Delete, nil
	}
	if !e.exactBefore.Empty() || !e.exactAfter.Empty() {
		return true, nil // what differs may stand in these; to say so without need does no harm
	}
	n := len(st.table.values.Fields)
	e.spansBefore, e.spansAfter = slices.Grow(e.spansBefore[:0], n)[:n], slices.Grow(e.spansAfter[:0], n)[:n]
	if err := st.table.values.Split(before, e.spansBefore); err != nil {
		return false, err
	}
	if err := st.table.values.Split(after, e.spansAfter); err != nil {
		return false, err
	}
	for _, at := range c.Columns {
		b, a := e.spansBefore[at], e.spansAfter[at]
		// MariaDB leaves generated columns out of its binlog.
		if st.table.version.Table.Columns[at].Generated || !bytes.Equal(before[b.From:b.To], after[a.From:a.To]) {
			return true, nil
		}
	}
	return false, nil
}

// cascadesWide is cascades for a wide row, of which any update is taken for one
// of the columns that decide.
func cascadesWide(st *step) bool {
	if st.table.cascade == nil || st.rows.Unchecked {
		return false
	}
	c := st.table.version.Table.Cascades
	return st.rows.Op == binlog.Delete && c.Delete || st.rows.Op == binlog.Update && len(c.Columns) > 0
}

// markCascade puts the header on the records of one change.
func markCascade(st *step, records []encoded) {
	for i := range records {
		r := records[i].record
		r.Headers = append(slices.Clip(r.Headers), *st.table.cascade)
		records[i].cascade = true
	}
}
