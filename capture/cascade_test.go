package capture

import (
	"fmt"
	"testing"

	"duplex/capture/binlog"
	"duplex/mysql"
	"duplex/schemas"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestCascadesOf: which changes of a parent the server goes on with by itself.
func TestCascadesOf(t *testing.T) {
	key := func(child, column, parent, parentColumn, onDelete, onUpdate string) mysql.ForeignKey {
		return mysql.ForeignKey{Name: child + "_" + column, DB: "shop", Table: child, Columns: []string{column}, ParentDB: "shop", Parent: parent, ParentColumns: []string{parentColumn}, OnDelete: onDelete, OnUpdate: onUpdate}
	}
	all := []mysql.ForeignKey{
		key("b", "a", "a", "ID", "CASCADE", ""), key("b", "c", "a", "code", "", "SET NULL"), key("c", "b", "b", "id", "SET NULL", ""),
		key("a", "c", "c", "id", "", "CASCADE"), key("tree", "parent", "tree", "id", "CASCADE", ""), key("strict", "a", "a", "id", "", ""),
	}
	table := func(name string) *schemas.Table {
		return &schemas.Table{DB: "shop", Name: name, Columns: []schemas.Column{{Name: "id"}, {Name: "code"}}}
	}
	for _, tt := range []struct{ table, want string }{
		{"a", "true [1] [a_c b_a b_c c_b]"},
		{"c", "false [0] [a_c b_a b_c c_b]"},
		{"tree", "true [] [tree_parent]"},
		{"strict", "nil"},
	} {
		got := "nil"
		if c := cascadesOf(all, table(tt.table)); c != nil {
			var names []string
			for _, k := range mysql.Cascades(all, "shop", tt.table) {
				names = append(names, k.Name)
			}
			got = fmt.Sprint(c.Delete, c.Columns, names)
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.table, got, tt.want)
		}
	}
}

// TestCascadeMark: only what the server went on with is marked, and not where
// foreign keys weren't checked.
func TestCascadeMark(t *testing.T) {
	text, err := schemas.EnvelopeSchema(&schemas.Table{DB: "shop", Name: "a", Key: []int{0},
		Columns: []schemas.Column{{Name: "id", Type: schemas.BigInt}, {Name: "n", Type: schemas.BigInt}}}, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	row := func(id, n int64) []byte { return schemas.AppendLong(schemas.AppendLong(nil, id), n) }
	for _, tt := range []struct {
		before, after []byte
		unchecked     bool
		cascades      schemas.Cascades
		want          bool
	}{
		{row(1, 2), nil, false, schemas.Cascades{Delete: true}, true},
		{row(1, 2), nil, true, schemas.Cascades{Delete: true}, false},
		{row(1, 2), nil, false, schemas.Cascades{Columns: []int{0}}, false},
		{nil, row(1, 2), false, schemas.Cascades{Delete: true, Columns: []int{0}}, false},
		{row(1, 2), row(1, 3), false, schemas.Cascades{Delete: true, Columns: []int{0}}, false},
		{row(1, 2), row(4, 2), false, schemas.Cascades{Columns: []int{0}}, true},
		{row(1, 2), row(4, 2), false, schemas.Cascades{Delete: true}, false},
		{row(1, 2), row(1, 3), false, schemas.Cascades{Columns: []int{0, 1}}, true},
		{row(1, 2), row(1, 3), true, schemas.Cascades{Columns: []int{0, 1}}, false},
	} {
		tt.cascades.Keys = []byte("[]")
		tab := &table{version: &binlog.TableVersion{Table: &schemas.Table{Columns: make([]schemas.Column, 2), Cascades: &tt.cascades}}}
		if err := tab.cascading(text); err != nil {
			t.Fatal(err)
		}
		var e encoder
		records := []encoded{{record: new(kgo.Record), op: 'u'}}
		if err := e.cascade(&step{table: tab, rows: &binlog.RowsEvent{Unchecked: tt.unchecked}}, tt.before, tt.after, records); err != nil {
			t.Fatal(err)
		}
		if got := len(records[0].record.Headers) == 1; got != tt.want || records[0].cascade != tt.want {
			t.Errorf("%+v: marked %t", tt, got)
		}
	}
}
