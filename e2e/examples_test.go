package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestExamples runs the programs of examples/ against a pair under load: what
// they make of the topics is what the database holds, also if they are killed
// and started again.
func TestExamples(t *testing.T) {
	p := newPair(t, "examples", nil)
	l := newLoad(p, 11)
	processes := p.start("run")
	l.pace = 10 * time.Millisecond // so that it lasts while the programs read
	totals := newTotals(t, p)
	totals.start(t)
	l.begin(int64(scaled(1_000, 10_000)))
	for range 3 {
		totals.grows(t)
		totals.kill(t)
		totals.start(t)
	}
	l.wait()
	waitEqual(p, l)
	eventually(t, stallLimit, func() error { return totals.compare(p, l) })
	totals.kill(t)
	checkPython(t, p, l)
	stop(processes)
}

// totals is the Go example, as a process.
type totalsProgram struct {
	args  []string
	state string
	cmd   *exec.Cmd
	out   bytes.Buffer
}

func newTotals(t *testing.T, p *pair) *totalsProgram {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "totals")
	if text, err := exec.Command("go", "build", "-o", program, "duplex/examples/totals").CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, text)
	}
	_, registry := services.get(t)
	x := &totalsProgram{state: filepath.Join(dir, "totals.json")}
	x.args = []string{program, "-brokers", strings.Join(p.kafka.Brokers(), ","), "-registry", registry.URL(), "-region", p.east.region,
		"-group", "totals-" + p.taskName, "-tables", "shop.*", "-sum", "amount", "-state", x.state}
	t.Cleanup(func() {
		if x.cmd != nil {
			x.kill(t)
		}
		if t.Failed() {
			t.Logf("the end of what the example printed:\n%s", x.out.Bytes()[max(0, x.out.Len()-2000):])
		}
	})
	return x
}

func (x *totalsProgram) start(t *testing.T) {
	t.Helper()
	x.cmd = exec.Command(x.args[0], x.args[1:]...)
	x.cmd.Stdout, x.cmd.Stderr = &x.out, &x.out
	if err := x.cmd.Start(); err != nil {
		t.Fatalf("starting the example: %v", err)
	}
}

func (x *totalsProgram) kill(t *testing.T) {
	t.Helper()
	if err := x.cmd.Process.Kill(); err != nil {
		t.Errorf("the example ended by itself: %v\n%s", err, x.out.Bytes()[max(0, x.out.Len()-500):])
	}
	_ = x.cmd.Wait() // it was killed
	x.cmd = nil
}

// totalsState is the file that the example keeps.
type totalsState struct {
	Offset int64
	Tables map[string]struct {
		Rows int64
		Sum  string
	}
}

func (x *totalsProgram) read() (s totalsState, err error) {
	text, err := os.ReadFile(x.state)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

// grows waits until the example has counted more than it has now.
func (x *totalsProgram) grows(t *testing.T) {
	t.Helper()
	before, err := x.read()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, stallLimit, func() error {
		now, err := x.read()
		if err == nil && now.Offset <= before.Offset {
			err = fmt.Errorf("the totals stand at offset %d", now.Offset)
		}
		return err
	})
}

// compare compares the totals with the database's own.
func (x *totalsProgram) compare(p *pair, l *load) error {
	got, err := x.read()
	if err != nil {
		return final(err)
	}
	for _, table := range l.tables {
		sum := "'0'"
		if slices.Contains(table.columns, "amount") {
			sum = "COALESCE(SUM(amount), 0)"
		}
		var rows int64
		var total string
		if err := p.east.mysql.DB().QueryRow("SELECT COUNT(*), "+sum+" FROM shop."+table.name).Scan(&rows, &total); err != nil {
			return final(err)
		}
		found := got.Tables["shop."+table.name]
		want, _ := new(big.Rat).SetString(total)
		have, ok := new(big.Rat).SetString(found.Sum)
		if found.Rows != rows || !ok || sum != "'0'" && have.Cmp(want) != 0 {
			return fmt.Errorf("of shop.%s the example has %d rows, sum %s; there are %d, %s", table.name, found.Rows, found.Sum, rows, total)
		}
	}
	return nil
}

// checkPython runs the Python examples to the end of the topics.
func checkPython(t *testing.T, p *pair, l *load) {
	python, err := bed.Python(t.Context(), "../examples/python/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, registry := services.get(t)
	run := func(script string, more ...string) []pythonLine {
		ctx, cancel := context.WithTimeout(t.Context(), 2*stallLimit)
		defer cancel()
		args := []string{"../examples/python/" + script, "--brokers", strings.Join(p.kafka.Brokers(), ","), "--registry", registry.URL(),
			"--region", p.east.region, "--group", script + p.taskName}
		cmd := exec.CommandContext(ctx, python, append(args, more...)...)
		var complaints bytes.Buffer
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, complaints.Bytes())
		}
		return pythonLines(t, out)
	}
	transactions := run("transactions.py", "--max", "40")
	if len(transactions) != 40 {
		t.Fatalf("transactions.py gave %d transactions and was asked for 40", len(transactions))
	}
	transactions = append(transactions, run("transactions.py", "--idle-exit", "3")...)
	changes := run("changes.py", "--idle-exit", "3")
	own := run("changes.py", "--own", "--group", "own"+p.taskName, "--idle-exit", "3")
	comparePython(t, p, l, transactions, changes, own)
}

// pythonLine is a line of either script: a transaction, or a change.
type pythonLine struct {
	ID, Origin, Table, Op, Transaction string
	Key, Before, After                 map[string]any
	Changes                            []pythonLine
}

func pythonLines(t *testing.T, out []byte) (lines []pythonLine) {
	t.Helper()
	for text := range bytes.Lines(out) {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var line pythonLine
		if err := decoder.Decode(&line); err != nil {
			t.Fatalf("reading what an example printed: %v\n%s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

// comparePython plays the transactions and compares what comes out with the
// database, and the single changes with those of the transactions.
func comparePython(t *testing.T, p *pair, l *load, transactions, changes, own []pythonLine) {
	t.Helper()
	seen, rows := map[string]bool{}, map[string]pythonLine{}
	of, total, local := map[string]int{}, 0, 0
	for _, tx := range transactions {
		if seen[tx.ID] {
			t.Errorf("transaction %s came twice", tx.ID)
		}
		seen[tx.ID] = true
		for _, c := range tx.Changes {
			key := fmt.Sprint(c.Table, c.Key)
			if _, there := rows[key]; there != (c.Before != nil) {
				t.Fatalf("transaction %s: %s of %s, and the row was there: %t", tx.ID, c.Op, key, there)
			}
			if rows[key] = c; c.After == nil {
				delete(rows, key)
			}
			of[tx.ID]++
			total++
			if tx.Origin == p.east.region {
				local++
			}
		}
	}
	for _, c := range changes {
		of[c.Transaction]--
	}
	for id, n := range of {
		if n != 0 {
			t.Errorf("of transaction %s changes.py gave %d changes too few", id, n)
		}
	}
	if len(changes) != total || len(own) != local || local == 0 || local == total {
		t.Errorf("transactions.py gave %d changes, %d of them made there; changes.py %d and %d", total, local, len(changes), len(own))
	}
	ops := map[string]int{}
	for _, c := range rows {
		ops[fmt.Sprint(c.Table, " ", c.After["side"], " ", c.After["op"])]++
	}
	compareOps(t, p, l, ops)
}

// compareOps compares which change wrote each row last, as column op tells.
func compareOps(t *testing.T, p *pair, l *load, got map[string]int) {
	t.Helper()
	for _, table := range l.tables {
		found, err := p.east.mysql.DB().Query("SELECT side, op FROM shop." + table.name)
		if err != nil {
			t.Fatal(err)
		}
		defer found.Close()
		for found.Next() {
			var side, op string
			if err := found.Scan(&side, &op); err != nil {
				t.Fatal(err)
			}
			got[fmt.Sprint("shop.", table.name, " ", side, " ", op)]--
		}
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
	}
	for row, n := range got {
		if n != 0 {
			t.Errorf("row %s: %+d times in what transactions.py gave", row, n)
		}
	}
}
