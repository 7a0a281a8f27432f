package e2e_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"duplex/internal/testbed"
	"duplex/supervise"
)

// TestAwayRecovers: a MySQL, a Kafka or a registry that can't be reached, at
// the start or while services run, is shown as retrying, by name, stops
// nothing, and is used again by itself once it is back (promises 1, 3 and 4).
func TestAwayRecovers(t *testing.T) { onEveryPairIfLong(t, testAwayRecovers) }

func testAwayRecovers(t *testing.T, e engines) {
	p := newSmall(t, e, "away")
	_, registry := services.get(t)
	address, err := url.Parse(registry.URL())
	if err != nil {
		t.Fatal(err)
	}
	mysqlAway, registryAway := bed.Proxy(t, p.east.mysql.Addr), bed.Proxy(t, address.Host)
	kafkaAway := bed.Proxy(t, p.kafka.Brokers()[0])
	p.east.mysqlText = strings.Replace(p.east.mysqlText, p.east.mysql.Addr, mysqlAway.Addr(), 1)
	p.east.registryText = strings.Replace(p.east.registryText, address.Host, registryAway.Addr(), 1)
	p.east.kafkaText = strings.Replace(p.east.kafkaText, p.kafka.Brokers()[0], kafkaAway.Addr(), 1)
	east, west := p.process(p.east, "run"), p.process(p.west, "run")
	west.Start()

	// At the start, one after the other comes up.
	cut(t, mysqlAway, kafkaAway, registryAway)
	east.Start()
	for _, missing := range []*testbed.Proxy{mysqlAway, registryAway, kafkaAway} {
		shownAway(t, east, missing.Addr())
		restore(t, missing)
	}
	east.WaitStreaming()
	west.WaitStreaming()
	rows := 0
	write := func() {
		t.Helper()
		rows += 2
		for _, s := range p.sides() {
			mustExec(t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", rows+s.number))
		}
	}
	arrived := func() error { return errors.Join(hasRows(p.east, "shop.t", rows), hasRows(p.west, "shop.t", rows)) }
	write()
	eventually(t, stallLimit, arrived)

	// While it runs.
	cut(t, mysqlAway)
	write()
	shownAway(t, east, mysqlAway.Addr())
	restore(t, mysqlAway)
	eventually(t, stallLimit, arrived)
	east.WaitStreaming()

	// The registry is asked when a table is new.
	cut(t, registryAway)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.later (id INT PRIMARY KEY)")
	}
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.later VALUES (1)")
	shownAway(t, east, registryAway.Addr())
	write()
	restore(t, registryAway)
	eventually(t, stallLimit, func() error { return errors.Join(arrived(), hasRows(p.west, "shop.later", 1)) })

	// A server that is there and doesn't answer.
	mysqlAway.HalfOpen()
	write()
	eventually(t, startLimit, func() error { return retryingFor(east, "") })
	restore(t, mysqlAway)
	eventually(t, stallLimit, arrived)
	east.WaitStreaming()
	stop([]*Process{east, west})
}

func cut(t *testing.T, proxies ...*testbed.Proxy) {
	t.Helper()
	for _, p := range proxies {
		if err := p.Cut(); err != nil {
			t.Fatal(err)
		}
	}
}

func restore(t *testing.T, p *testbed.Proxy) {
	t.Helper()
	if err := p.Restore(); err != nil {
		t.Fatal(err)
	}
}

// shownAway waits until a service of the process shows that it tries to reach
// the address again, and proves that none has stopped.
func shownAway(t *testing.T, p *Process, address string) {
	t.Helper()
	began := time.Now()
	eventually(t, startLimit, func() error { return retryingFor(p, address) })
	t.Logf("that %s is away shows after %s", address, time.Since(began).Round(time.Millisecond))
}

// retryingFor returns nil if a service of the process is retrying, or waits
// before it streams, for a reason that has text in it.
func retryingFor(p *Process, text string) error {
	s, err := p.Status()
	if err != nil {
		return err
	}
	states := map[string]supervise.Status{"capture": s.Capture.Status}
	for _, a := range s.Apply {
		states["apply"] = a.Status
	}
	found := false
	for name, st := range states {
		if st.State == supervise.Stopped {
			return final(fmt.Errorf("%s stopped for what passes by itself: %s", name, st.Error))
		}
		found = found || st.State != supervise.Streaming && strings.Contains(st.Error, text)
	}
	if !found {
		return fmt.Errorf("no service says that it tries to reach %q: %+v", text, states)
	}
	return nil
}
