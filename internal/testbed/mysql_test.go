package testbed_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"duplex/internal/testbed"
)

func TestMySQLSurvivesKillAndReset(t *testing.T) {
	for part, version := range map[testbed.Part]string{
		testbed.AnyMySQL: ".", testbed.MySQL97: "9.", testbed.MySQL80: "8.0.31",
		testbed.MariaDB118: "11.8.", testbed.MariaDB1011: "10.11.",
	} {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			my := bed.MySQL(t, part)
			took := time.Since(began)
			got := value(t, my.DB(), "SELECT VERSION()")
			rss, err := testbed.PeakRSS(my.PID())
			check(t, err)
			t.Logf("%s %s started in %v, peak %d MB", part, got, took.Round(time.Millisecond), rss>>20)
			if !strings.Contains(got, version) {
				t.Fatalf("version is %s, want %s", got, version)
			}

			execute(t, my.DB(), "CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY); INSERT INTO shop.item VALUES (1), (2)")
			execute(t, my.DB(), "CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO app@'%'")
			check(t, my.Kill())
			if _, err := my.DB().Exec("DO 1"); err == nil {
				t.Fatal("a killed server answers")
			}
			check(t, my.Start())
			if n := value(t, my.DB(), "SELECT COUNT(*) FROM shop.item"); n != "2" {
				t.Fatalf("%s rows after kill and start, want 2", n)
			}

			holdXA(t, my)
			check(t, my.Reset())
			for query, want := range map[string]string{
				"SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'shop'": "0",
				"SELECT COUNT(*) FROM mysql.user WHERE user = 'app'":                          "0",
				"SELECT " + gtids(my): "",
			} {
				if got := value(t, my.DB(), query); got != want {
					t.Errorf("after Reset %s is %q, want %q", query, got, want)
				}
			}
		})
	}
}

func gtids(my *testbed.MySQL) string {
	if my.IsMariaDB() {
		return "@@gtid_binlog_pos"
	}
	return "@@gtid_executed"
}

// holdXA leaves a prepared transaction and a session with an open one: both hold locks on shop.item.
func holdXA(t *testing.T, my *testbed.MySQL) {
	for _, statements := range [][]string{
		{"XA START 'a', 'b', 7", "INSERT INTO shop.item VALUES (10)", "XA END 'a', 'b', 7", "XA PREPARE 'a', 'b', 7"},
		{"BEGIN", "UPDATE shop.item SET id = 20 WHERE id = 1"},
	} {
		conn, err := my.DB().Conn(t.Context())
		check(t, err)
		t.Cleanup(func() { conn.Close() })
		for _, s := range statements {
			_, err := conn.ExecContext(t.Context(), s)
			check(t, err)
		}
	}
}

func TestFrozenServerAnswersNothing(t *testing.T) {
	my := bed.SharedMySQL(t, testbed.AnyMySQL, "east")
	check(t, my.Freeze())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := my.DB().PingContext(ctx); err == nil {
		t.Error("a frozen server answers")
	}
	check(t, my.Thaw())
	execute(t, my.DB(), "DO 1")
}

func TestSharedServerIsEmptiedAndRestarted(t *testing.T) {
	var address, uuid string
	t.Run("first", func(t *testing.T) {
		my := bed.SharedMySQL(t, testbed.AnyMySQL, "east")
		address, uuid = my.Addr, value(t, my.DB(), "SELECT @@server_uuid")
		execute(t, my.DB(), "CREATE DATABASE left_over")
		t.Run("subtest has it too", func(t *testing.T) {
			if bed.SharedMySQL(t, testbed.AnyMySQL, "east") != my {
				t.Error("a subtest got another server")
			}
			if n := value(t, my.DB(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'left_over'"); n != "1" {
				t.Error("a subtest's request emptied its parent's server")
			}
		})
		check(t, my.Kill())
	})
	t.Run("second", func(t *testing.T) {
		my := bed.SharedMySQL(t, testbed.AnyMySQL, "east")
		if my.Addr != address || value(t, my.DB(), "SELECT @@server_uuid") != uuid {
			t.Error("the second test got another server")
		}
		if n := value(t, my.DB(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'left_over'"); n != "0" {
			t.Error("the second test got the first one's schema")
		}
	})
	other := bed.SharedMySQL(t, testbed.AnyMySQL, "west")
	if id := value(t, other.DB(), "SELECT @@server_uuid"); id == uuid {
		t.Errorf("two servers have one server_uuid %s", id)
	}
}

func value(t *testing.T, db *sql.DB, query string) string {
	t.Helper()
	var v sql.NullString
	if err := db.QueryRowContext(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v.String
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMySQLCertificateIsVerified(t *testing.T) {
	for _, part := range []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118} {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			my := bed.MySQL(t, part, testbed.MySQLTLS())
			pem, err := os.ReadFile(my.CAFile)
			check(t, err)
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(pem)
			for name, try := range map[string]struct {
				config *tls.Config
				ok     bool
			}{
				"its CA":     {&tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}, true},
				"other name": {&tls.Config{RootCAs: pool, ServerName: "example.org"}, false},
				"unknown CA": {&tls.Config{ServerName: "127.0.0.1"}, false},
			} {
				config, err := mysql.ParseDSN(my.DSN(""))
				check(t, err)
				config.TLS, config.Logger = try.config, &mysql.NopLogger{}
				connector, err := mysql.NewConnector(config)
				check(t, err)
				db := sql.OpenDB(connector)
				defer db.Close()
				if err := db.PingContext(t.Context()); (err == nil) != try.ok {
					t.Errorf("connecting with %s: %v", name, err)
				}
			}
		})
	}
}
