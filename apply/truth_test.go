package apply

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"duplex/change"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/spine"

	"github.com/twmb/franz-go/pkg/kadm"
)

var bed *testbed.Bed

func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }

// newTruth makes schema duplex on a server, and a truth on a pool of its own.
func newTruth(t *testing.T, m *testbed.MySQL) *truth {
	t.Helper()
	db, err := mysql.Open(config.MySQL{Address: m.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}}, mysql.Applying)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := mysql.EnsureSchema(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return &truth{db: db, progress: &progress{task: "t", origin: "east"}, spine: spine.Partition{Topic: "east.transaction"}}
}

// detail describes a topic.
func detail(name string, partitions int32, id byte) kadm.TopicDetail {
	d := kadm.TopicDetail{Topic: name, ID: kadm.TopicID{id}, Partitions: kadm.PartitionDetails{}}
	for i := range partitions {
		d.Partitions[i] = kadm.PartitionDetail{Topic: name, Partition: i}
	}
	return d
}

// Of several who believe to have the same partitions one moves each step, and a
// step over several partitions is one or none (promise 3).
func TestMovesOnce(t *testing.T) {
	for _, part := range []testbed.Part{testbed.MySQL97, testbed.MariaDB118} {
		t.Run(string(part), func(t *testing.T) {
			tr := newTruth(t, bed.SharedMySQL(t, part, ""))
			topic := detail("east.shop.a", 3, 1)
			if _, err := tr.claim(t.Context(), topic, []int32{0, 1}, change.Stamp{}); err != nil {
				t.Fatal(err)
			}
			const steps, rivals = 20, 4
			var moved atomic.Int64
			for step := range int64(steps) {
				var wg sync.WaitGroup
				for range rivals {
					wg.Go(func() { moved.Add(tr.step(t, step)) })
				}
				wg.Wait()
			}
			if moved.Load() != steps {
				t.Errorf("%d steps were made %d times", steps, moved.Load())
			}
			found, err := tr.claim(t.Context(), topic, []int32{0, 1, 2}, change.Stamp{})
			if err != nil {
				t.Fatal(err)
			}
			want := standing{next: steps * 10, seq: steps, hlc: steps * 100, keySchema: 7}
			if found[0] != want || found[1] != want || found[2] != (standing{}) {
				t.Errorf("they stand at %+v", found)
			}
			// Half of a step is none.
			half := []move{{spine.Partition{Topic: topic.Topic, Index: 0}, want, standing{next: 999}}, {spine.Partition{Topic: topic.Topic, Index: 1}, standing{next: 5}, standing{next: 999}}}
			if n := tr.exec(t, half); n != 1 {
				t.Errorf("a step from a wrong place moved %d partitions, want 1, so that it is given up", n)
			}
		})
	}
}

// step tries to move two partitions on, and returns 1 if it did.
func (t *truth) step(test *testing.T, n int64) int64 {
	from := standing{next: n * 10, seq: change.Seq(n), hlc: change.HLC(n * 100)}
	to := standing{next: from.next + 10, seq: from.seq + 1, hlc: from.hlc + 100, keySchema: 7}
	var moves []move
	for i := range int32(2) {
		moves = append(moves, move{spine.Partition{Topic: "east.shop.a", Index: i}, from, to})
	}
	return t.exec(test, moves) / 2
}

func (t *truth) exec(test *testing.T, moves []move) int64 {
	result, err := t.db.ExecContext(context.Background(), string(t.appendMoves(nil, moves)))
	if err != nil {
		test.Error(err)
		return 0
	}
	n, err := result.RowsAffected()
	if err != nil {
		test.Error(err)
	}
	return n
}

// What a topic no longer is, is refused by name.
func TestClaimRefuses(t *testing.T) {
	tr := newTruth(t, bed.SharedMySQL(t, testbed.MySQL97, ""))
	if _, err := tr.claim(t.Context(), detail("east.shop.a", 2, 1), []int32{0}, change.Stamp{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		topic kadm.TopicDetail
		says  string
	}{
		{detail("east.shop.a", 3, 1), "has 3 partitions now and had 2"},
		{detail("east.shop.a", 2, 2), "was deleted and made anew"},
	} {
		_, err := tr.claim(t.Context(), c.topic, []int32{1}, change.Stamp{})
		if !says(err, c.says, "mend: ", "DELETE FROM duplex.offsets WHERE task = 't' AND origin = 'east' AND topic = 'east.shop.a'") {
			t.Errorf("%v; want %s", err, c.says)
		}
	}
	if err := tr.refuse(t.Context()); !says(err, "was applied here with ordering key", "mend: ") {
		t.Errorf("ordering transaction after it: %v", err)
	}
}

func says(err error, parts ...string) bool {
	return err != nil && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(err.Error(), p) })
}
