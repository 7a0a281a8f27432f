package capture

import (
	"context"

	"duplex/change"
	"duplex/config"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// spine makes the END records of the region's transactions.
type spine struct {
	topic        string
	keyID, endID int
	arena        arena
	end          schemas.End
}

func newSpine(ctx context.Context, admin *kadm.Client, kafka config.Kafka, region change.Region, registry *schemas.Registry) (spine, error) {
	s := spine{topic: topics.Spine(region)}
	err := topics.EnsureOrdered(ctx, admin, kafka, s.topic)
	if err != nil {
		return s, err
	}
	if s.keyID, err = registry.Register(ctx, s.topic+"-key", schemas.EndKeySchema); err != nil {
		return s, err
	}
	s.endID, err = registry.Register(ctx, s.topic+"-value", schemas.EndSchema)
	return s, err
}

// usualEnd is the room of an END record, in bytes. A longer one, of many tables,
// is still small beside its changes.
const usualEnd = 256

// record makes the END record of a transaction and sets the counts of its
// tables back.
func (s *spine) record(txn *transaction, stamp change.Stamp, nowMicros int64) *kgo.Record {
	end := &s.end
	end.ID, end.Events, end.Stamp, end.Canary = txn.gtid, txn.total, stamp, txn.canary
	end.CommitMicros, end.Millis = txn.source.TsMicros, nowMicros/1000
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
	a := &s.arena
	r := a.record()
	r.Topic = s.topic
	r.Key = a.keep(schemas.AppendEndKey(schemas.AppendHeader(a.buffer(), s.keyID), end.ID))
	r.Value = a.keep(schemas.AppendEnd(schemas.AppendHeader(a.buffer(), s.endID), end))
	if txn.cascades {
		r.Headers = []kgo.RecordHeader{{Key: topics.HeaderCascade, Value: []byte("yes")}}
	}
	if txn.yields != nil {
		h, err := topics.YieldedHeader(txn.yields.absent)
		if err != nil {
			panic(err) // strings, numbers and bytes
		}
		r.Headers = append(r.Headers, h)
	}
	return r
}
