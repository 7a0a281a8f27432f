package e2e_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"duplex/tasks"
	"duplex/topics"
)

// wideLimits are the most memory, in bytes, that a service may hold while a row
// of 64 MiB is inserted, and while it is updated: then it is there twice.
const (
	wideInsertLimit = 256 << 20
	wideUpdateLimit = 320 << 20
)

// TestWideRefused: a row that can't pass stops its service by name, with the
// limit and what mends it, and nothing that comes after it is published or
// written (promise 6).
func TestWideRefused(t *testing.T) {
	p := newPair(t, "narrow", nil)
	setGlobal(p, p.west, "max_allowed_packet", "4194304", "DEFAULT")
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.wide (id INT PRIMARY KEY, data LONGBLOB)", "CREATE TABLE shop.tight (id INT PRIMARY KEY, data LONGBLOB)")
	}
	w := &wide{t: t, pair: p, random: rand.NewChaCha8([32]byte{2})}
	most := "2097152"
	topic := p.east.region + ".shop.tight"
	client, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{topics.MessageSize: &most}, topic); err != nil {
		t.Fatal(err)
	}
	processes := p.start("run")
	insert := func(table string, id, size int) {
		if _, err := p.east.mysql.DB().Exec("INSERT INTO shop."+table+" VALUES (?, ?)", id, w.bytes(size)); err != nil {
			t.Fatal(err)
		}
	}
	stopped := func(process *Process, words ...string) {
		t.Helper()
		eventually(t, stallLimit, func() error {
			for _, word := range words {
				if log := process.Log(); !strings.Contains(log, word) {
					return fmt.Errorf("%s doesn't say %q", process.Name, word)
				}
			}
			return nil
		})
	}
	insert("wide", 1, 1<<20)
	insert("wide", 2, 5<<20)
	insert("wide", 3, 1<<20)
	stopped(processes[1], "level=ERROR msg=stopped service=apply", "table shop.wide", "column `data`: a value has 5242880 bytes, more than max_allowed_packet of this server, 4194304; mend: SET PERSIST max_allowed_packet = 16777216")
	if err := hasRows(p.west, "shop.wide", 1); err != nil {
		t.Error(err)
	}
	insert("tight", 1, 5<<20)
	stopped(processes[0], "level=ERROR msg=stopped service=capture", "table shop.tight: a change of a row has 52", "more than max.message.bytes of topic "+topic+", 2097152", "--add-config max.message.bytes=")
}

// TestWideRows: rows of up to 64 MiB are inserted, updated, moved and deleted on
// either side and arrive on the other, byte for byte (promise 8) and in bounded
// memory (promise 7).
func TestWideRows(t *testing.T) {
	if soak() {
		onEveryPair(t, func(t *testing.T, e engines) { testWideRows(t, e, tasks.OrderingTransaction) })
		testWideRows(t, mysqlPair, tasks.OrderingKey)
		return
	}
	testWideRows(t, mysqlPair, tasks.OrderingTransaction)
}

func testWideRows(t *testing.T, e engines, ordering string) {
	p := newPairOf(t, e, "wide", nil)
	p.writeTask("tables: {include: ['shop.*']}", "apply: {ordering: "+ordering+"}")
	for _, s := range p.sides() {
		if s.mysql.IsMariaDB() {
			setGlobal(p, s, "max_allowed_packet", "67108864", "16777216")
			s.mysql.DB().SetMaxIdleConns(0) // open connections keep the old limit
			s.mysql.DB().SetMaxIdleConns(2)
		}
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.wide (id INT PRIMARY KEY, n INT NOT NULL, data LONGBLOB, words LONGTEXT CHARACTER SET utf8mb4, more LONGBLOB)")
	}
	w := &wide{t: t, pair: p, processes: p.start("capture", "apply"), random: rand.NewChaCha8([32]byte{1})}
	const most = 64 << 20
	w.step("insert of 64 MiB", wideInsertLimit, p.east, "INSERT INTO shop.wide VALUES (1, 1, ?, NULL, NULL)", w.bytes(most))
	w.step("update of 64 MiB", wideUpdateLimit, p.west, "UPDATE shop.wide SET n = 2, data = ? WHERE id = 1", w.bytes(most))
	if soak() {
		w.step("another column of it", wideUpdateLimit, p.east, "UPDATE shop.wide SET n = 3 WHERE id = 1")
		w.step("key of 64 MiB", wideUpdateLimit, p.west, "UPDATE shop.wide SET id = -1 WHERE id = 1")
		w.step("text of 40 MiB", wideUpdateLimit, p.east, "INSERT INTO shop.wide VALUES (2, 1, NULL, ?, x'00ff')", w.text(40<<20))
		w.step("columns of 20, 30 and 14 MiB", wideUpdateLimit, p.west, "INSERT INTO shop.wide VALUES (4, 1, ?, ?, ?)", w.bytes(20<<20), w.text(30<<20), w.bytes(14<<20))
		w.step("update of columns", wideUpdateLimit, p.east, "UPDATE shop.wide SET words = ? WHERE id = 4", w.text(30<<20))
		w.step("16 MiB", wideUpdateLimit, p.east, "INSERT INTO shop.wide VALUES (3, 1, ?, NULL, NULL)", w.bytes(16<<20))
		w.step("1 MiB", wideUpdateLimit, p.east, "INSERT INTO shop.wide VALUES (5, 1, ?, NULL, NULL)", w.bytes(1<<20))
		w.step("delete of 64 MiB", wideUpdateLimit, p.east, "DELETE FROM shop.wide WHERE id = -1")
	}
	stop(w.processes)
	w.compareImages()
}

// wide is a running of TestWideRows.
type wide struct {
	t         *testing.T
	pair      *pair
	processes []*Process
	random    *rand.ChaCha8
	steps     int64 // so far
}

// bytes returns bytes that nothing compresses; text is 4/3 of it.
func (w *wide) bytes(n int) []byte {
	b := make([]byte, n)
	w.random.Read(b)
	return b
}

func (w *wide) text(n int) []byte {
	const wide = "añ€漢😀 \\ ' \n\x00?"
	return []byte(wide + base64.StdEncoding.EncodeToString(w.bytes(n/4*3)))
}

// step runs a statement on one side, waits until the other shows what it made
// of the table, and looks at the memory of the services.
func (w *wide) step(name string, limit int64, s *side, statement string, args ...any) {
	w.t.Helper()
	for _, p := range w.processes {
		forgetPeak(w.t, p)
	}
	began := time.Now()
	if _, err := s.mysql.DB().ExecContext(context.Background(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	wrote := time.Since(began)
	w.steps++
	want := digestWide(w.t, s)
	eventually(w.t, stallLimit, func() error {
		if got := digestWide(w.t, w.pair.other(s)); got != want {
			return fmt.Errorf("%s: the other region shows\n%s\nnot\n%s", name, got, want)
		}
		return nil
	})
	// What the captures publish last is what apply wrote.
	eventually(w.t, stallLimit, w.published)
	w.t.Logf("%s: written in %s, at the other region %s after it began", name, wrote.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	for _, p := range w.processes {
		peak := p.PeakRSS()
		w.t.Logf("%s: %s: at most %d MiB", name, p.Name, peak>>20)
		if peak > limit {
			w.t.Errorf("%s: %s held %d MiB, more than %d", name, p.Name, peak>>20, limit>>20)
		}
	}
}

// published returns nil if the captures have published a change for each step
// so far, or more: of a key that changed, two.
func (w *wide) published() error {
	for _, p := range w.processes {
		s, err := p.Status()
		if err != nil {
			return final(err)
		}
		if c := s.Capture; c != nil && c.Rows+c.Applied < w.steps {
			return fmt.Errorf("%s has published %d changes, not %d", p.Name, c.Rows+c.Applied, w.steps)
		}
	}
	return nil
}

// forgetPeak makes the process's peak that of now.
func forgetPeak(t *testing.T, p *Process) {
	t.Helper()
	cmd, _ := p.current()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peak = 0
}

// digestWide returns a line for each row of the table.
func digestWide(t *testing.T, s *side) string {
	t.Helper()
	rows, err := s.mysql.DB().Query("SELECT id, n, SHA2(shop.wide.data, 256), SHA2(shop.wide.words, 256), SHA2(shop.wide.more, 256) FROM shop.wide ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all bytes.Buffer
	for rows.Next() {
		var id, n int
		var sums [3]sql.NullString
		if err := rows.Scan(&id, &n, &sums[0], &sums[1], &sums[2]); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, id, n, sums)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// compareImages deletes the rows on each side, whose services have ended, and
// compares what the binlogs have of them.
func (w *wide) compareImages() {
	w.t.Helper()
	var sums [2][][sha256.Size]byte
	for i, s := range w.pair.sides() {
		conn, err := s.mysql.DB().Conn(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		defer conn.Close()
		var deletes []string
		for line := range strings.Lines(digestWide(w.t, s)) {
			deletes = append(deletes, "DELETE FROM shop.wide WHERE id = "+strings.Fields(line)[0])
		}
		const columns = 5
		deletedImages(w.t, s, conn, "wide", columns, deletes, func(image []byte) { sums[i] = append(sums[i], sha256.Sum256(image)) })
	}
	if len(sums[0]) == 0 || !slices.Equal(sums[0], sums[1]) {
		w.t.Errorf("the row images of the two servers differ: %d in east, %d in west", len(sums[0]), len(sums[1]))
	}
}
