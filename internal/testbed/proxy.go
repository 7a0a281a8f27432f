package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy passes TCP connections on to a server and can make the network between them bad. What it delays or holds is
// delivered later, whole and in order, or the connection is reset: unless told to Tamper, it never drops bytes from the
// middle of a stream, which no network does to TCP either.
type Proxy struct {
	bed      *Bed
	upstream string
	port     *port

	mu       sync.Mutex
	listener net.Listener // nil while cut
	links    map[*link]struct{}
	weather  weather
	once     sync.Once
	wg       sync.WaitGroup
}

// weather is the state of the network. A new one replaces it and closes changed, so that whoever waits looks again.
type weather struct {
	latency time.Duration
	rate    int  // bytes a second for each direction of each connection; 0 means no limit
	held    flow // directions in which nothing passes
	tamper  func([]byte) (pass []byte, reset bool)
	lose    *loss
	changed chan struct{}
}

// loss breaks connections when the server answers certain requests.
type loss struct {
	request []byte
	left    atomic.Int64
}

// flow is a set of directions.
type flow int

const (
	requests flow = 1 << iota // client to server
	replies                   // server to client
)

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	done           chan struct{} // closed when the link is
	once           sync.Once
	doomed         atomic.Bool // it is reset when the server next says something
}

// reset breaks the connection, as a broken network does.
func (l *link) reset() {
	for _, c := range []net.Conn{l.client, l.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	l.close()
}

// close ends it in order: what was written is still delivered.
func (l *link) close() {
	l.once.Do(func() {
		close(l.done)
		l.client.Close()
		l.server.Close()
	})
}

// StartProxy starts a proxy in front of the server at upstream (host:port), which needn't be up yet.
func (b *Bed) StartProxy(upstream string) (*Proxy, error) {
	port, err := claimPort()
	if err != nil {
		return nil, fmt.Errorf("starting a proxy: %w", err)
	}
	p := &Proxy{bed: b, upstream: upstream, port: port, links: map[*link]struct{}{}, weather: weather{changed: make(chan struct{})}}
	if err := p.listen(); err != nil {
		port.release()
		return nil, err
	}
	b.add(p)
	return p, nil
}

// Proxy is StartProxy for the duration of test t.
func (b *Bed) Proxy(t TB, upstream string) *Proxy {
	t.Helper()
	p, err := b.StartProxy(upstream)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Logf("%v", err)
		}
	})
	return p
}

// Addr is where clients connect instead.
func (p *Proxy) Addr() string { return p.port.address() }

// Cut resets all connections and refuses new ones until Restore.
func (p *Proxy) Cut() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shut()
}

// shut needs p.mu.
func (p *Proxy) shut() error {
	var err error
	if p.listener != nil {
		err = p.listener.Close()
		p.listener = nil
	}
	for l := range p.links {
		l.reset()
	}
	clear(p.links)
	if err != nil {
		return fmt.Errorf("cutting the proxy to %s: %w", p.upstream, err)
	}
	return nil
}

// HalfOpen lets nothing pass in either direction while connections stay open, as when a cable is pulled; new ones are
// accepted and get no answer. After Restore what was held is delivered.
func (p *Proxy) HalfOpen() { p.change(func(w *weather) { w.held = requests | replies }) }

// HoldReplies lets requests reach the server but no answer come back: it commits and the client doesn't learn of it.
func (p *Proxy) HoldReplies() { p.change(func(w *weather) { w.held = replies }) }

// Latency delays everything by d in each direction, without limiting throughput.
func (p *Proxy) Latency(d time.Duration) { p.change(func(w *weather) { w.latency = d }) }

// Bandwidth limits each direction of each connection to so many bytes a second; 0 lifts the limit.
func (p *Proxy) Bandwidth(bytesPerSecond int) { p.change(func(w *weather) { w.rate = bytesPerSecond }) }

// Tamper shows f all that the server sends, piece by piece as it arrives; what f returns goes on to the client, and with
// reset the connection is broken after it. It stands for faulty hardware: TCP alone passes on what was sent.
func (p *Proxy) Tamper(f func(sent []byte) (pass []byte, reset bool)) {
	p.change(func(w *weather) { w.tamper = f })
}

// LoseAnswers lets the next n requests that hold the given bytes reach the server, and resets each of their connections when the
// server answers: it has done what it was asked, and the client doesn't learn of it. The bytes must come in one piece, as a
// short statement does. The function returned tells how many of the n are still to come.
func (p *Proxy) LoseAnswers(request string, n int) (left func() int) {
	lose := &loss{request: []byte(request)}
	lose.left.Store(int64(n))
	p.change(func(w *weather) { w.lose = lose })
	return func() int { return int(max(0, lose.left.Load())) }
}

// dooms reports whether the answer to a request is to be lost.
func (l *loss) dooms(request []byte) bool {
	return l != nil && l.left.Load() > 0 && bytes.Contains(request, l.request) && l.left.Add(-1) >= 0
}

// Restore undoes Cut, HalfOpen, HoldReplies, Latency, Bandwidth, Tamper and LoseAnswers.
func (p *Proxy) Restore() error {
	p.change(func(w *weather) { *w = weather{} })
	p.mu.Lock()
	closed := p.listener == nil
	p.mu.Unlock()
	if closed {
		return p.listen()
	}
	return nil
}

// Close ends the proxy and all its connections.
func (p *Proxy) Close() error {
	var err error
	p.once.Do(func() {
		err = p.Cut()
		p.wg.Wait()
		p.port.release()
		p.bed.forget(p)
	})
	return err
}

func (p *Proxy) change(edit func(*weather)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.weather.changed)
	edit(&p.weather)
	p.weather.changed = make(chan struct{})
}

func (p *Proxy) now() weather {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weather
}

func (p *Proxy) listen() error {
	listener, err := net.Listen("tcp", p.Addr())
	if err != nil {
		return fmt.Errorf("starting a proxy to %s: %w", p.upstream, err)
	}
	p.mu.Lock()
	p.listener = listener
	p.mu.Unlock()
	p.wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // cut
			}
			p.wg.Go(func() { p.serve(listener, client) })
		}
	})
	return nil
}

// serve passes one connection on until either side or the proxy ends it.
func (p *Proxy) serve(from net.Listener, client net.Conn) {
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", p.upstream)
	if err != nil {
		client.Close() // as a refused connection would show, a little later
		return
	}
	l := &link{client: client, server: server, done: make(chan struct{})}
	defer l.close()
	p.mu.Lock()
	if p.listener != from { // cut while dialling
		p.mu.Unlock()
		return
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(l, requests, client, server) })
	both.Go(func() { p.pump(l, replies, server, client) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// piece is some bytes and when they arrived; the last one of a stream has none.
type piece struct {
	data []byte
	at   time.Time
}

// pump passes one direction of a link on. Reading runs ahead of writing by a bounded number of pieces, so that latency
// doesn't limit throughput.
func (p *Proxy) pump(l *link, direction flow, from, to net.Conn) {
	pieces := make(chan piece, 64)
	p.wg.Go(func() {
		defer close(pieces)
		for {
			data := make([]byte, 32<<10)
			n, err := from.Read(data)
			end := err != nil
			for _, next := range []piece{{data[:n], time.Now()}, {nil, time.Now()}} {
				if len(next.data) == 0 && !end {
					continue
				}
				select {
				case pieces <- next:
				case <-l.done:
					return
				}
			}
			if end {
				if !errors.Is(err, io.EOF) {
					l.reset()
				}
				return
			}
		}
	})
	for next := range pieces {
		if !p.await(l, direction, next.at) {
			return
		}
		if next.data == nil {
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite() // the other direction may still have something to say
			}
			return
		}
		if direction == requests && p.now().lose.dooms(next.data) {
			l.doomed.Store(true) // before the server can answer
		}
		if direction == replies && l.doomed.Load() {
			l.reset()
			return
		}
		broken := false
		if f := p.now().tamper; f != nil && direction == replies {
			next.data, broken = f(next.data)
		}
		if _, err := to.Write(next.data); err != nil || broken {
			l.reset()
			return
		}
		p.throttle(l, len(next.data))
	}
}

// await returns when what arrived at the given time may pass, or false when the link is closed before.
func (p *Proxy) await(l *link, direction flow, arrived time.Time) bool {
	for {
		w := p.now()
		delay := time.Until(arrived.Add(w.latency))
		if w.held&direction == 0 && delay <= 0 {
			return true
		}
		due := (<-chan time.Time)(nil) // held: whenever that changes
		if w.held&direction == 0 {
			due = time.After(delay)
		}
		select {
		case <-due:
		case <-w.changed:
		case <-l.done:
			return false
		}
	}
}

// throttle waits as long as n bytes take at the limited rate.
func (p *Proxy) throttle(l *link, n int) {
	w := p.now()
	if w.rate <= 0 {
		return
	}
	select {
	case <-time.After(time.Duration(n) * time.Second / time.Duration(w.rate)):
	case <-w.changed:
	case <-l.done:
	}
}
