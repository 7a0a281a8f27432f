package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"duplex/apply"
)

// TestOutageBeyondMemory: while one region applies nothing, both write many more rows
// than the other's apply has memory to remember. It puts the rest on disk, also after a restart
// in the middle, when it learns so many rows that seem to be overwritten that these must go there, too; all rows come to be those of the newest writes, and then nothing is left on disk.
func TestOutageBeyondMemory(t *testing.T) { onEveryPairIfLong(t, testOutageBeyondMemory) }

func testOutageBeyondMemory(t *testing.T, e engines) {
	p := newPairOf(t, e, "crowd", nil)
	for _, s := range p.sides() {
		s.conflictsText = fmt.Sprintf("{memory: 1MiB, spill_dir: '%s'}", t.TempDir())
	}
	crowd := &table{name: "crowd", keys: []string{"id"}, columns: signed(), create: signature + "id INT NOT NULL PRIMARY KEY"}
	c := newClashOf(t, p, []*table{crowd})
	c.large = true
	rows := scaled(14_000, 200_000)
	c.applies[p.west].Kill()
	write := func(s *side, op, from, to int) {
		t.Helper()
		for ; from < to; from += 500 {
			values := make([]string, 0, 500)
			for id := from; id < min(to, from+500); id++ {
				values = append(values, fmt.Sprintf("('%s', %d, %d)", sideName(s), op, id))
			}
			mustExec(t, s.mysql.DB(), "INSERT INTO shop.crowd (side, op, id) VALUES "+strings.Join(values, ", ")+" ON DUPLICATE KEY UPDATE side = VALUES(side), op = VALUES(op)")
		}
	}
	// What comes in there is older and newer than what that region has written, or of other rows.
	write(p.west, 1, 0, rows/16)
	write(p.east, 2, rows/32, rows)
	write(p.west, 3, rows/16, rows/4)
	remembers := func(when string, least int64) {
		t.Helper()
		var a *apply.Status
		eventually(t, restLimit, func() error {
			status, err := c.applies[p.east].Status()
			if err != nil {
				return err
			}
			if a = &status.Apply[0]; a.SpilledVersions < least {
				return fmt.Errorf("%d rows are on disk, want %d", a.SpilledVersions, least)
			}
			return nil
		})
		t.Logf("%s: %d versions on disk, %d bytes; %d bytes of memory", when, a.SpilledVersions, a.SpilledBytes, a.VersionBytes)
		if a.VersionBytes > 1<<20 {
			t.Errorf("%s: %d bytes of memory, 1 MiB is allowed", when, a.VersionBytes)
		}
	}
	remembers("during the outage", int64(rows)/8)
	answer, err := http.Get("http://" + c.applies[p.east].Listen + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if metrics, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(metrics), "\nduplex_apply_spilled_bytes{") {
		t.Errorf("the metrics tell nothing of the disk: %v", err)
	}
	c.applies[p.east].Kill()
	c.applies[p.east].Start()
	remembers("after a restart", int64(rows)/8)
	c.applies[p.west].Start()
	c.streaming()
	c.pass()
	c.pass() // what is written now has seen all that came before
	for _, s := range p.sides() {
		eventually(t, restLimit, func() error {
			status, err := c.applies[s].Status()
			if err != nil {
				return err
			}
			if a := &status.Apply[0]; a.SpilledVersions > 0 {
				return fmt.Errorf("%d rows are still on disk in %s", a.SpilledVersions, s.region)
			}
			return nil
		})
	}
	c.settle()
	c.stop()
}
