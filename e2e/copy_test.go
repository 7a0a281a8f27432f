package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"duplex/change"
	"duplex/region"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestInitialCopy: the rows that east has before the task begins come to west, while both
// regions write, those rows too, and processes are killed. At the end both
// hold what the ledger says; and of no row more copies were published than chunks can have been under way.
// (Promises 1 and 3.)
func TestInitialCopy(t *testing.T) { onEveryPairIfLong(t, testInitialCopy) }

func testInitialCopy(t *testing.T, e engines) {
	p := newPairOf(t, e, "copy", nil)
	p.writeTask("tables: {include: ['shop.*']}", fmt.Sprintf("initial_copy: {from: %s, threads: 4, batch_rows: 50}", p.east.region))
	l := newLoad(p, rand.Uint64())
	all := l.writers
	l.writers = all[:writersPerSide] // of east
	l.begin(int64(scaled(3000, 300_000)))
	l.wait()
	existing := countRows(t, p.east, l.tables)
	l.writers, l.pace = all, 20*time.Millisecond
	var processes []*Process
	for _, command := range []string{"capture", "apply"} {
		for _, s := range p.sides() {
			processes = append(processes, p.process(s, command))
		}
	}
	for _, process := range processes {
		process.Start()
	}
	capture, apply := processes[0], processes[3]
	capture.WaitStreaming()
	l.begin(0)
	kills := 0
	for ; kills < scaled(4, 20); kills++ {
		time.Sleep(time.Duration(rand.IntN(600)) * time.Millisecond)
		victim := []*Process{capture, apply}[kills%2]
		victim.Kill()
		victim.Start()
	}
	eventually(t, 2*time.Minute, func() error { return copyDone(capture) })
	time.Sleep(300 * time.Millisecond)
	l.end()
	for _, process := range processes {
		process.WaitStreaming()
	}
	took := waitEqual(p, l)
	copies, again := countCopies(p)
	t.Logf("%d rows existed, %d were copied, with %d kills; equal %s after the last write", existing, copies, kills, took.Round(time.Millisecond))
	if again > 0 || copies == 0 {
		t.Errorf("%d rows were copied, and %d of them twice", copies, again)
	}
	stop(processes)
}

// copyDone tells why the copy isn't done.
func copyDone(capture *Process) error {
	var status region.Status
	status, err := capture.Status()
	if err != nil {
		return err
	}
	if status.Capture == nil || status.Capture.Copy == nil || status.Capture.Copy.State != "done" {
		return fmt.Errorf("the copy isn't done: %+v", status.Capture)
	}
	return nil
}

func countRows(t *testing.T, s *side, tables []*table) (rows int) {
	t.Helper()
	for _, table := range tables {
		var n int
		if err := s.mysql.DB().QueryRow("SELECT COUNT(*) FROM shop." + table.name).Scan(&n); err != nil {
			t.Fatal(err)
		}
		rows += n
	}
	return rows
}

// countCopies counts the rows in east's topics that are copied, and how many of those were before.
func countCopies(p *pair) (copies, again int) {
	p.t.Helper()
	h := &history{}
	if err := readRecords(p, p.east.region+".transaction", h.add); err != nil {
		p.t.Fatal(err)
	}
	chunks := map[change.Seq]bool{}
	for i := range h.ends {
		if topics.IsCopy(h.ends[i].ID) {
			chunks[h.ends[i].Stamp.Seq] = true
		}
	}
	seen := map[string]bool{}
	err := readRecords(p, p.east.region+".shop.", func(r *kgo.Record) error {
		if r.Attrs.IsControl() {
			return nil
		}
		origin, seq, err := topics.Origin(r)
		if err != nil || string(origin) != p.east.region || !chunks[seq] {
			return err
		}
		copies++
		name := r.Topic + string(r.Key)
		if seen[name] {
			again++
		}
		seen[name] = true
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return copies, again
}

// TestInitialCopyContested: both regions write the rows that are being copied: at rest each row is that of
// its newest write, and those that nobody wrote are as they were. (Promise 4.)
func TestInitialCopyContested(t *testing.T) { onEveryPairIfLong(t, testInitialCopyContested) }

func testInitialCopyContested(t *testing.T, e engines) {
	p := newPairOf(t, e, "contested", nil)
	seed := rand.Uint64N(1e6)
	c := &clash{t: t, r: rand.New(rand.NewPCG(seed, 1)), captures: map[*side]*Process{}, applies: map[*side]*Process{}, done: map[string]int{}}
	from, existing, rows := p.east.region, []string{"keep", "overwrite", "stop"}[c.r.IntN(3)], scaled(200, 4000)
	if c.r.IntN(2) == 0 {
		from, existing = "both", "keep"
	}
	p.writeTask("tables: {include: ['shop.*']}", fmt.Sprintf("initial_copy: {from: %s, existing: %s, threads: %d, batch_rows: %d, rows_per_second: %d}", from, existing, 1+c.r.IntN(4), 5+c.r.IntN(40), rows))
	c.rivals = newRivals(p, seed, hotTables(rows, e), 4, 10*time.Millisecond)
	begin(t, c.rivals.all[0], c.rivals.tables, rows) // of east
	if from == "both" {
		begin(t, c.rivals.all[4], c.rivals.tables, rows) // of west
	}
	t.Logf("seed %d, from: %s, existing: %s, %d rows exist in east, %d in west", seed, from, existing, countRows(t, p.east, c.rivals.tables), countRows(t, p.west, c.rivals.tables))
	for _, s := range p.sides() {
		c.captures[s], c.applies[s] = p.process(s, "capture"), p.process(s, "apply")
		c.processes = append(c.processes, c.captures[s], c.applies[s])
	}
	for _, process := range c.processes {
		process.Start()
	}
	c.streaming()
	c.rivals.begin()
	for range scaled(2, 20) {
		c.disturb()
	}
	eventually(t, 2*time.Minute, func() error { return copyDone(c.captures[p.east]) })
	if from == "both" {
		eventually(t, 2*time.Minute, func() error { return copyDone(c.captures[p.west]) })
	}
	c.settle()
	copies, again := countCopies(p)
	t.Logf("%d rows were copied; meanwhile: %v", copies, c.done)
	if again > 0 || copies == 0 {
		t.Errorf("%d rows were copied, and %d of them twice", copies, again)
	}
	c.stop()
}

// begin writes rows that the topics don't tell of.
func begin(t *testing.T, r *rival, tables []*table, rows int) {
	t.Helper()
	execOn(t, r.conn, "SET SESSION sql_log_bin = 0")
	defer execOn(t, r.conn, "SET SESSION sql_log_bin = 1")
	for _, table := range tables {
		for range rows {
			row := "(" + strings.Join(slices.Concat(table.columns, table.keys), ", ") + ") VALUES (?" + strings.Repeat(", ?", len(table.columns)+len(table.keys)-1) + ")"
			if err := r.try("INSERT INTO shop."+table.name+" "+row, slices.Concat(table.values(r.writer), table.newKey(r.writer))...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestInitialCopyDisturbed: while tables are copied they are altered, the server deletes children that no
// binlog tells of, and the copy's own queries are killed. What is copied is still what the source holds. (Promise 1.)
func TestInitialCopyDisturbed(t *testing.T) { onEveryPairIfLong(t, testInitialCopyDisturbed) }

func testInitialCopyDisturbed(t *testing.T, e engines) {
	p := newPairOf(t, e, "disturbed", nil)
	p.writeTask("tables: {include: ['shop.*']}", fmt.Sprintf("initial_copy: {from: %s, existing: stop, threads: 3, batch_rows: 40, rows_per_second: 3000}", p.east.region))
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.a_parents (id INT PRIMARY KEY, v INT)",
			"CREATE TABLE shop.b_children (id INT PRIMARY KEY, parent INT, v VARCHAR(50), FOREIGN KEY (parent) REFERENCES a_parents (id) ON DELETE CASCADE)",
			"CREATE TABLE shop.c_altered (id INT PRIMARY KEY, v INT)")
	}
	var parents, children, altered []string
	for n := range 2000 {
		if n < 600 {
			parents = append(parents, fmt.Sprintf("(%d, %d)", n, n))
		}
		children = append(children, fmt.Sprintf("(%d, %d, 'child %d')", n*7%2003, n%600, n))
		altered = append(altered, fmt.Sprintf("(%d, %d)", n, n))
	}
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.a_parents VALUES "+strings.Join(parents, ", "), "INSERT INTO shop.b_children VALUES "+strings.Join(children, ", "), "INSERT INTO shop.c_altered VALUES "+strings.Join(altered, ", "))
	processes := p.start("capture", "apply")
	capture := processes[0]
	alters, began := 0, time.Now()
	for n := 0; copyDone(capture) != nil; n++ {
		if err := expectNoStop(processes); err != nil {
			t.Fatal(err)
		}
		status, err := capture.Status()
		if err != nil || status.Capture == nil || status.Capture.State == supervise.Stopped {
			t.Fatalf("capture: %v, %+v", err, status.Capture)
		}
		if n < 300 {
			mustExec(t, p.east.mysql.DB(), fmt.Sprintf("DELETE FROM shop.a_parents WHERE id = %d", n*7%600), fmt.Sprintf("UPDATE shop.b_children SET v = 'new' WHERE id = %d", n*13%2003))
		}
		if n%10 == 0 {
			killReaders(t, p.east)
		}
		if copied := status.Capture.Copy; copied != nil && copied.Table == "shop.c_altered" && alters < 3 {
			alters++
			for _, s := range []*side{p.west, p.east} {
				mustExec(t, s.mysql.DB(), fmt.Sprintf("ALTER TABLE shop.c_altered ADD COLUMN n%d INT DEFAULT %d", alters, alters))
			}
			mustExec(t, p.east.mysql.DB(), "UPDATE shop.c_altered SET v = v + 1 WHERE id % 100 = 0")
		}
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(began)
	if alters == 0 {
		t.Error("the table wasn't altered while it was copied")
	}
	eventually(t, 30*time.Second, func() error {
		if err := expectNoStop(processes); err != nil {
			return err
		}
		for _, table := range []string{"a_parents", "b_children", "c_altered"} {
			const all = "SELECT * FROM shop."
			if east, west := rowsOf(t, p.east, all+table+" ORDER BY id"), rowsOf(t, p.west, all+table+" ORDER BY id"); !slices.Equal(east, west) {
				return fmt.Errorf("%s has %d rows in east and %d in west", table, len(east), len(west))
			}
		}
		return nil
	})
	status, err := capture.Status()
	if err != nil {
		t.Fatal(err)
	}
	_, again := countCopies(p)
	t.Logf("the copy took %s; %d alterations, %d chunks were read again", took.Round(time.Millisecond), alters, status.Capture.Copy.Again)
	if again > 0 {
		t.Errorf("%d rows were copied twice", again)
	}
	stop(processes)
}

// killReaders kills the queries of the copy that run.
func killReaders(t *testing.T, s *side) {
	t.Helper()
	rows, err := s.mysql.DB().Query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'duplex' AND COMMAND = 'Query' AND INFO LIKE '%FORCE INDEX%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		_, _ = s.mysql.DB().Exec(fmt.Sprintf("KILL QUERY %d", id)) // it may be done
	}
}
