package e2e_test

import (
	"fmt"
	"regexp"
	"testing"
)

// alteration is a change of a column's type in one region only.
type alteration struct {
	before, after string
	// fits is a value that both types hold, if the old one can be written to at
	// all; spoils one that only the new type holds.
	fits, spoils string
	want         []string // of the reason, besides table and column
}

func alterations() []alteration {
	return []alteration{
		{before: "INT", after: "VARCHAR(60)", spoils: "'" + rowSentinel + "'", want: []string{"is int", "of kind string", "MODIFY COLUMN `n`"}},
		{before: "DECIMAL(10,2)", after: "DECIMAL(12,4)", spoils: "1.2345", want: []string{"is decimal(10,2)", "MODIFY COLUMN `n` decimal(12,4)"}},
		{before: "INT", after: "BIGINT", fits: "-7", spoils: "3000000000", want: []string{"1264"}},
		{before: "VARCHAR(10)", after: "VARCHAR(60)", fits: "'short'", spoils: "'" + rowSentinel + "'", want: []string{"1406"}},
		{before: "DATETIME", after: "DATETIME(6)", fits: "'2024-01-02 03:04:05'", spoils: "'2024-01-02 03:04:05.600000'", want: []string{"fraction"}},
		{before: "ENUM('a','b')", after: "ENUM('c','b','a')", fits: "'a'", spoils: "'c'", want: []string{"1265"}},
		{before: "VARCHAR(60) CHARACTER SET latin1", after: "VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", fits: "'é'", spoils: "'漢'", want: []string{"1366"}},
	}
}

// TestColumnAlteredWhileRunning: the type of a column changes in one region
// while changes flow, and not in the other. What the other's type holds too goes
// on; the first transaction that it doesn't hold stops the stream at exactly
// that, by table and column; nothing else than what was written is ever there.
// Once the other region is altered too, nothing is lost (promises 1, 6 and 8).
func TestColumnAlteredWhileRunning(t *testing.T) { onEveryPair(t, testColumnAltered) }

func testColumnAltered(t *testing.T, e engines) {
	p := newPairOf(t, e, "altered", nil)
	for i, a := range alterations() {
		for _, s := range p.sides() {
			mustExec(t, s.mysql.DB(), fmt.Sprintf("CREATE TABLE shop.a%d (id INT PRIMARY KEY, n %s)", i, a.before))
		}
	}
	processes := p.start("run")
	for i, a := range alterations() {
		t.Run(fmt.Sprintf("%s to %s", a.before, a.after), func(t *testing.T) {
			a.try(t, p, fmt.Sprintf("shop.a%d", i), processes[1])
		})
	}
	stop(processes)
}

func (a alteration) try(t *testing.T, p *pair, table string, west *Process) {
	east := p.east.mysql.DB()
	rows := 0
	insert := func(value string) {
		rows++
		mustExec(t, east, fmt.Sprintf("INSERT INTO %s VALUES (%d, %s)", table, rows, value))
	}
	alter := func(s *side) {
		mustExec(t, s.mysql.DB(), fmt.Sprintf("ALTER TABLE %s MODIFY n %s", table, a.after))
	}
	insert("NULL")
	eventually(t, stallLimit, func() error { return hasRows(p.west, table, 1) })
	alter(p.east)
	if a.fits != "" {
		insert(a.fits)
	}
	eventually(t, stallLimit, func() error { return hasRows(p.west, table, rows) })
	good := rows
	insert(a.spoils)
	insert("NULL")
	if text := stopped(t, p, west, append(a.want, table)...); !regexp.MustCompile("[`']n[`']").MatchString(text) {
		t.Error("the reason doesn't name the column")
	}
	if err := hasRows(p.west, table, good); err != nil {
		t.Errorf("not stopped at exactly the transaction: %v", err)
	}
	alter(p.west)
	west.Term()
	west.Start()
	west.WaitStreaming()
	eventually(t, stallLimit, func() error { return hasRows(p.west, table, rows) })
	for id := range rows {
		query := fmt.Sprintf("SELECT COALESCE(HEX(n), 'NULL') FROM %s WHERE id = %d", table, id+1)
		var e, w string
		if err := east.QueryRow(query).Scan(&e); err != nil {
			t.Fatal(err)
		}
		if err := p.west.mysql.DB().QueryRow(query).Scan(&w); err != nil {
			t.Fatal(err)
		}
		if e != w {
			t.Errorf("row %d has %s in east and %s in west", id+1, e, w)
		}
	}
}
