package e2e_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"duplex/apply"
)

// TestStatus: the status tells an operator what was applied, how far behind it is, also while nobody writes, and which
// part of the way is to blame.
func TestStatus(t *testing.T) { onEveryPairIfLong(t, testStatus) }

func testStatus(t *testing.T, e engines) {
	p := newPairOf(t, e, "status", nil)
	for _, s := range p.sides() {
		s.canaries = true
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)")
	}
	p.writeTask("tables: {include: ['shop.*']}")
	eastCapture := p.process(p.east, "capture")
	westApply := p.process(p.west, "apply")
	all := []*Process{eastCapture, p.process(p.west, "capture"), p.process(p.east, "apply"), westApply}
	for _, process := range all {
		process.Start()
	}
	for _, process := range all {
		process.WaitStreaming()
	}
	status := func() apply.Status {
		s, err := westApply.Status()
		if err != nil {
			t.Fatal(err)
		}
		return s.Apply[0]
	}
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (1, 1), (2, 1), (3, 1)", "UPDATE shop.t SET v = 2 WHERE id < 3", "DELETE FROM shop.t WHERE id = 3")
	eventually(t, stallLimit, func() error {
		if s := status(); s.Inserts != 3 || s.Updates != 2 || s.Deletes != 1 || s.Bytes == 0 {
			return fmt.Errorf("%d inserts, %d updates, %d deletes of %d bytes", s.Inserts, s.Updates, s.Deletes, s.Bytes)
		}
		return nil
	})
	inStep := func() error {
		if c := status().Canary; c == nil || c.AgoMillis > c.DelayMillis+5000 {
			return fmt.Errorf("the last canary is %+v", c)
		}
		return nil
	}
	eventually(t, stallLimit, inStep)
	config := westApply.argument("-c")
	show := func() string {
		text, exit := runProgram(t, "status", "-c", config)
		if exit != 0 {
			t.Fatalf("duplex status: exit code %d: %s", exit, text)
		}
		return text
	}
	if text := show(); strings.Contains(text, " over ") || !strings.Contains(text, "3 inserted, 2 updated, 1 deleted") {
		t.Errorf("duplex status shows\n%s", text)
	}

	eastCapture.Signal(syscall.SIGSTOP)
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.t VALUES (4, 1)")
	eventually(t, stallLimit, func() error {
		if c := status().Canary; c.AgoMillis < 8000 {
			return fmt.Errorf("the last canary is %+v", c)
		}
		return nil
	})
	if text := show(); !strings.Contains(text, "over ") {
		t.Errorf("while a capture is frozen duplex status shows\n%s", text)
	}
	eastCapture.Signal(syscall.SIGCONT)
	eventually(t, stallLimit, inStep)
	if s := status(); s.LagParts.Capture.P99Millis < 5000 || s.LagParts.Capture.P99Millis < s.LagParts.Apply.P99Millis {
		t.Errorf("a capture was frozen, and the lag is from %+v", s.LagParts)
	}

	watch := newProcess(t, "watch", "", "status", "--watch", "-c", config)
	watch.Start()
	eventually(t, 30*time.Second, func() error {
		if n := strings.Count(watch.LogTail(100), "SERVICE"); n < 2 {
			return fmt.Errorf("it was shown %d times", n)
		}
		return nil
	})
	stop(append(all, watch))
}
