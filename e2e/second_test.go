package e2e_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"duplex/supervise"
)

// takeoverLimit is how long a standby may take to go on for an apply that was
// killed or has frozen. Of the 10 s that are promised the server takes 6 to see
// that one is frozen; the rest is work, and here many tests share the cores.
const takeoverLimit = 15 * time.Second

// TestSecondApplyStandsBy: of two applies of a region one works; the other
// takes over when that is killed or frozen. One that wakes up writes nothing.
func TestSecondApplyStandsBy(t *testing.T) { onEveryPair(t, testSecondApplyStandsBy) }

func testSecondApplyStandsBy(t *testing.T, e engines) {
	p := newPairOf(t, e, "standby", nil)
	l := newLoad(p, 8)
	l.pace = 30 * time.Millisecond
	captures := p.start("capture")
	other := p.process(p.west, "apply")
	first, second := p.named(p.east, "apply", "first"), p.named(p.east, "apply", "second")
	other.Start()
	first.Start()
	other.WaitStreaming()
	first.WaitStreaming()
	second.Start()
	waitState(t, second, supervise.Checking, "standing by")
	l.begin(0)

	for range scaled(1, 3) {
		first.Kill()
		waitTakeover(t, second, "killed")
		first.Start()
		waitState(t, first, supervise.Checking, "standing by")

		waitFlow(t, []*Process{second})
		second.Signal(syscall.SIGSTOP)
		waitTakeover(t, first, "frozen")
		waitFlow(t, []*Process{first})
		second.Signal(syscall.SIGCONT) // the audit proves that it writes nothing
		waitState(t, second, supervise.Checking, "standing by")
	}
	l.check()
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(append(captures, other, first, second))
}

func waitTakeover(t *testing.T, standby *Process, what string) {
	t.Helper()
	began := time.Now()
	eventually(t, takeoverLimit, standby.Streaming)
	t.Logf("%s took over from the %s one within %s", standby.Name, what, time.Since(began).Round(time.Millisecond))
}

// waitState waits until the only service of the process is in that state, for
// a reason that has this text in it.
func waitState(t *testing.T, process *Process, state supervise.State, reason string) {
	t.Helper()
	eventually(t, startLimit, func() error {
		s, err := process.Status()
		if err != nil {
			return err
		}
		var found supervise.Status
		if s.Capture != nil {
			found = s.Capture.Status
		} else {
			found = s.Apply[0].Status
		}
		if found.State != state || !strings.Contains(found.Error, reason) {
			return fmt.Errorf("%s is %s: %s; want %s: %s", process.Name, found.State, found.Error, state, reason)
		}
		return nil
	})
}

// TestSecondCaptureIsFenced: a second capture of a region takes the first
// one's place; the first stops and says so.
func TestSecondCaptureIsFenced(t *testing.T) { onEveryPairIfLong(t, testSecondCaptureIsFenced) }

func testSecondCaptureIsFenced(t *testing.T, e engines) {
	p := newPairOf(t, e, "fence", nil)
	l := newLoad(p, 9)
	l.pace = 30 * time.Millisecond
	captures := p.start("capture")
	applies := p.start("apply")
	l.begin(0)
	waitFlow(t, applies)

	second := p.named(p.east, "capture", "second")
	second.Start()
	second.WaitStreaming()
	waitState(t, captures[0], supervise.Stopped, "another")
	file := captures[0].argument("-c")
	if text, exit := runProgram(t, "status", "-c", file); exit != 1 || !strings.Contains(text, "another") {
		t.Errorf("duplex status of the fenced capture gives exit code %d and %q; want 1 and the reason", exit, text)
	}
	waitFlow(t, applies)
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(append(applies, captures[0], captures[1], second))
}
