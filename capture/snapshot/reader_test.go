package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"duplex/capture/binlog"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
)

var bed *testbed.Bed

func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }

func onEveryServer(t *testing.T, test func(*testing.T, *testbed.MySQL, *Reader)) {
	for _, part := range []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118} {
		t.Run(string(part), func(t *testing.T) {
			server := bed.SharedMySQL(t, part, "")
			db, err := mysql.Open(config.MySQL{Address: server.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}}, mysql.Reading)
			if err != nil {
				t.Fatal(err)
			}
			engine := "mysql"
			if server.IsMariaDB() {
				engine = "mariadb"
			}
			r := NewReader(db, engine)
			t.Cleanup(func() { r.Close(); db.Close() })
			exec(t, server, "CREATE DATABASE shop")
			test(t, server, r)
		})
	}
}

func exec(t *testing.T, s *testbed.MySQL, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := s.DB().ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%.300s: %v", statement, err)
		}
	}
}

// keyed are tables of each kind of key, with a way to make a row's.
func keyed() map[string]struct {
	create string
	key    func(n int) string
} {
	type kind = struct {
		create string
		key    func(n int) string
	}
	return map[string]kind{
		"numbers":   {"a INT NOT NULL, PRIMARY KEY (a)", func(n int) string { return fmt.Sprint(n*7%1009 - 500) }},
		"unsigned_": {"a BIGINT UNSIGNED NOT NULL, PRIMARY KEY (a)", func(n int) string { return fmt.Sprint(uint64(n) * 18_000_000_000_000_000) }},
		"pairs": {"a INT NOT NULL, b VARCHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL, PRIMARY KEY (b, a)", func(n int) string {
			return fmt.Sprintf("%d, '%s'", n, []string{"Straße", "a''b", "Ä", "z\\\\", "😀"}[n%5])
		}},
		"threes": {"a SMALLINT NOT NULL, b DATETIME(3) NOT NULL, c VARBINARY(20) NOT NULL, PRIMARY KEY (a, b, c)", func(n int) string {
			return fmt.Sprintf("%d, '2024-01-%02d 10:00:00.%03d', x'%02x00ff'", n%3, 1+n%28, n%1000, n%256)
		}},
		"texts":  {"a VARCHAR(40) CHARACTER SET latin1 NOT NULL, PRIMARY KEY (a)", func(n int) string { return fmt.Sprintf("'%cé%d'", 'A'+n*7%26, n) }},
		"bytes_": {"a BINARY(4) NOT NULL, PRIMARY KEY (a)", func(n int) string { return fmt.Sprintf("x'%08x'", uint32(n)*2654435761) }},
		"kinds": {"a ENUM('x','b','m') NOT NULL, b DECIMAL(20,4) NOT NULL, c BIT(10) NOT NULL, d TIME NOT NULL, PRIMARY KEY (a, b, c, d)", func(n int) string {
			return fmt.Sprintf("%d, %d.%04d, %d, '-%02d:00:%02d'", 1+n%3, n%50-25, n%9999, n%1024, n%30, n%60)
		}},
		"doubles": {"a DOUBLE NOT NULL, b DATE NOT NULL, PRIMARY KEY (a, b)", func(n int) string { return fmt.Sprintf("%g, '2024-02-%02d'", float64(n%40)/7, 1+n%29) }},
		"floats": {"a FLOAT NOT NULL, b YEAR NOT NULL, c TIMESTAMP(6) NOT NULL, PRIMARY KEY (a, b, c)", func(n int) string {
			return fmt.Sprintf("%g, %d, '2024-02-03 04:05:06.%06d'", float64(n%40)/7, 1990+n%20, n)
		}},
	}
}

// TestChunks: the chunks of a table have each row once, in the order of the key, whatever the key is, and
// the server looks at no more rows than it gives.
func TestChunks(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *testbed.MySQL, r *Reader) {
		for name, kind := range keyed() {
			t.Run(name, func(t *testing.T) {
				exec(t, s, "CREATE TABLE shop."+name+" ("+kind.create+", v INT)")
				rows := map[string]bool{}
				for n := range 1000 {
					rows["("+kind.key(n)+", 1)"] = true
				}
				var values []string
				for row := range rows {
					values = append(values, row)
				}
				exec(t, s, "INSERT IGNORE INTO shop."+name+" VALUES "+strings.Join(values, ", "))
				var want int64
				if err := s.DB().QueryRow("SELECT COUNT(*) FROM shop." + name).Scan(&want); err != nil {
					t.Fatal(err)
				}
				table, err := r.Load(t.Context(), "shop", name)
				if err != nil {
					t.Fatal(err)
				}
				copyTable(t, s, r, table, want)
			})
		}
	})
}

func copyTable(t *testing.T, s *testbed.MySQL, r *Reader, table *Table, want int64) {
	t.Helper()
	const size = 60
	var rows int64
	seen := map[string]bool{}
	from := Range{}
	for {
		var err error
		if from.UpTo, err = r.Boundary(t.Context(), table, from.After, size); err != nil {
			t.Fatal(err)
		}
		for part := from; ; {
			before := examined(t, r)
			c, err := r.Read(t.Context(), table, executed(t, s), part, Limits{Rows: size / 2, Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if looked := examined(t, r) - before; looked > size/2+20 {
				t.Fatalf("the server looked at %d rows to give %d", looked, c.Rows)
			}
			for _, images := range c.Images {
				for len(images) > 0 {
					_, rest, err := table.Version().Decoder.Decode(nil, images, c.Present, make([]binlog.Span, len(table.def.Key)), new(schemas.Exact))
					if err != nil {
						t.Fatal(err)
					}
					if row := string(images[:len(images)-len(rest)]); seen[row] {
						t.Fatalf("a row comes twice")
					} else {
						seen[row] = true
					}
					images = rest
				}
			}
			rows += c.Rows
			if c.Whole {
				break
			}
			part.After = c.Last
		}
		if from.UpTo == nil {
			break
		}
		from.After = from.UpTo
	}
	if rows != want || int64(len(seen)) != want {
		t.Errorf("%d rows in the chunks, %d of them different; the table has %d", rows, len(seen), want)
	}
}

// examined is how many rows the reader's connection has looked at.
func examined(t *testing.T, r *Reader) (sum int64) {
	t.Helper()
	if err := r.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := r.conn.QueryContext(t.Context(), "SHOW SESSION STATUS WHERE Variable_name IN ('Handler_read_next', 'Handler_read_rnd_next', 'Handler_read_first', 'Handler_read_key')")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func executed(t *testing.T, s *testbed.MySQL) (set string) {
	t.Helper()
	if s.IsMariaDB() {
		return ""
	}
	if err := s.DB().QueryRow("SELECT @@GLOBAL.gtid_executed").Scan(&set); err != nil {
		t.Fatal(err)
	}
	return set
}

// TestFirstMark: while one writer counts a row up, a chunk never shows less than what was in the binlog before
// its window was opened; nor does an idle server whose binlog has just begun another file let it wait.
func TestFirstMark(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *testbed.MySQL, r *Reader) {
		exec(t, s, "CREATE TABLE shop.counter (id INT PRIMARY KEY, v BIGINT)", "INSERT INTO shop.counter VALUES (1, 0)", "SET GLOBAL sync_binlog = 1")
		table, err := r.Load(t.Context(), "shop", "counter")
		if err != nil {
			t.Fatal(err)
		}
		base := count(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			var err error
			for ctx.Err() == nil && err == nil {
				_, err = s.DB().Exec("UPDATE shop.counter SET v = v + 1")
			}
			done <- err
		}()
		for range 300 {
			seen, least := executed(t, s), count(t, s)-base
			if s.IsMariaDB() == (seen != "") {
				t.Fatal("no position")
			}
			c, err := r.Read(ctx, table, seen, Range{}, Limits{Rows: 10, Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if !s.IsMariaDB() {
				least = 0 // WAIT_FOR_EXECUTED_GTID_SET is the server's promise
			}
			if v := valueOf(t, table, c); v < least {
				t.Fatalf("the chunk shows %d, and %d was in the binlog before", v, least)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		exec(t, s, "FLUSH BINARY LOGS")
		for range 3 {
			if _, err := r.Read(t.Context(), table, executed(t, s), Range{}, Limits{Rows: 10, Bytes: 1 << 20}); err != nil {
				t.Fatal(err)
			}
			exec(t, s, "CREATE OR REPLACE VIEW shop.v AS SELECT 1", "FLUSH BINARY LOGS")
		}
	})
}

// count is the number of the last transaction in the binlog, where it tells.
func count(t *testing.T, s *testbed.MySQL) (n int64) {
	t.Helper()
	if !s.IsMariaDB() {
		return 0
	}
	var at string
	if err := s.DB().QueryRow("SELECT @@GLOBAL.gtid_binlog_pos").Scan(&at); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(at[strings.LastIndex(at, "-")+1:], "%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// valueOf reads column v of the chunk's one row from its image: a bitmap, an INT, a BIGINT.
func valueOf(t *testing.T, table *Table, c *Chunk) (v int64) {
	t.Helper()
	if len(c.Images) != 1 || len(c.Images[0]) != 13 {
		t.Fatalf("%d runs of images", len(c.Images))
	}
	for i := range 8 {
		v |= int64(c.Images[0][5+i]) << (8 * i)
	}
	return v
}

// TestAltered: a table that was altered since its definition was read gives no chunk, and one with wide rows
// ends where it has enough bytes.
func TestAltered(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *testbed.MySQL, r *Reader) {
		exec(t, s, "CREATE TABLE shop.wide (id INT PRIMARY KEY AUTO_INCREMENT, v LONGTEXT)")
		for range 20 {
			exec(t, s, "INSERT INTO shop.wide (v) VALUES (REPEAT('x', 100000))")
		}
		table, err := r.Load(t.Context(), "shop", "wide")
		if err != nil {
			t.Fatal(err)
		}
		if !table.Wide() {
			t.Error("a LONGTEXT is no wide column")
		}
		limits := Limits{Rows: 1000, Bytes: 350_000}
		exec(t, s, "INSERT INTO shop.wide (v) VALUES ('last')") // AUTO_INCREMENT is no part of the shape
		var sizes []int64
		for rng := (Range{}); ; {
			c, err := r.Read(t.Context(), table, executed(t, s), rng, limits)
			if err != nil {
				t.Fatal(err)
			}
			if sizes = append(sizes, c.Rows); c.Whole {
				break
			}
			rng.After = c.Last
		}
		if want := []int64{4, 4, 4, 4, 4, 1}; !slices.Equal(sizes, want) {
			t.Errorf("chunks of %v rows, want %v", sizes, want)
		}
		exec(t, s, "ALTER TABLE shop.wide ADD COLUMN w INT")
		if _, err := r.Read(t.Context(), table, executed(t, s), Range{}, limits); !errors.Is(err, ErrAltered) {
			t.Errorf("after an ALTER: %v", err)
		}
		exec(t, s, "DROP TABLE shop.wide")
		if _, err := r.Read(t.Context(), table, executed(t, s), Range{}, limits); !errors.Is(err, ErrGone) {
			t.Errorf("after a DROP: %v", err)
		}
		if _, err := r.Load(t.Context(), "shop", "wide"); !errors.Is(err, ErrGone) {
			t.Errorf("loading it: %v", err)
		}
	})
}

// TestLiterals: what isn't a key of the column is refused, wherever it comes from.
func TestLiterals(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *testbed.MySQL, r *Reader) {
		exec(t, s, "CREATE TABLE shop.t (a INT, b DATETIME, c VARCHAR(10), PRIMARY KEY (a, b, c))")
		table, err := r.Load(t.Context(), "shop", "t")
		if err != nil {
			t.Fatal(err)
		}
		good := Key{[]byte("1"), []byte("2024-01-01 00:00:00"), []byte("'; DROP")}
		if _, err := r.Read(t.Context(), table, executed(t, s), Range{After: good}, Limits{Rows: 1, Bytes: 1}); err != nil {
			t.Error(err)
		}
		for _, bad := range []Key{{good[0], good[1]}, {[]byte("1 OR 1"), good[1], good[2]}, {good[0], []byte("2024' OR '"), good[2]}, {[]byte(""), good[1], good[2]}, {[]byte("1--"), good[1], good[2]}} {
			if _, err := table.where(Range{After: bad}); err == nil {
				t.Errorf("%q is taken", bad)
			}
		}
	})
}
