package e2e_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// stallLimit is how long the regions may stay different without any table
// coming nearer. How long they take in all depends on the machine.
const stallLimit = time.Minute

// waitEqual waits until both servers hold the same in all tables, proves that
// it is what the ledger says, and returns how long it took.
func waitEqual(p *pair, l *load) time.Duration {
	p.t.Helper()
	began, moved := time.Now(), time.Now()
	for last := ""; ; time.Sleep(100 * time.Millisecond) {
		now, equal := "", true
		for _, t := range l.tables {
			east, west := checksum(p.t, p.east, t), checksum(p.t, p.west, t)
			now, equal = now+east+west, equal && east == west
		}
		if equal {
			break
		}
		if now != last {
			last, moved = now, time.Now()
		}
		if time.Since(moved) > stallLimit {
			break // checkEqual tells the differences
		}
	}
	took := time.Since(began)
	checkEqual(p, l)
	return took
}

// checksum is a cheap look, to wait by; the proof is checkEqual.
func checksum(t *testing.T, s *side, table *table) string {
	t.Helper()
	var n, sum string
	err := s.mysql.DB().QueryRow("SELECT COUNT(*), COALESCE(SUM(CAST(op AS DECIMAL(30)) * IF(side = 'e', 1, 3)), 0) FROM shop."+table.name).Scan(&n, &sum)
	if err != nil {
		t.Fatal(err)
	}
	return n + " rows, sum " + sum
}

// checkEqual proves that every row of every table is the same on both servers,
// to the last byte, and is the one that the ledger says.
func checkEqual(p *pair, l *load) {
	p.t.Helper()
	rows := 0
	for _, t := range l.tables {
		east, west := contents(p.t, p.east.mysql.DB(), t), contents(p.t, p.west.mysql.DB(), t)
		if p.mixed() {
			spellAlike(p.t, t, east, west)
		}
		expected := l.expected(t)
		rows += len(expected)
		var wrong []error
		for key, row := range east {
			if difference := row.compare(west[key]); difference != "" {
				wrong = append(wrong, fmt.Errorf("%s[%s] in east and west: %s", t.name, key, difference))
			}
			if row.version() != expected[key] {
				wrong = append(wrong, fmt.Errorf("%s[%s]: %q in both, %q in the ledger", t.name, key, row.version(), expected[key]))
			}
		}
		if len(east) != len(west) || len(east) != len(expected) {
			wrong = append(wrong, fmt.Errorf("%s: %d rows in east, %d in west, %d in the ledger", t.name, len(east), len(west), len(expected)))
		}
		if len(wrong) > 0 {
			p.t.Fatalf("%d differences in table %s:\n%v", len(wrong), t.name, errors.Join(wrong[:min(10, len(wrong))]...))
		}
	}
	p.t.Logf("%d rows in %d tables are the same in east, west and the ledger", rows, len(l.tables))
}

// spellAlike gives the documents of both sides one spelling: MySQL keeps a JSON
// document, MariaDB the text of one.
func spellAlike(t *testing.T, table *table, sides ...map[string]content) {
	t.Helper()
	for _, rows := range sides {
		for _, row := range rows {
			for i := range row {
				if !slices.Contains(table.documents, row[i].column) || !row[i].Valid {
					continue
				}
				var document any
				if err := json.Unmarshal([]byte(row[i].String), &document); err != nil {
					t.Fatal(err)
				}
				row[i].String = fmt.Sprintf("%#v", document)
			}
		}
	}
}

// content is one row: column by column what the server shows; nil if there is
// no such row.
type content []cell

type cell struct {
	column string
	sql.NullString
}

// column returns the text of a column, "" for NULL.
func (c content) column(name string) string {
	for _, cell := range c {
		if cell.column == name {
			return cell.String
		}
	}
	return ""
}

// version names the change that made the row: side and op; "" for no row.
func (c content) version() string {
	if c == nil {
		return ""
	}
	return c.column("side") + " " + c.column("op")
}

// compare tells how two rows differ, "" if they don't.
func (c content) compare(other content) string {
	if slices.Equal(c, other) {
		return ""
	}
	if c == nil || other == nil || c.version() != other.version() {
		return fmt.Sprintf("change %q and change %q", c.version(), other.version())
	}
	text := "change " + c.version()
	for i := range c {
		if c[i] != other[i] {
			text += fmt.Sprintf(", %s is %q and %q", c[i].column, c[i].String, other[i].String)
		}
	}
	return text
}

// contents reads a whole table, by key.
func contents(t *testing.T, db *sql.DB, table *table) map[string]content {
	t.Helper()
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(context.Background(), "SET SESSION time_zone = '+00:00'"); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.QueryContext(context.Background(), "SELECT * FROM shop."+table.name+" ORDER BY "+strings.Join(table.keys, ", "))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]content{}
	for rows.Next() {
		row, into := make(content, len(names)), make([]any, len(names))
		for i := range row {
			row[i].column, into[i] = names[i], &row[i].NullString
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		key := make([]any, len(table.keys))
		for i, k := range table.keys {
			key[i] = row.column(k)
		}
		found[table.text(key)] = row
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}
