package apply

import (
	"database/sql"
	"testing"

	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
)

// A row whose deletion is written late is gone already if the batch has written
// another before whose key the collation takes for the same: that one stays.
func TestLateDeleteIsExact(t *testing.T) {
	server := testbed.New(t).MySQL(t, testbed.MySQL97)
	db, err := mysql.Open(config.MySQL{Address: server.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}}, mysql.Applying)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec("CREATE DATABASE shop")
	for _, ddl := range []string{
		"CREATE TABLE shop.plain (id VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY, n INT)",
		"CREATE TABLE shop.uniq (id VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY, n INT UNIQUE)",
	} {
		exec(ddl)
	}
	for _, name := range []string{"plain", "uniq"} {
		table, err := mysql.LoadTable(t.Context(), db, "shop", name)
		if err != nil {
			t.Fatal(err)
		}
		exec("INSERT INTO shop." + name + " VALUES ('ä', 1), ('b', 2), ('c', 3)")
		bound := boundTo(t, table)
		key := func(id string) []byte { return schemas.AppendString(nil, id) }
		early := &tableRows{table: bound, rows: []row{{key: key("æ"), after: append(key("æ"), 2, 8)}}} // the unions' second branch, 4
		late := &tableRows{table: bound, late: true, rows: []row{
			{key: key("ä"), before: append(key("ä"), 2, 2)},
			{key: key("B"), before: append(key("B"), 2, 4)},
			{key: key("c"), before: append(key("c"), 2, 6)},
			{key: key("d"), before: append(key("d"), 2, 10)},
		}}
		writeTables(t, db, []*tableRows{early}, []*tableRows{late})

		var got sql.NullString
		if err := db.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(id, n ORDER BY n) FROM shop."+name).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want := "b2,æ4"; got.String != want {
			t.Errorf("%s holds %q after the deletes, not %q", name, got.String, want)
		}
	}
}

// writeTables writes each list of tables in turn, over one connection.
func writeTables(t *testing.T, db *sql.DB, lists ...[]*tableRows) {
	t.Helper()
	w, err := newWriter(t.Context(), db, &progress{task: "t", origin: "east"}, 0, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer w.conn.Close()
	for _, tables := range lists {
		if err := w.tables(t.Context(), tables); err != nil {
			t.Fatal(err)
		}
	}
}
