package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"duplex/change"
	"duplex/supervise"
	"duplex/topics"
)

// TestResetAnyhow: both regions write while an operator resets the groups of both
// directions with Kafka's own tool: by time, to the earliest, to an offset, by so
// many, all topics or some or only the spine, back and forward, while apply runs, is
// stopped, or was killed. Every change comes through once and in order; what would
// be skipped is refused, and going back as the message says applies it.
func TestResetAnyhow(t *testing.T) { onEveryPairIfLong(t, testResetAnyhow) }

func testResetAnyhow(t *testing.T, e engines) {
	r := rand.New(rand.NewPCG(seedOf(t), 2))
	p := newPairOf(t, e, "anyhow", nil)
	l := newLoad(p, 5)
	l.pace = 30 * time.Millisecond
	p.start("capture")
	applies := p.start("apply")
	l.begin(0)
	refused := 0
	time.Sleep(time.Second)
	for n := range scaled(2, 30) {
		i := r.IntN(2)
		apply, target := applies[i], p.sides()[i]
		g := &group{p: p, name: topics.Group(p.taskName, change.Region(p.other(target).region), change.Region(target.region))}
		time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		how := [3]string{"running", "ended", "killed"}[r.IntN(3)]
		if n == 0 {
			how = "ended"
		}
		switch how {
		case "ended":
			apply.Term()
		case "killed":
			apply.Kill()
		}
		done := ""
		if n == 0 { // once for sure
			done = g.tool("--to-latest", "--all-topics")
		} else {
			done = g.resetAnyhow(r, p.other(target).region)
		}
		if how != "running" {
			apply.Start()
		}
		if how == "running" {
			time.Sleep(2 * time.Second) // it sees that within a second
		}
		if s := waitDecided(t, apply); s.State == supervise.Stopped {
			refused++
			goBack(t, p, apply, s.Error)
		}
		t.Logf("%s, %s: %s", apply.Name, how, done)
	}
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	if refused == 0 {
		t.Error("no reset was refused")
	}
	t.Logf("%d resets were refused", refused)
}

// seedOf is DUPLEX_SEED, or another each time.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64N(1e6)
	if text := os.Getenv("DUPLEX_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("DUPLEX_SEED: %v", err)
		}
	}
	t.Logf("DUPLEX_SEED=%d", seed)
	return seed
}

// resetAnyhow resets the group in some way and returns which.
func (g *group) resetAnyhow(r *rand.Rand, source string) string {
	g.p.t.Helper()
	how := [][]string{
		{"--to-earliest"}, {"--to-current"}, {"--to-offset", fmt.Sprint(r.IntN(300))}, {"--shift-by", fmt.Sprint(-1 - r.IntN(200))}, {"--shift-by", fmt.Sprint(1 + r.IntN(200))},
		{"--by-duration", fmt.Sprintf("PT%dS", 1+r.IntN(10))}, {"--to-datetime", time.Now().UTC().Add(-time.Duration(r.IntN(15)) * time.Second).Format("2006-01-02T15:04:05.000")}, {"--to-latest"},
	}[r.IntN(8)]
	scope := []string{"--all-topics"}
	switch r.IntN(4) {
	case 0:
		scope = []string{"--topic", source + ".transaction"}
	case 1, 2:
		at, err := g.offsets()
		if err != nil {
			g.p.t.Fatal(err)
		}
		if len(at) == 0 {
			break // nothing is saved yet
		}
		scope = nil
		for topic := range at {
			if len(scope) == 0 || r.IntN(3) == 0 {
				scope = append(scope, "--topic", topic)
			}
		}
	}
	return g.tool(append(how, scope...)...)
}

// tool resets the group with Kafka's own tool.
func (g *group) tool(how ...string) string {
	g.p.t.Helper()
	args := append([]string{"--group", g.name, "--reset-offsets"}, how...)
	text, err := g.p.kafka.Tool(g.p.t.Context(), "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", append(args, "--execute")...)
	if err != nil {
		g.p.t.Fatalf("resetting group %s: %v\n%s", g.name, err, text)
	}
	return strings.Join(how, " ")
}

// waitDecided waits until a process streams again or its stream has stopped.
func waitDecided(t *testing.T, apply *Process) supervise.Status {
	t.Helper()
	var last supervise.Status
	eventually(t, startLimit, func() error {
		s, err := apply.Status()
		if err != nil {
			return err
		}
		if last = s.Apply[0].Status; last.State != supervise.Streaming && last.State != supervise.Stopped {
			return fmt.Errorf("%s is %s: %s", apply.Name, last.State, last.Error)
		}
		return nil
	})
	return last
}

var backCommand = regexp.MustCompile(`duplex (replay \S+ <process file of \S+> [^&]+) && duplex (resume -c <process file of \S+> --task \S+);`)

// goBack runs what the message of a refused reset says.
func goBack(t *testing.T, p *pair, apply *Process, message string) {
	t.Helper()
	found := backCommand.FindStringSubmatch(message)
	if found == nil {
		t.Fatalf("it stopped and doesn't say how to go back: %s", message)
	}
	for _, command := range found[1:] {
		args := strings.Fields(regexp.MustCompile(`<process file of \S+>`).ReplaceAllString(command, apply.argument("-c")))
		text, exit := runProgram(t, args...)
		if exit != 0 {
			t.Fatalf("duplex %s gave %d:\n%s", strings.Join(args, " "), exit, text)
		}
		t.Logf("duplex %s:\n%s", strings.Join(args, " "), text)
	}
	apply.WaitStreaming()
}

// reset has an apply die before its region's topics tell what it has written over,
// and resets its groups before it starts again: no newer write may be lost by that.
func (c *clash) reset() {
	c.t.Helper()
	p := c.rivals.p
	s := p.sides()[c.r.IntN(2)]
	source := p.other(s).region
	g := &group{p: p, name: topics.Group(p.taskName, change.Region(source), change.Region(s.region))}
	tail := &group{p: p, name: topics.StreamTailGroup(p.taskName, change.Region(source), change.Region(s.region))}
	c.rivals.begin()
	time.Sleep(time.Duration(1000+c.r.IntN(1500)) * time.Millisecond) // something is saved
	c.captures[s].Signal(syscall.SIGSTOP)
	time.Sleep(time.Duration(200+c.r.IntN(600)) * time.Millisecond)
	if c.r.IntN(3) > 0 {
		c.rivals.end() // or what is wrong is soon written again
		time.Sleep(500 * time.Millisecond)
	}
	c.applies[s].Kill()
	c.captures[s].Signal(syscall.SIGCONT)
	done := g.resetAnyhow(c.r, source)
	if c.r.IntN(2) == 0 {
		done += ", the tail " + tail.resetAnyhow(c.r, s.region)
	}
	c.applies[s].Start()
	c.t.Logf("%s: %s", c.applies[s].Name, done)
	if found := waitDecided(c.t, c.applies[s]); found.State == supervise.Stopped {
		goBack(c.t, p, c.applies[s], found.Error)
	}
}
