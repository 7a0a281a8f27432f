package capture

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"duplex/change"
	"duplex/config"
	"duplex/embedded"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A capture whose saved position was lost must not count from 1 again: the
// other regions would take its transactions for old ones.
func TestNumbersGoOnWithoutASavedPosition(t *testing.T) {
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
	opts, err := topics.Client(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	spine := topics.Spine("east")
	if err := topics.EnsureOrdered(t.Context(), admin, cfg, spine); err != nil {
		t.Fatal(err)
	}

	s, err := continueNumbers(t.Context(), cfg, "east")
	if err != nil || s.Seq != 0 || s.Region != "east" {
		t.Fatalf("an empty spine: %+v, %v", s, err)
	}

	last := change.Seq(0)
	produce := func(stamp change.Stamp, canary string) {
		t.Helper()
		value := schemas.AppendEnd(schemas.AppendHeader(nil, 1), &schemas.End{ID: "x:1", Events: 1, Stamp: stamp, Canary: canary})
		if err := client.ProduceSync(context.Background(), &kgo.Record{Topic: spine, Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	from := change.Stamper{Region: "east"}
	for range 20 {
		last++
		from.HLC += 10
		produce(change.Stamp{Origin: "east", Seq: last, HLC: from.HLC, Seen: from.Seen}, "")
	}
	// More than one look at the tail holds: the last of east's own is far back.
	for seq := range change.Seq(1100) {
		produce(from.Applied("west", "shop", 1+seq, from.HLC+1), "")
	}
	produce(change.Stamp{Origin: "east", HLC: from.HLC, Seen: from.Seen}, "token")

	s, err = continueNumbers(t.Context(), cfg, "east")
	if err != nil || s.Seq != last || s.HLC != from.HLC || s.Seen.Of("west") != 1100 {
		t.Errorf("went on from seq %d, hlc %d, seen %v, error %v; want %d, %d, west 1100", s.Seq, s.HLC, s.Seen, err, last, from.HLC)
	}

	to := kadm.Offsets{}
	to.AddOffset(spine, 0, 25, -1)
	if _, err := admin.DeleteRecords(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	if _, err = continueNumbers(t.Context(), cfg, "east"); !supervise.IsPermanent(err) || !strings.Contains(err.Error(), "give the region another id") {
		t.Errorf("with all of east's own removed: %v", err)
	}
}
