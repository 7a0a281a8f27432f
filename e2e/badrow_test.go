package e2e_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"duplex/supervise"
)

// badRow is a transaction that the target can't take.
type badRow struct {
	name string
	// east and west are the columns besides the key, altered what makes them so after
	// the first row, each in its region.
	east, west, altered string
	good, bad           string // values
	want                []string
	mend                string
	server              bool // what it says depends on the server
	behind              bool // apply starts when all is published, and merges what it can
}

func badRows() []badRow {
	const spoilt = "'" + rowSentinel + "'"
	return []badRow{
		{name: "longer than the column", east: "v VARCHAR(60)", west: "v VARCHAR(10)", good: "'x'", bad: spoilt,
			want: []string{"1406", "`v`|'v'", "longer than the column"}, mend: "ALTER TABLE %s MODIFY v VARCHAR(60)", server: true},
		{name: "BIGINT into INT", east: "v BIGINT", west: "v INT", good: "-7", bad: "3000000000",
			want: []string{"1264", "`v`|'v'", "doesn't fit the column"}, mend: "ALTER TABLE %s MODIFY v BIGINT"},
		{name: "smaller character set", east: "v VARCHAR(60) CHARACTER SET utf8mb4", west: "v VARCHAR(60) CHARACTER SET latin1", good: "'é'", bad: "'漢'",
			want: []string{"1366", "`v`|'v'", "character set"}, mend: "ALTER TABLE %s MODIFY v VARCHAR(60) CHARACTER SET utf8mb4", server: true},
		{name: "CHECK constraint", east: "v INT", west: "v INT, CONSTRAINT small CHECK (v < 100)", good: "1", bad: "500",
			want: []string{"3819|4025", "small", "refuses the row"}, mend: "ALTER TABLE %s DROP CONSTRAINT small", server: true, behind: true},
		{name: "NOT NULL here", east: "v INT", west: "v INT NOT NULL", good: "1", bad: "NULL",
			want: []string{"`v`", "NOT NULL"}, mend: "ALTER TABLE %s MODIFY v INT"},
		{name: "column of the target only", east: "v INT", west: "v INT", altered: "ADD COLUMN own INT NOT NULL", good: "1", bad: "2",
			want: []string{"`own`", "NOT NULL without default", "SET DEFAULT"}, mend: "ALTER TABLE %s ALTER COLUMN own SET DEFAULT 0"},
		{name: "column missing in the target", east: "v INT, more INT", west: "v INT, more INT", altered: "DROP COLUMN more", good: "1, 1", bad: "2, 2",
			want: []string{"`more`", "is missing", "ADD COLUMN"}, mend: "ALTER TABLE %s ADD COLUMN more INT", behind: true},
		{name: "table dropped", east: "v INT", west: "v INT", altered: "drop", good: "1", bad: "2",
			want: []string{"is not in the target|1146", "SHOW CREATE TABLE|create it as on the other side"}, mend: "CREATE TABLE %s (kind INT, id INT, v INT, PRIMARY KEY (kind, id))"},
	}
}

// TestBadRowStops: a transaction that the target can't take stops its stream at
// exactly that: what came before is committed, merged with it or not; nothing of it
// and nothing after it is. The reason names stream, transaction, table, key
// columns, cause and mend, and no value. Mended and resumed, without a restart, it
// goes on there (promises 1, 3, 5, 6 and 10).
func TestBadRowStops(t *testing.T) { onEveryPair(t, testBadRowStops) }

func testBadRowStops(t *testing.T, e engines) {
	rows := badRows()
	if e != mysqlPair && !soak() {
		rows = slices.DeleteFunc(rows, func(r badRow) bool { return !r.server })
	}
	p := newSmall(t, e, "badrow")
	for i, r := range rows {
		table := fmt.Sprintf("shop.b%d", i)
		for s, columns := range map[*side]string{p.east: r.east, p.west: r.west} {
			mustExec(t, s.mysql.DB(), fmt.Sprintf("CREATE TABLE %s (kind INT, id INT, %s, PRIMARY KEY (kind, id))", table, columns))
		}
	}
	processes := p.start("run")
	for i, r := range rows {
		if !t.Run(r.name, func(t *testing.T) { r.try(t, p, fmt.Sprintf("shop.b%d", i), processes) }) {
			return // the stream stands
		}
	}
	stop(processes)
}

func (r badRow) try(t *testing.T, p *pair, table string, processes []*Process) {
	east, there, west := p.east.mysql.DB(), p.west.mysql.DB(), processes[1]
	var before int
	if err := there.QueryRow("SELECT COUNT(*) FROM shop.t").Scan(&before); err != nil {
		t.Fatal(err)
	}
	mustExec(t, east, fmt.Sprintf("INSERT INTO %s VALUES (1, 1, %s)", table, r.good))
	eventually(t, stallLimit, func() error { return hasRows(p.west, table, 1) })
	dropped := r.altered == "drop"
	switch {
	case dropped:
		// Logged, it would stop the capture there too.
		inOneSession(t, p.west, "SET SESSION sql_log_bin = OFF", "DROP TABLE "+table, "SET SESSION sql_log_bin = ON")
	case r.altered != "":
		mustExec(t, there, "ALTER TABLE "+table+" "+r.altered)
	}
	if r.behind {
		west.Term()
	}
	const merged = 20
	var text []string
	for i := range merged {
		text = append(text, fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'before')", 2*before+i+1))
	}
	text = append(text, "BEGIN", "INSERT INTO shop.t VALUES (-1, 'of the bad one')", fmt.Sprintf("INSERT INTO %s VALUES (1, 2, %s)", table, r.bad), "COMMIT",
		fmt.Sprintf("INSERT INTO %s VALUES (1, 3, %s)", table, r.good), "INSERT INTO shop.t VALUES (-2, 'after')")
	inOneSession(t, p.east, text...)
	if r.behind {
		waitPublished(t, processes[0])
		west.Start()
	}
	checkReason(t, p, west, table, r.want)
	if err := hasRows(p.west, "shop.t", before+merged); err != nil {
		t.Errorf("not stopped at exactly the transaction: %v", err)
	}
	if !dropped {
		if err := hasRows(p.west, table, 1); err != nil {
			t.Errorf("not stopped at exactly the transaction: %v", err)
		}
	}
	mustExec(t, there, fmt.Sprintf(r.mend, table))
	rows := 3
	if dropped {
		rows = 2 // the first went with the table
	}
	resume(t, p, west)
	eventually(t, stallLimit, func() error {
		return errors.Join(west.Streaming(), sameSmall(p), hasRows(p.west, "shop.t", before+merged+2), hasRows(p.west, table, rows))
	})
	if retried := strings.Contains(west.Log(), "trying its transactions one by one"); r.behind && !retried {
		t.Error("the bad transaction wasn't merged with others")
	}
	mustExec(t, east, "DELETE FROM shop.t WHERE id < 0")
	eventually(t, stallLimit, func() error { return sameSmall(p) })
}

// inOneSession runs statements on one connection.
func inOneSession(t *testing.T, s *side, statements ...string) {
	t.Helper()
	conn, err := s.mysql.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range statements {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// checkReason waits until the stream into west has stopped, and checks that the
// reason names the stream, the transaction, which is the one after the last that
// was applied, the table, its key, and what else is wanted; alternatives stand
// between bars.
func checkReason(t *testing.T, p *pair, west *Process, table string, want []string) {
	t.Helper()
	text := stopped(t, p, west, fmt.Sprintf("apply %s %s→%s is stopped", p.taskName, p.east.region, p.west.region), table, "(key `kind`, `id`)")
	for _, w := range want {
		if !slices.ContainsFunc(strings.Split(w, "|"), func(one string) bool { return strings.Contains(text, one) }) {
			t.Errorf("the reason lacks %s", w)
		}
	}
	named := regexp.MustCompile(`transaction (\d+) `).FindStringSubmatch(text)
	if named == nil {
		t.Fatal("the reason names no transaction")
	}
	var applied int
	if err := p.west.mysql.DB().QueryRow("SELECT MAX(seq) FROM duplex.progress WHERE origin = ?", p.east.region).Scan(&applied); err != nil {
		t.Fatal(err)
	}
	if named[1] != strconv.Itoa(applied+1) {
		t.Errorf("the reason names transaction %s, and %d is the last that is applied", named[1], applied)
	}
}

// resume has what has stopped in a process go on, by the command.
func resume(t *testing.T, p *pair, process *Process, more ...string) {
	t.Helper()
	args := append([]string{"resume", "-c", filepath.Join(p.dir, process.Name+".yaml"), "--task", p.taskName}, more...)
	text, exit := runProgram(t, args...)
	if want := fmt.Sprintf("resumed: apply %s %s→%s\n", p.taskName, p.east.region, p.west.region); exit != 0 || text != want {
		t.Fatalf("resume: exit code %d, %q, not %q", exit, text, want)
	}
	eventually(t, startLimit, func() error {
		s, err := process.Status()
		if err == nil && s.Apply[0].State == supervise.Stopped {
			err = final(fmt.Errorf("stopped again: %s", s.Apply[0].Error))
		}
		if err == nil && s.Apply[0].State != supervise.Streaming {
			err = fmt.Errorf("the stream is %s: %s", s.Apply[0].State, s.Apply[0].Error)
		}
		return err
	})
}
