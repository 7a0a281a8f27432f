package binlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"duplex/internal/testbed"
)

// refusal reads a source from a position, through another address if given,
// and demands that what comes before the fault is given, nothing after it, and
// that the refusal names all that is wanted.
func (s *source) refusal(t *testing.T, from, address string, want ...string) {
	t.Helper()
	events, err := s.readAt(t, from, address)
	var refused *RefusedError
	if !errors.As(err, &refused) {
		t.Errorf("%d events, error %v", len(events), err)
		return
	}
	for _, w := range append(want, "binlog.0000", " at ", "mend:") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the refusal lacks %q: %v", w, err)
		}
	}
	checkOnlyFirst(t, events)
}

// checkOnlyFirst demands one whole transaction, and perhaps the beginning of
// the one that was refused.
func checkOnlyFirst(t *testing.T, events []*Event) {
	t.Helper()
	commits := 0
	for _, e := range events {
		if e.Kind == Commit {
			commits++
		}
		if e.Kind == Rows && commits > 0 {
			t.Errorf("rows of %s were given after the fault", e.Rows.Table.Table)
		}
	}
	if commits != 1 {
		t.Errorf("%d transactions were given, not the one before the fault", commits)
	}
}

func (s *source) readAt(t *testing.T, from, address string) (events []*Event, err error) {
	t.Helper()
	f := follow(t, s, from)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if address == "" {
		address = s.Addr
	}
	err = Read(ctx, Config{Engine: f.position.Engine(), Address: address, User: "root", ServerID: 4243, Collations: s.collations(t),
		Captured: func(db, _ string) bool { return db == "d" }}, f.position, func(e *Event) error {
		events = append(events, e)
		return nil
	})
	return events, err
}

// What can't be read rightly stops reading, with its transaction or place, the
// cause and a mend; nothing of it is given (promise 6).
func TestBadInput(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *source) {
		s.exec(t, "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(100), doc JSON)")
		begin := func() string {
			s.exec(t, "DELETE FROM d.t")
			from := s.executed(t)
			s.exec(t, "INSERT INTO d.t VALUES (1, 'before', '{}')")
			return from
		}
		t.Run("a corrupt event", func(t *testing.T) {
			from := begin()
			s.exec(t, "INSERT INTO d.t VALUES (2, 'to-be-spoilt', NULL)")
			s.exec(t, "INSERT INTO d.t VALUES (3, 'after', NULL)")
			proxy := s.bed.Proxy(t, s.Addr)
			proxy.Tamper(func(sent []byte) ([]byte, bool) {
				return bytes.ReplaceAll(sent, []byte("to-be-spoilt"), []byte("to-be-spoil!")), false
			})
			s.refusal(t, from, proxy.Addr(), "corrupt", "checksum")
		})
		t.Run("a connection that ends within an event", func(t *testing.T) {
			from := begin()
			s.exec(t, "INSERT INTO d.t VALUES (2, 'to-be-cut', NULL)")
			proxy := s.bed.Proxy(t, s.Addr)
			proxy.Tamper(func(sent []byte) ([]byte, bool) {
				before, _, found := bytes.Cut(sent, []byte("to-be-cut"))
				return before, found
			})
			events, err := s.readAt(t, from, proxy.Addr())
			var refused *RefusedError
			if err == nil || errors.As(err, &refused) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it isn't told as a broken connection: %v", err)
			}
			checkOnlyFirst(t, events)
		})
		t.Run("an event that says it is longer", func(t *testing.T) {
			from := begin()
			s.exec(t, "INSERT INTO d.t VALUES (2, 'longer', NULL)")
			proxy := s.bed.Proxy(t, s.Addr)
			proxy.Tamper(func(sent []byte) ([]byte, bool) { return lengthen(sent, []byte("longer")), false })
			s.refusal(t, from, proxy.Addr(), "corrupt", "shorter than it says")
		})
		t.Run("a row image that isn't full", func(t *testing.T) {
			from := begin()
			other := s.session(t)
			other.all(t, "SET SESSION binlog_row_image = MINIMAL", "UPDATE d.t SET v = 'part' WHERE id = 1")
			other.exec(t, "SET SESSION binlog_row_image = FULL")
			s.exec(t, "INSERT INTO d.t VALUES (3, 'after', NULL)")
			s.refusal(t, from, "", "table d.t", "transaction", "binlog_row_image = 'FULL'")
		})
		t.Run("statements", func(t *testing.T) {
			from := begin()
			other := s.session(t)
			other.all(t, "SET SESSION binlog_format = STATEMENT", "UPDATE d.t SET v = 'x' WHERE id = 1", "SET SESSION binlog_format = ROW")
			s.refusal(t, from, "", "transaction", "logged as a statement", "binlog_format = 'ROW'")
		})
		if !s.IsMariaDB() {
			t.Run("partial JSON", func(t *testing.T) {
				begin()
				s.exec(t, `UPDATE d.t SET doc = JSON_OBJECT('a', REPEAT('x', 1000), 'b', 1) WHERE id = 1`)
				from := s.executed(t)
				s.exec(t, "INSERT INTO d.t VALUES (7, 'before', NULL)")
				s.exec(t, `SET SESSION binlog_row_value_options = PARTIAL_JSON`)
				s.exec(t, `UPDATE d.t SET doc = JSON_SET(doc, '$.b', 2) WHERE id = 1`)
				s.exec(t, `SET SESSION binlog_row_value_options = ''`)
				s.refusal(t, from, "", "table d.t", "partial JSON", "binlog_row_value_options = ''")
			})
		}
	})
}

// lengthen raises the size that the insert of a text says it has.
func lengthen(sent, text []byte) []byte {
	const toText = 19 + 6 + 2 + 1 + 1 + 1 + 4 + 2 // header, table and flags, columns, their bitmap, nulls, id, length
	const version1, version2, extra = 23, 30, 2
	at := bytes.LastIndex(sent, text) // before it MariaDB sends the statement
	for kind, start := range map[byte]int{version1: at - toText, version2: at - toText - extra} {
		if at >= 0 && start >= 0 && sent[start+4] == kind {
			sent[start+9]++
		}
	}
	return sent
}

// A table whose shape changes has rows of each shape, each decoded by its own.
func TestShapesChange(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *source) {
		from := s.executed(t)
		s.all(t, "CREATE TABLE d.t (id INT PRIMARY KEY, v INT)", "CREATE TABLE d.u (id INT PRIMARY KEY)",
			"INSERT INTO d.t VALUES (1, 1)", "ALTER TABLE d.t MODIFY v VARCHAR(20)", "INSERT INTO d.t VALUES (2, 'two')",
			"ALTER TABLE d.t ADD w INT FIRST", "INSERT INTO d.t VALUES (3, 3, 'three')", "INSERT INTO d.u VALUES (3)",
			"UPDATE d.t, d.u SET d.t.w = 9, d.u.id = 10 WHERE d.t.id = d.u.id", "ALTER TABLE d.t DROP v", "INSERT INTO d.t VALUES (4, 4)")
		events, err := s.read(t, from, 11)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events {
			if e.Kind == Rows {
				var names []string
				for _, c := range e.Rows.Table.Table.Columns {
					names = append(names, c.Name+" "+c.Type.String())
				}
				got = append(got, fmt.Sprintf("%c %s(%s)", e.Rows.Op, e.Rows.Table.Table.Name, strings.Join(names, ", ")))
			}
		}
		want := []string{"c t(id int, v int)", "c t(id int, v varchar)", "c t(w int, id int, v varchar)", "c u(id int)",
			"u t(w int, id int, v varchar)", "u u(id int)", "c t(w int, id int)"}
		if strings.Join(got, "; ") != strings.Join(want, "; ") {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// MariaDB's compressed rows and statements are read like others.
func TestMariaDBCompressed(t *testing.T) {
	t.Parallel()
	for _, version := range []testbed.Part{testbed.MariaDB1011, testbed.MariaDB118} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startSource(t, version)
			s.all(t, "CREATE TABLE d.t (id INT PRIMARY KEY, v MEDIUMTEXT)", "CREATE TABLE d.stop (id INT PRIMARY KEY)")
			work := []string{"CREATE TABLE d.big (id INT PRIMARY KEY COMMENT '" + strings.Repeat("c", 900) + "')",
				"INSERT INTO d.t VALUES (1, REPEAT('v', 3000000)), (2, 'short')", "UPDATE d.t SET v = REPEAT('w', 5000) WHERE id = 2", "DELETE FROM d.t",
				"XA START 'x'", "INSERT INTO d.t VALUES (3, REPEAT('x', 3000))", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'",
				"DROP TABLE d.big", "DELETE FROM d.t"}
			var found [2][]string
			for i, compress := range []string{"OFF", "ON"} {
				s.exec(t, "SET GLOBAL log_bin_compress_min_len = 20, GLOBAL log_bin_compress = "+compress)
				f := follow(t, s, s.executed(t))
				s.all(t, work...)
				s.exec(t, fmt.Sprintf("INSERT INTO d.stop VALUES (%d)", i))
				if err := f.read(t, 1); err != nil {
					t.Fatal(err)
				}
				for j, c := range f.commits {
					_, c, _ = strings.Cut(c, ":")
					f.commits[j] = c
				}
				found[i] = f.commits[:len(f.commits)-1]
			}
			if len(found[0]) != 5 || strings.Join(found[0], "\n") != strings.Join(found[1], "\n") {
				t.Errorf("%d transactions plain, %d compressed, or they differ", len(found[0]), len(found[1]))
			}
		})
	}
}
