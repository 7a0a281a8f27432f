package mysql_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
)

// The server's defaults are set against ours: every connection must have ours
// all the same.
func TestSessionIsPinned(t *testing.T) {
	for _, version := range everyServer {
		t.Run(string(version), func(t *testing.T) {
			server := bed.MySQL(t, version)
			isolation := "transaction_isolation"
			if version == testbed.MariaDB1011 {
				isolation = "tx_isolation"
			}
			exec(t, server.DB(), "SET GLOBAL time_zone='+05:30', sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES,NO_ZERO_DATE,PAD_CHAR_TO_FULL_LENGTH'",
				"SET GLOBAL "+isolation+"='SERIALIZABLE'", "SET GLOBAL character_set_client=latin1, character_set_results=latin1, foreign_key_checks=1",
				"SET GLOBAL init_connect='SET SESSION time_zone=''-03:00'', sql_select_limit=1, autocommit=0'",
				"CREATE USER plain@'%' IDENTIFIED BY ''") // init_connect spares administrators
			cfg := plainConfig(server)
			cfg.User = "plain"
			want := map[string]string{
				"@@time_zone": "+00:00", "@@" + isolation: "READ-COMMITTED", "@@character_set_client": "utf8mb4", "@@character_set_results": "utf8mb4",
				"@@sql_mode":   "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION",
				"@@autocommit": "1", "@@sql_select_limit": "18446744073709551615", "@@unique_checks": "1",
				"@@foreign_key_checks": "1", "@duplex_apply": "",
			}
			for _, session := range []mysql.Session{mysql.Reading, mysql.Applying} {
				if session == mysql.Applying {
					want["@@foreign_key_checks"], want["@duplex_apply"], want["@@innodb_lock_wait_timeout"] = "0", "1", "1"
				}
				db := open(t, cfg, session)
				for expression, value := range want {
					got := query(t, db, "SELECT "+expression)
					if expression == "@@sql_mode" {
						if !sameWords(got, value) {
							t.Errorf("session %d: sql_mode is %s, want %s", session, got, value)
						}
					} else if got != value {
						t.Errorf("session %d: %s is %q, want %q", session, expression, got, value)
					}
				}
			}
		})
	}
}

func sameWords(a, b string) bool {
	words := make(map[string]int)
	for _, w := range strings.Split(a, ",") {
		words[w]++
	}
	for _, w := range strings.Split(b, ",") {
		words[w]--
	}
	for _, n := range words {
		if n != 0 {
			return false
		}
	}
	return true
}

// Values that only lax servers take must pass, values that don't fit must not
// be clamped.
func TestApplyingSessionIsExact(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		db := open(t, plainConfig(server), mysql.Applying)
		exec(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, d DATE, dt DATETIME(6), n TINYINT, s VARCHAR(3))")
		for i, date := range []string{"0000-00-00", "2026-00-15", "2026-02-31"} {
			if _, err := db.ExecContext(t.Context(), "INSERT INTO shop.t (id, d, dt) VALUES (?, ?, ?)", i, date, date); err != nil {
				t.Fatalf("%s: %v", date, err)
			}
			if got := query(t, db, fmt.Sprintf("SELECT CONCAT(id, ' ', d) FROM shop.t WHERE id=%d", i)); got != fmt.Sprintf("%d %s", i, date) {
				t.Errorf("row %d reads %s", i, got)
			}
		}
		for _, bad := range []string{"n) VALUES (128", "s) VALUES ('long'"} {
			if _, err := db.ExecContext(t.Context(), "INSERT INTO shop.t ("+bad+")"); err == nil {
				t.Errorf("%s was taken", bad)
			}
		}
	})
}

func TestTLS(t *testing.T) {
	for _, version := range []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB118} {
		t.Run(string(version), func(t *testing.T) {
			server := bed.MySQL(t, version, testbed.MySQLTLS())
			_, port, _ := net.SplitHostPort(server.Addr)
			exec(t, server.DB(), "CREATE USER secure@'%' IDENTIFIED BY 'secret' REQUIRE SSL")
			for _, c := range []struct {
				name, host string
				tls        config.TLS
				hint       string // empty: it connects
			}{
				{"full", "127.0.0.1", config.TLS{Mode: config.TLSVerifyFull, CA: server.CAFile}, ""},
				{"ca", "127.0.0.1", config.TLS{Mode: config.TLSVerifyCA, CA: server.CAFile}, ""},
				{"wrong name", "127.0.0.2", config.TLS{Mode: config.TLSVerifyFull, CA: server.CAFile}, "a name it is for in mysql.address"},
				{"unknown authority", "127.0.0.1", config.TLS{Mode: config.TLSVerifyFull}, "set mysql.ca to the PEM file"},
				{"unknown authority, ca only", "127.0.0.1", config.TLS{Mode: config.TLSVerifyCA}, "set mysql.ca to the PEM file"},
				{"off", "127.0.0.1", config.TLS{Mode: config.TLSOff}, "CREATE USER 'secure'@'"},
			} {
				t.Run(c.name, func(t *testing.T) {
					cfg := config.MySQL{Address: net.JoinHostPort(c.host, port), User: "secure", Password: "secret", TLS: c.tls}
					if c.host != "127.0.0.1" {
						cfg.Address = forward(t, c.host, server.Addr)
					}
					err := open(t, cfg, mysql.Reading).PingContext(t.Context())
					checkConnect(t, err, cfg, c.hint)
				})
			}
		})
	}
}

func TestServerWithoutTLS(t *testing.T) {
	server := bed.MySQL(t, testbed.MySQL97, testbed.MySQLFlags("--tls-version="))
	cfg := plainConfig(server)
	cfg.TLS.Mode = config.TLSVerifyFull
	checkConnect(t, open(t, cfg, mysql.Reading).PingContext(t.Context()), cfg, "mysql.tls: off")
}

func TestConnectErrorsSayHowToMend(t *testing.T) {
	server := bed.SharedMySQL(t, testbed.MySQL97, "")
	exec(t, server.DB(), "CREATE USER app@'%' IDENTIFIED BY 'right'", "CREATE USER locked@'%' IDENTIFIED BY '' ACCOUNT LOCK")
	for _, c := range []struct{ name, address, user, password, hint string }{
		{"wrong password", server.Addr, "app", "canary-secret", "CREATE USER 'app'@'localhost' IDENTIFIED BY"},
		{"no such user", server.Addr, "nobody", "", "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'nobody'@"},
		{"locked", server.Addr, "locked", "", "ACCOUNT UNLOCK"},
		{"nothing listens", unusedAddress(t), "app", "", "start the server, or correct mysql.address"},
		{"no such name", "no-such-host.invalid:3306", "app", "", "correct mysql.address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config.MySQL{Address: c.address, User: c.user, Password: config.Secret(c.password), TLS: config.TLS{Mode: config.TLSOff}}
			err := open(t, cfg, mysql.Reading).PingContext(t.Context())
			checkConnect(t, err, cfg, c.hint)
			if strings.Contains(err.Error(), "canary-secret") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

// checkConnect checks that err is a *ConnectError with that hint, or for an
// empty hint that there is none.
func checkConnect(t *testing.T, err error, cfg config.MySQL, hint string) {
	t.Helper()
	if hint == "" {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var connect *mysql.ConnectError
	if !errors.As(err, &connect) {
		t.Fatalf("got %v, want a ConnectError", err)
	}
	text := err.Error()
	for _, part := range []string{cfg.Address, cfg.User, hint} {
		if !strings.Contains(text, part) {
			t.Errorf("%q isn't in: %s", part, text)
		}
	}
}

// forward makes the server reachable at another host.
func forward(t *testing.T, host, to string) string {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go func() { io.Copy(server, client); server.Close() }()
			go func() { io.Copy(client, server); client.Close() }()
		}
	}()
	return l.Addr().String()
}

func unusedAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
