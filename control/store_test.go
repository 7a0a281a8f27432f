package control_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"duplex/config"
	"duplex/control"
	"duplex/tasks"
)

// What is written is read again, whole.
func TestStore(t *testing.T) { onEveryKafka(t, testStore) }

func testStore(t *testing.T, cfg config.Kafka) {
	s := open(t, cfg)
	const rest = "initial_copy: {from: east}\nconflicts: {tables: {shop.a: {policy: none}}}\n"
	want := tasks.Record{Task: "stored", Revision: 1, Wanted: tasks.Created, Life: 2, Copies: 1, Started: true, TablesAt: 1, Spec: spec(t, "stored", rest), Last: tasks.Create, At: time.UnixMilli(1234567)}
	put := func(r tasks.Record) {
		t.Helper()
		if err := s.Change(t.Context(), func(*control.Board) (*tasks.Record, error) { return &r, nil }); err != nil {
			t.Fatal(err)
		}
	}
	put(want)
	if got := read(t, open(t, cfg)).Tasks["stored"]; !reflect.DeepEqual(*got, want) {
		t.Errorf("%+v was read as %+v", want, *got)
	}
	same := want
	same.Wanted = tasks.Running
	put(same)
	if got := read(t, s).Tasks["stored"].Wanted; got != tasks.Created {
		t.Errorf("a revision that was there was written again: %s", got)
	}
	refused := errors.New("no")
	if err := s.Change(t.Context(), func(*control.Board) (*tasks.Record, error) { same.Revision = 2; return &same, refused }); !errors.Is(err, refused) || read(t, s).Tasks["stored"].Revision != 1 {
		t.Errorf("what was refused: %v, and revision %d", err, read(t, s).Tasks["stored"].Revision)
	}
	if err := s.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	report := control.Report{Task: "stored", Region: "east", Process: "here:1", Revision: 1, Capture: &control.Service{State: control.Streaming, Captured: true, Since: 7}, AtMillis: 99}
	if err := s.Report(t.Context(), []control.Report{report}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s).Reports[report.Key()]; !reflect.DeepEqual(got, report) {
		t.Errorf("%+v was read as %+v", report, got)
	}
}

// Of two operators who change a task at once the one who comes later writes, and the other is asked again with what that
// one has made of it.
func TestFencedOperator(t *testing.T) { onEveryKafka(t, testFencedOperator) }

func testFencedOperator(t *testing.T, cfg config.Kafka) {
	slow, fast := open(t, cfg), open(t, cfg)
	begin := tasks.Record{Task: "fenced", Revision: 1, Wanted: tasks.Created, Life: 1, Spec: spec(t, "fenced", ""), Last: tasks.Create}
	if err := slow.Change(t.Context(), func(*control.Board) (*tasks.Record, error) { return &begin, nil }); err != nil {
		t.Fatal(err)
	}
	do := func(b *control.Board, a tasks.Action) (*tasks.Record, error) {
		next, err := b.Tasks["fenced"].Do(a, time.Now())
		return &next, err
	}
	var saw []int64
	err := slow.Change(t.Context(), func(b *control.Board) (*tasks.Record, error) {
		if saw = append(saw, b.Tasks["fenced"].Revision); len(saw) == 1 {
			if err := fast.Change(t.Context(), func(b *control.Board) (*tasks.Record, error) { return do(b, tasks.Delete) }); err != nil {
				t.Error(err)
			}
		}
		return do(b, tasks.Start)
	})
	refused := (*tasks.RefusedError)(nil)
	if !errors.As(err, &refused) || !reflect.DeepEqual(saw, []int64{1, 2}) {
		t.Errorf("the slow one saw revisions %v: %v", saw, err)
	}
	if got := read(t, slow).Tasks["fenced"]; got.Wanted != tasks.Deleted || got.Revision != 2 {
		t.Errorf("it is %s, revision %d", got.Wanted, got.Revision)
	}
}

// Operators who race change nothing that they haven't seen: each revision is made by one of them.
func TestRacingOperators(t *testing.T) { onEveryKafka(t, testRacingOperators) }

func testRacingOperators(t *testing.T, cfg config.Kafka) {
	const operators, each = 3, 5
	var mu sync.Mutex
	made := map[int64]int{}
	var running sync.WaitGroup
	for who := range operators {
		s := open(t, cfg)
		running.Go(func() {
			for range each {
				var mine int64
				err := s.Change(t.Context(), func(b *control.Board) (*tasks.Record, error) {
					next := tasks.Record{Task: "raced", Revision: 1, Wanted: tasks.Running, Life: 1, Spec: spec(t, "raced", ""), Last: tasks.Edit}
					if old := b.Tasks["raced"]; old != nil {
						next.Revision = old.Revision + 1
					}
					mine = next.Revision
					return &next, nil
				})
				mu.Lock()
				switch by, taken := made[mine]; {
				case errors.Is(err, control.ErrRaced):
				case err != nil:
					t.Error(err)
				case taken:
					t.Errorf("revision %d was made by operators %d and %d", mine, by, who)
				default:
					made[mine] = who
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	if got := read(t, open(t, cfg)).Tasks["raced"].Revision; int(got) != len(made) || len(made) < each {
		t.Errorf("%d changes made revision %d", len(made), got)
	}
}

// Who watches is told of all there is, and then of what comes.
func TestWatch(t *testing.T) {
	cfg := kafkaConfig(bed.SharedKafka(t).Brokers()...)
	writer, s := open(t, cfg), open(t, cfg)
	put := func(revision int64) {
		r := tasks.Record{Task: "watched", Revision: revision, Wanted: tasks.Running, Life: 1, Spec: spec(t, "watched", ""), Last: tasks.Start}
		if err := writer.Change(t.Context(), func(*control.Board) (*tasks.Record, error) { return &r, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		put(int64(n + 1))
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen, ended := make(chan int64, 100), make(chan error, 1)
	go func() {
		ended <- s.Watch(ctx, func(b *control.Board) {
			if r := b.Tasks["watched"]; r != nil {
				seen <- r.Revision
			} else {
				seen <- 0
			}
		})
	}()
	if first := <-seen; first != 3 {
		t.Errorf("first it was told of revision %d", first)
	}
	put(4)
	for limit := time.After(20 * time.Second); ; {
		select {
		case n := <-seen:
			if n < 4 {
				continue
			}
		case <-limit:
			t.Error("it was not told of revision 4")
		}
		break
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A change that reaches one of two Kafkas is seen to be half done, and repeating it does the rest.
func TestTwoKafkas(t *testing.T) {
	dir, address := t.TempDir(), bed.Address(t)
	second := startEmbedded(t, dir, address)
	file := fmt.Sprintf("region: east\nmysql: {address: '127.0.0.1:1', user: x, tls: off}\nkafka: {brokers: ['%s']}\nregistry: {url: 'http://127.0.0.1:1'}\npeers: {west: {kafka: {brokers: ['%s'], replication_factor: 1}, registry: {url: 'http://127.0.0.1:1'}}}\n",
		bed.SharedKafka(t).Brokers()[0], address)
	process, err := config.Parse("east.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	process.Kafka.ReplicationFactor = 1
	do := func(action tasks.Action) (*control.View, error) {
		t.Helper()
		plane, err := control.Reach(t.Context(), []*config.Process{process})
		if err != nil {
			t.Fatal(err)
		}
		defer plane.Close()
		v, err := plane.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = plane.Change(t.Context(), spec(t, "halved", "").Regions, v, func(b *control.Board) (*tasks.Record, error) {
			if action == tasks.Create {
				next, err := tasks.Begin(b.Tasks["halved"], spec(t, "halved", ""), time.Now())
				return &next, err
			}
			next, err := b.Tasks["halved"].Do(action, time.Now())
			return &next, err
		})
		after, readErr := plane.Read(t.Context())
		if readErr != nil {
			t.Fatal(readErr)
		}
		return after, err
	}
	if _, err := do(tasks.Create); err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	half := (*control.HalfError)(nil)
	if v, err := do(tasks.Start); !errors.As(err, &half) || v.Tasks["halved"].Revision != 2 || len(v.Away) != 1 {
		t.Errorf("with the second away: %v, %+v", err, v)
	}
	second = startEmbedded(t, dir, address)
	t.Cleanup(func() { second.Close() })
	plane, err := control.Reach(t.Context(), []*config.Process{process})
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Close()
	if v, err := plane.Read(t.Context()); err != nil || len(v.Behind["halved"]) != 1 {
		t.Errorf("it isn't seen: %v, %+v", err, v)
	}
	if v, err := do(tasks.Start); err != nil || len(v.Behind) != 0 || v.Tasks["halved"].Revision != 2 {
		t.Errorf("repeated: %v, %+v", err, v)
	}
}
