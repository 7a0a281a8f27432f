package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"duplex/internal/testbed"
)

var bed *testbed.Bed

func TestMain(m *testing.M) {
	// Tests of the three pairs of servers run side by side: they wait more than
	// they compute.
	flag.Parse()
	if err := flag.Set("test.parallel", "3"); err != nil {
		panic(err)
	}
	code := testbed.Main(m, &bed)
	if err := program.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// soak asks for the long versions of the tests.
func soak() bool { return os.Getenv("DUPLEX_SOAK") == "1" }

// scaled picks a number for the normal or the long run; with -short a few
// times less.
func scaled(normal, long int) int {
	switch {
	case soak():
		return long
	case testing.Short():
		return max(1, normal/4)
	default:
		return normal
	}
}

// program is the binary under test, with failpoints, built once.
var program binary

type binary struct {
	once sync.Once
	dir  string
	err  error
}

func (b *binary) path(t *testing.T) string {
	t.Helper()
	b.once.Do(func() { b.err = b.build() })
	if b.err != nil {
		t.Fatalf("building the program: %v", b.err)
	}
	return filepath.Join(b.dir, "duplex")
}

func (b *binary) build() (err error) {
	if err := noteSources(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "duplex-e2e-"); err != nil {
		return err
	}
	args := []string{"build", "-tags", "failpoint", "-o", filepath.Join(b.dir, "duplex")}
	if os.Getenv("DUPLEX_E2E_RACE") == "1" {
		args = append(args, "-race")
	}
	text, err := exec.Command("go", append(args, "duplex/cmd/duplex")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// noteSources looks at every source file, so that go test sees that a result it
// has cached is of another program.
func noteSources() error {
	return filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			_, err = os.Stat(path)
		}
		return err
	})
}

func (b *binary) remove() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// services are the Kafka and the registry that tests share. Tests keep apart
// by the ids of their regions.
var services sharedServices

type sharedServices struct {
	once     sync.Once
	kafka    *testbed.Kafka
	registry *testbed.Registry
	err      error
}

func (s *sharedServices) get(t *testing.T) (*testbed.Kafka, *testbed.Registry) {
	t.Helper()
	s.once.Do(func() {
		// They outlive the test that is first to ask.
		var errKafka, errRegistry error
		var wg sync.WaitGroup
		wg.Go(func() { s.kafka, errKafka = bed.StartKafka(context.Background()) })
		wg.Go(func() { s.registry, errRegistry = bed.StartRegistry(context.Background()) })
		wg.Wait()
		s.err = errors.Join(errKafka, errRegistry)
	})
	if s.err != nil {
		t.Fatalf("%v", s.err)
	}
	return s.kafka, s.registry
}
