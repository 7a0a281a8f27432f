package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// lease is a server that tests use one after the other.
type lease struct {
	turn   sync.Mutex // held by the test that has the server
	server shared     // nil until the first test has started it

	mu     sync.Mutex
	holder string
}

// shared is a server that can be made as good as new without a restart.
type shared interface {
	server
	revive() error // starts what a test left dead, thaws what it left frozen
	Reset() error
}

// SharedMySQL is the server of this version and name, started for the first test that asks for it, restarted if a test
// left it dead, and emptied (see MySQL.Reset) each time. Until t ends it is t's alone; other tests wait, so tests that run
// in parallel and need several must ask for them in the same order. Subtests of t get it as it is.
func (b *Bed) SharedMySQL(t TB, version Part, name string) *MySQL {
	t.Helper()
	return borrow(b, t, string(version)+"/"+name, func(ctx context.Context) (*MySQL, error) { return b.StartMySQL(ctx, version) })
}

// SharedKafka is one node that tests share as they share SharedMySQL's servers; see Kafka.Reset.
func (b *Bed) SharedKafka(t TB) *Kafka {
	t.Helper()
	return borrow(b, t, "kafka", func(ctx context.Context) (*Kafka, error) { return b.StartKafka(ctx) })
}

// SharedRegistry is a registry that tests share as they share SharedMySQL's servers; see Registry.Reset.
func (b *Bed) SharedRegistry(t TB) *Registry {
	t.Helper()
	return borrow(b, t, "registry", b.StartRegistry)
}

// borrow gives t the server under key, as good as new, until t ends.
func borrow[S shared](b *Bed, t TB, key string, start func(context.Context) (S, error)) S {
	t.Helper()
	l := b.leaseOf(key)
	if l.heldFor(t.Name()) {
		return l.server.(S)
	}
	l.turn.Lock()
	l.setHolder(t.Name())
	t.Cleanup(func() {
		l.setHolder("")
		l.turn.Unlock()
	})
	if l.server == nil {
		s, err := start(t.Context())
		if err != nil {
			t.Fatalf("%v", err)
		}
		l.server = s
		return s
	}
	if err := l.server.revive(); err != nil {
		t.Fatalf("%v", err)
	}
	if err := l.server.Reset(); err != nil {
		t.Fatalf("%v", err)
	}
	return l.server.(S)
}

func (b *Bed) leaseOf(key string) *lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.leases[key]
	if l == nil {
		l = &lease{}
		b.leases[key] = l
	}
	return l
}

func (l *lease) setHolder(test string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder = test
}

// heldFor tells whether test, or a test it is part of, has the server.
func (l *lease) heldFor(test string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder != "" && (test == l.holder || strings.HasPrefix(test, l.holder+"/"))
}

// Main runs a package's tests with a bed, which it puts into *bed, and returns their exit code. Afterwards it closes the bed
// and fails if a process that the tests started still runs. It is called from TestMain with its *testing.M.
func Main(tests interface{ Run() int }, bed **Bed) int {
	b, err := Open("")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	*bed = b
	code := tests.Run()
	if err := errors.Join(b.Close(), nothingLeft()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// nothingLeft reports children of this process that are still there after a moment.
func nothingLeft() error {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left, err := children(os.Getpid())
		if err != nil {
			return fmt.Errorf("looking for processes left behind: %w", err)
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the tests left processes %v behind", left)
		}
	}
}
