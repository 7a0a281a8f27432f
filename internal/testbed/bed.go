// Package testbed installs and runs real servers: MySQL, MariaDB, Kafka, a schema registry, and a proxy that breaks
// connections on purpose.
//
// A server is installed once into a cache folder (CacheDir) and started as often as a test asks, on a free port of
// 127.0.0.1, with data of its own. It can be killed, frozen and started again on the same port with the same data. It
// ends with the test, and also when the test process is killed. Nothing is simulated: what passes here has passed
// against the servers that users run.
//
// A test package has one bed, made by its TestMain:
//
//	var bed *testbed.Bed
//
//	func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }
//
//	func TestSomething(t *testing.T) {
//		east := bed.SharedMySQL(t, testbed.AnyMySQL, "east") // started once, emptied for each test
//		west := bed.MySQL(t, testbed.MySQL80)                // this test's own
//		broker := bed.SharedKafka(t)
//	}
//
// Programs use Open and the Start… methods, which return errors.
package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
)

// TB is what the test bed asks of a *testing.T, *testing.B or *testing.F.
type TB interface {
	Helper()
	Name() string
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Bed runs servers and ends those that still run when it is closed. It may be used by many goroutines.
type Bed struct {
	cache string   // what is installed
	dir   string   // data of this bed's servers, removed by Close
	claim *os.File // locked while this bed lives, so that others know dir is in use

	mu      sync.Mutex
	count   int
	running map[server]struct{}
	leases  map[string]*lease
}

// server is what a Bed owns.
type server interface {
	Close() error // ends it and removes its data
}

// Open makes a bed of the servers installed in dir, or CacheDir for "". What a server needs and lacks is installed when
// it is first started. Close ends all its servers.
func Open(dir string) (*Bed, error) {
	cache, err := openCache(dir)
	if err != nil {
		return nil, err
	}
	runs := filepath.Join(cache, "run")
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return nil, fmt.Errorf("opening the test bed: %w", err)
	}
	sweep(runs)
	own, err := os.MkdirTemp(runs, "")
	if err != nil {
		return nil, fmt.Errorf("opening the test bed: %w", err)
	}
	claim, err := os.Create(own + ".lock")
	if err != nil {
		return nil, fmt.Errorf("opening the test bed: %w", err)
	}
	if err := syscall.Flock(int(claim.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("opening the test bed: locking %s: %w", claim.Name(), err)
	}
	return &Bed{cache: cache, dir: own, claim: claim, running: map[server]struct{}{}, leases: map[string]*lease{}}, nil
}

// sweep removes the data of beds whose process was killed: those whose lock nobody holds. The lock file goes last, so that
// a folder without one is a bed being opened.
func sweep(runs string) {
	locks, _ := filepath.Glob(filepath.Join(runs, "*.lock"))
	for _, name := range locks {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if os.RemoveAll(name[:len(name)-len(".lock")]) == nil {
				os.Remove(name)
			}
		}
		f.Close()
	}
}

// New is a bed that ends with the test t.
func New(t TB) *Bed {
	t.Helper()
	b, err := Open("")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Logf("%v", err)
		}
	})
	return b
}

// Close ends every server that still runs, by SIGKILL since their data goes too, and removes that data.
func (b *Bed) Close() error {
	b.mu.Lock()
	var left []server
	for s := range b.running {
		left = append(left, s)
	}
	b.mu.Unlock()
	errs := make([]error, 0, len(left)+2)
	for _, s := range left {
		errs = append(errs, s.Close())
	}
	errs = append(errs, os.RemoveAll(b.dir), os.Remove(b.claim.Name()), b.claim.Close())
	return errors.Join(errs...)
}

// add makes b the owner of s.
func (b *Bed) add(s server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[s] = struct{}{}
}

func (b *Bed) forget(s server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, s)
}

// newDir makes a folder for the data of one server.
func (b *Bed) newDir(name string) (string, error) {
	b.mu.Lock()
	b.count++
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, b.count))
	b.mu.Unlock()
	return dir, os.Mkdir(dir, 0o755)
}

// Together runs starts at the same time, as for a test that needs several servers, and fails t with the first error:
//
//	bed.Together(t, func(ctx context.Context) (err error) { east, err = bed.StartMySQL(ctx, testbed.AnyMySQL); return err }, …)
func (b *Bed) Together(t TB, starts ...func(context.Context) error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	for _, start := range starts {
		group.Go(func() error { return start(ctx) })
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("%v", err)
	}
}

// closeWith ends s when t ends and, if t failed, shows the end of its log.
func closeWith(t TB, s interface {
	server
	Name() string
	logTail() string
}) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", s.Name(), s.logTail())
		}
		if err := s.Close(); err != nil {
			t.Logf("%v", err)
		}
	})
}
