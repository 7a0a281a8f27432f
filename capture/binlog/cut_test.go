package binlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cutRow is the bytes of a row image of d.big: NULLs, id, and v with its length.
const cutRow = 1 + 4 + 1 + 200

// MariaDB, killed while it writes a large transaction, leaves its beginning in
// the binlog, rolls it back, and gives its GTID to the next. Whoever reads from
// far behind gets every committed row and no other (promises 1 and 6).
func TestCrashWhileWriting(t *testing.T) {
	onMariaDB(t, func(t *testing.T, s *source) {
		s.exec(t, "CREATE TABLE d.big (id INT AUTO_INCREMENT PRIMARY KEY, v BINARY(200) NOT NULL)")
		from, wanted := s.executed(t), 2
		if os.Getenv("DUPLEX_SOAK") == "1" {
			wanted = 30
		}
		halves, crashes := 0, 0
		for ; halves < wanted; crashes++ { // a kill may come too late
			if crashes == 20*wanted {
				t.Fatalf("%d of %d kills left half a transaction", halves, crashes)
			}
			s.exec(t, "INSERT INTO d.big (v) VALUES (REPEAT('a', 200)), (REPEAT('b', 200))")
			if s.crashWhileWriting(t, rand.Int64N(30<<20)) {
				halves++
			}
			s = s.session(t)
			s.exec(t, "INSERT INTO d.big (v) VALUES (REPEAT('c', 200))")
			if crashes%2 == 1 {
				s.exec(t, "FLUSH BINARY LOGS")
				s.exec(t, "INSERT INTO d.big (v) VALUES (REPEAT('d', 200))")
			}
		}
		rows, cuts, err := s.readRows(t, from)
		if err != nil {
			t.Fatal(err)
		}
		var want int
		if err := s.conn.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM d.big").Scan(&want); err != nil {
			t.Fatal(err)
		}
		if rows != want {
			t.Errorf("%d committed rows were read, the table has %d", rows, want)
		}
		if cuts != halves {
			t.Errorf("%d transactions were half written, %d were met", halves, cuts)
		}
		t.Logf("%d crashes, %d transactions half written and dropped, %d rows", crashes, cuts, rows)
	})
}

// A binlog that was cut short in another way, with committed transactions in
// what is missing, is never passed over.
func TestCutBinlogIsRefused(t *testing.T) {
	onMariaDB(t, func(t *testing.T, s *source) {
		s.exec(t, "CREATE TABLE d.big (id INT AUTO_INCREMENT PRIMARY KEY, v BINARY(200) NOT NULL)")
		from := s.executed(t)
		for range 5 {
			s.exec(t, "INSERT INTO d.big (v) VALUES (REPEAT('a', 200))")
		}
		file := s.file(t)
		s.exec(t, "FLUSH BINARY LOGS")
		s.exec(t, "INSERT INTO d.big (v) VALUES (REPEAT('b', 200))")
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(file)
		if err == nil {
			err = os.Truncate(file, info.Size()-500) // within the last transaction but one
		}
		if err == nil {
			err = s.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		s = s.session(t)
		rows, cuts, err := s.readRows(t, from)
		if err == nil || rows > 4 || cuts > 1 {
			t.Errorf("%d rows were read, %d times anew: %v", rows, cuts, err)
		}
		t.Log(err)
	})
}

// file is the path of the binlog being written.
func (s *source) file(t *testing.T) string {
	t.Helper()
	var dir string
	if err := s.conn.QueryRowContext(t.Context(), "SELECT @@datadir").Scan(&dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, s.position(t).Name)
}

// crashWhileWriting kills the server when it has written so many bytes of a
// large transaction to its binlog, starts it again, and reports whether the
// transaction was lost.
func (s *source) crashWhileWriting(t *testing.T, after int64) bool {
	t.Helper()
	file := s.file(t)
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	limit := size() + after
	done := make(chan error, 1)
	go func() {
		_, err := s.DB().ExecContext(context.Background(), "INSERT INTO d.big (v) SELECT REPEAT('x', 200) FROM d.seq_1_to_200000")
		done <- err
	}()
	ended := false
	var err error
	for size() <= limit && !ended {
		select {
		case err = <-done:
			ended = true
		default:
		}
	}
	if killed := s.Kill(); killed != nil {
		t.Fatal(killed)
	}
	if !ended {
		err = <-done
	}
	if started := s.Start(); started != nil {
		t.Fatal(started)
	}
	var rows int
	if e := s.DB().QueryRow("SELECT COUNT(*) FROM d.big WHERE v LIKE 'x%' AND id > (SELECT MAX(id) FROM d.big WHERE v LIKE 'b%')").Scan(&rows); e != nil {
		t.Fatal(e)
	}
	if rows == 0 && err == nil {
		t.Errorf("a transaction that was acknowledged is lost")
	}
	return rows == 0
}

// readRows reads from a position to the server's present one, anew where the
// binlog was cut, as capture does, and counts the rows of whole transactions.
func (s *source) readRows(t *testing.T, from string) (rows, cuts int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	end := s.executed(t)
	position, err := ParsePosition("mariadb", from)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Engine: "mariadb", Address: s.Addr, User: "root", ServerID: 4243, Collations: s.collations(t),
		Captured: func(db, _ string) bool { return db == "d" }, Logger: slog.New(slog.DiscardHandler)}
	for {
		open := 0
		err := Read(ctx, cfg, position, func(e *Event) error {
			switch e.Kind {
			case Begin:
				open = 0
			case Rows:
				if len(e.Rows.Images)%cutRow != 0 {
					return fmt.Errorf("an event has %d bytes of rows", len(e.Rows.Images))
				}
				open += len(e.Rows.Images) / cutRow
			case Commit:
				rows, open = rows+open, 0
				if err := position.Pass(e); err != nil {
					return err
				}
				if position.String() == end {
					return errEnough
				}
			}
			return nil
		})
		var cut *CutError
		switch {
		case errors.Is(err, errEnough):
			return rows, cuts, nil
		case !errors.As(err, &cut):
			return rows, cuts, err
		case strings.Count(cut.GTID, "-") != 2:
			t.Errorf("a cut transaction has the GTID %q", cut.GTID)
		}
		cuts++
	}
}
