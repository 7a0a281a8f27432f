package capture

import (
	"context"
	"fmt"
	"slices"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// positionLog writes and reads the records of topic duplex.positions.
type positionLog struct {
	codec    *schemas.PositionCodec
	registry *schemas.Registry
	schemaID int
}

func newPositionLog(ctx context.Context, registry *schemas.Registry) (*positionLog, error) {
	codec, err := schemas.NewPositionCodec()
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	id, err := registry.Register(ctx, topics.Positions+"-value", schemas.PositionSchema)
	if err != nil {
		return nil, err
	}
	return &positionLog{codec, registry, id}, nil
}

// record returns the record that saves a region's position.
func (l *positionLog) record(region change.Region, p *schemas.Position) (*kgo.Record, error) {
	value, err := l.codec.Append(schemas.AppendHeader(nil, l.schemaID), p)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	return &kgo.Record{Topic: topics.Positions, Key: []byte(region), Value: value}, nil
}

// decode reads a record's value.
func (l *positionLog) decode(ctx context.Context, value []byte) (*schemas.Position, error) {
	id, body, err := schemas.ReadHeader(value)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("reading topic %s: %w", topics.Positions, err))
	}
	schema, err := l.registry.Schema(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := schemas.CheckPositionSchema(schema); err != nil {
		return nil, supervise.Permanent(fmt.Errorf("reading topic %s: %w", topics.Positions, err))
	}
	p, err := l.codec.Read(body)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("reading topic %s: %w", topics.Positions, err))
	}
	return p, nil
}

// load reads the region's newest committed position, nil if it has none. It must be called after the publisher took over: only then can
// no other capture commit a newer one.
func (l *positionLog) load(ctx context.Context, cfg config.Kafka, region change.Region) (*schemas.Position, error) {
	opts, err := topics.Client(cfg)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	client, err := kgo.NewClient(append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("configuring kafka client: %w", err))
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if err := topics.EnsurePositions(ctx, admin, cfg); err != nil {
		return nil, err
	}
	start, end, err := bounds(ctx, admin)
	if err != nil {
		return nil, err
	}
	// The newest is nearly always among the last; other regions share the topic.
	for back := int64(1000); ; back *= 100 {
		from := max(start, end-back)
		value, err := newest(ctx, client, region, from, end)
		if err != nil {
			return nil, err
		}
		if value != nil {
			return l.decode(ctx, value)
		}
		if from == start {
			return nil, nil
		}
	}
}

// bounds returns the first offset of the positions topic and the one after
// the last committed.
func bounds(ctx context.Context, admin *kadm.Client) (start, end int64, err error) {
	starts, err := admin.ListStartOffsets(ctx, topics.Positions)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading offsets of topic %s: %w", topics.Positions, err)
	}
	ends, err := admin.ListCommittedOffsets(ctx, topics.Positions)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading offsets of topic %s: %w", topics.Positions, err)
	}
	first, _ := starts.Lookup(topics.Positions, 0)
	last, _ := ends.Lookup(topics.Positions, 0)
	return first.Offset, last.Offset, nil
}

// newest returns the value of the region's last record in [from, end), nil if
// there is none.
func newest(ctx context.Context, client *kgo.Client, region change.Region, from, end int64) ([]byte, error) {
	if from >= end {
		return nil, nil
	}
	partition := map[string]map[int32]kgo.Offset{topics.Positions: {0: kgo.NewOffset().At(from)}}
	client.AddConsumePartitions(partition)
	defer client.RemoveConsumePartitions(map[string][]int32{topics.Positions: {0}})
	var value []byte
	for next := from; next < end; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("reading topic %s: %w", topics.Positions, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() && string(r.Key) == string(region) && r.Offset < end {
				value = slices.Clone(r.Value)
			}
		})
	}
	return value, nil
}
