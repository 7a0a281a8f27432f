package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		produceUntilKilled(dir, os.Getenv(childRun))
		return
	}
	os.Exit(m.Run())
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func startKafka(t *testing.T, dir, listen string) *Kafka {
	t.Helper()
	k, err := StartKafka(testContext(t), Options{Dir: dir, Listen: listen, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func closeKafka(t *testing.T, k *Kafka) {
	t.Helper()
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
}

func newClient(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func createTopic(t *testing.T, addr, topic string, partitions int32, settings map[string]string) {
	t.Helper()
	values := map[string]*string{}
	for name, value := range settings {
		values[name] = &value
	}
	client := newClient(t, addr)
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(testContext(t), partitions, 1, values, topic); err != nil {
		t.Fatal(err)
	}
}

func begin(t *testing.T, client *kgo.Client) {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
}

func produce(t *testing.T, client *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := client.ProduceSync(testContext(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, client *kgo.Client) {
	t.Helper()
	if err := client.EndTransaction(testContext(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

func record(topic string, partition int32, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}
}

// committed returns the values of all records that a read_committed consumer
// sees, by reading to each partition's end.
func committed(t *testing.T, addr, topic string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), 10*time.Second)
	defer cancel()
	client := newClient(t, addr, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(10*time.Millisecond))
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	stable, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if s, _ := stable.Lookup(topic, o.Partition); s.Offset != o.Offset {
			t.Errorf("partition %d ends at %d but is stable only up to %d", o.Partition, o.Offset, s.Offset)
		}
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	var values []string
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading %s with %v left: %v", topic, left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return values
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("read %q, want %q", got, want)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	k := startKafka(t, dir, "127.0.0.1:0")
	createTopic(t, k.Addr(), "t", 1, map[string]string{"cleanup.policy": "delete", "retention.ms": "60000", "max.message.bytes": "1000000"})
	producer := newClient(t, k.Addr(), kgo.TransactionalID("a"))
	begin(t, producer)
	produce(t, producer, record("t", 0, "1"), record("t", 0, "2"))
	commit(t, producer)
	producer.Close()
	admin := kadm.NewClient(newClient(t, k.Addr()))
	var offsets kadm.Offsets
	offsets.AddOffset("t", 0, 2, -1)
	if err := admin.CommitAllOffsets(testContext(t), "group", offsets); err != nil {
		t.Fatal(err)
	}
	closeKafka(t, k)

	k = startKafka(t, dir, "127.0.0.1:0")
	defer closeKafka(t, k)
	expect(t, committed(t, k.Addr(), "t"), "1", "2")
	got, err := kadm.NewClient(newClient(t, k.Addr())).FetchOffsets(testContext(t), "group")
	if o, ok := got.Lookup("t", 0); err != nil || !ok || o.At != 2 {
		t.Errorf("the group's offset is %v, %v", o, err)
	}
}

func TestNewProducerFencesOld(t *testing.T) {
	k := startKafka(t, t.TempDir(), "127.0.0.1:0")
	defer closeKafka(t, k)
	createTopic(t, k.Addr(), "t", 1, nil)
	old, young := newClient(t, k.Addr(), kgo.TransactionalID("a")), newClient(t, k.Addr(), kgo.TransactionalID("a"))
	begin(t, old)
	produce(t, old, record("t", 0, "old"))
	begin(t, young)
	produce(t, young, record("t", 0, "young"))
	commit(t, young)
	if err := old.EndTransaction(testContext(t), kgo.TryCommit); err == nil {
		t.Error("the old producer may still commit")
	} else if !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
		t.Errorf("the old producer is told: %v", err)
	}
	expect(t, committed(t, k.Addr(), "t"), "young")
}

func TestTwoBrokersAndOneLock(t *testing.T) {
	dir := t.TempDir()
	one := startKafka(t, dir, "127.0.0.1:0")
	defer closeKafka(t, one)
	two := startKafka(t, t.TempDir(), "127.0.0.1:0")
	defer closeKafka(t, two)
	createTopic(t, one.Addr(), "one", 1, nil)
	createTopic(t, two.Addr(), "two", 1, nil)
	produce(t, newClient(t, two.Addr()), record("two", 0, "x"))
	expect(t, committed(t, two.Addr(), "two"), "x")

	for name, opts := range map[string]struct {
		Options
		says string
	}{
		"same directory": {Options{Dir: dir, Listen: "127.0.0.1:0"}, "in use"},
		"same port":      {Options{Dir: t.TempDir(), Listen: one.Addr()}, "set another port"},
		"open to all":    {Options{Dir: t.TempDir(), Listen: "0.0.0.0:0"}, "loopback"},
		"no address":     {Options{Dir: t.TempDir()}, "loopback"},
	} {
		k, err := StartKafka(testContext(t), opts.Options)
		if err == nil {
			closeKafka(t, k)
		}
		if err == nil || !strings.Contains(err.Error(), opts.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSettingsThatOnlyARealClusterKnows(t *testing.T) {
	k := startKafka(t, t.TempDir(), "127.0.0.1:0")
	defer closeKafka(t, k)
	createTopic(t, k.Addr(), "p", 1, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": "600000", "retention.ms": "1"})
	admin := kadm.NewClient(newClient(t, k.Addr()))
	two := "2"
	if _, err := admin.AlterTopicConfigs(testContext(t), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &two}}, "p"); err != nil {
		t.Fatal(err)
	}
	configs := k.cluster.TopicInfo("p").Configs
	if *configs["retention.ms"] != "-1" || *configs["cleanup.policy"] != "compact" {
		t.Errorf("settings %v", configs)
	}
}

func TestLargeRecord(t *testing.T) {
	k := startKafka(t, t.TempDir(), "127.0.0.1:0")
	defer closeKafka(t, k)
	createTopic(t, k.Addr(), "t", 1, map[string]string{"max.message.bytes": fmt.Sprint(maxMessage)})
	const size = 130 << 20
	client := newClient(t, k.Addr(), kgo.ProducerBatchMaxBytes(150<<20), kgo.BrokerMaxWriteBytes(200<<20), kgo.BrokerMaxReadBytes(400<<20),
		kgo.MaxBufferedBytes(300<<20), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.FetchMaxBytes(200<<20), kgo.FetchMaxPartitionBytes(200<<20), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	produce(t, client, &kgo.Record{Topic: "t", Value: make([]byte, size)})
	fetches := client.PollFetches(testContext(t))
	if err := fetches.Err(); err != nil || len(fetches.Records()) != 1 || len(fetches.Records()[0].Value) != size {
		t.Errorf("read %d records, %v", len(fetches.Records()), err)
	}
}

func BenchmarkSmallTransactions(b *testing.B) {
	k, err := StartKafka(context.Background(), Options{Dir: b.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr()), kgo.TransactionalID("a"), kgo.AllowAutoTopicCreation(), kgo.ProducerLinger(0))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(context.Background(), 4, 1, nil, "t"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := client.BeginTransaction(); err != nil {
			b.Fatal(err)
		}
		for i := range 3 {
			client.Produce(context.Background(), &kgo.Record{Topic: "t", Key: fmt.Append(nil, i), Value: make([]byte, 400)}, nil)
		}
		if err := errors.Join(client.Flush(context.Background()), client.EndTransaction(context.Background(), kgo.TryCommit)); err != nil {
			b.Fatal(err)
		}
	}
}
