package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// However histories go, all regions end with what was written last.
func TestHistories(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	total := campaign(ctx, none, func(seed uint64, fault string) { t.Errorf("SIM_SEED=%d: %s", seed, fault) })
	t.Logf("%d histories: %+v", total.histories, total.stats)
	if s := total.stats; s.restored == 0 || s.swept == 0 || s.waits == 0 || s.again == 0 || s.yielded == 0 || s.outranked == 0 || s.spilled == 0 {
		t.Errorf("the histories don't reach everything: %+v", s)
	}
}

// Each rule is needed: without it histories soon end wrong.
func TestEachRuleIsNeeded(t *testing.T) {
	for broken, name := range rules {
		const enough = 5000
		seed, fault := uint64(0), ""
		for ; seed < enough && fault == ""; seed++ {
			fault = history(seed, broken, nil).fault
			if broken == noPublishing && !strings.HasPrefix(fault, "diverged") {
				fault = "" // what isn't published isn't in the ledger either
			}
		}
		if fault == "" {
			t.Errorf("without %s, %d histories end right all the same", name, enough)
		}
		t.Logf("without %s: history %d: %s", name, seed-1, fault)
	}
}

// If every change waited for the tail, and rows that are absent could be locked,
// versions alone would decide, and nothing would ever be written that has to be repaired.
// So the audit is there for what the test of the row's image lets pass.
func TestNothingToRepairIfAllIsAwaited(t *testing.T) {
	for seed := range uint64(3000) {
		pick := random(seed)
		s := draw(pick, none)
		s.careful, s.first = true, false
		s.policy = lastWriteWins
		w := newWorld(s, pick)
		if w.run(nil); w.fault != "" || w.restored > 0 || w.heals > 0 {
			t.Errorf("history %d: %d repairs, %d healed, %s", seed, w.restored, w.heals, w.fault)
		}
	}
}

// All histories of two regions: every order of steps. DUPLEX_SOAK tries larger
// ones, which takes minutes.
func TestAllSmallHistories(t *testing.T) {
	small := []setting{
		{regions: 2, keys: 2, parts: 1, values: 1, writes: 2, perTxn: 1, batch: 1},
		{regions: 2, keys: 1, parts: 1, values: 2, writes: 2, perTxn: 1, batch: 1},
	}
	needed := []rule{noOrigin, noTombstone}
	if os.Getenv("DUPLEX_SOAK") != "" {
		small = append(small,
			setting{regions: 2, keys: 2, parts: 1, values: 1, writes: 3, perTxn: 1, batch: 1},
			setting{regions: 2, keys: 1, parts: 1, values: 2, writes: 3, perTxn: 1, batch: 1},
			setting{regions: 2, keys: 1, parts: 1, values: 1, writes: 3, perTxn: 1, batch: 2, evict: true})
		needed = append(needed, noMarker, noAudit, noStability)
	}
	for _, s := range small {
		found := exhaust(s)
		t.Logf("%+v: %d states", s, found.states)
		if found.fault != "" {
			t.Errorf("%+v: choices %v: %s", s, found.path, found.fault)
		}
	}
	for _, broken := range needed {
		fault := ""
		for _, s := range small {
			if s.broken = broken; fault == "" {
				fault = exhaust(s).fault
			}
		}
		if t.Logf("without %s: %s", rules[broken], fault); fault == "" {
			t.Errorf("without %s all histories end right", rules[broken])
		}
	}
}

func TestCommand(t *testing.T) {
	run := func(env map[string]string) (int, string, string) {
		var out, errs bytes.Buffer
		code := execute(t.Context(), func(name string) string { return env[name] }, &out, &errs)
		return code, out.String(), errs.String()
	}
	code, out, _ := run(map[string]string{"SIM_SECONDS": "1"})
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if !regexp.MustCompile(`^sim: \d+ histories, 0 diverged$`).MatchString(lines[len(lines)-1]) || code != 0 {
		t.Errorf("ends with %q, code %d", lines[len(lines)-1], code)
	}
	if code, out, _ = run(map[string]string{"SIM_SEED": "7"}); code != 0 || !strings.Contains(out, " writes ") || !strings.HasSuffix(out, "sim: 1 histories, 0 diverged\n") {
		t.Errorf("history 7: code %d, %s", code, out)
	}
	for _, env := range []map[string]string{{"SIM_SECONDS": "long"}, {"SIM_SECONDS": "0"}, {"SIM_SEED": "x"}} {
		if code, _, errs := run(env); code != 2 || errs == "" {
			t.Errorf("%v: code %d, %q", env, code, errs)
		}
	}
}
