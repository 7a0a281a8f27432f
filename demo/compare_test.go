package demo

import (
	"database/sql"
	"testing"

	"duplex/internal/testbed"
)

// Each kind of difference must be found, the smallest too.
func TestCompareFindsEveryDifference(t *testing.T) {
	east := bed.SharedMySQL(t, testbed.AnyMySQL, "east").DB()
	west := bed.SharedMySQL(t, testbed.AnyMySQL, "west").DB()
	for _, db := range []*sql.DB{east, west} {
		if err := createTables(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		run(t, db, `INSERT INTO shop.customers VALUES (1, 'east', 'a@east', 'Ada', '{"a": 1}', 1, '2026-01-02 03:04:05.000006'), (2, 'west', 'b@west', 'Bo', '[]', 2, '2026-01-02')`,
			`INSERT INTO shop.orders VALUES (1, 'east', 1, 'new', 9.99, '', '2026-01-02 03:04:05'), (2, 'west', 2, 'paid', 1, NULL, '2026-01-02 03:04:05')`,
			`INSERT INTO shop.stock VALUES ('east', 'SKU000', 5, 0), ('east', 'SKU001', 5, 0), ('west', 'SKU000', 5, 0)`)
	}
	if n := differing(t, east, west); n != 0 {
		t.Fatalf("%d differences between equal regions", n)
	}
	for _, change := range []struct {
		statement string
		want      int64
	}{
		{"UPDATE shop.orders SET note = NULL, changed = changed WHERE id = 1", 1}, // '' became NULL
		{"UPDATE shop.customers SET since = since + INTERVAL 1 MICROSECOND WHERE id = 1", 2},
		{"UPDATE shop.customers SET name = 'bo' WHERE id = 2", 3}, // equal by collation only
		{"DELETE FROM shop.stock WHERE sku = 'SKU001'", 4},
		{"INSERT INTO shop.stock VALUES ('west', 'SKU009', 1, 1)", 5},
		{"UPDATE shop.stock SET sold = 1, quantity = 4 WHERE warehouse = 'east' AND sku = 'SKU000'", 6},
	} {
		run(t, west, change.statement)
		if n := differing(t, east, west); n != change.want {
			t.Errorf("after %s: %d differences, want %d", change.statement, n, change.want)
		}
	}
	run(t, west, "CREATE TABLE shop.more (id INT PRIMARY KEY)")
	if _, err := compare(t.Context(), east, west); err == nil {
		t.Error("a table that east lacks is no error")
	}
}

func differing(t *testing.T, east, west *sql.DB) (n int64) {
	t.Helper()
	tables, err := compare(t.Context(), east, west)
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) != 5 {
		t.Fatalf("compared %d tables, want 5", len(tables))
	}
	for _, table := range tables {
		n += table.Differences
	}
	return n
}

func run(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
