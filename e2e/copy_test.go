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
	existing, rows := []string{"keep", "overwrite"}[c.r.IntN(2)], scaled(200, 4000)
	p.writeTask("tables: {include: ['shop.*']}", fmt.Sprintf("initial_copy: {from: %s, existing: %s, threads: %d, batch_rows: %d, rows_per_second: %d}", p.east.region, existing, 1+c.r.IntN(4), 5+c.r.IntN(40), rows))
	c.rivals = newRivals(p, seed, hotTables(rows, e), 4, 10*time.Millisecond)
	writer := c.rivals.all[0].writer // of east
	execOn(t, writer.conn, "SET SESSION sql_log_bin = 0") // the topics don't tell of what was before
	for _, table := range c.rivals.tables {
		for range rows {
			row := "(" + strings.Join(slices.Concat(table.columns, table.keys), ", ") + ") VALUES (?" + strings.Repeat(", ?", len(table.columns)+len(table.keys)-1) + ")"
			if err := c.rivals.all[0].try("INSERT INTO shop."+table.name+" "+row, slices.Concat(table.values(writer), table.newKey(writer))...); err != nil {
				t.Fatal(err)
			}
		}
	}
	execOn(t, writer.conn, "SET SESSION sql_log_bin = 1")
	before := countRows(t, p.east, c.rivals.tables)
	t.Logf("seed %d, existing: %s, %d rows exist", seed, existing, before)
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
	c.settle()
	copies, again := countCopies(p)
	t.Logf("%d rows were copied; meanwhile: %v", copies, c.done)
	if again > 0 || copies == 0 {
		t.Errorf("%d rows were copied, and %d of them twice", copies, again)
	}
	c.stop()
}
