package snapshot

import (
	"fmt"
	"strings"

	"duplex/capture/binlog"
	"duplex/schemas"
)

// Table is one version of a table that is copied.
type Table struct {
	def      *schemas.Table
	selected *binlog.Selected
	// shape is the text of SHOW CREATE TABLE: where it differs the table was altered.
	shape string
	key   []string // expressions of the key's columns
	order string   // ORDER BY of the key
	from  string
}

func newTable(def *schemas.Table, engine, shape string) (*Table, error) {
	selected, err := binlog.NewSelected(def, engine)
	if err != nil {
		return nil, err
	}
	t := &Table{def: def, selected: selected, shape: shape}
	all := selected.Expressions()
	var order []string
	for _, i := range def.Key {
		t.key = append(t.key, all[i])
		order = append(order, quoted(def.Columns[i].Name))
	}
	t.order = " ORDER BY " + strings.Join(order, ", ")
	t.from = " FROM " + quoted(def.DB) + "." + quoted(def.Name) + " FORCE INDEX (PRIMARY)"
	return t, nil
}

// Version is the shape that the row images of its chunks have.
func (t *Table) Version() *binlog.TableVersion { return t.selected.Version() }

// KeyColumns are the names of the primary key's columns.
func (t *Table) KeyColumns() []string {
	var names []string
	for _, i := range t.def.Key {
		names = append(names, t.def.Columns[i].Name)
	}
	return names
}

// Wide reports whether a single row may have so many bytes that two of them are too much at once.
func (t *Table) Wide() bool {
	for i := range t.def.Columns {
		c := &t.def.Columns[i]
		native := strings.ToLower(c.Native)
		switch {
		case c.Type == schemas.JSON, c.Type == schemas.Geometry,
			strings.HasPrefix(native, "long"), strings.HasPrefix(native, "medium") && c.Type != schemas.MediumInt:
			return true
		}
	}
	return false
}

// chunk is the query of the first rows of a range.
func (t *Table) chunk(r Range, rows int) (string, error) {
	where, err := t.where(r)
	return fmt.Sprintf("SELECT %s%s%s%s LIMIT %d", strings.Join(t.selected.Expressions(), ", "), t.from, where, t.order, rows), err
}

// boundary is the query of the key of the row with that number, from 1, after a key.
func (t *Table) boundary(after Key, number int) (string, error) {
	where, err := t.where(Range{After: after})
	return fmt.Sprintf("SELECT %s%s%s%s LIMIT %d, 1", strings.Join(t.key, ", "), t.from, where, t.order, number-1), err
}
