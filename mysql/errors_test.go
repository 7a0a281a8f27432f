package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"duplex/internal/testbed"
	"duplex/mysql"
)

const secretValue = "canary-value"

// Each error is provoked on a real server; none of the texts holds the value.
func TestClassifyStatements(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		admin := server.DB()
		exec(t, admin, "CREATE DATABASE shop",
			"CREATE TABLE shop.parent (id INT PRIMARY KEY)",
			"CREATE TABLE shop.t (id INT PRIMARY KEY, u VARCHAR(20) UNIQUE, n TINYINT, d DATE, s VARCHAR(3), l VARCHAR(30) CHARACTER SET latin1,"+
				" nn INT NOT NULL DEFAULT 1, e ENUM('a'), p INT, CONSTRAINT positive CHECK (n > 0), CONSTRAINT par FOREIGN KEY (p) REFERENCES shop.parent (id))",
			"CREATE TABLE shop.needs (id INT PRIMARY KEY, x INT NOT NULL)",
			"INSERT INTO shop.parent VALUES (1)",
			"INSERT INTO shop.t (id, u, p) VALUES (1, '"+secretValue+"', 1)",
			"CREATE USER app@'%' IDENTIFIED BY ''", "GRANT SELECT ON shop.* TO app@'%'")
		cfg := plainConfig(server)
		db := open(t, cfg, mysql.Reading)
		cfg.User = "app"
		app := open(t, cfg, mysql.Reading)
		check, unconvertible := uint16(3819), uint16(3988)
		if server.IsMariaDB() {
			check, unconvertible = 4025, 1366
		}
		for _, c := range []struct {
			db        *sql.DB
			statement string
			args      []any
			number    uint16
			text      string // in the error
		}{
			{db, "INSERT INTO shop.t (id, u) VALUES (2, ?)", []any{secretValue}, 1062, "u"},
			{db, "INSERT INTO shop.t (id, n) VALUES (2, ?)", []any{"300"}, 1264, "column 'n'"},
			{db, "INSERT INTO shop.t (id, n) VALUES (2, ?)", []any{-1}, check, "positive"},
			{db, "INSERT INTO shop.t (id, n) VALUES (2, ?)", []any{secretValue}, 1366, "n"},
			{db, "INSERT INTO shop.t (id, d) VALUES (2, ?)", []any{secretValue}, 1292, "column "},
			{db, "INSERT INTO shop.t (id, s) VALUES (2, ?)", []any{secretValue}, 1406, "column 's'"},
			{db, "INSERT INTO shop.t (id, l) VALUES (2, ?)", []any{secretValue + "漢"}, unconvertible, "make the column's"},
			{db, "INSERT INTO shop.t (id, e) VALUES (2, ?)", []any{secretValue}, 1265, "column 'e'"},
			{db, "INSERT INTO shop.t (id, nn) VALUES (2, NULL)", nil, 1048, "'nn'"},
			{db, "INSERT INTO shop.needs (id) VALUES (1)", nil, 1364, "'x'"},
			{db, "INSERT INTO shop.t (id, p) VALUES (2, 9)", nil, 1452, "parent row is missing"},
			{db, "DELETE FROM shop.parent", nil, 1451, "still refer"},
			{db, "INSERT INTO shop.t (id, zz) VALUES (2, 1)", nil, 1054, "zz"},
			{db, "INSERT INTO shop.none VALUES (2)", nil, 1146, "shop.none"},
			{db, "INSERT INTO none.none VALUES (2)", nil, 0, "none"}, // 1049 or 1146
			{db, "SELECT '" + secretValue + "' FROM FROM", nil, 1064, "please report"},
			{app, "INSERT INTO shop.t (id, u) VALUES (2, '" + secretValue + "')", nil, 1142, "GRANT INSERT ON "},
			{app, "CREATE DATABASE other", nil, 1044, "ON `other`.* TO"},
			{app, "SET GLOBAL max_connections=10", nil, 1227, "GRANT "},
		} {
			_, err := c.db.ExecContext(t.Context(), c.statement, c.args...)
			if err == nil {
				t.Errorf("%s: no error", c.statement)
				continue
			}
			f := mysql.Classify(fmt.Errorf("writing: %w", err))
			if f.Number != c.number && c.number != 0 || f.Class != mysql.Stop || f.Name == "" || f.Why == "" {
				t.Errorf("%s: %+v of %v", c.statement, f, err)
			}
			if !strings.Contains(f.Error(), c.text) {
				t.Errorf("%s: %q isn't in: %s", c.statement, c.text, f)
			}
			if strings.Contains(f.Error(), secretValue) {
				t.Errorf("%s: the text holds the value: %s", c.statement, f)
			}
		}
	})
}

// Numbers that only MariaDB has.
func TestClassifyMariaDB(t *testing.T) {
	for _, version := range []testbed.Part{testbed.MariaDB1011, testbed.MariaDB118} {
		t.Run(string(version), func(t *testing.T) {
			server := bed.MySQL(t, version)
			exec(t, server.DB(), "CREATE DATABASE shop", "CREATE TABLE shop.g (id INT PRIMARY KEY, x INT AS (id + 1) STORED)", "SET GLOBAL gtid_strict_mode = ON")
			conn, err := open(t, plainConfig(server), mysql.Applying).Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, c := range []struct {
				statement string
				number    uint16
				class     mysql.Class
			}{
				{"INSERT INTO shop.g VALUES (1, 7)", 1906, mysql.Stop},
				{"SET STATEMENT max_statement_time = 0.01 FOR SELECT SLEEP(5)", 1969, mysql.Retry},
				{"SET SESSION gtid_seq_no = 1", 1950, mysql.Stop},
				{"KILL CONNECTION_ID()", 1927, mysql.Reconnect},
			} {
				_, err := conn.ExecContext(t.Context(), c.statement)
				if f := mysql.Classify(err); f.Number != c.number || f.Class != c.class || f.Name == "" || f.Why == "" {
					t.Errorf("%s: %+v of %v", c.statement, f, err)
				}
			}
		})
	}
}

func TestClassifyLocks(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		db := open(t, plainConfig(server), mysql.Applying)
		exec(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, n INT)", "INSERT INTO shop.t VALUES (1,0), (2,0)")
		first, second := begin(t, db), begin(t, db)
		mustExec(t, first, "SET innodb_lock_wait_timeout=1")
		mustExec(t, first, "UPDATE shop.t SET n=1 WHERE id=1")
		mustExec(t, second, "UPDATE shop.t SET n=1 WHERE id=2")
		_, err := first.ExecContext(t.Context(), "UPDATE shop.t SET n=2 WHERE id=2")
		if f := mysql.Classify(err); f.Number != 1205 || f.Class != mysql.Retry || f.Waiting {
			t.Errorf("lock wait: %+v", f)
		}
		mustExec(t, first, "SET innodb_lock_wait_timeout=20")
		other := make(chan error, 1)
		go func() {
			_, err := second.ExecContext(t.Context(), "UPDATE shop.t SET n=2 WHERE id=1")
			other <- err
		}()
		_, err = first.ExecContext(t.Context(), "UPDATE shop.t SET n=2 WHERE id=2")
		if err == nil {
			err = <-other
		}
		if f := mysql.Classify(err); f.Number != 1213 || f.Class != mysql.Retry {
			t.Errorf("deadlock: %+v", f)
		}
	})
}

func TestClassifyRefusals(t *testing.T) {
	for _, version := range everyServer {
		t.Run(string(version), func(t *testing.T) {
			server := bed.MySQL(t, version)
			exec(t, server.DB(), "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)",
				"CREATE USER app@'%' IDENTIFIED BY '' WITH MAX_USER_CONNECTIONS 1", "GRANT ALL ON shop.* TO app@'%'")
			cfg := plainConfig(server)
			cfg.User = "app"
			app := open(t, cfg, mysql.Applying)
			conn, err := app.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, err = app.Conn(t.Context())
			if f := mysql.Classify(err); f.Class != mysql.Retry || !f.Waiting {
				t.Errorf("too many connections: %+v", f)
			}
			exec(t, server.DB(), "SET GLOBAL read_only=ON")
			_, err = conn.ExecContext(t.Context(), "INSERT INTO shop.t VALUES (1)")
			if f := mysql.Classify(err); f.Number != 1290 || f.Class != mysql.Retry || !f.Waiting || !strings.Contains(f.Hint, "read_only=OFF") {
				t.Errorf("read-only: %+v", f)
			}
		})
	}
}

func TestClassifyLostConnections(t *testing.T) {
	for _, version := range everyServer {
		t.Run(string(version), func(t *testing.T) {
			server := bed.MySQL(t, version)
			db := open(t, plainConfig(server), mysql.Applying)
			reconnect := func(what string, err error) {
				t.Helper()
				if f := mysql.Classify(err); err == nil || f.Class != mysql.Reconnect || f.Why == "" {
					t.Errorf("%s: %+v of %v", what, f, err)
				}
			}
			tx := begin(t, db)
			killConnection(t, server.DB(), tx)
			_, err := tx.ExecContext(t.Context(), "SELECT 1")
			reconnect("killed", err)

			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err = db.ExecContext(ctx, "SELECT SLEEP(20)")
			reconnect("given up", err)

			tx = begin(t, db)
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			_, err = tx.ExecContext(t.Context(), "SELECT 1")
			reconnect("server killed", err)
			reconnect("server down", db.PingContext(t.Context()))
		})
	}
}

func TestClassifyKilledQuery(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		db := open(t, plainConfig(server), mysql.Applying)
		exec(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1)")
		holder, waiter := begin(t, db), begin(t, db)
		mustExec(t, holder, "DELETE FROM shop.t")
		id := connectionID(t, waiter)
		failed := make(chan error, 1)
		go func() {
			_, err := waiter.ExecContext(t.Context(), "DELETE FROM shop.t")
			failed <- err
		}()
		waitFor(t, func() bool {
			return query(t, db, fmt.Sprintf("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID=%d AND INFO LIKE 'DELETE%%'", id)) == "1"
		})
		exec(t, server.DB(), fmt.Sprintf("KILL QUERY %d", id))
		if f := mysql.Classify(<-failed); f.Number != 1317 || f.Class != mysql.Retry {
			t.Errorf("killed query: %+v", f)
		}
	})
}

func TestFaultOf(t *testing.T) {
	for _, c := range []struct {
		number  uint16
		message string
		class   mysql.Class
		waiting bool
		detail  string
	}{
		{1290, "The MySQL server is running with the --super-read-only option so it cannot execute this statement", mysql.Retry, true, "super-read-only"},
		{1290, "The MariaDB server is running with the --read_only=LOCK option so it cannot execute this statement", mysql.Retry, true, "read_only"},
		{1290, "The MySQL server is running with the --secure-file-priv option so it cannot execute this statement", mysql.Stop, false, "secure-file-priv"},
		{1030, "Got error 28 - 'No space left on device' from storage engine", mysql.Retry, true, ""},
		{1030, "Got error 168 - 'Unknown (generic) error from engine' from storage engine", mysql.Stop, false, ""},
		{1062, "Duplicate entry 'a' for key 'b' for key 't.real'", mysql.Stop, false, "key 't.real'"},
		{1062, "Duplicate entry 'broken", mysql.Stop, false, "Duplicate entry '…'"},
		{64000, "Something about 'it's secret' here", mysql.Stop, false, "Something about '…' here"},
		{1213, "Deadlock found", mysql.Retry, false, ""},
		{1114, "The table 't' is full", mysql.Retry, true, "The table 't' is full"},
	} {
		f := mysql.FaultOf(c.number, c.message)
		if f.Class != c.class || f.Waiting != c.waiting || !strings.Contains(f.Detail, c.detail) || f.Number != c.number {
			t.Errorf("%d %s: %+v", c.number, c.message, f)
		}
		if strings.Contains(f.Error(), "secret") && c.number == 64000 {
			t.Errorf("%s holds what was quoted", f)
		}
	}
}

// A value may hold the very words that the name is found by.
func FuzzFaultTextHoldsNoValue(f *testing.F) {
	f.Add("x' for key 'y")
	f.Add("a' for column 'b' at row 1")
	f.Fuzz(func(t *testing.T, value string) {
		for number, message := range map[uint16]string{
			1062: "Duplicate entry '%s' for key 't.u'",
			1366: "Incorrect integer value: '%s' for column 'n' at row 1",
			1292: "Incorrect datetime value: '%s' for column 'd' at row 1",
			1064: "You have an error near '%s' at line 1",
			9999: "Unknown '%s' thing",
		} {
			with, without := mysql.FaultOf(number, fmt.Sprintf(message, value)).Error(), mysql.FaultOf(number, fmt.Sprintf(message, "another value")).Error()
			if with != without {
				t.Errorf("%d: the text depends on the value:\n%s\n%s", number, with, without)
			}
		}
	})
}

func TestQuoteIdent(t *testing.T) {
	server := bed.SharedMySQL(t, testbed.MySQL97, "")
	db := open(t, plainConfig(server), mysql.Reading)
	for _, name := range []string{"a", "a`b", "``", "select", "a.b", "a'b\"c;--", "漢字", "a b", "1", strings.Repeat("x", 64)} {
		if err := mysql.CheckIdent(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		exec(t, db, "CREATE DATABASE "+mysql.QuoteIdent(name))
		if got := query(t, db, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = "+quoted(name)); got != "1" {
			t.Errorf("%q wasn't made", name)
		}
	}
	for _, name := range []string{"", "a\x00b", strings.Repeat("x", 65), "a ", "\xff"} {
		if mysql.CheckIdent(name) == nil {
			t.Errorf("%q was accepted", name)
		}
	}
	if got := mysql.QuoteAccount("it's@me@%"); got != `'it''s@me'@'%'` {
		t.Error(got)
	}
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

func mustExec(t *testing.T, tx *sql.Tx, statement string) {
	t.Helper()
	if _, err := tx.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func connectionID(t *testing.T, tx *sql.Tx) int {
	t.Helper()
	var id int
	if err := tx.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func killConnection(t *testing.T, admin *sql.DB, tx *sql.Tx) {
	t.Helper()
	id := connectionID(t, tx)
	exec(t, admin, fmt.Sprintf("KILL %d", id))
	waitFor(t, func() bool {
		return query(t, admin, fmt.Sprintf("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID=%d", id)) == "0"
	})
}

func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
