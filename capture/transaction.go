package capture

import (
	"context"
	"time"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// transaction is the source transaction being published.
type transaction struct {
	gtid    string
	commit  time.Time
	stamped bool
	marked  bool // its first row was the marker
	canary  string
	headers []kgo.RecordHeader
	source  schemas.Source
	total   int64
	tables  []*table // those that it changed
}

// begin starts a transaction; its stamp is given by its first row.
func (s *session) begin(ev *binlog.Event) {
	commit := time.UnixMicro(ev.CommitMicros)
	s.txn = transaction{gtid: ev.GTID.String(), commit: commit, tables: s.txn.tables[:0]}
	s.txn.source = schemas.Source{TsMicros: ev.CommitMicros, ServerID: ev.ServerID, GTID: s.txn.gtid}
}

// mark stamps the transaction as one that apply wrote here.
func (s *session) mark(m binlog.Mark) {
	s.txn.marked = true
	s.stamp(s.stamper.applied(m.Origin, m.Seq, m.HLC))
}

func (s *session) stamp(stamp change.Stamp) {
	s.txn.stamped = true
	s.txn.source.Stamp = stamp
	s.txn.headers = topics.Headers(stamp)
}

// rows publishes the changes of one row event.
func (s *session) rows(ctx context.Context, ev *binlog.RowsEvent) error {
	if !s.txn.stamped {
		s.stamp(s.stamper.local(s.txn.commit))
		s.urgent = true
	}
	t, err := s.tables.of(ctx, ev.Table)
	if err != nil {
		return err
	}
	if t.rows == 0 {
		s.txn.tables = append(s.txn.tables, t)
	}
	s.txn.source.File, s.txn.source.Pos = ev.File, ev.Pos
	return s.encoder.rows(ctx, t, ev, &s.txn, s.publisher)
}

// end publishes the END record of a transaction that published changes, or
// was a canary's, and counts.
func (s *session) end(ctx context.Context) error {
	txn := &s.txn
	if txn.total == 0 && txn.canary == "" {
		return nil
	}
	stamp := txn.source.Stamp
	if !txn.stamped {
		// An unmarked canary: it is told as local, without using up a seq.
		stamp = change.Stamp{Origin: s.stamper.region, HLC: s.stamper.hlc, Seen: s.stamper.seen}
	}
	end := &s.endRecord
	end.ID, end.Events, end.Stamp, end.Canary = txn.gtid, txn.total, stamp, txn.canary
	end.CommitMicros, end.Millis = txn.commit.UnixMicro(), time.Now().UnixMilli()
	end.Collections, end.Partitions = end.Collections[:0], end.Partitions[:0]
	for _, t := range txn.tables {
		end.Collections = append(end.Collections, schemas.CollectionCount{Name: t.collection, Count: t.rows})
		for p, n := range t.counts {
			if n > 0 {
				end.Partitions = append(end.Partitions, schemas.PartitionCount{Topic: t.topic, Partition: int32(p), Count: n})
			}
		}
		clear(t.counts)
		t.rows = 0
	}
	s.count(txn)
	return s.publishEnd(ctx, end)
}

func (s *session) publishEnd(ctx context.Context, end *schemas.End) error {
	a := &s.encoder.arena
	key := a.keep(schemas.AppendEndKey(schemas.AppendHeader(a.buffer(), s.endKeyID), end.ID))
	value := a.keep(schemas.AppendEnd(schemas.AppendHeader(a.buffer(), s.endID), end))
	r := a.record()
	r.Topic, r.Key, r.Value = s.spine, key, value
	return s.publisher.produce(ctx, r)
}
