package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"time"
)

// catchUpLimit is how long after the end of a load the regions may take to be
// equal. It is generous: the machine may be doing much else.
const catchUpLimit = 3 * time.Minute

// waitEqual waits until both servers hold what the ledger says, in all tables,
// and returns how long that took. On failure it shows the first differences.
func waitEqual(p *pair, l *load) time.Duration {
	p.t.Helper()
	began := time.Now()
	eventually(p.t, catchUpLimit, func() error {
		for _, t := range l.tables {
			var sums [2]string
			for i, s := range p.sides() {
				var err error
				if sums[i], err = checksum(s.mysql.DB(), t); err != nil {
					return final(err)
				}
			}
			if sums[0] != sums[1] {
				time.Sleep(200 * time.Millisecond) // leave the servers to their work
				return fmt.Errorf("table %s: %s in %s, %s in %s:\n%s", t.name, sums[0], p.east.region, sums[1], p.west.region, differences(p, t))
			}
		}
		return nil
	})
	took := time.Since(began)
	checkEqual(p, l)
	return took
}

// checksum is a cheap look, to wait by; the proof is checkEqual.
func checksum(db *sql.DB, t *table) (string, error) {
	var n, sum string
	err := db.QueryRow("SELECT COUNT(*), COALESCE(SUM(CAST(op AS DECIMAL(30)) * IF(side = 'e', 1, 3)), 0) FROM shop."+t.name).Scan(&n, &sum)
	return n + " rows, sum " + sum, err
}

// checkEqual proves that every row of every table is the same on both servers,
// to the last byte, and is the one that the ledger says.
func checkEqual(p *pair, l *load) {
	p.t.Helper()
	rows := 0
	for _, t := range l.tables {
		east, west := contents(p.t, p.east.mysql.DB(), t), contents(p.t, p.west.mysql.DB(), t)
		expected := l.expected(t)
		rows += len(expected)
		var wrong []error
		for key, row := range east {
			if row != west[key] {
				wrong = append(wrong, fmt.Errorf("%s[%s]: %+v in east, %+v in west", t.name, key, row, west[key]))
			}
			if row.version != expected[key] {
				wrong = append(wrong, fmt.Errorf("%s[%s]: %q in both, %q in the ledger", t.name, key, row.version, expected[key]))
			}
		}
		if len(east) != len(west) || len(east) != len(expected) {
			wrong = append(wrong, fmt.Errorf("%s: %d rows in east, %d in west, %d in the ledger", t.name, len(east), len(west), len(expected)))
		}
		if len(wrong) > 0 {
			p.t.Fatalf("%d differences in table %s: %v", len(wrong), t.name, errors.Join(wrong[:min(10, len(wrong))]...))
		}
	}
	p.t.Logf("%d rows in %d tables are the same in east, west and the ledger", rows, len(l.tables))
}

// content is one row: its version and a hash of all its columns.
type content struct {
	version string // side and op
	hash    uint64
}

// contents reads a whole table, by key.
func contents(t *testing.T, db *sql.DB, table *table) map[string]content {
	t.Helper()
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	mustPin(t, conn)
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
	cells, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		cell := map[string]string{}
		for i, c := range cells {
			fmt.Fprintf(h, "%s %v %d ", names[i], c.Valid, len(c.String))
			h.Write([]byte(c.String))
			cell[names[i]] = c.String
		}
		key := make([]any, len(table.keys))
		for i, k := range table.keys {
			key[i] = cell[k]
		}
		found[table.text(key)] = content{cell["side"] + " " + cell["op"], h.Sum64()}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// differences names a few rows that differ, for a message.
func differences(p *pair, t *table) string {
	east, west := contents(p.t, p.east.mysql.DB(), t), contents(p.t, p.west.mysql.DB(), t)
	var b strings.Builder
	shown := 0
	show := func(key string, e, w content) {
		if shown++; shown <= 5 {
			fmt.Fprintf(&b, "  %s: %q in east, %q in west\n", key, e.version, w.version)
		}
	}
	for key, row := range east {
		if row != west[key] {
			show(key, row, west[key])
		}
	}
	for key, row := range west {
		if _, ok := east[key]; !ok {
			show(key, content{}, row)
		}
	}
	fmt.Fprintf(&b, "  %d keys differ", shown)
	return b.String()
}
