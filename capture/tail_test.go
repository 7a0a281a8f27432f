package capture

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"duplex/config"
	"duplex/embedded"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a region has committed is found whatever the other regions' captures
// are doing in the topic that they share, and what isn't committed is not.
func TestTailSeesPastOpenTransactions(t *testing.T) {
	kafka, err := embedded.StartKafka(t.Context(), embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kafka.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := config.Kafka{Brokers: []string{kafka.Addr()}, ReplicationFactor: 1, Partitions: 1, TLS: config.TLS{Mode: config.TLSOff}}
	producer := func(id string) *kgo.Client {
		opts, err := topics.Client(cfg)
		if err != nil {
			t.Fatal(err)
		}
		client, err := kgo.NewClient(append(opts, kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client
	}
	east, west, north := producer("east"), producer("west"), producer("north")
	if err := topics.EnsurePositions(t.Context(), kadm.NewClient(east), cfg); err != nil {
		t.Fatal(err)
	}
	begin := func(client *kgo.Client, region string, n int) {
		t.Helper()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		r := &kgo.Record{Topic: topics.Positions, Key: []byte(region), Value: fmt.Append(nil, n)}
		if err := client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(client *kgo.Client, how kgo.TransactionEndTry) {
		t.Helper()
		if err := client.EndTransaction(context.Background(), how); err != nil {
			t.Fatal(err)
		}
	}
	begin(west, "west", 1)
	end(west, kgo.TryCommit)
	begin(west, "west", 2) // stays open
	for n := range 5 {
		begin(east, "east", n)
		end(east, kgo.TryCommit)
	}
	begin(east, "east", 100)
	end(east, kgo.TryAbort)
	begin(north, "north", 1)
	begin(east, "east", 5)
	end(east, kgo.TryCommit)
	begin(east, "east", 200) // open as well

	tail, err := openTail(cfg, topics.Positions)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.close()
	got := map[string][]string{}
	_, err = tail.read(t.Context(), func(r *kgo.Record) { got[string(r.Key)] = append(got[string(r.Key)], string(r.Value)) }, func() bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"0", "1", "2", "3", "4", "5"}; !slices.Equal(got["east"], want) || !slices.Equal(got["west"], []string{"1"}) || len(got["north"]) != 0 {
		t.Errorf("found %v; want %v of east, 1 of west, nothing of north", got, want)
	}
}
