package capture

import (
	"context"
	"time"

	"duplex/config"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// pulse makes heartbeats, by which a reader tells a quiet region from a dead
// one.
type pulse struct {
	every          time.Duration // 0: never
	topic          string
	keyID, valueID int
	key            string
	last           time.Time
}

func newPulse(ctx context.Context, admin *kadm.Client, cfg *config.Process, registry *schemas.Registry) (pulse, error) {
	p := pulse{every: cfg.Heartbeat, topic: topics.Heartbeat(cfg.Region), key: string(cfg.Region)}
	if p.every == 0 {
		return p, nil
	}
	err := topics.EnsureOrdered(ctx, admin, cfg.Kafka, p.topic)
	if err != nil {
		return p, err
	}
	if p.keyID, err = registry.Register(ctx, p.topic+"-key", schemas.HeartbeatKeySchema); err != nil {
		return p, err
	}
	p.valueID, err = registry.Register(ctx, p.topic+"-value", schemas.HeartbeatSchema)
	return p, err
}

// beat publishes a heartbeat when one is due. In the middle of a transaction
// none is needed: its changes tell that capture lives.
func (s *publishing) beat(ctx context.Context, now time.Time) error {
	p := &s.pulse
	if p.every == 0 || s.inTxn || now.Sub(p.last) < p.every {
		return nil
	}
	p.last = now
	s.urgent = true
	return s.publisher.produce(ctx, &kgo.Record{
		Topic: p.topic,
		Key:   schemas.AppendString(schemas.AppendHeader(nil, p.keyID), p.key),
		Value: schemas.AppendLong(schemas.AppendHeader(nil, p.valueID), now.UnixMilli()),
	})
}
