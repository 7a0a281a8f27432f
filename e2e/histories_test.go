package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"duplex/internal/testbed"
	"duplex/supervise"
)

// TestHistories makes random tables (composite keys, several unique keys,
// collations, foreign keys, generated columns) and writes random transactions to
// them in one region, while the other's apply is killed, loses connections and
// the answers to its COMMITs, and meets other people's locks. After each history
// both regions hold the same, whatever the number of workers and the size of
// batches (promises 1, 3, 4 and 5). DUPLEX_SEED=n runs history n alone.
func TestHistories(t *testing.T) { onEveryPairIfLong(t, testHistories) }

// perPair is how many histories a pair has, so that a long run ends with no
// more topics than a Kafka holds easily; perSetting how many have the same
// settings.
const perPair, perSetting = 100, 5

func testHistories(t *testing.T, e engines) {
	if text := os.Getenv("DUPLEX_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("DUPLEX_SEED: %v", err)
		}
		histories(t, e, seed, seed+1)
		return
	}
	last := uint64(e.scaled(15, 1000))
	for first := uint64(0); first < last; first += perPair {
		// A test of its own gives its servers back to those that follow.
		t.Run(fmt.Sprintf("from %d", first), func(t *testing.T) { histories(t, e, first, min(first+perPair, last)) })
	}
}

// histories runs those of the seeds from first up to, without, end.
func histories(t *testing.T, e engines, first, end uint64) {
	var kafka *testbed.Kafka
	if soak() {
		kafka = bed.Kafka(t)
	}
	p := newPairOf(t, e, "histories", kafka)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.fence (side CHAR(1) PRIMARY KEY, op BIGINT NOT NULL)")
	}
	appliers := map[*side]*applier{}
	processes := []*Process{p.process(p.east, "capture"), p.process(p.west, "capture")}
	for _, s := range p.sides() {
		appliers[s] = newApplier(p, s)
		processes = append(processes, appliers[s].process)
	}
	p.writeSetting(first)
	for _, process := range processes {
		process.Start()
	}
	for _, process := range processes {
		process.WaitStreaming()
	}
	steps := &steps{keys: map[string][]string{"shop.fence": {"side"}}}
	for seed := first; seed < end && !t.Failed(); seed++ {
		if seed > first && seed%perSetting == 0 {
			p.writeSetting(seed)
			for _, a := range appliers {
				a.process.Term()
				a.process.Start()
			}
		}
		h := newStory(p, e, seed, appliers)
		h.run()
		for _, s := range h.shapes {
			steps.keys[s.name] = s.key
		}
	}
	for _, s := range p.sides() {
		appliers[s].process.WaitStreaming()
		t.Logf("faults of the apply of %s: %v", s.region, appliers[s].faults)
	}
	steps.check(p)
	stop(processes)
}

// writeSetting writes the task with the settings of the history of that seed.
func (p *pair) writeSetting(seed uint64) {
	p.t.Helper()
	n := seed / perSetting
	threads, rows := []int{4, 8, 2, 4, 1}[n%5], []int{3, 20, 1, 1000}[n%4]
	p.t.Logf("from history %d on: threads %d, batch_rows %d", seed, threads, rows)
	p.writeTask("tables: {include: ['shop.*']}", fmt.Sprintf("apply: {threads: %d, batch_rows: %d}", threads, rows))
}

// story is one history: some tables and what is written to them in one region.
type story struct {
	p       *pair
	pair    string // its name, as a subtest
	seed    uint64
	r       *rand.Rand
	shapes  []*shape
	source  *side
	target  *applier
	scribes []*scribe
}

func newStory(p *pair, e engines, seed uint64, appliers map[*side]*applier) *story {
	p.t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	h := &story{p: p, pair: e.name, seed: seed, r: r, shapes: newShapes(r, e, seed)}
	h.source = p.sides()[r.IntN(2)]
	h.target = appliers[p.other(h.source)]
	for _, s := range p.sides() {
		conn, err := s.mysql.DB().Conn(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		execOn(p.t, conn, "SET SESSION foreign_key_checks = 0") // for parents that come later
		for _, shape := range h.shapes {
			execOn(p.t, conn, shape.create)
		}
		execOn(p.t, conn, "SET SESSION foreign_key_checks = 1")
		conn.Close()
	}
	ops := &atomic.Int64{}
	for i := range 1 + r.IntN(4) {
		conn, err := h.source.mysql.DB().Conn(context.Background())
		if err != nil {
			p.t.Fatal(err)
		}
		execOn(p.t, conn, "SET SESSION TRANSACTION ISOLATION LEVEL "+[]string{"READ COMMITTED", "REPEATABLE READ"}[r.IntN(2)])
		h.scribes = append(h.scribes, &scribe{Rand: rand.New(rand.NewPCG(seed, uint64(10+i))), conn: conn, shapes: h.shapes, ops: ops})
	}
	return h
}

// run writes the history, with trouble meanwhile or after it, and compares.
func (h *story) run() {
	h.p.t.Helper()
	frozen, faults := h.r.IntN(2) == 0, h.r.IntN(4)
	trouble := rand.New(rand.NewPCG(h.seed, 3))
	var beside sync.WaitGroup
	if frozen {
		h.target.freeze()
	} else {
		beside.Go(func() { h.target.trouble(trouble, faults, h.shapes) })
	}
	h.write()
	if frozen {
		if faults > 0 {
			h.target.loseCommits(1)
		}
		h.target.thaw()
		h.target.trouble(trouble, faults, h.shapes)
	}
	beside.Wait()
	h.arrive()
	h.compare()
	if h.p.t.Failed() {
		h.tell()
	}
}

// write lets all scribes write.
func (h *story) write() {
	h.p.t.Helper()
	errs := make([]error, len(h.scribes))
	var all sync.WaitGroup
	for i, s := range h.scribes {
		all.Go(func() {
			defer s.conn.Close()
			for range 4 + s.IntN(12) {
				if errs[i] = s.transaction(); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		h.tell()
		h.p.t.Fatalf("history %d: %v", h.seed, err)
	}
}

// arrive writes one more transaction and waits until it is in the target: all
// before it is, too, since transactions are applied in order.
func (h *story) arrive() {
	h.p.t.Helper()
	name := sideName(h.source)
	mustExec(h.p.t, h.source.mysql.DB(), fmt.Sprintf("INSERT INTO shop.fence VALUES ('%s', %d) ON DUPLICATE KEY UPDATE op = VALUES(op)", name, h.seed+1))
	began := time.Now()
	for n := 1; ; n++ {
		if at := rowsOf(h.p.t, h.target.side, fmt.Sprintf("SELECT op FROM shop.fence WHERE side = '%s'", name)); len(at) == 1 && at[0] == fmt.Sprintf("%q", fmt.Sprint(h.seed+1)) {
			return
		}
		if n%50 == 0 {
			h.expectMoving()
		}
		if time.Since(began) > stallLimit {
			h.tell()
			h.p.t.Fatalf("history %d has not arrived within %s", h.seed, stallLimit)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// expectMoving fails the test if the apply has ended or stopped for good.
func (h *story) expectMoving() {
	h.p.t.Helper()
	if !h.target.process.Running() {
		h.tell()
		h.p.t.Fatalf("history %d: apply has ended by itself", h.seed)
	}
	s, err := h.target.process.Status()
	if err != nil {
		return // it starts
	}
	for _, a := range s.Apply {
		if a.State == supervise.Stopped {
			h.tell()
			h.p.t.Fatalf("history %d: apply has stopped: %s", h.seed, a.Error)
		}
	}
}

// compare compares all tables of both regions.
func (h *story) compare() {
	h.p.t.Helper()
	for _, s := range h.shapes {
		text := fmt.Sprintf("SELECT * FROM %s ORDER BY %s", s.name, strings.Join(s.key, ", "))
		want, got := rowsOf(h.p.t, h.source, text), rowsOf(h.p.t, h.target.side, text)
		if slices.Equal(want, got) {
			continue
		}
		var missing, extra []string
		for _, row := range want {
			if !slices.Contains(got, row) {
				missing = append(missing, row)
			}
		}
		for _, row := range got {
			if !slices.Contains(want, row) {
				extra = append(extra, row)
			}
		}
		h.p.t.Errorf("history %d: %s has %d rows in the source, %d in the target; missing there:\n%s\nonly there:\n%s", h.seed, s.name, len(want), len(got),
			strings.Join(missing, "\n"), strings.Join(extra, "\n"))
	}
}

// tell shows the tables and what was done to them.
func (h *story) tell() {
	h.p.t.Logf("history %d, written in %s; again: DUPLEX_SEED=%d go test ./e2e -run TestHistories/%s", h.seed, h.source.region, h.seed, h.pair)
	for _, s := range h.shapes {
		h.p.t.Log(s.create)
	}
	if status, err := h.target.process.Status(); err == nil {
		h.p.t.Logf("the apply's status, with faults %v: %+v", h.target.faults, status.Apply)
	}
	for i, s := range h.scribes {
		h.p.t.Logf("writer %d:\n%s", i, strings.Join(s.said, ";\n"))
	}
}

// rowsOf reads rows, each as one text that shows every byte.
func rowsOf(t *testing.T, s *side, text string) (all []string) {
	t.Helper()
	for _, row := range query(t, s, text) {
		parts := make([]string, len(row))
		for i, v := range row {
			parts[i] = "NULL"
			if v.Valid {
				parts[i] = fmt.Sprintf("%q", v.String)
			}
		}
		all = append(all, strings.Join(parts, ", "))
	}
	return all
}
