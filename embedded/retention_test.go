package embedded

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func logStart(t *testing.T, k *Kafka, topic string) int64 {
	t.Helper()
	info := k.cluster.PartitionInfo(topic, 0)
	if info == nil {
		t.Fatalf("no topic %s", topic)
	}
	return info.LogStartOffset
}

// TestTrimmedPartitionKeepsItsOffsets trims all that may be trimmed, restarts,
// and lets a group go on from where it was: the broker's own retention would
// make the partition begin at 0 again, and the group miss what comes then.
func TestTrimmedPartitionKeepsItsOffsets(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *Kafka, string) string{
		"closed":  func(t *testing.T, k *Kafka, dir string) string { closeKafka(t, k); return dir },
		"crashed": func(t *testing.T, k *Kafka, dir string) string { defer closeKafka(t, k); return crashImage(t, dir) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			k, err := StartKafka(testContext(t), Options{Dir: dir, Listen: "127.0.0.1:0", Retention: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			createTopic(t, k.Addr(), "t", 1, map[string]string{"retention.ms": "1000", "segment.bytes": "1000"})
			client := newClient(t, k.Addr())
			for i := range 100 {
				r := record("t", 0, fmt.Sprint("old", i))
				r.Timestamp = time.Now().Add(-2 * time.Hour)
				produce(t, client, r)
			}
			var offsets kadm.Offsets
			offsets.AddOffset("t", 0, 100, -1)
			if err := kadm.NewClient(client).CommitAllOffsets(testContext(t), "group", offsets); err != nil {
				t.Fatal(err)
			}
			client.Close()
			if err := k.trimmer.trim(testContext(t)); err != nil {
				t.Fatal(err)
			}
			if start := logStart(t, k, "t"); start != 99 {
				t.Errorf("the log starts at %d, not at its last batch", start)
			}
			k = startKafka(t, end(t, k, dir), "127.0.0.1:0")
			defer closeKafka(t, k)
			client = newClient(t, k.Addr())
			for i := range 50 {
				produce(t, client, record("t", 0, fmt.Sprint("new", i)))
			}
			client.Close()
			group := newClient(t, k.Addr(), kgo.ConsumerGroup("group"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
			defer group.Close()
			read := 0
			for read < 50 {
				fetches := group.PollFetches(testContext(t))
				if err := fetches.Err(); err != nil {
					t.Fatalf("after %d of 50 new records: %v", read, err)
				}
				read += fetches.NumRecords()
			}
			if read != 50 {
				t.Errorf("the group read %d records, not 50", read)
			}
		})
	}
}

func TestTrimByAgeKeepsYoungAndOpen(t *testing.T) {
	k, err := StartKafka(testContext(t), Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Retention: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer closeKafka(t, k)
	createTopic(t, k.Addr(), "t", 1, nil)
	createTopic(t, k.Addr(), "open", 1, nil)
	client, producer := newClient(t, k.Addr()), newClient(t, k.Addr(), kgo.TransactionalID("a"))
	defer client.Close()
	defer producer.Close()
	begin(t, producer)
	for _, topic := range []string{"t", "open"} {
		for i, age := range []time.Duration{3, 2, 0, 0} {
			r := record(topic, 0, fmt.Sprint(i))
			r.Timestamp = time.Now().Add(-age * time.Hour)
			if topic == "open" {
				produce(t, producer, r)
			} else {
				produce(t, client, r)
			}
		}
	}
	if err := k.trimmer.trim(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if start := logStart(t, k, "t"); start != 2 {
		t.Errorf("the log starts at %d, want 2, the first record that is young", start)
	}
	if start := logStart(t, k, "open"); start != 0 {
		t.Errorf("records of an open transaction were removed, up to %d", start)
	}
	commit(t, producer)
	expect(t, committed(t, k.Addr(), "t"), "2", "3")
}

func TestTrimBySize(t *testing.T) {
	k, err := StartKafka(testContext(t), Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", MaxBytes: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	defer closeKafka(t, k)
	createTopic(t, k.Addr(), "t", 1, nil)
	client := newClient(t, k.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer client.Close()
	for range 100 {
		produce(t, client, &kgo.Record{Topic: "t", Value: make([]byte, 1000)})
	}
	if err := k.trimmer.trim(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if left := k.cluster.PartitionInfo("t", 0).NumBytes; left > 12_000 || left < 8_000 {
		t.Errorf("%d bytes are left of 100,000, with a bound of 10,000", left)
	}
}

// TestCompactedTopicKeepsTheNewestOfEachKey also holds an open transaction,
// which may yet be aborted and so must not count.
func TestCompactedTopicKeepsTheNewestOfEachKey(t *testing.T) {
	k := startKafka(t, t.TempDir(), "127.0.0.1:0")
	defer closeKafka(t, k)
	createTopic(t, k.Addr(), "p", 1, map[string]string{"cleanup.policy": "compact"})
	client, producer := newClient(t, k.Addr()), newClient(t, k.Addr(), kgo.TransactionalID("a"))
	defer client.Close()
	defer producer.Close()
	put := func(client *kgo.Client, key string, value []byte) {
		produce(t, client, &kgo.Record{Topic: "p", Key: []byte(key), Value: value})
	}
	trimmed := func(want int64) {
		t.Helper()
		if err := k.trimmer.trim(testContext(t)); err != nil {
			t.Fatal(err)
		}
		if start := logStart(t, k, "p"); start != want {
			t.Errorf("the log starts at %d, want %d", start, want)
		}
	}
	put(client, "east", []byte("1"))
	put(client, "east", []byte("2"))
	put(client, "west", []byte("1")) // offset 2
	put(client, "east", []byte("3"))
	trimmed(2)

	begin(t, producer)
	put(producer, "west", []byte("2")) // offset 4, open
	put(client, "east", []byte("4"))   // offset 5
	trimmed(2)
	if err := producer.EndTransaction(testContext(t), kgo.TryAbort); err != nil { // marker at 6
		t.Fatal(err)
	}
	trimmed(2)
	put(client, "west", nil) // offset 7: gone
	trimmed(5)
	expect(t, committed(t, k.Addr(), "p"), "4", "")
	begin(t, producer)
	put(producer, "east", []byte("5")) // offset 8
	commit(t, producer)
	trimmed(8)
}
