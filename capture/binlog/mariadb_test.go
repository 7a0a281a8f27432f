package binlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"duplex/internal/testbed"
)

func onMariaDB(t *testing.T, test func(*testing.T, *source)) {
	t.Parallel()
	for _, version := range []testbed.Part{testbed.MariaDB1011, testbed.MariaDB118} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			test(t, startSource(t, version))
		})
	}
}

// MariaDB numbers transactions by domain. All domains are read, each in its own
// order, also those that show up later, over restarts, in strict mode and not,
// and with numbers that go back as they do after a failover.
func TestMariaDBDomains(t *testing.T) {
	onMariaDB(t, func(t *testing.T, s *source) {
		for _, table := range []string{"stop", "a", "b", "c"} {
			s.exec(t, "CREATE TABLE d."+table+" (id INT PRIMARY KEY)")
		}
		f := follow(t, s, s.executed(t))
		stops := 0
		step := func(statements ...string) {
			t.Helper()
			s.all(t, statements...)
			s.exec(t, "SET SESSION gtid_domain_id = @@GLOBAL.gtid_domain_id")
			stops++
			f.until(t, stops)
			f = f.restart(t)
		}
		step("SET SESSION gtid_domain_id = 7", "INSERT INTO d.a VALUES (1)")
		step("SET GLOBAL gtid_strict_mode = ON", "INSERT INTO d.b VALUES (1)", "SET SESSION gtid_domain_id = 9", "INSERT INTO d.c VALUES (1)",
			"SET SESSION gtid_domain_id = 7", "INSERT INTO d.a VALUES (2)")
		// Another server wrote to the domain before a failover.
		step("SET SESSION gtid_domain_id = 7, server_id = 4711, gtid_seq_no = 50", "INSERT INTO d.b VALUES (2)", "SET SESSION server_id = @@GLOBAL.server_id")
		step("SET GLOBAL gtid_strict_mode = OFF", "SET SESSION gtid_domain_id = 7, gtid_seq_no = 20", "INSERT INTO d.c VALUES (2)")
		step("SET SESSION gtid_domain_id = 7, gtid_seq_no = 0", "INSERT INTO d.a VALUES (3)", "FLUSH BINARY LOGS")
		// A prepared transaction in one domain, decided in another.
		s.exec(t, "SET SESSION gtid_domain_id = 7")
		s.all(t, "XA START 'x'", "INSERT INTO d.b VALUES (3)", "XA END 'x'", "XA PREPARE 'x'")
		other := s.session(t)
		other.all(t, "SET SESSION gtid_domain_id = 7", "INSERT INTO d.c VALUES (3)")
		other.all(t, "SET SESSION gtid_domain_id = @@GLOBAL.gtid_domain_id", "INSERT INTO d.stop VALUES (100)")
		if err := f.read(t, stops+1); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(f.position.String(), fromMark+"7-") {
			t.Errorf("the position %s doesn't lead back to the prepared transaction", f.position)
		}
		f = f.restart(t)
		s.exec(t, "XA COMMIT 'x'")
		s.exec(t, "SET SESSION gtid_domain_id = 9")
		stops++
		step("INSERT INTO d.a VALUES (4)")
		want := []string{"ca", "cb", "cc", "ca", "cb", "cc", "ca", "cc", "cb", "ca"}
		if got := f.tables(); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		if got, want := f.position.String(), s.executed(t); sortedGTIDs(got) != sortedGTIDs(want) {
			t.Errorf("the position is %s, the server's %s", got, want)
		}
	})
}

func sortedGTIDs(text string) string {
	gtids := strings.Split(text, ",")
	slices.Sort(gtids)
	return strings.Join(gtids, ",")
}

// A server that lacks what was read before, or what comes next, says so; it
// never goes on elsewhere.
func TestMariaDBLacksPosition(t *testing.T) {
	onMariaDB(t, func(t *testing.T, s *source) {
		s.all(t, "CREATE TABLE d.stop (id INT PRIMARY KEY)", "SET SESSION gtid_domain_id = 7", "CREATE TABLE d.a (id INT PRIMARY KEY)",
			"SET SESSION gtid_domain_id = @@GLOBAL.gtid_domain_id")
		f := follow(t, s, s.executed(t))
		f.until(t, 1)
		s.exec(t, "INSERT INTO d.stop VALUES (2)")
		s.exec(t, "FLUSH BINARY LOGS")
		s.exec(t, "FLUSH BINARY LOGS")
		last := s.position(t).Name
		for deadline := time.Now().Add(20 * time.Second); s.files(t) > 1 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			s.exec(t, fmt.Sprintf("PURGE BINARY LOGS TO '%s'", last)) // not while a reader that has gone is still served
		}
		if err := f.restart(t).read(t, 2); err == nil || errors.Is(err, errEnough) || !strings.Contains(err.Error(), "ERROR 1236") {
			t.Errorf("purged: %v", err)
		} else {
			t.Log(err)
		}
		s.exec(t, "RESET MASTER")
		s.exec(t, "INSERT INTO d.stop VALUES (3)")
		if err := f.restart(t).read(t, 2); err == nil || !strings.Contains(err.Error(), "ERROR 1236") {
			t.Errorf("reset: %v", err)
		} else {
			t.Log(err)
		}
	})
}

// files counts the binlogs that the server keeps.
func (s *source) files(t *testing.T) (n int) {
	t.Helper()
	rows, err := s.conn.QueryContext(t.Context(), "SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
