package mysql_test

import (
	"database/sql"
	"os"
	"testing"

	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
)

var bed *testbed.Bed

func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }

// everyServer are the versions that the promises hold for.
var everyServer = []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118}

// onEveryServer runs the test against a fresh server of each version.
func onEveryServer(t *testing.T, test func(*testing.T, *testbed.MySQL)) {
	for _, version := range everyServer {
		t.Run(string(version), func(t *testing.T) { test(t, bed.SharedMySQL(t, version, "")) })
	}
}

func plainConfig(server *testbed.MySQL) config.MySQL {
	return config.MySQL{Address: server.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}}
}

func open(t *testing.T, cfg config.MySQL, session mysql.Session) *sql.DB {
	t.Helper()
	db, err := mysql.Open(cfg, session)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func query(t *testing.T, db *sql.DB, statement string) string {
	t.Helper()
	var value sql.NullString
	if err := db.QueryRowContext(t.Context(), statement).Scan(&value); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return value.String
}

func inspect(t *testing.T, db *sql.DB) *mysql.Server {
	t.Helper()
	s, err := mysql.Inspect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
