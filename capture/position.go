package capture

import (
	"context"
	"fmt"

	"duplex/change"
	"duplex/config"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

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
	p, err := l.codec.Read(schema, body)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("reading topic %s: %w", topics.Positions, err))
	}
	return p, nil
}

// load reads the region's newest committed position, nil if it has none. It
// must be called after the publisher took over: only then can no other capture
// commit a newer one.
func (l *positionLog) load(ctx context.Context, cfg config.Kafka, region change.Region) (*schemas.Position, error) {
	t, err := openTail(cfg, topics.Positions)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := topics.EnsurePositions(ctx, t.admin, cfg); err != nil {
		return nil, err
	}
	// The newest is nearly always among the last; other regions share the topic.
	var value []byte
	_, err = t.read(ctx, func(r *kgo.Record) {
		if string(r.Key) == string(region) {
			value = r.Value
		}
	}, func() bool { return value != nil })
	if err != nil || value == nil {
		return nil, err
	}
	return l.decode(ctx, value)
}
