package e2e_test

import (
	"testing"
	"time"

	"duplex/internal/testbed"
)

// TestBrokerKilled kills one of three brokers with SIGKILL and starts it again
// while both regions write. Two of three replicas are enough to go on.
func TestBrokerKilled(t *testing.T) { onEveryPairIfLong(t, testBrokerKilled) }

func testBrokerKilled(t *testing.T, e engines) {
	kafka := bed.Kafka(t, testbed.KafkaNodes(3))
	p := newPairOf(t, e, "broker", kafka)
	l := newLoad(p, 6)
	l.pace = 30 * time.Millisecond
	processes := p.start("run")
	l.begin(0)
	for n := range scaled(1, 9) {
		node := n % 3
		if err := kafka.Kill(node); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		waitFlow(t, processes)
		t.Logf("broker %d killed: changes of both sides arrived again %s later", node, time.Since(killed).Round(time.Millisecond))
		if err := kafka.Start(node); err != nil {
			t.Fatal(err)
		}
		waitFlow(t, processes)
		l.check()
	}
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(processes)
}

// waitFlow waits until every stream has applied something that it hadn't, and
// streams.
func waitFlow(t *testing.T, processes []*Process) {
	t.Helper()
	for _, process := range processes {
		var from int64 = -1
		eventually(t, startLimit, func() error {
			s, err := process.Status()
			if err != nil {
				return err
			}
			if from < 0 {
				from = s.Apply[0].Rows
			}
			if s.Apply[0].Rows == from {
				return errNothingApplied
			}
			return process.Streaming()
		})
	}
}
