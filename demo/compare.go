package demo

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Table is one table, compared.
type Table struct {
	Name        string `json:"table"`
	East        int64  `json:"east_rows"`
	West        int64  `json:"west_rows"`
	Differences int64  `json:"differences"` // keys whose rows aren't equal, or that one region lacks
	// Examples are the keys of the first differences.
	Examples []string `json:"examples,omitempty"`
}

func (t *Table) String() string {
	s := fmt.Sprintf("  shop.%-12s %8d rows in east, %8d in west, %d differences", t.Name, t.East, t.West, t.Differences)
	if len(t.Examples) > 0 {
		s += ": " + strings.Join(t.Examples, "; ")
	}
	return s
}

const maxExamples = 5

// compare compares every table of schema shop, every row and every column. It
// shares nothing with Duplex: the tables, columns and keys are the databases'
// own word.
func compare(ctx context.Context, east, west *sql.DB) ([]Table, error) {
	sets := [2][]string{}
	for i, db := range []*sql.DB{east, west} {
		var err error
		if sets[i], err = listNames(ctx, db, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' ORDER BY 1"); err != nil {
			return nil, fmt.Errorf("listing the tables: %w", err)
		}
	}
	if !slices.Equal(sets[0], sets[1]) {
		return nil, fmt.Errorf("comparing the regions: east has the tables %v, west %v", sets[0], sets[1])
	}
	var tables []Table
	for _, name := range sets[0] {
		t, err := compareTable(ctx, east, west, name)
		if err != nil {
			return nil, fmt.Errorf("comparing table shop.%s: %w", name, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

func compareTable(ctx context.Context, east, west *sql.DB, name string) (Table, error) {
	t := Table{Name: name}
	a, err := readRows(ctx, east, name)
	if err != nil {
		return t, fmt.Errorf("in east: %w", err)
	}
	b, err := readRows(ctx, west, name)
	if err != nil {
		return t, fmt.Errorf("in west: %w", err)
	}
	t.East, t.West = int64(len(a)), int64(len(b))
	differ := func(key, what string) {
		t.Differences++
		if len(t.Examples) < maxExamples {
			t.Examples = append(t.Examples, key+" "+what)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(a)) {
		switch there, ok := b[key]; {
		case !ok:
			differ(key, "is missing in west")
		case there != a[key]:
			differ(key, "differs")
		}
		delete(b, key)
	}
	for _, key := range slices.Sorted(maps.Keys(b)) {
		differ(key, "is missing in east")
	}
	return t, nil
}

// digest stands for the content of a row.
type digest [sha256.Size]byte

// readRows returns the digest of every row of the table, by primary key.
func readRows(ctx context.Context, db *sql.DB, table string) (map[string]digest, error) {
	keys, err := listNames(ctx, db, "SELECT COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = ? AND CONSTRAINT_NAME = 'PRIMARY' ORDER BY ORDINAL_POSITION", table)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the table has no primary key")
	}
	columns, err := listNames(ctx, db, "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME = ? ORDER BY COLUMN_NAME", table)
	if err != nil {
		return nil, err
	}
	quoted := make([]string, 0, len(keys)+len(columns))
	for _, c := range slices.Concat(keys, columns) {
		quoted = append(quoted, "`"+c+"`")
	}
	rows, err := db.QueryContext(ctx, "SELECT "+strings.Join(quoted, ", ")+" FROM shop.`"+table+"`")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]digest{}
	cells, into := make([]sql.RawBytes, len(quoted)), make([]any, len(quoted))
	for i := range cells {
		into[i] = &cells[i]
	}
	var content []byte
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		key := make([]string, len(keys))
		for i := range key {
			key[i] = string(cells[i])
		}
		content = appendCells(content[:0], cells[len(keys):])
		found[strings.Join(key, ",")] = sha256.Sum256(content)
	}
	return found, rows.Err()
}

// appendCells writes values one after the other such that no two rows look
// alike: NULL isn't the empty string, and lengths keep neighbours apart.
func appendCells(dst []byte, cells []sql.RawBytes) []byte {
	for _, c := range cells {
		if c == nil {
			dst = append(dst, 0)
			continue
		}
		dst = append(dst, 1)
		dst = binary.AppendUvarint(dst, uint64(len(c)))
		dst = append(dst, c...)
	}
	return dst
}

// listNames returns the one column of a query.
func listNames(ctx context.Context, db *sql.DB, query string, args ...any) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}
