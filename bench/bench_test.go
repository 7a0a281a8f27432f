package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"speed"}, {"lag", "throughput"}, {""}} {
		var out, errs bytes.Buffer
		if code := execute(t.Context(), args, &out, &errs); code != 2 || out.Len() > 0 || !strings.Contains(errs.String(), "usage: bench") {
			t.Errorf("bench %q: exit %d, %q, %q", args, code, out.String(), errs.String())
		}
	}
}

// Other tools read these lines.
func TestFigures(t *testing.T) {
	var out bytes.Buffer
	r := report{&out}
	r.figure("lag.p50", 8.456, "ms")
	r.figure("apply.txn1.rows", 15089.4, "rows/s")
	if got, want := out.String(), "bench lag.p50 8.46 ms\nbench apply.txn1.rows 15089 rows/s\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestLagReport(t *testing.T) {
	begin := time.Now()
	l := &lagRun{committed: map[int64]time.Time{}, visible: map[int64]time.Time{}, looks: 4, looking: 2 * time.Millisecond}
	warm := int64(lagWarmUp.Seconds() * lagRate)
	for id := int64(1); id <= warm+100; id++ {
		l.committed[id] = begin
		l.visible[id] = begin.Add(time.Duration(id-warm) * time.Millisecond)
		if id <= warm {
			l.visible[id] = begin.Add(time.Hour) // the warm-up doesn't count
		}
	}
	var out bytes.Buffer
	if err := l.report(report{&out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"lag.p50 51.00 ms", "lag.p99 100.00 ms", "lag.max 100.00 ms", "lag.transactions 100.00 ", "lag.look.query 0.50 ms"} {
		if !strings.Contains(out.String(), "bench "+want) {
			t.Errorf("the report has no %q:\n%s", want, out.String())
		}
	}
	delete(l.visible, warm+7)
	if err := l.report(report{&out}); err == nil {
		t.Error("a row that was never seen is no error")
	}
}

// Every transaction of a backlog makes as many changes as its shape says, of
// the client's own rows only, and each new row once.
func TestBacklogStatements(t *testing.T) {
	w := &backlogWriter{shape: shape{rows: 100}, first: 3, count: 1000, random: rand.New(rand.NewPCG(1, 2))}
	id := regexp.MustCompile(`[(,](\d+)`)
	inserted := map[string]bool{}
	for range 50 {
		changes := 0
		for _, statement := range w.statements() {
			if rest, ok := strings.CutPrefix(statement, "INSERT INTO bench.rows VALUES "); ok {
				for _, row := range strings.Split(rest, "), ") {
					first := id.FindStringSubmatch(row)[1]
					if inserted[first] {
						t.Errorf("row %s is inserted twice", first)
					}
					inserted[first] = true
					changes++
				}
				continue
			}
			_, in, ok := strings.Cut(statement, " IN ")
			if !ok {
				t.Fatalf("a statement without a key: %s", statement)
			}
			changes += len(id.FindAllString(in, -1))
		}
		if changes != 100 {
			t.Errorf("%d changes, want 100", changes)
		}
	}
	if w.count != 1000+int64(len(inserted)) {
		t.Errorf("inserted %d rows, counted %d", len(inserted), w.count-1000)
	}
}

func TestCPUSeconds(t *testing.T) {
	before, err := cpuSeconds(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for after := before; after < before+0.05; {
		if time.Now().After(deadline) {
			t.Fatalf("still %.2f s of CPU time, %.2f before", after, before)
		}
		for range 1_000_000 {
			_ = rand.Int64()
		}
		if after, err = cpuSeconds(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cpuSeconds(0); err == nil {
		t.Error("there is no process 0, but no error")
	}
}
