package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"duplex/supervise"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"
)

// TestSumOutOfRange: where what regions have added is together more than a counter holds, the stream stops and says so, also
// if that shows only when a row is put right; with a column that holds it, it goes on, and nothing is lost.
func TestSumOutOfRange(t *testing.T) {
	p := newPair(t, "sums", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.stock (id INT PRIMARY KEY, n TINYINT UNSIGNED NOT NULL)")
	}
	p.writeTask("tables: {include: ['shop.*']}", `conflicts: {tables: {"shop.stock": {delta: [n]}}}`)
	captures, applies := p.start("capture"), p.start("apply")
	for i, s := range p.sides() {
		mustExec(t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.stock VALUES (%d, 100)", i))
	}
	for _, s := range p.sides() {
		eventually(t, stallLimit, func() error { return hasRows(s, "shop.stock WHERE n = 100", 2) })
	}
	stopped := func(process *Process, says ...string) {
		t.Helper()
		eventually(t, stallLimit, func() error {
			status, err := process.Status()
			if err != nil {
				return err
			}
			if status.Apply[0].State != supervise.Stopped {
				return fmt.Errorf("%s is %s: %s", process.Name, status.Apply[0].State, status.Apply[0].Error)
			}
			for _, text := range append(says, "shop.stock", "[n]", "mend: give the column a type that holds it") {
				if !strings.Contains(status.Apply[0].Error, text) {
					return final(fmt.Errorf("%s says: %s", process.Name, status.Apply[0].Error))
				}
			}
			return nil
		})
	}
	for _, apply := range applies {
		apply.Signal(syscall.SIGSTOP)
	}
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "UPDATE shop.stock SET n = n + 100 WHERE id = 0")
	}
	for _, apply := range applies {
		apply.Signal(syscall.SIGCONT)
	}
	stopped(applies[0], "writing transaction")
	stopped(applies[1], "writing transaction")
	goOn := func(columnType string, want string) {
		t.Helper()
		for _, s := range p.sides() {
			mustExec(t, s.mysql.DB(), "ALTER TABLE shop.stock MODIFY COLUMN n "+columnType+" NOT NULL")
		}
		for _, apply := range applies {
			if text, exit := runProgram(t, "resume", "-c", apply.argument("-c"), "--task", p.taskName); exit != 0 {
				t.Fatalf("resume: exit code %d: %s", exit, text)
			}
		}
		for _, s := range p.sides() {
			eventually(t, stallLimit, func() error {
				if got := fmt.Sprint(query(t, s, "SELECT id, n FROM shop.stock ORDER BY id")); got != want {
					return fmt.Errorf("%s has %s, not %s", s.region, got, want)
				}
				return nil
			})
		}
	}
	goOn("SMALLINT UNSIGNED", "[[{0 true} {300 true}] [{1 true} {100 true}]]")

	// West's older insert comes over east's newer one, of which east's own topics don't tell yet, and is added to there.
	captures[1].Signal(syscall.SIGSTOP)
	applies[1].Signal(syscall.SIGSTOP)
	mustExec(t, p.west.mysql.DB(), "INSERT INTO shop.stock VALUES (2, 0)")
	time.Sleep(20 * time.Millisecond) // east's is newer, then
	captures[0].Signal(syscall.SIGSTOP)
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.stock VALUES (2, 65000)")
	captures[1].Signal(syscall.SIGCONT)
	eventually(t, stallLimit, func() error { return hasRows(p.east, "shop.stock WHERE id = 2 AND n = 0", 1) })
	mustExec(t, p.east.mysql.DB(), "UPDATE shop.stock SET n = n + 1000 WHERE id = 2")
	captures[0].Signal(syscall.SIGCONT)
	stopped(applies[0], "putting right a row")
	applies[1].Signal(syscall.SIGCONT)
	stopped(applies[1])
	goOn("INT UNSIGNED", "[[{0 true} {300 true}] [{1 true} {100 true}] [{2 true} {66000 true}]]")
	stop(append(captures, applies...))
}

// TestCountersInLargeTransactions: both regions add to all counters at once, in transactions larger than a batch, while applies are
// killed and the table gets another column: each addition counts once (promise 3).
func TestCountersInLargeTransactions(t *testing.T) {
	p := newPair(t, "largesums", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.stock (id INT PRIMARY KEY, n BIGINT NOT NULL, name VARCHAR(40))")
	}
	p.writeTask("tables: {include: ['shop.*']}", "apply: {threads: 3, batch_rows: 20}", `conflicts: {tables: {"shop.stock": {policy: merge-columns, delta: [n]}}}`)
	captures, applies := p.start("capture"), p.start("apply")
	const rows = 100
	for i := range rows {
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.stock VALUES (%d, 0, '')", i))
	}
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.stock", rows) })
	ctx, end := context.WithTimeout(t.Context(), time.Duration(scaled(4, 60))*time.Second)
	defer end()
	group, sums := errgroup.Group{}, [2]int{}
	for i, s := range p.sides() {
		group.Go(func() error {
			for n := 1; ctx.Err() == nil; n++ {
				if n == 10 {
					if _, err := s.mysql.DB().Exec("ALTER TABLE shop.stock ADD COLUMN more INT NOT NULL DEFAULT 7"); err != nil {
						return err
					}
				}
				// The server may choose this one to end a deadlock with apply.
				if _, err := s.mysql.DB().Exec(fmt.Sprintf("UPDATE shop.stock SET n = n + %d, name = '%s %d'", n, sideName(s), n)); err == nil {
					sums[i] += n
				} else if fault := new(mysql.MySQLError); !errors.As(err, &fault) || !slices.Contains([]uint16{1020, 1205, 1213}, fault.Number) {
					return err
				}
				time.Sleep(rand.N(100 * time.Millisecond))
			}
			return nil
		})
	}
	for ctx.Err() == nil {
		time.Sleep(rand.N(time.Second))
		apply := applies[rand.IntN(2)]
		apply.Kill()
		apply.Start()
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, apply := range applies {
		apply.WaitStreaming()
	}
	var held [2]string
	for i, s := range p.sides() {
		eventually(t, repairLimit, func() error {
			return hasRows(s, fmt.Sprintf("shop.stock WHERE n = %d AND more = 7", sums[0]+sums[1]), rows)
		})
		eventually(t, repairLimit, func() error {
			held[i] = fmt.Sprint(query(t, s, "SELECT * FROM shop.stock ORDER BY id"))
			if i == 1 && held[0] != held[1] {
				return fmt.Errorf("the regions differ:\n%s\n%s", held[0], held[1])
			}
			return nil
		})
	}
	t.Logf("east has added %d to each row, west %d", sums[0], sums[1])
	stop(append(captures, applies...))
}

// TestPartsRefused: where the server changes rows by itself that are made of parts, the stream stops and says why; what was
// lost of such a row isn't undone.
func TestPartsRefused(t *testing.T) {
	p := newPair(t, "noparts", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT NOT NULL)", "CREATE TABLE shop.parent (id INT PRIMARY KEY)",
			"CREATE TABLE shop.child (id INT PRIMARY KEY, p INT, n INT NOT NULL)")
	}
	p.writeTask("tables: {include: ['shop.*']}", `conflicts: {tables: {"shop.stock": {delta: [n]}, "shop.child": {delta: [n]}}}`)
	captures, applies := p.start("capture"), p.start("apply")
	for _, apply := range applies {
		apply.Signal(syscall.SIGSTOP)
	}
	for i, s := range p.sides() {
		mustExec(t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.stock VALUES (1, %d)", i))
	}
	for _, apply := range applies {
		apply.Signal(syscall.SIGCONT)
	}
	eventually(t, stallLimit, func() error { return hasRows(p.east, "duplex.conflicts", 1) })
	id := query(t, p.east, "SELECT id FROM duplex.conflicts")[0][0].String
	if text, exit := runProgram(t, "conflicts", "undo", "-c", applies[0].argument("-c"), id); exit != 1 || !strings.Contains(text, "delta") {
		t.Errorf("undo: exit code %d: %s", exit, text)
	}
	for _, s := range p.sides() { // what is there at the start is refused then (preflight)
		mustExec(t, s.mysql.DB(), "ALTER TABLE shop.child ADD FOREIGN KEY c1 (p) REFERENCES shop.parent (id) ON DELETE CASCADE")
	}
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.parent VALUES (1)", "INSERT INTO shop.child VALUES (1, 1, 5)")
	eventually(t, stallLimit, func() error {
		status, err := applies[1].Status()
		if err != nil {
			return err
		}
		if status.Apply[0].State != supervise.Stopped || !strings.Contains(status.Apply[0].Error, "merge-columns and delta can't be used where the server itself changes rows") {
			return fmt.Errorf("it is %s: %s", status.Apply[0].State, status.Apply[0].Error)
		}
		return nil
	})
	stop(append(captures, applies...))
}
