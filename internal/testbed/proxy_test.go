package testbed_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"duplex/internal/testbed"
)

// echoServer answers with whatever it gets and, after the client's end, with "bye".
func echoServer(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
				_, _ = c.Write([]byte("bye"))
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, p *testbed.Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// echo sends text and waits up to limit for it to come back.
func echo(t *testing.T, c net.Conn, text string, limit time.Duration) (time.Duration, error) {
	t.Helper()
	began := time.Now()
	_, err := c.Write([]byte(text))
	if err != nil {
		return 0, err
	}
	check(t, c.SetReadDeadline(time.Now().Add(limit)))
	got := make([]byte, len(text))
	_, err = io.ReadFull(c, got)
	if err == nil && string(got) != text {
		t.Errorf("%q came back as %q", text, got)
	}
	return time.Since(began), err
}

func TestProxyWeather(t *testing.T) {
	p := bed.Proxy(t, echoServer(t))
	c := dial(t, p)
	_, err := echo(t, c, "calm", 10*time.Second)
	check(t, err)

	p.Latency(100 * time.Millisecond)
	took, err := echo(t, c, "slow", 10*time.Second)
	check(t, err)
	if took < 200*time.Millisecond {
		t.Errorf("an echo took %v with 100 ms of latency each way", took)
	}
	check(t, p.Restore())

	p.HalfOpen()
	if _, err := echo(t, c, "held ", 200*time.Millisecond); err == nil {
		t.Error("an echo came through a half-open proxy")
	}
	check(t, p.Restore())
	check(t, c.SetReadDeadline(time.Time{}))
	if held := make([]byte, 5); true {
		_, err := io.ReadFull(c, held)
		check(t, err)
		if string(held) != "held " {
			t.Errorf("after Restore %q came, want what was held", held)
		}
	}

	check(t, p.Cut())
	if _, err := echo(t, c, "cut", 10*time.Second); err == nil {
		t.Error("an echo came through a cut proxy")
	}
	if extra, err := net.Dial("tcp", p.Addr()); err == nil {
		extra.Close()
		t.Error("a cut proxy accepts connections")
	}
	check(t, p.Restore())
	_, err = echo(t, dial(t, p), "again", 10*time.Second)
	check(t, err)
}

func TestProxyDeliversEverythingInOrder(t *testing.T) {
	p := bed.Proxy(t, echoServer(t))
	p.Latency(20 * time.Millisecond)
	c := dial(t, p)
	sent := make([]byte, 3<<20)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	var got bytes.Buffer
	_, err := io.CopyN(&got, c, 1<<20)
	check(t, err)
	p.HalfOpen()
	p.Bandwidth(20 << 20)
	check(t, p.Restore())
	_, err = io.Copy(&got, c)
	check(t, err)
	if want := append(sent, "bye"...); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes came back, want the %d that were sent and the server's last word", got.Len(), len(want))
	}
}

func TestProxyLimitsBandwidth(t *testing.T) {
	p := bed.Proxy(t, echoServer(t))
	p.Bandwidth(100 << 10)
	c := dial(t, p)
	go func() { _, _ = c.Write(make([]byte, 60<<10)) }()
	began := time.Now()
	_, err := io.CopyN(io.Discard, c, 60<<10)
	check(t, err)
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("60 KiB took %v at 100 KiB/s", took)
	}
}

func TestProxyEndsConnectionsInOrder(t *testing.T) {
	p := bed.Proxy(t, echoServer(t))
	c := dial(t, p)
	check(t, c.SetReadBuffer(4<<10)) // so that most of the answer waits in the proxy's socket
	sent := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	_, err := c.Write(sent)
	check(t, err)
	check(t, c.CloseWrite())
	time.Sleep(200 * time.Millisecond) // the server and the proxy are done; a reset would now lose what isn't read
	got, err := io.ReadAll(c)
	check(t, err)
	if want := append(sent, "bye"...); !bytes.Equal(got, want) {
		t.Errorf("%d bytes came back, want %d", len(got), len(want))
	}
}

// TestProxyLosesAnswers: the request arrives, the answer doesn't, and so many times only.
func TestProxyLosesAnswers(t *testing.T) {
	heard := make(chan string, 8)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				text := make([]byte, 64)
				for {
					n, err := c.Read(text)
					if err != nil {
						return
					}
					heard <- string(text[:n])
					if _, err := c.Write(text[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	p := bed.Proxy(t, l.Addr().String())
	left := p.LoseAnswers("COMMIT", 1)
	c := dial(t, p)
	for _, text := range []string{"BEGIN", "COMMIT"} {
		_, err := echo(t, c, text, 5*time.Second)
		if got := <-heard; got != text {
			t.Errorf("the server heard %q, want %q", got, text)
		}
		if lost := err != nil; lost != (text == "COMMIT") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if left() != 0 {
		t.Errorf("%d answers are still to be lost, want 0", left())
	}
	if _, err := echo(t, dial(t, p), "COMMIT", 5*time.Second); err != nil {
		t.Errorf("a second answer was lost: %v", err)
	}
}
