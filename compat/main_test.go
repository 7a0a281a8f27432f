package compat_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"duplex/internal/testbed"
)

var bed *testbed.Bed

func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }

// services are the Kafka, the registry and the Connect worker that all tests
// share; they keep apart by the names of regions.
var services shared

type shared struct {
	once     sync.Once
	kafka    *testbed.Kafka
	registry *testbed.Registry
	connect  *testbed.Connect
	err      error
}

func (s *shared) start(t *testing.T) {
	t.Helper()
	s.once.Do(func() {
		ctx := context.Background() // they outlive the test that is first to ask
		var errKafka, errRegistry error
		var wg sync.WaitGroup
		wg.Go(func() { s.kafka, errKafka = bed.StartKafka(ctx) })
		wg.Go(func() { s.registry, errRegistry = bed.StartRegistry(ctx) })
		wg.Wait()
		if s.err = errors.Join(errKafka, errRegistry); s.err == nil {
			s.connect, s.err = bed.StartConnect(ctx, s.kafka, s.registry)
		}
	})
	if s.err != nil {
		t.Fatalf("%v", s.err)
	}
}

// patience is how long anything may take; machines are shared.
const patience = 3 * time.Minute

// eventually waits until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", patience, err)
		}
	}
}

// exec runs statements in one session.
func exec(t *testing.T, m *testbed.MySQL, statements ...string) {
	t.Helper()
	session, err := m.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, s := range statements {
		if _, err := session.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", abridged(s), err)
		}
	}
}

func abridged(s string) string {
	if len(s) > 300 {
		return fmt.Sprintf("%s… (%d bytes)", s[:300], len(s))
	}
	return s
}
