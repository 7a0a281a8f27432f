package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

// rivals write the same few rows in both regions at once.
type rivals struct {
	p      *pair
	tables []*table
	all    []*rival
	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	failed error
}

// rival writes random transactions over one connection.
type rival struct {
	*writer           // for what tables need to make values; its ledger isn't used
	pace              time.Duration
	made, lost, taken atomic.Int64 // transactions; those rolled back by the server; statements that met a key
}

// signature are the columns that tell who wrote a row; signed names them too,
// sign gives them values.
const signature = "side CHAR(1) CHARACTER SET ascii NOT NULL, op BIGINT NOT NULL, "

func signed(columns ...string) []string { return append([]string{"side", "op"}, columns...) }

func sign(w *writer, values ...any) []any { return append([]any{w.side, w.ops.Add(1)}, values...) }

// hotTables have so many rows at most. None has a secondary unique key.
func hotTables(rows int, e engines) []*table {
	many, manyColumns := signature, signed("amount", "ratio", "day", "at", "raw", "note", "colour", "flags", "y", "big")
	many += "id BIGINT UNSIGNED NOT NULL PRIMARY KEY, amount DECIMAL(12,2), ratio DOUBLE, day DATE, at DATETIME(6), raw VARBINARY(40), note TEXT, " +
		"colour ENUM('red','green','blue'), flags SET('a','b','c'), y YEAR, big BIGINT UNSIGNED"
	for i := range 30 {
		name := fmt.Sprintf("n%d", i)
		many, manyColumns = many+", "+name+" INT", append(manyColumns, name)
	}
	ints := &table{
		name: "ints", keys: []string{"id"}, columns: signed("v"), create: signature + "id INT NOT NULL PRIMARY KEY, v INT NOT NULL",
		newKey: func(w *writer) []any { return []any{w.IntN(rows)} },
		values: func(w *writer) []any { return sign(w, w.IntN(1000)) },
	}
	pairs := &table{
		name: "pairs", keys: []string{"b", "a"}, columns: signed("v"),
		create: signature + "a INT NOT NULL, v VARCHAR(80), b VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, PRIMARY KEY (b, a)",
		newKey: func(w *writer) []any { n := w.IntN(rows); return []any{fmt.Sprint("b", n%5), n / 5} },
		values: func(w *writer) []any { return sign(w, maybe(w, w.text(60))) },
	}
	names := &table{
		name: "names", keys: []string{"name"}, columns: signed("v"), create: signature + "v INT, name VARCHAR(30) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY",
		newKey: func(w *writer) []any { n := w.IntN(rows); return []any{[]string{"row", "Row"}[n%2] + fmt.Sprint(n/2)} },
		values: func(w *writer) []any { return sign(w, maybe(w, w.IntN(1000))) },
	}
	// The same row to the server, with other bytes.
	padded := &table{
		name: "padded", keys: []string{"name"}, columns: signed("v"), pads: true,
		create: signature + "v INT, name VARCHAR(30) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY",
		newKey: func(w *writer) []any { return []any{fmt.Sprint("row", w.IntN(rows)) + strings.Repeat(" ", w.IntN(2))} },
		values: func(w *writer) []any { return sign(w, maybe(w, w.IntN(1000))) },
	}
	// The same, by the collation that the servers have as their default, if they share it.
	collation := "utf8mb4_unicode_ci"
	switch e.name {
	case "mysql":
		collation = "utf8mb4_0900_ai_ci"
	case "mariadb":
		collation = "utf8mb4_uca1400_ai_ci"
	}
	spelt := &table{
		name: "spelt", keys: []string{"name", "kind"}, columns: signed("v"),
		create: signature + "v INT, kind ENUM('i','j') NOT NULL, name VARCHAR(30) CHARACTER SET utf8mb4 COLLATE " + collation + " NOT NULL, PRIMARY KEY (name, kind)",
		newKey: func(w *writer) []any {
			n := w.IntN(rows)
			return []any{[]string{"grosse", "GROSSE", "Große", "größe", "GRÖSSE", "gro\u0308ße"}[w.IntN(6)] + fmt.Sprint(n/2), []string{"i", "j"}[n%2]}
		},
		values: func(w *writer) []any { return sign(w, maybe(w, w.IntN(1000))) },
		spelling: func(text string) string {
			return strings.NewReplacer("ß", "ss", "ö", "o", "\u0308", "").Replace(strings.ToLower(text))
		},
	}
	wide := &table{
		name: "many", keys: []string{"id"}, columns: manyColumns, create: many,
		newKey: func(w *writer) []any { return []any{w.IntN(rows)} },
		values: func(w *writer) []any {
			v := sign(w, w.decimal(9, 2), float64(w.IntN(8000))/8, w.moment(0)[:10], maybe(w, w.moment(6)), maybe(w, w.bytesOf(w.IntN(40), 0xff)), maybe(w, w.text(200)),
				[]string{"red", "green", "blue"}[w.IntN(3)], []string{"", "a", "a,c", "b,c"}[w.IntN(4)], 1950+w.IntN(200), maybe(w, w.Uint64()))
			for range 30 {
				v = append(v, maybe(w, w.IntN(100)))
			}
			return v
		},
	}
	// Rows of few values come back to what they were: what a row holds doesn't
	// tell who wrote it.
	switches := &table{
		name: "switches", keys: []string{"id"}, columns: []string{"v"}, create: "id INT NOT NULL PRIMARY KEY, v TINYINT NOT NULL",
		newKey: func(w *writer) []any { return []any{w.IntN(rows)} },
		values: func(w *writer) []any { return []any{w.IntN(2)} },
	}
	return []*table{ints, pairs, names, padded, spelt, wide, switches}
}

// newRivals makes the tables on both servers, and so many writers a side.
func newRivals(p *pair, seed uint64, tables []*table, writers int, pace time.Duration) *rivals {
	p.t.Helper()
	r := &rivals{p: p, tables: tables}
	for _, s := range p.sides() {
		mustExec(p.t, s.mysql.DB(), "CREATE TABLE shop.fence (side CHAR(1) CHARACTER SET ascii PRIMARY KEY, op BIGINT NOT NULL)")
		for _, t := range r.tables {
			mustExec(p.t, s.mysql.DB(), "CREATE TABLE shop."+t.name+" ("+t.create+") CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
		}
		ops := &atomic.Int64{}
		for i := range writers {
			conn, err := s.mysql.DB().Conn(context.Background())
			if err != nil {
				p.t.Fatal(err)
			}
			p.t.Cleanup(func() { conn.Close() })
			mustPin(p.t, conn, s)
			execOn(p.t, conn, "SET SESSION TRANSACTION ISOLATION LEVEL "+[]string{"READ COMMITTED", "REPEATABLE READ"}[i%2])
			r.all = append(r.all, &rival{pace: pace, writer: &writer{
				Rand: rand.New(rand.NewPCG(seed, uint64(s.number*1000+i))), side: sideName(s), number_: i, ops: ops, conn: conn, ctx: context.Background(),
			}})
		}
	}
	p.t.Cleanup(r.stop)
	return r
}

// begin lets all write until end.
func (r *rivals) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	for _, w := range r.all {
		r.done.Go(func() {
			for ctx.Err() == nil {
				if err := w.transaction(r.tables); err != nil {
					r.mu.Lock()
					r.failed = errors.Join(r.failed, fmt.Errorf("writer %d of side %s: %w", w.number_, w.side, err))
					r.mu.Unlock()
					return
				}
				pause(ctx, w.pace/2+rand.N(w.pace))
			}
		})
	}
}

// end lets each finish its transaction.
func (r *rivals) end() {
	r.p.t.Helper()
	r.stop()
	if r.failed != nil {
		r.p.t.Fatalf("the rivals could not write: %v", r.failed)
	}
}

func (r *rivals) stop() {
	if r.cancel != nil {
		r.cancel()
		r.done.Wait()
	}
}

func (r *rivals) String() string {
	var made, lost, taken int64
	for _, w := range r.all {
		made, lost, taken = made+w.made.Load(), lost+w.lost.Load(), taken+w.taken.Load()
	}
	return fmt.Sprintf("%d transactions written, %d rolled back by the server, %d statements met a key that was taken", made, lost, taken)
}

// transaction writes one. What the server refuses since others write the same
// rows is not made.
func (w *rival) transaction(tables []*table) error {
	err := w.attempt(tables)
	var fault *mysql.MySQLError
	if !errors.As(err, &fault) || !slices.Contains([]uint16{1205, 1213, 1020}, fault.Number) {
		return err
	}
	w.lost.Add(1)
	_, err = w.conn.ExecContext(w.ctx, "ROLLBACK")
	return err
}

func (w *rival) attempt(tables []*table) error {
	statements := 1
	if w.IntN(3) > 0 {
		statements += w.IntN(6)
		if _, err := w.conn.ExecContext(w.ctx, "BEGIN"); err != nil {
			return err
		}
	}
	for range statements {
		if err := w.statement(tables[w.IntN(len(tables))]); err != nil {
			return err
		}
		if w.IntN(50) == 0 {
			time.Sleep(time.Duration(w.IntN(200)) * time.Millisecond) // with all locks held
		}
	}
	end := "COMMIT"
	if w.IntN(30) == 0 {
		end = "ROLLBACK"
	}
	_, err := w.conn.ExecContext(w.ctx, end)
	if err == nil && end == "COMMIT" {
		w.made.Add(1)
	}
	return err
}

// statement makes one change, or none if there is no such row, or one in the way.
func (w *rival) statement(t *table) error {
	key, where := t.newKey(w.writer), strings.Join(t.keys, " = ? AND ")+" = ?"
	name, set, values := "shop."+t.name, strings.Join(t.columns, " = ?, ")+" = ?", t.values(w.writer)
	row := "(" + strings.Join(slices.Concat(t.columns, t.keys), ", ") + ") VALUES (?" + strings.Repeat(", ?", len(t.columns)+len(t.keys)-1) + ")"
	all := slices.Concat(values, key)
	switch dice := w.IntN(100); {
	case dice == 0 && w.IntN(2) == 0: // more than a batch has, mostly
		if w.IntN(3) == 0 {
			return w.try("DELETE FROM " + name)
		}
		return w.try("UPDATE "+name+" SET "+set, values...)
	case dice < 45:
		return w.try("UPDATE "+name+" SET "+set+" WHERE "+where, all...)
	case dice < 53: // several rows at once
		return w.try("UPDATE "+name+" SET "+set+" WHERE "+where+" OR "+where, slices.Concat(all, t.newKey(w.writer))...)
	case dice < 66:
		return w.try("DELETE FROM "+name+" WHERE "+where, key...)
	case dice < 82:
		return w.try("INSERT INTO "+name+" "+row, all...)
	case dice < 86:
		return w.try("REPLACE INTO "+name+" "+row, all...)
	case dice < 89: // away and there again
		if err := w.try("DELETE FROM "+name+" WHERE "+where, key...); err != nil {
			return err
		}
		return w.try("INSERT INTO "+name+" "+row, all...)
	default:
		other := t.newKey(w.writer)
		return w.try("UPDATE "+name+" SET "+set+", "+strings.Join(t.keys, " = ?, ")+" = ? WHERE "+where, slices.Concat(values, other, key)...)
	}
}

// try makes one statement. One that met a taken key is not made.
func (w *rival) try(statement string, args ...any) error {
	_, err := w.conn.ExecContext(w.ctx, statement, args...)
	var fault *mysql.MySQLError
	if errors.As(err, &fault) && fault.Number == 1062 {
		w.taken.Add(1)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// fence writes a transaction of its own in each region, which tells how far
// what was written before has come.
func (r *rivals) fence(op int64) {
	r.p.t.Helper()
	for _, s := range r.p.sides() {
		conn, err := s.mysql.DB().Conn(context.Background())
		if err != nil {
			r.p.t.Fatal(err)
		}
		transact(r.p.t, conn, fmt.Sprintf("INSERT INTO shop.fence VALUES ('%s', %d) ON DUPLICATE KEY UPDATE op = VALUES(op)", sideName(s), op))
		conn.Close()
	}
}

// fenced tells how far a region is from having the others' fences.
func (r *rivals) fenced(s *side, op int64) error {
	for _, other := range r.p.sides() {
		var at sql.NullInt64
		if err := s.mysql.DB().QueryRow("SELECT MAX(op) FROM shop.fence WHERE side = ?", sideName(other)).Scan(&at); err != nil {
			return final(err)
		}
		if at.Int64 < op {
			return fmt.Errorf("%s has not all that %s wrote", s.region, other.region)
		}
	}
	return nil
}
