package capture

import (
	"bytes"
	"testing"
	"time"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/schemas"

	"github.com/twmb/franz-go/pkg/kgo"
)

// oneRow makes, again and again, what a transaction of one updated row adds to
// Kafka: the change with its key, envelope and headers, and the END record. The
// decoding of the row is measured in package binlog.
type oneRow struct {
	made    transactions
	numbers change.Stamper
	encoder encoder
	chunk   chunk
	table   *table
	rows    binlog.RowsEvent
	event   binlog.Event
	spine   spine
	tail    schemas.Change
	row     []byte
	key     []binlog.Span
	bytes   int
}

func newOneRow() *oneRow {
	const partitions = 4
	position, event := "0-1-7", binlog.Event{Kind: binlog.Begin, ServerID: 1, Thread: 8, CommitMicros: time.Now().UnixMicro()}
	return &oneRow{
		numbers: change.Stamper{Region: "east"}, event: event,
		table: &table{
			topic: "east.shop.orders", collection: "shop.orders", partitions: partitions, counts: make([]int64, partitions),
			partitioner: kgo.StickyKeyPartitioner(nil).ForTopic("east.shop.orders"), keyID: 1, valueID: 2,
			envelope: schemas.NewEnvelope(&schemas.Table{DB: "shop", Name: "orders"}, "east", "mysql", position),
		},
		rows:  binlog.RowsEvent{Op: binlog.Update, File: "binlog.000001", Pos: 4711},
		spine: spine{topic: "east.transaction", keyID: 3, endID: 4},
		row:   append(schemas.AppendLong(nil, 12345), bytes.Repeat([]byte("text"), 50)...),
		key:   []binlog.Span{{From: 0, To: 3}},
	}
}

func (o *oneRow) transaction() {
	c, e, t := &o.chunk, &o.encoder, o.table
	c.records = c.records[:0]
	txn := o.made.begin(&o.event)
	o.made.stamp(txn, o.numbers.Local(time.UnixMicro(o.event.CommitMicros)))
	st := step{kind: binlog.Rows, txn: txn, table: t, rows: &o.rows}
	e.source, e.change.Source = txn.source, &e.source
	e.put(c, &st, 'u', o.row, o.row, e.record(&st, o.row, o.key))
	r := c.records[len(c.records)-1].record
	txn.tables = append(txn.tables, t)
	txn.total, t.rows = 1, 1
	t.counts[r.Partition]++
	o.tail = schemas.Change{Op: 'u', TxID: txn.gtid, TotalOrder: 1, CollectionOrder: 1, NowMicros: o.event.CommitMicros}
	r.Value = schemas.AppendTail(r.Value, &o.tail)
	end := o.spine.record(txn, txn.source.Stamp, o.event.CommitMicros)
	o.bytes = len(r.Key) + len(r.Value) + len(end.Key) + len(end.Value)
}

// Neither a change nor a transaction costs an allocation of its own.
func TestTransactionsDontAllocate(t *testing.T) {
	o := newOneRow()
	if n := testing.AllocsPerRun(10_000, o.transaction); n > 0 {
		t.Errorf("%v allocations for each transaction", n)
	}
}

// BenchmarkTransaction tells what a transaction of one row costs after it is
// decoded and before it is Kafka's client's.
func BenchmarkTransaction(b *testing.B) {
	o := newOneRow()
	b.ReportAllocs()
	for b.Loop() {
		o.transaction()
	}
	b.SetBytes(int64(o.bytes))
}
