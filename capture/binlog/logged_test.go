package binlog

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"duplex/internal/testbed"
)

// read reads the source's binlog from a position until it ends, fails, or has
// given as many commits as asked for.
func (s *source) read(t *testing.T, from string, commits int) ([]*Event, error) {
	t.Helper()
	engine := "mysql"
	if s.IsMariaDB() {
		engine = "mariadb"
	}
	position, err := ParsePosition(engine, from)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var events []*Event
	err = Read(ctx, Config{
		Engine: engine, Address: s.Addr, User: "root", ServerID: 4243, Collations: s.collations(t),
		Captured: func(db, _ string) bool { return db == "d" },
	}, position, func(e *Event) error {
		events = append(events, e)
		if e.Kind == Commit {
			commits--
		}
		if commits == 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return events, err
}

var errEnough = errors.New("enough")

func (s *source) executed(t *testing.T) (gtids string) {
	t.Helper()
	query := "SELECT @@GLOBAL.gtid_executed"
	if s.IsMariaDB() {
		query = "SELECT @@GLOBAL.gtid_binlog_pos"
	}
	if err := s.conn.QueryRowContext(t.Context(), query).Scan(&gtids); err != nil {
		t.Fatal(err)
	}
	return gtids
}

// A change that a server logs as a statement is never passed over, however
// the statement is written (promise 6).
func TestStatementsAreRefused(t *testing.T) {
	t.Parallel()
	for _, version := range []testbed.Part{testbed.MySQL80, testbed.MySQL97, testbed.MariaDB118} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startSource(t, version)
			s.exec(t, "CREATE TABLE d.t (id INT PRIMARY KEY, v INT)")
			s.exec(t, "SET GLOBAL log_bin_trust_function_creators = ON")
			s.exec(t, "CREATE FUNCTION d.f() RETURNS INT MODIFIES SQL DATA BEGIN UPDATE d.t SET v = v + 1; RETURN 1; END")
			s.exec(t, "INSERT INTO d.t VALUES (1, 1)")
			rows := filepath.Join(t.TempDir(), "rows.csv")
			if err := os.WriteFile(rows, []byte("7\t7\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			driver.RegisterLocalFile(rows)
			s.exec(t, "SET GLOBAL local_infile = ON")
			statements := []string{
				"UPDATE d.t SET v = v + 1",
				"# why\n-- and how\n/* this */ UPDATE d.t SET v = v + 1",
				"/*!50000 UPDATE d.t SET v = v + 1 */",
				"SELECT d.f()",
				"LOAD DATA LOCAL INFILE '" + rows + "' REPLACE INTO TABLE d.t",
			}
			if s.IsMariaDB() {
				statements = append(statements, "SET STATEMENT max_statement_time = 5 FOR UPDATE d.t SET v = v + 1")
			} else {
				statements = append(statements, "WITH c AS (SELECT 1 AS x) UPDATE d.t, c SET v = v + x")
			}
			for _, statement := range statements {
				from := s.executed(t)
				s.exec(t, "SET SESSION binlog_format = STATEMENT")
				s.exec(t, statement)
				s.exec(t, "SET SESSION binlog_format = ROW")
				s.exec(t, "INSERT INTO d.t SELECT max(id) + 1, 0 FROM d.t")
				events, err := s.read(t, from, 2)
				var refused *RefusedError
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), "statement") {
					t.Errorf("%s: %d events, error %v", statement, len(events), err)
				}
			}
		})
	}
}

// What a backslash means in a statement is told by the sql_mode that it ran in.
func TestEscapesOfStatements(t *testing.T) {
	t.Parallel()
	for _, version := range []testbed.Part{testbed.MySQL80, testbed.MySQL97, testbed.MariaDB1011, testbed.MariaDB118} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startSource(t, version)
			from := s.executed(t)
			s.exec(t, `CREATE TABLE d.a (id INT PRIMARY KEY COMMENT '\'')`)
			s.exec(t, "SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
			s.exec(t, `CREATE TABLE d.b (id INT PRIMARY KEY COMMENT '\')`)
			events, err := s.read(t, from, 2)
			if err != nil {
				t.Fatal(err)
			}
			var got []Escapes
			for _, e := range events {
				if e.Kind == DDL {
					got = append(got, e.Escapes)
				}
			}
			if want := []Escapes{Backslash, NoBackslash}; !slices.Equal(got, want) {
				t.Errorf("escapes of the statements are %v, want %v", got, want)
			}
		})
	}
}
