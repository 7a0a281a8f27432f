package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// ForeignKey is one foreign key of a child table, also as JSON in header cascade of
// the topics (docs/TOPICS.md).
type ForeignKey struct {
	Name          string   `json:"name"`
	DB            string   `json:"database"`
	Table         string   `json:"table"`
	Columns       []string `json:"columns"`
	ParentDB      string   `json:"parent_database"`
	Parent        string   `json:"parent_table"`
	ParentColumns []string `json:"parent_columns"`
	// OnDelete and OnUpdate are CASCADE, SET NULL or SET DEFAULT; empty where
	// the server refuses to change the parent.
	OnDelete string `json:"on_delete,omitempty"`
	OnUpdate string `json:"on_update,omitempty"`
}

// Cascades reports whether the server changes child rows by itself.
func (k *ForeignKey) Cascades() bool { return k.OnUpdate != "" || k.OnDelete != "" }

// Definition is the key without its name, as ALTER TABLE … ADD takes it.
func (k *ForeignKey) Definition() string {
	s := fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s.%s (%s)", quoteList(k.Columns), QuoteIdent(k.ParentDB), QuoteIdent(k.Parent), quoteList(k.ParentColumns))
	if k.OnDelete != "" {
		s += " ON DELETE " + k.OnDelete
	}
	if k.OnUpdate != "" {
		s += " ON UPDATE " + k.OnUpdate
	}
	return s
}

// String is the child table and the definition. Foreign keys that do the same
// differ in it by case at most.
func (k *ForeignKey) String() string {
	return QuoteIdent(k.DB) + "." + QuoteIdent(k.Table) + " " + k.Definition()
}

func quoteList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = QuoteIdent(name)
	}
	return strings.Join(quoted, ", ")
}

// LoadForeignKeys returns the foreign keys of all tables that the account has a
// privilege on, those of one table one after the other.
func LoadForeignKeys(ctx context.Context, db *sql.DB) ([]ForeignKey, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err // a *ConnectError says all
	}
	defer conn.Close()
	var keys []ForeignKey
	err = each(ctx, conn, "SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.COLUMN_NAME,"+
		" k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, r.UPDATE_RULE, r.DELETE_RULE"+
		" FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r"+
		" ON r.CONSTRAINT_SCHEMA=k.CONSTRAINT_SCHEMA AND r.TABLE_NAME=k.TABLE_NAME AND r.CONSTRAINT_NAME=k.CONSTRAINT_NAME"+
		" WHERE k.REFERENCED_TABLE_NAME IS NOT NULL AND k.TABLE_SCHEMA NOT IN "+systemSchemas+" ORDER BY k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION", func(rows *sql.Rows) error {
		var k ForeignKey
		var column, parentColumn string
		if err := rows.Scan(&k.DB, &k.Table, &k.Name, &column, &k.ParentDB, &k.Parent, &parentColumn, &k.OnUpdate, &k.OnDelete); err != nil {
			return err
		}
		if n := len(keys); n == 0 || keys[n-1].DB != k.DB || keys[n-1].Table != k.Table || keys[n-1].Name != k.Name {
			k.OnUpdate, k.OnDelete = action(k.OnUpdate), action(k.OnDelete)
			keys = append(keys, k)
		}
		last := &keys[len(keys)-1]
		last.Columns, last.ParentColumns = append(last.Columns, column), append(last.ParentColumns, parentColumn)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading foreign keys: %w", Classify(err))
	}
	return keys, nil
}

// action gives the rules that refuse one name: InnoDB treats RESTRICT and NO
// ACTION alike, and the servers differ in which is the default.
func action(rule string) string {
	if rule == "RESTRICT" || rule == "NO ACTION" {
		return ""
	}
	return rule
}

// Cascades returns, of all foreign keys, those by which the server may change
// rows itself when one of a table is deleted or gets another key: those of its
// children, of their children, and so on, in the order of their texts.
func Cascades(all []ForeignKey, db, table string) []ForeignKey {
	var found []ForeignKey
	seen, next := map[[2]string]bool{{db, table}: true}, [][2]string{{db, table}}
	for len(next) > 0 {
		parent := next[0]
		next = next[1:]
		for _, k := range all {
			if !k.Cascades() || parent != [2]string{k.ParentDB, k.Parent} {
				continue
			}
			found = append(found, k)
			if child := [2]string{k.DB, k.Table}; !seen[child] {
				seen[child], next = true, append(next, child)
			}
		}
	}
	slices.SortFunc(found, func(a, b ForeignKey) int {
		return strings.Compare(strings.ToLower(a.String()), strings.ToLower(b.String()))
	})
	return found
}
