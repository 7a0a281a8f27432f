package compat_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"duplex/capture"
	"duplex/change"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/supervise"
)

// TestRegistryThatMisbehaves: capture stops, or retries, at the first row whose
// schema the registry doesn't take; what was committed before is published,
// and nothing after it. When the registry is well again, all comes.
func TestRegistryThatMisbehaves(t *testing.T) {
	services.start(t)
	m := bed.SharedMySQL(t, testbed.MySQL80, "source")
	exec(t, m, "CREATE DATABASE shop", "CREATE TABLE shop.known (id INT PRIMARY KEY)")
	for i, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		state  supervise.State
		want   string
	}{
		{"409", status(409, `{"error_code":409,"message":"incompatible"}`), supervise.Stopped, `"compatibility":"NONE"`},
		{"404", status(404, ``), supervise.Stopped, "registry.url"},
		{"500", status(500, ``), supervise.Retrying, "answered 500"},
		{"garbage", status(200, `<html>`), supervise.Stopped, "registry.url"},
		{"another schema", status(200, `{"id":1}`), supervise.Stopped, "mixes up its ids"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			region, fresh := fmt.Sprintf("reg%d", i), fmt.Sprintf("fresh%d", i)
			var ill atomic.Bool
			front := registryFront(t, &ill, tt.answer)
			stop := startWith(t, m, region, front)
			exec(t, m, fmt.Sprintf("REPLACE INTO shop.known VALUES (%d)", 10*i))
			r := newReader(t)
			published := func(table string) int { return len(r.read(region + ".shop." + table)) }
			eventually(t, func() error {
				if published("known") != 1 {
					return fmt.Errorf("nothing is published")
				}
				return nil
			})
			ill.Store(true)
			exec(t, m, fmt.Sprintf("CREATE TABLE shop.%s (id INT PRIMARY KEY, v INT)", fresh), fmt.Sprintf("REPLACE INTO shop.known VALUES (%d)", 10*i+1),
				fmt.Sprintf("INSERT INTO shop.%s VALUES (1, 1)", fresh), fmt.Sprintf("REPLACE INTO shop.known VALUES (%d)", 10*i+2))
			c := stop.capture
			eventually(t, func() error {
				s := c.Status()
				if s.State != tt.state || !strings.Contains(s.Error, tt.want) || !strings.Contains(s.Error, "shop."+fresh) || !strings.Contains(s.Error, "transaction ") {
					return fmt.Errorf("capture is %s: %s", s.State, s.Error)
				}
				return nil
			})
			if n, past := published("known"), published(fresh); n != 2 || past != 0 {
				t.Errorf("%d rows of the known table are published, %d of the one at fault: want 2, 0", n, past)
			}
			ill.Store(false)
			if tt.state == supervise.Stopped {
				stop.end()
				startWith(t, m, region, front)
			}
			eventually(t, func() error {
				if n, m := published("known"), published(fresh); n != 3 || m != 1 {
					return fmt.Errorf("%d rows of the known table are published, %d of the other", n, m)
				}
				return nil
			})
		})
	}
}

func status(code int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

// registryFront stands before the registry and answers itself while it is ill.
func registryFront(t *testing.T, ill *atomic.Bool, answer func(http.ResponseWriter)) string {
	t.Helper()
	target, err := url.Parse(services.registry.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if ill.Load() && req.Method == http.MethodPost {
			answer(w)
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// running is a capture that may end by itself.
type running struct {
	capture *capture.Capture
	cancel  context.CancelFunc
	done    chan struct{}
}

func (r *running) end() {
	r.cancel()
	<-r.done
}

// startWith runs a capture of schema shop with a registry of its own.
func startWith(t *testing.T, m *testbed.MySQL, region, registry string) *running {
	t.Helper()
	c := capture.New(capture.Config{
		Process: &config.Process{
			Region: change.Region(region), Engine: config.EngineMySQL,
			MySQL:    config.MySQL{Address: m.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}, ServerID: 77_000_003},
			Kafka:    config.Kafka{Brokers: services.kafka.Brokers(), ReplicationFactor: 1, Partitions: 1, Retention: time.Hour, TLS: config.TLS{Mode: config.TLSOff}},
			Registry: config.Registry{URL: registry}, Heartbeat: time.Second,
		},
		Tables:  shopTables(t),
		Version: "test", Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{capture: c, cancel: cancel, done: make(chan struct{})}
	go func() { c.Run(ctx); close(r.done) }()
	t.Cleanup(r.end)
	eventually(t, func() error {
		if s := c.Status(); s.State == supervise.Stopped {
			t.Fatalf("capture has stopped: %s", s.Error)
		} else if s.State != supervise.Streaming {
			return fmt.Errorf("capture is %s: %s", s.State, s.Error)
		}
		return nil
	})
	return r
}
