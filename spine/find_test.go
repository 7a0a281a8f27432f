package spine

import (
	"context"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFinder: whatever stands in the partitions, other regions' changes, tombstones and
// other programs' records in between, a cut is where looking at every record would
// put it, also where the beginning is gone.
func TestFinder(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "east.shop.a", "east.shop.b"), kfake.SeedTopics(1, "east.transaction"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const last = 3000
	all := map[Partition][]change.Seq{} // by offset; 0 for what isn't the region's own
	var records []*kgo.Record
	add := func(p Partition, seq change.Seq, record *kgo.Record) {
		record.Topic, record.Partition = p.Topic, p.Index
		all[p] = append(all[p], seq)
		records = append(records, record)
	}
	parts := []Partition{{"east.shop.a", 0}, {"east.shop.a", 1}, {"east.shop.b", 0}, {"east.shop.b", 1}}
	own := Partition{"east.transaction", 0}
	foreign := change.Seq(0)
	for seq := change.Seq(1); seq <= last; seq++ {
		stamp := change.Stamp{Origin: "east", Seq: seq, HLC: change.HLC(seq * 10)}
		for range r.IntN(3) {
			p := parts[r.IntN(len(parts)-1)] // the last stays without
			add(p, seq, &kgo.Record{Value: []byte("x"), Headers: topics.Headers(stamp)})
			switch r.IntN(8) {
			case 0:
				add(p, 0, &kgo.Record{Headers: topics.Headers(stamp)}) // a tombstone
			case 1:
				add(p, 0, &kgo.Record{Value: []byte("another program's")})
			}
		}
		for r.IntN(100) < 40 || seq == last/2 && r.IntN(1000) > 0 { // long runs of another region's
			foreign++
			other := change.Stamp{Origin: "west", Seq: foreign, HLC: change.HLC(seq * 10)}
			add(parts[r.IntN(len(parts))], 0, &kgo.Record{Value: []byte("x"), Headers: topics.Headers(other)})
			add(own, 0, &kgo.Record{Value: schemas.AppendEnd(schemas.AppendHeader(nil, 1), &schemas.End{Events: 1, Stamp: other})})
		}
		add(own, seq, &kgo.Record{Value: schemas.AppendEnd(schemas.AppendHeader(nil, 1), &schemas.End{Events: 1, Stamp: stamp, CommitMicros: int64(seq)})})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f, err := NewFinder(config.Kafka{Brokers: cluster.ListenAddrs(), TLS: config.TLS{Mode: config.TLSOff}}, "east")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := range 12 {
		want := change.Seq(r.IntN(last + 20))
		cuts, err := f.Cut(ctx, append(parts, own), func(s *change.Stamp) bool { return s.Seq >= want })
		if err != nil {
			t.Fatal(err)
		}
		for p, seqs := range all {
			got, right := cuts[p], linear(seqs, want)
			if got.Commit = 0; !reflect.DeepEqual(got, right) {
				t.Errorf("%v cut at %d: %+v, want %+v", p, want, got, right)
			}
		}
		if t.Failed() || n > 3 {
			continue
		}
		checkLastBefore(ctx, t, f, all[own], own, r.Int64N(int64(len(all[own]))))
	}
}

// linear is Cut by looking at each record.
func linear(seqs []change.Seq, want change.Seq) Cut {
	end := int64(len(seqs))
	c := Cut{At: end, End: end}
	for i, seq := range seqs {
		switch {
		case seq == 0:
		case seq < want:
			c.After = int64(i) + 1
		case c.First.Seq == 0:
			c.At, c.First = int64(i), change.Stamp{Origin: "east", Seq: seq, HLC: change.HLC(seq * 10)}
		}
	}
	return c
}

func checkLastBefore(ctx context.Context, t *testing.T, f *Finder, seqs []change.Seq, p Partition, to int64) {
	t.Helper()
	var want change.Seq
	for _, seq := range seqs[:to] {
		if seq > 0 {
			want = seq
		}
	}
	got, err := f.LastBefore(ctx, p, 0, to)
	if err != nil || got.Seq != want {
		t.Errorf("the last before %d is %d, not %d: %v", to, got.Seq, want, err)
	}
	n, read := 0, 0
	for _, seq := range seqs[to:] {
		if seq > 0 {
			n++
		}
	}
	err = f.Ends(ctx, to, int64(len(seqs)), func(*schemas.End) bool { read++; return false })
	if err != nil || n != read {
		t.Errorf("%d END records after %d, not %d: %v", read, to, n, err)
	}
}
