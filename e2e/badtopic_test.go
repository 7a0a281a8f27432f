package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestBadTopicStops: a topic that holds what another program wrote, or no longer
// holds what it must, stops the stream at exactly the first transaction that this
// concerns. Once it is mended as the reason says, resume goes on and nothing is lost
// (promises 1, 5 and 6).
func TestBadTopicStops(t *testing.T) { onEveryPairIfLong(t, testBadTopicStops) }

func testBadTopicStops(t *testing.T, e engines) {
	p := newSmall(t, e, "badtopic")
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.other (id INT PRIMARY KEY)")
	}
	b := &badTopic{t: t, p: p, processes: p.start("run"), topic: p.east.region + ".shop.t", spine: p.east.region + ".transaction"}
	b.west = b.processes[1]
	var err error
	if b.client, err = kgo.NewClient(kgo.SeedBrokers(p.kafka.Brokers()...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	defer b.client.Close()
	b.insert(10)
	b.equal()
	header := func(origin, seq string) []kgo.RecordHeader {
		return []kgo.RecordHeader{{Key: "origin", Value: []byte(origin)}, {Key: "seq", Value: []byte(seq)}, {Key: "hlc", Value: []byte("1")}}
	}
	garbage := []byte("garbage " + rowSentinel)
	for _, tt := range []struct {
		name   string
		record kgo.Record
		want   string
	}{
		{"garbage among the rows", kgo.Record{Topic: b.topic, Key: garbage, Value: garbage}, "header origin"},
		{"no number in the headers", kgo.Record{Topic: b.topic, Key: garbage, Value: garbage, Headers: header(p.east.region, "one")}, "header seq is not a number"},
		{"a change of no transaction", kgo.Record{Topic: b.topic, Key: garbage, Value: garbage, Headers: header(p.east.region, "100000")}, "is of transaction 100000"},
		{"garbage on the spine", kgo.Record{Topic: b.spine, Key: garbage, Value: garbage}, "wire format"},
		{"a schema that isn't the spine's", kgo.Record{Topic: b.spine, Key: garbage, Value: []byte{0, 0, 0, 0, 1, 2, 3}}, "schema"},
		{"an unknown schema on the spine", kgo.Record{Topic: b.spine, Key: garbage, Value: []byte{0, 0, 0xff, 0xff, 0xff, 2, 3}}, "looking up schema 16777215"},
	} {
		if !t.Run(tt.name, func(t *testing.T) { b.of(t).pass(&tt.record, tt.want) }) {
			return
		}
	}
	if t.Run("spine deleted before it was read", func(t *testing.T) { b.of(t).lose(b.spine, 1) }) {
		t.Run("rows deleted before they were read", func(t *testing.T) { b.of(t).lose(b.topic, 2) })
	}
	if !t.Failed() {
		stop(b.processes)
	}
}

type badTopic struct {
	t            *testing.T
	p            *pair
	processes    []*Process
	west         *Process
	client       *kgo.Client
	topic, spine string
	rows         int // in shop.t and shop.other of east
}

func (b *badTopic) of(t *testing.T) *badTopic {
	b.t = t
	return b
}

// insert makes transactions, every other of which is in the other table.
func (b *badTopic) insert(n int) {
	b.t.Helper()
	var text []string
	for range n {
		b.rows++
		text = append(text, fmt.Sprintf("INSERT INTO shop.other VALUES (%d)", b.rows), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", b.rows))
	}
	inOneSession(b.t, b.p.east, text...)
}

func (b *badTopic) equal() {
	b.t.Helper()
	eventually(b.t, stallLimit, func() error {
		return errors.Join(b.west.Streaming(), sameSmall(b.p), hasRows(b.p.west, "shop.t", b.rows), hasRows(b.p.west, "shop.other", b.rows))
	})
}

// pass writes another program's record to both partitions of its topic and has it
// passed over as the reasons say.
func (b *badTopic) pass(record *kgo.Record, want string) {
	t := b.t
	for partition := range b.partitions(record.Topic) {
		r := *record
		r.Partition = partition
		if err := b.client.ProduceSync(t.Context(), &r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	known := b.rows
	b.insert(20) // in both partitions
	var named []string
	for {
		text := stopped(t, b.p, b.west, want, record.Topic, fmt.Sprintf("apply %s %s→%s is stopped", b.p.taskName, b.p.east.region, b.p.west.region))
		found := regexp.MustCompile(`[^ ]+:\d:\d+\b`).FindString(text)
		if found == "" {
			t.Fatal("the reason names no record")
		}
		named = append(named, found)
		var applied int
		if err := b.p.west.mysql.DB().QueryRow("SELECT MAX(id) FROM shop.t").Scan(&applied); err != nil {
			t.Fatal(err)
		}
		if applied < known {
			t.Errorf("what came before is not there: %d of %d rows", applied, known)
		}
		text, exit := runProgram(t, "resume", "-c", b.p.dir+"/"+b.west.Name+".yaml", "--pass", found)
		if exit != 0 {
			t.Fatalf("resume: %s", text)
		}
		if len(named) == len(b.partitions(record.Topic)) {
			break
		}
		b.awaitOther(found)
	}
	b.equal()
}

// awaitOther waits until the stream has passed over a record.
func (b *badTopic) awaitOther(found string) {
	eventually(b.t, stallLimit, func() error {
		s, err := b.west.Status()
		if err == nil && (s.Apply[0].Error == "" || regexp.MustCompile(regexp.QuoteMeta(found)+`\b`).MatchString(s.Apply[0].Error)) {
			err = fmt.Errorf("the stream is %s: %s", s.Apply[0].State, s.Apply[0].Error)
		}
		return err
	})
}

func (b *badTopic) partitions(topic string) map[int32]kadm.ListedOffset {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	ends, err := kadm.NewClient(b.client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return ends[topic]
}

// lose deletes the records of a topic that were not read yet, and goes on after a
// copy. so many rows of the other table come before the first that is lost.
func (b *badTopic) lose(topic string, committed int) {
	t, p := b.t, b.p
	b.west.Term()
	known := b.rows
	b.insert(10)
	waitPublished(t, b.processes[0])
	offsets := kadm.Offsets{}
	for _, end := range b.partitions(topic) {
		offsets.AddOffset(topic, end.Partition, end.Offset, -1)
	}
	admin := kadm.NewClient(b.client)
	deleted, err := admin.DeleteRecords(t.Context(), offsets)
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	b.insert(1)
	b.west.Start()
	stopped(t, p, b.west, "gap", topic, "no longer has the offset", "copy the tables anew", "--to-latest", "UPDATE duplex.progress SET n = n + 1, seq =", "duplex resume")
	if err := errors.Join(hasRows(p.west, "shop.t", known), hasRows(p.west, "shop.other", known+committed-1)); err != nil {
		t.Errorf("not stopped at exactly the transaction: %v", err)
	}
	// As the reason says.
	waitPublished(t, b.processes[0])
	for id := known + 1; id <= b.rows; id++ {
		mustExec(t, p.west.mysql.DB(), fmt.Sprintf("REPLACE INTO shop.t VALUES (%d, 'x')", id), fmt.Sprintf("REPLACE INTO shop.other VALUES (%d)", id))
	}
	b.toLatest(admin)
	s, err := b.processes[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, p.west.mysql.DB(), fmt.Sprintf("UPDATE duplex.progress SET n = n + 1, seq = %d WHERE task = '%s' AND origin = '%s'", s.Capture.Seq, p.taskName, p.east.region))
	resume(t, p, b.west)
	b.insert(5)
	b.equal()
}

// toLatest does what kafka-consumer-groups.sh --to-latest --all-topics does.
func (b *badTopic) toLatest(admin *kadm.Client) {
	t := b.t
	group := fmt.Sprintf("duplex.%s.%s-to-%s", b.p.taskName, b.p.east.region, b.p.west.region)
	now, err := admin.FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	offsets := kadm.Offsets{}
	now.Each(func(o kadm.OffsetResponse) {
		offsets.AddOffset(o.Topic, o.Partition, b.partitions(o.Topic)[o.Partition].Offset, -1)
	})
	if err := admin.CommitAllOffsets(t.Context(), group, offsets); err != nil {
		t.Fatal(err)
	}
}

// waitPublished waits until a capture has published all that its server has.
func waitPublished(t *testing.T, process *Process) {
	t.Helper()
	var last int64 = -1
	eventually(t, stallLimit, func() error {
		s, err := process.Status()
		if err != nil {
			return err
		}
		if now := int64(s.Capture.Seq); now != last {
			last = now
			time.Sleep(300 * time.Millisecond)
			return errors.New("capture still publishes")
		}
		return nil
	})
}
