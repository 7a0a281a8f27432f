package binlog

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"duplex/internal/testbed"
	"duplex/schemas"
)

// everyServer are the versions that the promises hold for.
func everyServer() []testbed.Part {
	return []testbed.Part{testbed.MySQL80, testbed.MySQL97, testbed.MariaDB1011, testbed.MariaDB118}
}

// onEveryServer runs the test on a server of its own of each version, side by
// side.
func onEveryServer(t *testing.T, test func(*testing.T, *source)) {
	t.Parallel()
	for _, version := range everyServer() {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			test(t, startSource(t, version))
		})
	}
}

// follower reads a source as capture does: it keeps the position, and what
// each transaction brought.
type follower struct {
	s        *source
	position *Position
	open     bool
	rows     []string // of the open transaction
	commits  []string // of all others with rows: "gtid: op table, …"
	describe func(*schemas.Table) error
	limit    int64 // of what is held of prepared transactions; 0: as always
}

func follow(t *testing.T, s *source, from string) *follower {
	t.Helper()
	engine := "mysql"
	if s.IsMariaDB() {
		engine = "mariadb"
	}
	position, err := ParsePosition(engine, from)
	if err != nil {
		t.Fatal(err)
	}
	return &follower{s: s, position: position}
}

// restart begins anew from the position's text, as another process would.
func (f *follower) restart(t *testing.T) *follower {
	t.Helper()
	n := follow(t, f.s, f.position.String())
	n.commits, n.limit, n.describe = f.commits, f.limit, f.describe
	return n
}

// until reads until a row of table d.stop with this id comes, and fails the
// test if it doesn't.
func (f *follower) until(t *testing.T, id int) {
	t.Helper()
	f.s.exec(t, fmt.Sprintf("INSERT INTO d.stop VALUES (%d)", id))
	if err := f.read(t, id); err != nil {
		t.Fatal(err)
	}
}

// read reads until as many transactions of d.stop have come, or an error.
func (f *follower) read(t *testing.T, stops int) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cfg := Config{Engine: f.position.Engine(), Address: f.s.Addr, User: "root", ServerID: 4243, Collations: f.s.collations(t),
		Captured: func(db, _ string) bool { return db == "d" }, Describe: f.describe, heldBytes: f.limit}
	f.open, f.rows = false, nil
	err := Read(ctx, cfg, f.position, func(e *Event) error {
		return f.take(e, stops)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (f *follower) take(e *Event, stops int) error {
	switch e.Kind {
	case Begin:
		if f.open {
			return errors.New("a transaction begins within another")
		}
		f.open, f.rows = true, []string{e.GTID.String() + ":"}
	case Rows:
		if !f.open {
			return errors.New("rows outside a transaction")
		}
		f.rows = append(f.rows, fmt.Sprintf("%c %s %x", e.Rows.Op, e.Rows.Table.Table.Name, e.Rows.Images))
	case Commit:
		if f.open {
			if !strings.HasPrefix(f.rows[0], e.GTID.String()) {
				return fmt.Errorf("%s ends with %s", f.rows, e.GTID)
			}
			f.commits = append(f.commits, strings.Join(f.rows, " "))
		}
		f.open = false
		if err := f.position.Pass(e); err != nil {
			return err
		}
		n := 0
		for _, c := range f.commits {
			n += strings.Count(c, " c stop ")
		}
		if n >= stops {
			return errEnough
		}
	case Unread:
		return errors.New("unread: " + e.Statement)
	}
	return nil
}

// tables names the tables that the transactions since a number brought.
func (f *follower) tables() (found []string) {
	for _, c := range f.commits {
		words := strings.Fields(c)
		var names []string
		for i := 1; i+2 < len(words)+1 && i+1 < len(words); i += 3 {
			names = append(names, words[i]+words[i+1])
		}
		if !slices.Contains(names, "cstop") {
			found = append(found, strings.Join(names, " "))
		}
	}
	return found
}

func (s *source) all(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		s.exec(t, statement)
	}
}

// session is another connection to the source.
func (s *source) session(t *testing.T) *source {
	t.Helper()
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &source{s.MySQL, s.bed, conn}
}

// prepare leaves a transaction prepared that inserts into a table.
func (s *source) prepare(t *testing.T, xid, table string, id int) {
	t.Helper()
	other := s.session(t)
	var session int
	if err := other.conn.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&session); err != nil {
		t.Fatal(err)
	}
	other.all(t, "XA START "+xid, fmt.Sprintf("INSERT INTO d.%s VALUES (%d)", table, id), "XA END "+xid, "XA PREPARE "+xid)
	// With its session gone, any other can end it.
	if err := other.conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
		t.Fatal(err)
	}
	for there, deadline := 1, time.Now().Add(30*time.Second); there > 0; time.Sleep(5 * time.Millisecond) {
		err := s.conn.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = ?", session).Scan(&there)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("session %d is still there: %v", session, err)
		}
	}
}

// Prepared transactions count when they are committed, in the order of that,
// and only then: whatever lies between, whoever decides, after a restart of
// the server, and with a restart of capture at any point between (promises 1
// and 3). What is held in memory makes no difference.
func TestXA(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *source) {
		for _, table := range []string{"stop", "a", "b", "c", "e"} {
			s.exec(t, "CREATE TABLE d."+table+" (id INT PRIMARY KEY)")
		}
		from := s.executed(t)
		all, tiny := follow(t, s, from), follow(t, s, from)
		tiny.limit = 1
		both := []*follower{all, tiny}
		stops := 0
		step := func() {
			stops++
			s.exec(t, fmt.Sprintf("INSERT INTO d.stop VALUES (%d)", stops))
			for i, f := range both {
				if err := f.read(t, stops); err != nil {
					t.Fatalf("follower %d at %d, %s: %v", i, stops, f.position, err)
				}
				both[i] = f.restart(t)
			}
		}
		s.all(t, "XA START 'one'", "INSERT INTO d.a VALUES (1)", "XA END 'one'", "XA COMMIT 'one' ONE PHASE")
		step()
		s.prepare(t, `'two','b\'q',7`, "b", 1)
		s.exec(t, "INSERT INTO d.c VALUES (1)")
		step()
		s.prepare(t, "'three'", "c", 2)
		s.exec(t, "BEGIN")
		s.all(t, "INSERT INTO d.a VALUES (2)", "SAVEPOINT s", "INSERT INTO d.e VALUES (9)", "ROLLBACK TO s", "COMMIT")
		step()
		s.exec(t, `XA ROLLBACK 'three'`)
		step()
		s.prepare(t, "'three'", "e", 3) // the same xid again
		step()
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		*s = *s.session(t)
		s.exec(t, `XA COMMIT 'two','b\'q',7`)
		step()
		s.exec(t, "INSERT INTO d.a VALUES (3)")
		s.exec(t, "XA COMMIT 'three'")
		step()
		want := []string{"ca", "cc", "ca", "cb", "ca", "ce"}
		for i, f := range both {
			if got := f.tables(); !slices.Equal(got, want) {
				t.Errorf("follower %d: %v, want %v", i, got, want)
			}
			if got, want := f.position.String(), s.executed(t); got != strings.ReplaceAll(want, "\n", "") {
				t.Errorf("follower %d ends at %s, the server at %s", i, got, want)
			}
		}
		if !slices.Equal(all.commits, tiny.commits) {
			t.Logf("%v and %v", all.commits, tiny.commits)
		}
	})
}

// An XA COMMIT whose rows lie before where reading began is told, never passed
// over; an XA ROLLBACK of that kind changes nothing.
func TestXAPreparedBefore(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *source) {
		s.all(t, "CREATE TABLE d.stop (id INT PRIMARY KEY)", "CREATE TABLE d.a (id INT PRIMARY KEY)")
		s.prepare(t, "'early'", "a", 1)
		s.prepare(t, "'gone'", "a", 2)
		f := follow(t, s, s.executed(t))
		s.exec(t, "XA ROLLBACK 'gone'")
		f.until(t, 1)
		s.exec(t, "XA COMMIT 'early'")
		if err := f.read(t, 2); err == nil || !strings.Contains(err.Error(), "unread: XA COMMIT X'6561726c79',X'',1") {
			t.Errorf("error %v", err)
		}
	})
}
