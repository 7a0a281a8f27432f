package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"speed"}, {"lag", "capture"}, {""}, {"apply", "lag"}, {"apply", "txn1", "relaxed"}, {"apply", "relaxed", "txn5"}, {"apply", "relaxed", "sink"}} {
		var out, errs bytes.Buffer
		if code := execute(t.Context(), args, &out, &errs); code != 2 || out.Len() > 0 || !strings.Contains(errs.String(), "usage: bench") {
			t.Errorf("bench %q: exit %d, %q, %q", args, code, out.String(), errs.String())
		}
	}
}

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		args []string
		want int
	}{{nil, 8}, {[]string{"all"}, 8}, {[]string{"lag"}, 1}, {[]string{"copy"}, 1}, {[]string{"apply"}, 5}, {[]string{"apply", "key"}, 1}, {[]string{"apply", "conflicts"}, 1}, {[]string{"apply", "sink"}, 1}, {[]string{"apply", "hot", "pair"}, 2}, {[]string{"apply", "txn1", "hot"}, 1}, {[]string{"apply", "relaxed"}, 1}} {
		if got, err := choose(test.args); err != nil || len(got) != test.want {
			t.Errorf("bench %q: %d measurements, %v, want %d", test.args, len(got), err, test.want)
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
	l := newLagRun("lag", 5*time.Second, time.Second)
	l.looks, l.looking = 4, 2*time.Millisecond
	warm := int64(l.warmUp.Seconds() * lagRate)
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

// A transaction makes as many changes as it says, of the client's own rows only
// apart from the hot one, and a new row is made once.
func TestWorkloads(t *testing.T) {
	id := regexp.MustCompile(`(?:[(,]|= )(\d+)`)
	values := regexp.MustCompile(`VALUES \((\d+),`)
	want := map[string]int{"txn1": 1, "txn10": 10, "txn100": 100, "txn1000": 1000, "inserts": 100, "oltp": 4, "hot": 2}
	for _, w := range workloads() {
		if w.transactions%clients != 0 {
			t.Errorf("%s: %d transactions can't be shared by %d clients", w.name, w.transactions, clients)
		}
		c, inserted := newClient(3, &w, existing-1), map[string]bool{}
		for range 20 {
			statements, n := w.statements(c)
			changes := 0
			for _, statement := range statements {
				var rows []string
				if row := values.FindStringSubmatch(statement); row != nil {
					rows = row[1:]
					if inserted[rows[0]] && w.name == "inserts" {
						t.Errorf("%s: row %s is inserted twice", w.name, rows[0])
					}
					inserted[rows[0]] = true
				} else {
					_, where, _ := strings.Cut(statement, " WHERE ")
					for _, row := range id.FindAllStringSubmatch(where, -1) {
						rows = append(rows, row[1])
					}
				}
				for _, row := range rows {
					if n, _ := strconv.Atoi(row); n%clients != 3 && n != 0 {
						t.Errorf("%s: row %s is another client's", w.name, row)
					}
				}
				changes += len(slices.Compact(slices.Sorted(slices.Values(rows))))
			}
			if changes != n || n != want[w.name] {
				t.Errorf("%s: %d changes, said %d, want %d", w.name, changes, n, want[w.name])
			}
		}
	}
}

func TestHighest(t *testing.T) {
	for _, limit := range []float64{700, 1_000, 9_999, 25_000} {
		asked := 0
		got, err := highest(1_000, 5, func(rate float64) (bool, error) { asked++; return rate <= limit, nil })
		if err != nil || got > limit || got < 0.95*limit || asked > 20 {
			t.Errorf("limit %v: found %v after %d questions, %v", limit, got, asked, err)
		}
	}
	broken := errors.New("broken")
	if _, err := highest(1, 1, func(float64) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
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
