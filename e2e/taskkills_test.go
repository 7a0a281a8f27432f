package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"duplex/control"
)

// TestTaskHistories asks for random operations on two tasks, with SIGKILLs of the services in between: after each the state
// that is shown becomes the true one, and the tables of what runs are equal.
func TestTaskHistories(t *testing.T) { onEveryPairIfLong(t, testTaskHistories) }

func testTaskHistories(t *testing.T, e engines) {
	seed := uint64(time.Now().UnixNano() % 1_000_000)
	if text := os.Getenv("DUPLEX_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("DUPLEX_SEED=%d", seed)
	s := newSteered(t, e, "lives")
	s.r = rand.New(rand.NewPCG(seed, 7))
	lives := []*life{{s: s, task: s.taskName + "-x", table: "x"}, {s: s, task: s.taskName + "-y", table: "y"}}
	for _, l := range lives {
		s.table(l.table)
	}
	s.start()
	for n := range e.scaled(6, 100) {
		l := lives[s.r.IntN(2)]
		l.step(n)
		for _, l := range lives {
			l.check()
		}
	}
	stop(s.processes)
}

// life is one task, and what it should be.
type life struct {
	s           *steered
	task, table string
	state       control.State // empty: there is none
	threads     int
}

// captured reports whether changes of its table are captured.
func (l *life) captured() bool {
	return l.state == control.Streaming || l.state == control.Paused || l.state == control.Stopped
}

func (l *life) file() string {
	return l.s.write(l.task, "tables: {include: ['shop."+l.table+"']}", fmt.Sprintf("apply: {threads: %d}", 2+l.threads%4))
}

// step does something that may be done with the task as it is, maybe kills a process before or after, and writes all the while.
func (l *life) step(n int) {
	s := l.s
	actions := map[control.State][]string{
		"":                {"create"},
		control.Created:   {"start", "start", "delete"},
		control.Streaming: {"pause", "stop", "edit", "start"},
		control.Paused:    {"start", "stop", "edit", "pause"},
		control.Stopped:   {"start", "edit", "delete", "stop"},
	}[l.state]
	action := actions[s.r.IntN(len(actions))]
	victim := s.processes[s.r.IntN(2)]
	s.t.Logf("%d: %s of %s, which is %q", n, action, l.task, l.state)
	if l.captured() {
		s.fill(l.table, 3)
	}
	when := s.r.IntN(3) // before, after, or not at all
	if when == 0 {
		victim.Kill()
	}
	switch action {
	case "create":
		l.makeEqual()
		if when == 0 {
			victim.Start() // a former life must have been left by both
		}
		eventually(s.t, stallLimit, func() error {
			if text, exit := s.duplex("create", l.file()); exit != 0 {
				return fmt.Errorf("create: %s", text)
			}
			return nil
		})
	case "edit":
		l.threads++
		s.must("edit", l.file())
	default:
		s.must(action, l.task)
	}
	if when == 1 {
		time.Sleep(time.Duration(s.r.IntN(700)) * time.Millisecond)
		victim.Kill()
	}
	next := map[string]control.State{"create": control.Created, "start": control.Streaming, "pause": control.Paused, "stop": control.Stopped, "delete": ""}
	if to, ok := next[action]; ok {
		l.state = to
	}
	if !victim.Running() {
		victim.Start()
	}
	if l.captured() && action != "start" {
		s.fill(l.table, 3)
	}
}

// makeEqual writes rows into the table on both sides while nobody captures it: what is in the topics of it is old.
func (l *life) makeEqual() {
	s := l.s
	for _, side := range s.sides() {
		mustExec(s.t, side.mysql.DB(), "DELETE FROM shop."+l.table)
	}
	for range 3 {
		s.next++
		for _, side := range s.sides() {
			mustExec(s.t, side.mysql.DB(), fmt.Sprintf("INSERT INTO shop.%s VALUES (%d, 'before')", l.table, s.next))
		}
	}
}

// check waits until the task is shown as it should be, and its tables are equal if it runs.
func (l *life) check() {
	switch l.state {
	case "":
	case control.Created:
		l.s.await(l.task, control.Created)
	default:
		l.s.await(l.task, l.state)
		if l.state == control.Streaming {
			l.s.awaitEqual(l.table)
		}
	}
}
