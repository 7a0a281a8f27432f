package main

import (
	"os"
	"testing"
)

// drawThree makes the world of a history of three or four regions that give unique values.
func drawThree(seed uint64, broken rule) *world {
	pick := random(seed)
	s := setting{
		regions: 3 + pick.intn(4)/3, keys: 2 + pick.intn(3), parts: 1 + pick.intn(2), values: 1 + pick.intn(6), unique: 1 + pick.intn(3),
		writes: 2 + pick.intn(6), perTxn: 1 + pick.intn(2), batch: 1 + pick.intn(3), skew: pick.intn(4),
		crashes: max(0, pick.intn(5)-2), evict: pick.intn(2) == 0, first: true, spills: pick.intn(8) == 0, broken: broken,
	}
	if pick.intn(4) == 0 {
		s.writes *= 2 // so that much is forgotten meanwhile
	}
	return newWorld(s, pick)
}

// Among three regions, too, all ends right where they give one unique value to several rows. DUPLEX_SOAK tries two million
// histories.
func TestRoomIsMadeAmongThree(t *testing.T) {
	histories := uint64(5_000)
	if os.Getenv("DUPLEX_SOAK") != "" {
		histories = 2_000_000
	}
	var sum stats
	for seed := range histories {
		w := drawThree(seed, none)
		w.run(nil)
		if sum.add(w.stats); w.fault != "" {
			t.Errorf("history %d: %s", seed, w.fault)
		}
	}
	if t.Logf("%+v", sum); sum.yielded == 0 || sum.restored == 0 || sum.again == 0 || sum.swept == 0 || sum.spilled == 0 || sum.early == 0 {
		t.Error("the histories don't reach everything")
	}
}

// What third regions add is needed: without it some history in this many ends wrong, the one to begin with at the latest known.
func TestEachRuleAmongThreeIsNeeded(t *testing.T) {
	for broken, begin := range map[rule]uint64{noWaiting: 7538, noTurns: 10_953, noCarrier: 15_024} {
		const enough = 100_000
		seed, fault := begin, ""
		for ; seed < begin+enough && fault == ""; seed++ {
			w := drawThree(seed, broken)
			w.run(nil)
			fault = w.fault
		}
		if fault == "" {
			t.Errorf("without %s, %d histories end right all the same", rulesOfThree[broken], enough)
		}
		t.Logf("without %s: history %d: %s", rulesOfThree[broken], seed-1, fault)
	}
}
