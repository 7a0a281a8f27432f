package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
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

// TestServerKilledWhileWriting kills a MariaDB while it writes a large
// transaction to its binlog, with capture behind or reading along. The half that
// it leaves there, and rolls back, reaches no region, and all before and after it
// does (promises 1, 5 and 6).
func TestServerKilledWhileWriting(t *testing.T) { on(t, everyPair()[1:], testServerKilledWhileWriting) }

func testServerKilledWhileWriting(t *testing.T, e engines) {
	p := newPairOf(t, e, "half", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.big (id INT AUTO_INCREMENT PRIMARY KEY, v BINARY(200) NOT NULL, tag INT NOT NULL)")
	}
	processes := p.start("capture", "apply")
	capture := processes[1]
	dropped := func() int { return strings.Count(capture.Log(), "has crashed while it wrote a transaction") }
	wanted := scaled(2, 20)
	for n := 0; dropped() < wanted; n++ { // a kill may come too late, and a capture that reads along never meets the half
		if n == 20*wanted {
			t.Fatalf("capture has met %d halves of transactions in %d kills", dropped(), n)
		}
		behind := n%2 == 0
		if behind {
			capture.Term()
		}
		mustExec(t, p.west.mysql.DB(), fmt.Sprintf("INSERT INTO shop.big (v, tag) VALUES ('before', %d)", n))
		killWhileWriting(t, p.west, rand.Int64N(20<<20))
		mustExec(t, p.west.mysql.DB(), fmt.Sprintf("INSERT INTO shop.big (v, tag) VALUES ('after', %d)", n))
		if behind {
			capture.Start()
		}
		eventually(t, stallLimit, func() error { return sameBig(p) })
	}
	for _, process := range processes {
		process.WaitStreaming()
	}
	t.Logf("capture has dropped %d halves of transactions", dropped())
	stop(processes)
}

// killWhileWriting kills the server when it has written so many bytes of a large
// transaction to its binlog, and starts it again.
func killWhileWriting(t *testing.T, s *side, after int64) {
	t.Helper()
	var dir string
	if err := s.mysql.DB().QueryRow("SELECT @@datadir").Scan(&dir); err != nil {
		t.Fatal(err)
	}
	_, last := binlogRange(t, s.mysql)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.mysql.DB().Exec("INSERT INTO shop.big (v, tag) SELECT REPEAT('x', 200), -1 FROM shop.seq_1_to_150000") // killed, or not: the tables tell
	}()
	for written := int64(0); written <= int64(last.Pos)+after; {
		select {
		case <-done:
			written = math.MaxInt64
		default:
			info, err := os.Stat(filepath.Join(dir, last.Name))
			if err != nil {
				t.Fatal(err)
			}
			written = info.Size()
		}
	}
	if err := errors.Join(s.mysql.Kill(), s.mysql.Start()); err != nil {
		t.Fatal(err)
	}
	<-done
}

// sameBig compares table big of both sides.
func sameBig(p *pair) error {
	var found []string
	for _, s := range p.sides() {
		var text string
		if err := s.mysql.DB().QueryRow("SELECT CONCAT_WS(' ', COUNT(*), SUM(id), SUM(tag), SUM(CRC32(v))) FROM shop.big").Scan(&text); err != nil {
			return final(err)
		}
		found = append(found, text)
	}
	if found[0] != found[1] {
		return fmt.Errorf("rows, sum of ids, tags and values: %s in east, %s in west", found[0], found[1])
	}
	return nil
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
