package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// TestServerKilled kills a region's MySQL with SIGKILL and starts it again,
// while both regions write. The processes wait for it and go on by themselves.
func TestServerKilled(t *testing.T) { onEveryPair(t, testServerKilled) }

func testServerKilled(t *testing.T, e engines) {
	p := newPairOf(t, e, "server", nil)
	l := newLoad(p, 10)
	l.pace = 20 * time.Millisecond
	for _, w := range l.writers {
		w.reconnect = func(w *writer) error { return reconnect(t, p, w) }
	}
	processes := p.start("run")
	l.begin(0)
	for n := range e.scaled(2, 20) {
		s := p.sides()[n%2]
		waitFlow(t, processes)
		if err := s.mysql.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.mysql.Start(); err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		waitFlow(t, processes)
		t.Logf("%s: changes of both sides arrive %s after its server is back", s.region, time.Since(started).Round(time.Millisecond))
		l.check()
	}
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(processes)
}

// reconnect waits until the writer's server is back and gives it a new
// connection.
func reconnect(t *testing.T, p *pair, w *writer) error {
	w.conn.Close()
	s := p.east
	if w.side != sideName(s) {
		s = p.west
	}
	var err error
	for deadline := time.Now().Add(startLimit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		w.conn, err = s.mysql.DB().Conn(ctx)
		cancel()
		if err != nil {
			continue
		}
		if err = pin(w.conn, s); err == nil {
			t.Cleanup(func() { w.conn.Close() })
			return nil
		}
		w.conn.Close()
	}
	return fmt.Errorf("the server of %s is not back: %w", s.region, err)
}
