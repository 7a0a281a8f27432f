package capture

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"duplex/config"
	"duplex/embedded"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A lot that has all the room, as that of a very large row has, doesn't keep
// what stands in the binlog between its records from being published and
// committed; and it gives back the room of records that never come.
func TestLotKeepsNothingWaiting(t *testing.T) {
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
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := newPublisher(ctx, cfg, "east")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := topics.EnsureOrdered(ctx, p.admin(), cfg, "east.t"); err != nil {
		t.Fatal(err)
	}
	record := func() *kgo.Record { return &kgo.Record{Topic: "east.t", Value: []byte("v")} }
	for range 2 {
		l, err := p.reserve(ctx, 4, maxInFlight)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := l.produce(ctx, record()); err != nil {
				t.Fatal(err)
			}
			if err := p.produce(ctx, record()); err != nil {
				t.Fatal(err)
			}
			if err := p.commit(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if p.inFlight.TryAcquire(1) {
			t.Fatal("the room of records that may still come was given away")
		}
		l.close()
	}
	if !p.inFlight.TryAcquire(maxInFlight) {
		t.Fatal("the room of records that never came wasn't given back")
	}
}
