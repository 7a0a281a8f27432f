package feed_test

import (
	"context"
	"fmt"
	"testing"

	"duplex/feed"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BenchmarkTransactions reads transactions of ten changes of four tables, each
// change with all its cells. The Kafka is in the same process, and takes its
// part of the time.
func BenchmarkTransactions(b *testing.B) {
	const each = 10
	r := newRegion(b)
	cfg := r.config()
	publishMany(b, r, b.N, each)
	reader := must(feed.Open(b.Context(), cfg))(b)
	defer reader.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		tx := must(reader.Next(b.Context()))(b)
		for c, err := range tx.Changes(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			readCells(b, c)
		}
	}
	b.ReportMetric(float64(each*b.N)/b.Elapsed().Seconds(), "changes/s")
}

// BenchmarkDecode decodes one change and reads all its cells.
func BenchmarkDecode(b *testing.B) {
	r := newRegion(b)
	one := must(r.makeTable(b.Context(), 1, plainTable("shop", "a")))(b)
	row, key := plainRow(1, "the name of something")
	r.local(write{table: one, op: 'u', before: row, after: row, key: key})
	m := feed.Message{Topic: r.open[0].Topic, Key: r.open[0].Key, Value: r.open[0].Value}
	decoder := must(feed.NewDecoder(feed.Registry{URL: r.url}))(b)
	b.ReportAllocs()
	for b.Loop() {
		readCells(b, must(decoder.Decode(context.Background(), m))(b))
	}
}

func readCells(b *testing.B, c *feed.Change) {
	for i := range c.After.Columns() {
		if _, err := c.After.At(i); err != nil {
			b.Fatal(err)
		}
	}
}

func publishMany(b *testing.B, r *region, n, each int) {
	b.Helper()
	var tables []*table
	for i := range 4 {
		tables = append(tables, must(r.makeTable(b.Context(), 2, plainTable("shop", fmt.Sprintf("t%d", i))))(b))
	}
	for i := range n {
		var writes []write
		for j := range each {
			row, key := plainRow(int64(i*each+j), "the name of something that is sold in a shop")
			writes = append(writes, write{table: tables[j%4], op: 'c', after: row, key: key})
		}
		r.local(writes...)
		if i%1000 == 999 || i == n-1 {
			if err := r.commit(b.Context(), kgo.TryCommit); err != nil {
				b.Fatal(err)
			}
		}
	}
}
