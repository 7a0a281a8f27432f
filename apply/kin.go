package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"duplex/apply/statement"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/supervise"
)

// kin is a table of the target and those whose rows the source's server changed
// along with its rows, by the foreign keys that the source has.
type kin struct {
	table    *schemas.Table
	children []kinKey
}

// kinKey is a foreign key of a child table.
type kinKey struct {
	child                  *kin
	columns, parentColumns []int // positions in the two tables
	onDelete, onUpdate     rule
}

// rule is what a foreign key does to child rows.
type rule uint8

const (
	refuse rule = iota // the source's server would have refused, so there were none
	follow
	setNull
)

// values are those of a row, by position, as SQL literals; empty where unknown.
type values []string

// newKin builds the tree, or the circles, that start from root. load returns the
// target's table of a name.
func newKin(root *schemas.Table, keys []mysql.ForeignKey, load func(db, table string) (*schemas.Table, error)) (*kin, error) {
	known := map[[2]string]*kin{{root.DB, root.Name}: {table: root}}
	of := func(db, table string) (*kin, error) {
		if k, ok := known[[2]string{db, table}]; ok {
			return k, nil
		}
		t, err := load(db, table)
		if err != nil {
			return nil, err
		}
		known[[2]string{db, table}] = &kin{table: t}
		return known[[2]string{db, table}], nil
	}
	for _, key := range keys {
		parent, err := of(key.ParentDB, key.Parent)
		if err != nil {
			return nil, err
		}
		child, err := of(key.DB, key.Table)
		if err != nil {
			return nil, err
		}
		k := kinKey{child: child}
		if k.onDelete, err = ruleOf(key.OnDelete); err == nil {
			k.onUpdate, err = ruleOf(key.OnUpdate)
		}
		if err == nil {
			k.columns, err = positions(child.table, key.Columns)
		}
		if err == nil {
			k.parentColumns, err = positions(parent.table, key.ParentColumns)
		}
		if err != nil {
			return nil, supervise.Permanent(fmt.Errorf("foreign key %s of the source: %w", key.String(), err))
		}
		parent.children = append(parent.children, k)
	}
	return known[[2]string{root.DB, root.Name}], nil
}

func ruleOf(action string) (rule, error) {
	switch action {
	case "":
		return refuse, nil
	case "CASCADE":
		return follow, nil
	case "SET NULL":
		return setNull, nil
	}
	return refuse, fmt.Errorf("the action %s is not handled; mend: give it another one in the source", action)
}

func positions(t *schemas.Table, names []string) ([]int, error) {
	at := make([]int, len(names))
	for i, name := range names {
		if at[i] = t.Column(name); at[i] < 0 {
			return nil, fmt.Errorf("table %s lacks column %s here; mend: make the table as SHOW CREATE TABLE shows it in the source", t, mysql.QuoteIdent(name))
		}
	}
	return at, nil
}

// referred returns the names of the columns that foreign keys refer to.
func (k *kin) referred() (names []string) {
	for _, key := range k.children {
		for _, at := range key.parentColumns {
			if name := k.table.Columns[at].Name; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// valuesOf returns what a row of the source has in the columns that foreign keys
// refer to; nil for no row.
func (k *kin) valuesOf(b *statement.Binder, row []byte) (values, error) {
	if row == nil {
		return nil, nil
	}
	names := k.referred()
	literals, err := b.Literals(row, names)
	if err != nil {
		return nil, err
	}
	v := make(values, len(k.table.Columns))
	for i, name := range names {
		v[k.table.Column(name)] = literals[i]
	}
	return v, nil
}

// rule returns what the key does to the children of a row that became after of
// before, and what they get in its columns, empty where they keep what they have.
func (k *kinKey) rule(before, after values) (r rule, set []string) {
	changed := make([]string, len(k.columns))
	any := false
	for i, at := range k.parentColumns {
		if before[at] == statement.Null {
			return refuse, nil // it has no children by this key
		}
		if after != nil && before[at] != after[at] {
			changed[i], any = after[at], true
		}
	}
	switch {
	case after == nil && k.onDelete == setNull, any && k.onUpdate == setNull:
		for i := range changed {
			changed[i] = statement.Null
		}
		return setNull, changed
	case after == nil:
		return k.onDelete, nil
	case any:
		return k.onUpdate, changed
	}
	return refuse, nil
}

// statement returns what changes the children that condition tells: set is what
// rule gave.
func (k *kinKey) statement(set []string, condition string) string {
	t := k.child.table
	name := mysql.QuoteIdent(t.DB) + "." + mysql.QuoteIdent(t.Name)
	if set == nil {
		return "DELETE FROM " + name + condition
	}
	var assign []string
	for i, at := range k.columns {
		if set[i] != "" {
			assign = append(assign, mysql.QuoteIdent(t.Columns[at].Name)+"="+set[i])
		}
	}
	for at, c := range t.Columns {
		// InnoDB leaves ON UPDATE CURRENT_TIMESTAMP out of what a key changes.
		if (c.Type == schemas.Timestamp || c.Type == schemas.DateTime) && !c.Generated && !slices.Contains(k.columns, at) {
			assign = append(assign, mysql.QuoteIdent(c.Name)+"="+mysql.QuoteIdent(c.Name))
		}
	}
	return "UPDATE " + name + " SET " + strings.Join(assign, ",") + condition
}

// condition is the WHERE for the children of a row, of which row, if it isn't
// nil, is to be the one.
func (k *kinKey) condition(parent, row values) string {
	var parts []string
	for i, at := range k.columns {
		parts = append(parts, mysql.QuoteIdent(k.child.table.Columns[at].Name)+"="+parent[k.parentColumns[i]])
	}
	where := " WHERE " + strings.Join(parts, " AND ")
	if row == nil {
		return where
	}
	return k.child.one(row) + strings.Replace(where, " WHERE ", " AND ", 1)
}

// one is the WHERE for the row with that primary key.
func (k *kin) one(row values) string {
	parts := make([]string, len(k.table.Key))
	for i, at := range k.table.Key {
		parts[i] = mysql.QuoteIdent(k.table.Columns[at].Name) + "=" + row[at]
	}
	return " WHERE " + strings.Join(parts, " AND ")
}

// selects returns the SELECT of the rows of a condition, and the columns that it
// reads: the primary key, and what foreign keys refer to.
func (k *kin) selects(condition string) (text string, columns []int, err error) {
	t := k.table
	columns = slices.Clone(t.Key)
	for _, key := range k.children {
		for _, at := range key.parentColumns {
			if !slices.Contains(columns, at) {
				columns = append(columns, at)
			}
		}
	}
	shown := make([]string, len(columns))
	for i, at := range columns {
		if shown[i], err = literalOf(&t.Columns[at]); err != nil {
			return "", nil, fmt.Errorf("table %s, column %s: %w", t, t.Columns[at].Name, err)
		}
	}
	return "SELECT " + strings.Join(shown, ",") + " FROM " + mysql.QuoteIdent(t.DB) + "." + mysql.QuoteIdent(t.Name) + condition + " FOR UPDATE", columns, nil
}

// literalOf is the expression with which the server writes a value as a literal
// that it reads back to the same.
func literalOf(c *schemas.Column) (string, error) {
	name := mysql.QuoteIdent(c.Name)
	hex := func(charset string) string { return "CONCAT('" + charset + "x''',HEX(" + name + "),'''')" }
	switch c.Type {
	case schemas.TinyInt, schemas.SmallInt, schemas.MediumInt, schemas.Int, schemas.BigInt, schemas.Decimal, schemas.Year:
		return "CONCAT(" + name + ")", nil
	case schemas.Bit, schemas.Enum, schemas.Set:
		return "CONCAT(" + name + "+0)", nil
	case schemas.Float, schemas.Double:
		return "CONCAT(" + name + "+0e0)", nil
	case schemas.Date, schemas.Time, schemas.DateTime, schemas.Timestamp, schemas.UUID, schemas.INET4, schemas.INET6:
		return "QUOTE(CONCAT(" + name + "))", nil
	case schemas.Char, schemas.VarChar:
		return hex("_" + c.Charset + " "), nil
	case schemas.Binary, schemas.VarBinary:
		return hex(""), nil
	}
	return "", errors.New("foreign keys over such columns are not handled")
}

// kinOf returns the tables that the change of a record goes on to. keys is what
// topics.Cascade gave.
func (b *binders) kinOf(ctx context.Context, t *boundTable, keys []byte) (*kin, error) {
	name := t.name + "\n" + string(keys)
	if k, ok := b.kin[name]; ok {
		return k, nil
	}
	var all []mysql.ForeignKey
	if err := json.Unmarshal(keys, &all); err != nil {
		return nil, supervise.Permanent(fmt.Errorf("table %s: reading header cascade: %w", t.name, err))
	}
	load := func(db, table string) (*schemas.Table, error) {
		if !b.wanted(db, table) {
			return nil, supervise.Permanent(fmt.Errorf("the source's server changed rows of table %s.%s along with one of %s, by a foreign key, and didn't log it; mend: include %[1]s.%[2]s in this task, make it equal in the two regions, and restart", db, table, t.name))
		}
		target, _, err := b.target(ctx, db, table)
		return target, err
	}
	root, _, err := b.target(ctx, t.db, t.table)
	if err != nil {
		return nil, err
	}
	k, err := newKin(root, all, load)
	if err != nil {
		return nil, err
	}
	b.kin[name] = k
	return k, nil
}
