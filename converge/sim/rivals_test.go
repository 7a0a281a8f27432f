package main

import (
	"os"
	"testing"
)

// drawRivals makes the world of a history of two to four regions whose policy goes by a rank.
func drawRivals(seed uint64, broken rule) *world {
	pick := random(seed)
	writes := 3 + pick.intn(8)
	if pick.intn(2) == 0 {
		writes *= 4 // so that much is forgotten before a crash
	}
	return newWorld(setting{
		calm: pick.intn(writes), slow: pick.intn(2) == 0,
		regions: 2 + pick.intn(3), keys: 1 + pick.intn(2), parts: 1 + pick.intn(2), values: 2 + pick.intn(3), writes: writes, perTxn: 1 + pick.intn(2),
		batch: 1 + pick.intn(3), skew: pick.intn(4), crashes: max(0, pick.intn(5)-1), policy: policy(1 + pick.intn(2)), evict: pick.intn(3) > 0, first: true,
		spills: pick.intn(6) == 0, broken: broken,
	}, pick)
}

// Where a rank decides among the writes that no other had seen, all regions end with that of the greatest
// rank, however many they are. DUPLEX_SOAK tries a million histories.
func TestRivalHistories(t *testing.T) {
	histories := uint64(6_000)
	if os.Getenv("DUPLEX_SOAK") != "" {
		histories = 1_000_000
	}
	var sum stats
	for seed := range histories {
		w := drawRivals(seed, none)
		w.run(nil)
		if sum.add(w.stats); w.fault != "" {
			t.Errorf("history %d of %d regions: %s", seed, w.setting.regions, w.fault)
		}
	}
	if t.Logf("%+v", sum); sum.outranked == 0 || sum.restored == 0 || sum.swept == 0 || sum.reborn == 0 || sum.spilled == 0 {
		t.Error("the histories don't reach everything")
	}
}

// What a repair has put back must not be taken, after a crash, for a batch of the source in whose name it was. One of 300,000 such
// histories ends wrong without that.
func TestRepairIsNoBatch(t *testing.T) {
	fault := func(broken rule) string {
		w := drawRivals(339_121, broken)
		w.run(nil)
		return w.fault
	}
	if wrong := fault(none); wrong != "" {
		t.Error(wrong)
	}
	if fault(noNumber) == "" {
		t.Error("it makes no difference")
	}
}

// Each of the rules that keep it so is needed.
func TestEachRuleOfRivalsIsNeeded(t *testing.T) {
	for broken, name := range map[rule]string{noRank: "ranks", noLosers: "losers", noAhead: "what was seen ahead", noHorizon: "the horizon", noAudit: "repairs"} {
		fault := ""
		for seed := uint64(0); seed < 100_000 && fault == ""; seed++ {
			w := drawRivals(seed, broken)
			if w.run(nil); w.fault != "" {
				fault = w.fault
				t.Logf("without %s: history %d of %d regions: %s", name, seed, w.setting.regions, fault)
			}
		}
		if fault == "" {
			t.Errorf("without %s all histories end right", name)
		}
	}
}
