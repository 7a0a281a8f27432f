package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"duplex/supervise"
)

// newSmall makes a pair with one small table on both sides.
func newSmall(t *testing.T, e engines, name string) *pair {
	t.Helper()
	p := newPairOf(t, e, name, nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY, v VARCHAR(60))")
	}
	return p
}

// TestBadInputStops: what shows only while the services run stops the one that
// it concerns, at exactly that point; the rest goes on, and duplex status says
// what, where, why and how to mend it, with exit code 1 (promises 1 and 6).
// Where it can be mended, mending it is tried.
func TestBadInputStops(t *testing.T) { onEveryPair(t, testBadInputStops) }

func testBadInputStops(t *testing.T, e engines) {
	for _, tt := range []struct {
		name   string
		test   func(*testing.T, engines)
		server bool // it depends on the server
	}{
		{"truncate", testTruncate, true},
		{"table missing in the target", testTableMissing, false},
		{"binlog purged", testPurged, true},
		{"topic deleted", testTopicDeleted, false},
		{"one server for both", testOneServer, true},
		{"unique value taken", testUniqueTaken, true},
	} {
		if tt.server || e == mysqlPair || soak() {
			t.Run(tt.name, func(t *testing.T) { tt.test(t, e) })
		}
	}
}

// stopped waits until duplex status shows a stopped service with all that is
// wanted in its reason, and returns what it printed.
func stopped(t *testing.T, p *pair, process *Process, want ...string) string {
	t.Helper()
	var text string
	eventually(t, startLimit, func() error {
		var exit int
		text, exit = runProgram(t, "status", "-c", filepath.Join(p.dir, process.Name+".yaml"))
		if exit != 1 || !strings.Contains(text, "is stopped") {
			return fmt.Errorf("status of %s: exit code %d:\n%s", process.Name, exit, text)
		}
		return nil
	})
	t.Logf("%s", text)
	checkMessage(t, text, 1, append(want, "mend:")...)
	if strings.Contains(text, rowSentinel) {
		t.Errorf("the reason shows a value of a row: %s", text)
	}
	if !process.Running() {
		t.Errorf("%s has ended; it must stay to tell", process.Name)
	}
	return text
}

// A statement that empties a captured table leaves no row event: capture stops
// at it until the operator has run it in the other region and says so.
func testTruncate(t *testing.T, e engines) {
	p := newSmall(t, e, "trunc")
	processes := p.start("run")
	east := p.east.mysql.DB()
	mustExec(t, east, "INSERT INTO shop.t VALUES (1, 'x')")
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 1) })
	mustExec(t, east, "TRUNCATE shop.t", "INSERT INTO shop.t VALUES (2, 'after')")
	text := stopped(t, p, processes[0], "TRUNCATE shop.t", "--accept-ddl")
	if err := hasRows(p.west, "shop.t", 1); err != nil {
		t.Error(err)
	}
	found := regexp.MustCompile(`--accept-ddl (\S+)`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no GTID to accept in:\n%s", text)
	}
	// The other direction goes on.
	mustExec(t, p.west.mysql.DB(), "INSERT INTO shop.t VALUES (3, 'west')")
	eventually(t, stallLimit, func() error { return hasRows(p.east, "shop.t", 2) })
	// Run in the other region too, where its own capture stops at it as well.
	processes[1].Term()
	mustExec(t, p.west.mysql.DB(), "SET SESSION sql_log_bin = OFF; DELETE FROM shop.t WHERE id = 1; SET SESSION sql_log_bin = ON")
	processes[1].Start()
	processes[0].Term()
	again := newProcess(t, "accepting", processes[0].Listen, append(processes[0].args[1:], "--accept-ddl", found[1])...)
	again.Start()
	eventually(t, stallLimit, func() error { return errors.Join(sameSmall(p), hasRows(p.west, "shop.t", 2)) })
	again.WaitStreaming()
	stop([]*Process{again, processes[1]})
}

// sameSmall compares the small table of both sides.
func sameSmall(p *pair) error {
	small := &table{name: "t", keys: []string{"id"}}
	east, west := contents(p.t, p.east.mysql.DB(), small), contents(p.t, p.west.mysql.DB(), small)
	if fmt.Sprint(east) != fmt.Sprint(west) {
		return fmt.Errorf("east has %v and west %v", east, west)
	}
	return nil
}

// A table that the target lacks stops the stream at its first row; with the
// table there it goes on and nothing is lost.
func testTableMissing(t *testing.T, e engines) {
	p := newSmall(t, e, "miss")
	mustExec(t, p.east.mysql.DB(), "CREATE TABLE shop.only (id INT PRIMARY KEY)")
	processes := p.start("run")
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.only VALUES (1)", "INSERT INTO shop.t VALUES (1, 'x')")
	stopped(t, p, processes[1], "shop.only", "SHOW CREATE TABLE `shop`.`only`")
	if err := hasRows(p.west, "shop.t", 0); err != nil {
		t.Errorf("the stream went on after the transaction that it stopped at: %v", err)
	}
	mustExec(t, p.west.mysql.DB(), "CREATE TABLE shop.only (id INT PRIMARY KEY)")
	processes[1].Term()
	processes[1].Start()
	eventually(t, stallLimit, func() error { return errors.Join(hasRows(p.west, "shop.only", 1), hasRows(p.west, "shop.t", 1)) })
	stop(processes)
}

// A binlog that was purged before it was read can't be made up for: capture
// says so instead of going on after the hole.
func testPurged(t *testing.T, e engines) {
	p := newSmall(t, e, "purge")
	processes := p.start("run")
	east := p.east.mysql.DB()
	mustExec(t, east, "INSERT INTO shop.t VALUES (1, 'x')")
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 1) })
	processes[0].Term()
	mustExec(t, east, "INSERT INTO shop.t VALUES (2, 'lost')", "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
	var last string
	eventually(t, stallLimit, func() error {
		_, end := binlogRange(t, p.east.mysql)
		last = end.Name
		mustExec(t, east, "PURGE BINARY LOGS TO '"+last+"'")
		if first, end := binlogRange(t, p.east.mysql); first.Name != end.Name {
			return fmt.Errorf("the server keeps %s to %s", first.Name, end.Name)
		}
		return nil
	})
	processes[0].Start()
	mustExec(t, east, "INSERT INTO shop.t VALUES (3, 'after')")
	stopped(t, p, processes[0], "purged", "copy the tables", "binlog_expire_logs_seconds")
	if err := hasRows(p.west, "shop.t", 1); err != nil {
		t.Errorf("capture went on after the hole: %v", err)
	}
	stop(processes)
}

// A topic that somebody deletes takes changes with it.
func testTopicDeleted(t *testing.T, e engines) {
	p := newSmall(t, e, "topic")
	processes := p.start("run")
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (1, 'x')")
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 1) })
	name := p.east.region + ".shop.t"
	deleteTopic(t, p, name)
	stopped(t, p, processes[1], name, "is gone")
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (2, 'x')")
	stopped(t, p, processes[0], name, "deleted", "compare the regions")
	stop(processes)
}

func deleteTopic(t *testing.T, p *pair, name string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	found, err := kadm.NewClient(client).DeleteTopics(ctx, name)
	if err == nil {
		err = found.Error()
	}
	if err != nil {
		t.Fatalf("deleting topic %s: %v", name, err)
	}
}

// Two regions on one server: no change goes round, and the captures say what
// is wrong.
func testOneServer(t *testing.T, e engines) {
	p := newSmall(t, e, "one")
	p.west.mysqlText, p.west.mysql = p.east.mysqlText, p.east.mysql
	east, west := p.process(p.east, "run"), p.process(p.west, "run")
	east.Start()
	west.Start()
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (1, 'x')")
	eventually(t, startLimit, func() error {
		for _, process := range []*Process{east, west} {
			if s, err := process.Status(); err == nil && s.Capture.State == supervise.Stopped && strings.Contains(s.Capture.Error, "mend:") {
				t.Logf("%s: %s", process.Name, s.Capture.Error)
				return nil
			}
		}
		return errors.New("no capture has stopped")
	})
	n := 0
	readBinlog(t, p.east.mysql, func(txn *logged) {
		for _, r := range txn.rows {
			if r.schema == "shop" {
				n++
			}
		}
	})
	if n > 2 {
		t.Errorf("one insert was written %d times", n)
	}
	stop([]*Process{east, west})
}

// A row whose unique value another row of the target has can't be written. The
// stream stops at its transaction, names table and key, and shows no value.
func testUniqueTaken(t *testing.T, e engines) {
	p := newPairOf(t, e, "unique", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.u (id INT PRIMARY KEY, code VARCHAR(60) UNIQUE)")
	}
	// Of before the task: nothing tells west's row to east.
	mustExec(t, p.west.mysql.DB(), "INSERT INTO shop.u VALUES (1, '"+rowSentinel+"')")
	processes := p.start("run")
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.u VALUES (10, 'fine')", "INSERT INTO shop.u VALUES (2, '"+rowSentinel+"')", "INSERT INTO shop.u VALUES (11, 'later')")
	stopped(t, p, processes[1], "shop.u", "code", "1062", "unique")
	if err := hasRows(p.west, "shop.u", 2); err != nil {
		t.Errorf("not stopped at exactly the transaction: %v", err)
	}
	mustExec(t, p.west.mysql.DB(), "DELETE FROM shop.u WHERE id = 1")
	processes[1].Term()
	processes[1].Start()
	eventually(t, stallLimit, func() error { return errors.Join(hasRows(p.west, "shop.u", 3), hasRows(p.east, "shop.u", 3)) })
	stop(processes)
}
