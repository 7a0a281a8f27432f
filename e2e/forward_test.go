package e2e_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"duplex/change"
	"duplex/supervise"
	"duplex/topics"
)

// TestResetForward: offsets that were moved past changes which were never applied
// stop the stream, which says how many those are. They are left out only if exactly
// that is confirmed, which the status then shows; what was left out doesn't come
// back with a later replay, nor by a crash (promise 6).
func TestResetForward(t *testing.T) {
	p := newSmall(t, mysqlPair, "forward")
	captures, applies := p.start("capture"), p.start("apply")
	apply := applies[1]
	east, rows := p.east.mysql.DB(), 0
	insert := func(n int) {
		t.Helper()
		for range n {
			rows++
			mustExec(t, east, fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", rows))
		}
	}
	published := func() {
		t.Helper()
		eventually(t, stallLimit, func() error {
			if s, err := captures[0].Status(); err != nil || int(s.Capture.Seq) != rows {
				return fmt.Errorf("not all is published: %v", err)
			}
			return nil
		})
	}
	g := &group{p: p, name: topics.Group(p.taskName, change.Region(p.east.region), change.Region(p.west.region))}
	insert(10)
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 10) })
	g.saved()

	apply.Kill()
	insert(7)
	published()
	g.tool("--to-latest", "--all-topics")
	apply.Start()
	text := stopped(t, p, apply, "moved forward, past 7 transactions of region "+p.east.region, "from 11 to 17", "--from seq:11")
	skip := regexp.MustCompile(`--skip (\S+)`).FindStringSubmatch(text)
	if skip == nil {
		t.Fatalf("it doesn't say how to confirm:\n%s", text)
	}

	// A replay only goes back.
	config := apply.argument("-c")
	replay := func(wanted int, more ...string) string {
		t.Helper()
		args := append([]string{"replay", "-c", config, "--task", p.taskName, "--source", p.east.region}, more...)
		text, exit := runProgram(t, args...)
		if exit != wanted {
			t.Fatalf("duplex %s gave %d:\n%s", strings.Join(args, " "), exit, text)
		}
		return text
	}
	for place, want := range map[string]string{
		"seq:13":       "would skip 2 transactions",
		"seq:100":      "isn't published yet, 17 is the last",
		"seq:0":        "is no place to read from",
		"yesterday":    "is no place to read from",
		"offset:-3":    "is no place to read from",
		"offset:99999": "ends at offset",
	} {
		says(t, replay(1, "--from", place), want)
	}
	text, exit := runProgram(t, "replay", "-c", config, "--task", "nosuch", "--source", p.east.region, "--from", "seq:1")
	checkMessage(t, text, exit, "was never applied", "mend:")
	says(t, replay(0, "--from", "beginning", "--dry-run"), "would be set", "to transaction 1 of "+p.east.region, "10 transactions of the task are read again, up to 10")

	// Not confirmed, or something else: it stays stopped. More was written meanwhile: the
	// confirmation stands, since the place is the same.
	resume := func(more ...string) {
		t.Helper()
		args := append([]string{"resume", "-c", config, "--task", p.taskName}, more...)
		if text, exit := runProgram(t, args...); exit != 0 {
			t.Fatalf("duplex %s gave %d:\n%s", strings.Join(args, " "), exit, text)
		}
	}
	for _, more := range [][]string{nil, {"--skip", p.east.region + ":11-16/6"}, {"--skip", p.east.region + ":11-17/8"}, {"--skip", p.west.region + ":11-17/7"}} {
		resume(more...)
		waitState(t, apply, supervise.Stopped, "moved forward, past 7 transactions")
	}
	if err := hasRows(p.west, "shop.t", 10); err != nil {
		t.Error(err)
	}
	insert(3)
	published()
	resume("--skip", skip[1])
	apply.WaitStreaming()
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 13) })
	shown := func() {
		t.Helper()
		text, _ := runProgram(t, "status", "-c", config)
		says(t, text, "7 transactions of "+p.east.region+" were left out, of those from 11 to 17")
	}
	shown()
	if !strings.Contains(apply.Log(), "transactions left out for good, as confirmed") {
		t.Error("the log doesn't tell")
	}

	// What was left out stays out, whatever is read again.
	for _, how := range []string{"killed", "ended", "running"}[:scaled(1, 3)] {
		switch how {
		case "ended":
			apply.Term()
		case "killed":
			apply.Kill()
		}
		replay(0, "--from", "beginning")
		if how != "running" {
			apply.Start()
		}
		insert(1)
		published()
		eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", rows-7) })
	}
	apply.WaitStreaming()
	shown()

	// Only one topic forward: whole transactions are skipped, or none.
	apply.Term()
	insert(4)
	published()
	g.tool("--to-latest", "--topic", p.east.region+".shop.t")
	apply.Start()
	stopped(t, p, apply, "moved forward, past 4 transactions")
	goBack(t, p, apply, lastError(apply))
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", rows-7) })

	// Nothing is skipped where all is applied.
	if soak() {
		g.tool("--to-latest", "--all-topics")
		time.Sleep(2 * time.Second)
		apply.WaitStreaming()
		insert(1)
		eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", rows-7) })
	}
	stop(append(captures, applies...))
}

// TestReplayGone: what is asked for or needed and is no longer in the topics is named,
// with what to do (promise 6).
func TestReplayGone(t *testing.T) {
	p := newSmall(t, mysqlPair, "expired")
	captures, applies := p.start("capture"), p.start("apply")
	apply := applies[1]
	for i := range 20 {
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", i))
	}
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 20) })
	g := &group{p: p, name: topics.Group(p.taskName, change.Region(p.east.region), change.Region(p.west.region))}
	g.saved()
	empty(t, kafkaClient(t, p), p.east.region+".transaction")
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (20, 'x'), (21, 'x')", "INSERT INTO shop.t VALUES (22, 'x')")
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 23) })
	config := filepath.Join(p.dir, apply.Name+".yaml")
	for _, from := range []string{"seq:3", "offset:2", "-1h"} {
		text, exit := runProgram(t, "replay", "-c", config, "--task", p.taskName, "--source", p.east.region, "--from="+from)
		checkMessage(t, text, exit, "no longer in the topics: they begin with transaction 21", "needs a new snapshot", "mend:")
	}
	text, exit := runProgram(t, "--json", "replay", "-c", config, "--task", p.taskName, "--source", p.east.region, "--from", "beginning")
	if exit != 0 || !strings.Contains(text, `"first":21`) || !strings.Contains(text, `"transactions":2`) {
		t.Errorf("exit code %d: %s", exit, text)
	}
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (23, 'x')")
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", 24) })

	// The target goes back to before what the topics have.
	apply.Term()
	mustExec(t, p.west.mysql.DB(), "UPDATE duplex.progress SET n = n + 1, seq = 5 WHERE origin = '"+p.east.region+"'")
	apply.Start()
	stopped(t, p, apply, "transactions 6 to 20 are not applied here and no longer in the topics", "new snapshot")
	stop(append(captures, applies...))
}

// TestTargetWentBack: where duplex.progress of the target is set back, as by a
// restored backup, what is applied again is never older than a write of the region's own
// applications since, and ends as it was (promises 3 and 4).
func TestTargetWentBack(t *testing.T) { onEveryPairIfLong(t, testTargetWentBack) }

func testTargetWentBack(t *testing.T, e engines) {
	p := newSmall(t, e, "back")
	captures, applies := p.start("capture"), p.start("apply")
	apply := applies[1]
	const rows = 40
	for i := range rows {
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'from east')", i))
	}
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", rows) })
	// Long before, for all that is remembered.
	for i := range rows / 2 {
		mustExec(t, p.west.mysql.DB(), fmt.Sprintf("UPDATE shop.t SET v = 'from west' WHERE id = %d", i))
	}
	mustExec(t, p.west.mysql.DB(), "DELETE FROM shop.t WHERE id IN (0, 1)")
	eventually(t, stallLimit, func() error { return hasRows(p.east, "shop.t WHERE v = 'from west'", rows/2-2) })
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (1000, 'later')")
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", rows-1) })
	g := &group{p: p, name: topics.StreamTailGroup(p.taskName, change.Region(p.east.region), change.Region(p.west.region))}
	for n := 0; ; n++ { // until the tail has a place of its own, behind all that
		mustExec(t, p.west.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'later')", 2000+n))
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'later')", 3000+n))
		time.Sleep(300 * time.Millisecond)
		if at, err := g.offsets(); err != nil || n == 40 {
			t.Fatalf("the tail has saved nothing: %v", err)
		} else if o, ok := at.Lookup(p.west.region+".transaction", 0); ok && o.At > 80 {
			break
		}
	}
	eventually(t, stallLimit, func() error { return sameSmall(p) })
	last := query(t, p.west, "SELECT MAX(seq) FROM duplex.progress WHERE origin = '"+p.east.region+"'")[0][0].String

	before := appliedRows(t, p.west)
	for _, how := range []string{"killed", "reset too", "ended"}[:scaled(1, 3)] {
		apply.Term()
		mustExec(t, p.west.mysql.DB(), "UPDATE duplex.progress SET n = n + 1, seq = 3 WHERE origin = '"+p.east.region+"'")
		if how == "reset too" {
			(&group{p: p, name: topics.Group(p.taskName, change.Region(p.east.region), change.Region(p.west.region))}).tool("--to-earliest", "--all-topics")
			g.tool("--to-latest", "--all-topics")
		}
		apply.Start()
		if how == "killed" {
			time.Sleep(300 * time.Millisecond)
			apply.Kill()
			apply.Start()
		}
		apply.WaitStreaming()
		eventually(t, stallLimit, func() error {
			if n := query(t, p.west, "SELECT MAX(seq) FROM duplex.progress WHERE origin = '"+p.east.region+"'")[0][0].String; n != last {
				return fmt.Errorf("applied up to %s", n)
			}
			return sameSmall(p)
		})
	}
	if n := appliedRows(t, p.west) - before; n > 0 {
		t.Errorf("%d rows were written, all of which had been there or were older than local writes", n)
	}
	if err := hasRows(p.west, "shop.t WHERE v = 'from west'", rows/2-2); err != nil {
		t.Error(err)
	}
	stop(append(captures, applies...))
}

// saved waits until the group has an offset of the spine.
func (g *group) saved() {
	g.p.t.Helper()
	eventually(g.p.t, stallLimit, func() error {
		at, err := g.offsets()
		if err == nil && len(at[g.p.east.region+".transaction"]) == 0 {
			err = fmt.Errorf("group %s has no offset of the spine", g.name)
		}
		return err
	})
}

// appliedRows counts the rows of the task that apply has ever written in a region.
func appliedRows(t *testing.T, s *side) (n int) {
	t.Helper()
	readBinlog(t, s.mysql, func(txn *logged) {
		for i := range txn.rows {
			if txn.marked() && txn.rows[i].schema == "shop" {
				n++
			}
		}
	})
	return n
}

func says(t *testing.T, text string, want ...string) {
	t.Helper()
	checkMessage(t, text, 1, want...)
}

func kafkaClient(t *testing.T, p *pair) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}
