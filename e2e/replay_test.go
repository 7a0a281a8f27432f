package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"duplex/change"
	"duplex/topics"
)

// TestReplayWritesNothing: an operator who sets the consumer group back to the
// start, while the applier is stopped or while it runs, has the topics read
// again and not one row written again (promises 2 and 3).
func TestReplayWritesNothing(t *testing.T) { onEveryPairIfLong(t, testReplayWritesNothing) }

func testReplayWritesNothing(t *testing.T, e engines) {
	p := newPairOf(t, e, "replay", nil)
	l := newLoad(p, 3)
	processes := p.start("run")
	changes := int64(e.scaled(2_000, 20_000))
	l.begin(changes)
	l.wait()
	waitEqual(p, l)
	g := &group{p: p, name: topics.Group(p.taskName, change.Region(p.east.region), change.Region(p.west.region))}
	end := g.settled()
	before := checkHistory(p, l)
	west := processes[1]
	for _, how := range []struct {
		name  string
		reset func()
	}{
		{"while stopped", func() { west.Term(); g.reset("transaction"); west.Start() }},
		{"while running", func() { g.reset("transaction") }},
	} {
		began := time.Now()
		how.reset()
		west.WaitStreaming()
		eventually(t, stallLimit, func() error { return g.reached(end) })
		t.Logf("reset %s: read again after %s", how.name, time.Since(began).Round(time.Millisecond))
		checkEqual(p, l)
		for s, after := range checkHistory(p, l) {
			was := before[s]
			if after.LocalRows != was.LocalRows || after.Rows != was.Rows || after.Marked != was.Marked || after.Empty != was.Empty {
				t.Errorf("reset %s: %s wrote: %+v before, %+v after", how.name, s.region, summary(was), summary(after))
			}
		}
	}
	if got := g.starts(); got < 2 {
		t.Errorf("the applier was started again %d times, not by the reset", got)
	}
	// And it goes on from there.
	l.begin(2 * changes)
	l.wait()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(processes)
}

func summary(a audited) string {
	return fmt.Sprintf("%d local rows, %d applied in %d transactions, %d empty, %d canaries, %d takeovers", a.LocalRows, a.Rows, a.Marked, a.Empty, a.Canaries, a.Takeovers)
}

// group is the consumer group of the applier in west.
type group struct {
	p    *pair
	name string
}

// offsets asks Kafka for what the group has committed.
func (g *group) offsets() (kadm.OffsetResponses, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(g.p.kafka.Brokers()...))
	if err != nil {
		return nil, final(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(g.p.t.Context(), 10*time.Second)
	defer cancel()
	found, err := kadm.NewClient(client).FetchOffsets(ctx, g.name)
	if err == nil {
		err = found.Error()
	}
	return found, err
}

// settled waits until the group stands still and returns where.
func (g *group) settled() kadm.OffsetResponses {
	g.p.t.Helper()
	var last kadm.OffsetResponses
	moved := time.Now()
	eventually(g.p.t, stallLimit, func() error {
		now, err := g.offsets()
		if err != nil {
			return err
		}
		if fmt.Sprint(now.Offsets()) != fmt.Sprint(last.Offsets()) || len(now) == 0 {
			last, moved = now, time.Now()
		}
		if time.Since(moved) < 3*time.Second {
			return fmt.Errorf("group %s still moves", g.name)
		}
		return nil
	})
	return last
}

// reached returns nil once the group is where it was again.
func (g *group) reached(end kadm.OffsetResponses) error {
	now, err := g.offsets()
	if err != nil {
		return err
	}
	var behind []string
	end.Each(func(want kadm.OffsetResponse) {
		got, ok := now.Lookup(want.Topic, want.Partition)
		if !ok || got.At < want.At {
			behind = append(behind, fmt.Sprintf("%s[%d] at %d of %d", want.Topic, want.Partition, got.At, want.At))
		}
	})
	if len(behind) > 0 {
		return fmt.Errorf("group %s is behind: %s", g.name, strings.Join(behind, ", "))
	}
	return nil
}

// reset sets the group back to the start with Kafka's own tool, which must have
// reset a topic of that name.
func (g *group) reset(topic string) {
	g.p.t.Helper()
	text, err := g.p.kafka.Tool(g.p.t.Context(), "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
		"--group", g.name, "--reset-offsets", "--to-earliest", "--all-topics", "--execute")
	if err != nil {
		g.p.t.Fatalf("resetting group %s: %v\n%s", g.name, err, text)
	}
	if !strings.Contains(text, g.p.east.region+"."+topic) {
		g.p.t.Fatalf("the tool didn't reset %s:\n%s", topic, text)
	}
}

// starts counts how often an applier in west took over.
func (g *group) starts() (n int) {
	row := g.p.west.mysql.DB().QueryRow("SELECT MAX(epoch) - 1 FROM duplex.progress WHERE task = ?", g.p.taskName)
	if err := row.Scan(&n); err != nil {
		g.p.t.Fatal(err)
	}
	return n
}
