package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"duplex/internal/testbed"
	"duplex/supervise"
)

// newPeers makes two regions with a Kafka each, behind proxies. Each region's
// applier reads the other's Kafka.
func newPeers(t *testing.T, e engines) (p *pair, kafkas map[*side]*testbed.Kafka) {
	t.Helper()
	p = newPairOf(t, e, "peers", nil)
	kafkas = map[*side]*testbed.Kafka{p.east: bed.Kafka(t, testbed.KafkaProxied()), p.west: bed.Kafka(t, testbed.KafkaProxied())}
	for _, s := range p.sides() {
		s.kafkaText = fmt.Sprintf("{brokers: ['%s'], replication_factor: 1, partitions: 2}", kafkas[s].Brokers()[0])
	}
	for _, s := range p.sides() {
		o := p.other(s)
		s.peersText = fmt.Sprintf("{%s: {kafka: %s, registry: %s}}", o.region, o.kafkaText, o.registryText)
	}
	return p, kafkas
}

// TestTwoKafkas: with a Kafka for each region, the loss of one stops only what
// that region publishes; the other direction goes on, the status says what is
// away, and all is made up for once it is back (promises 1 to 4).
func TestTwoKafkas(t *testing.T) { onEveryPairIfLong(t, testTwoKafkas) }

func testTwoKafkas(t *testing.T, e engines) {
	p, kafkas := newPeers(t, e)
	l := newLoad(p, 5)
	processes := p.start("run")
	east, west := processes[0], processes[1]
	changes := int64(scaled(1_000, 20_000))
	l.begin(changes)
	l.wait()
	waitEqual(p, l)

	if err := kafkas[p.east].Proxy(0).Cut(); err != nil {
		t.Fatal(err)
	}
	l.begin(2 * changes)
	l.wait()
	// West's changes come through.
	eventually(t, stallLimit, func() error {
		for _, table := range l.tables {
			if err := sameOfSide(p, table, "w"); err != nil {
				return err
			}
		}
		return nil
	})
	// East's don't, and whoever needs east's Kafka says so.
	eventually(t, stallLimit, func() error {
		return retrying(east, west, kafkas[p.east].Brokers()[0])
	})
	before := eastRowsInWest(t, p)

	if err := kafkas[p.east].Proxy(0).Restore(); err != nil {
		t.Fatal(err)
	}
	waitEqual(p, l)
	if after := eastRowsInWest(t, p); after == before {
		t.Error("east's changes had reached west while east's Kafka was away: nothing was tested")
	}
	for _, process := range processes {
		process.WaitStreaming()
	}
	for _, s := range p.sides() {
		found := auditBinlog(p, s, l)
		p.kafka = kafkas[s]
		auditTopics(p, s, found)
	}
	stop(processes)
}

// sameOfSide compares what a side's load has written to a table.
func sameOfSide(p *pair, t *table, name string) error {
	east, west := contents(p.t, p.east.mysql.DB(), t), contents(p.t, p.west.mysql.DB(), t)
	for key, row := range west {
		if row.column("side") != name {
			continue
		}
		if difference := row.compare(east[key]); difference != "" {
			return fmt.Errorf("%s[%s]: %s", t.name, key, difference)
		}
	}
	for key, row := range east {
		if row.column("side") == name && west[key] == nil {
			return fmt.Errorf("%s[%s] is in east and no longer in west", t.name, key)
		}
	}
	return nil
}

// eastRowsInWest tells how many rows of east are in west, and which.
func eastRowsInWest(t *testing.T, p *pair) (text string) {
	t.Helper()
	for _, table := range loadTables() {
		var n, sum int64
		if err := p.west.mysql.DB().QueryRow("SELECT COUNT(*), COALESCE(SUM(op), 0) FROM shop."+table.name+" WHERE side = 'e'").Scan(&n, &sum); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("%s %d %d; ", table.name, n, sum)
	}
	return text
}

// retrying returns nil if exactly the capture of east and the apply in west
// are trying again, and name the Kafka that they can't reach.
func retrying(east, west *Process, broker string) error {
	e, err := east.Status()
	if err != nil {
		return err
	}
	w, err := west.Status()
	if err != nil {
		return err
	}
	states := []supervise.State{e.Capture.State, w.Apply[0].State, w.Capture.State, e.Apply[0].State}
	want := []supervise.State{supervise.Retrying, supervise.Retrying, supervise.Streaming, supervise.Streaming}
	if fmt.Sprint(states) != fmt.Sprint(want) {
		return fmt.Errorf("capture of east, apply in west, capture of west, apply in east are %v, want %v", states, want)
	}
	for _, reason := range []string{e.Capture.Error, w.Apply[0].Error} {
		if !strings.Contains(reason, broker) {
			return fmt.Errorf("the reason doesn't name the Kafka at %s: %q", broker, reason)
		}
	}
	return nil
}
