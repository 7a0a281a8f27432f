package capture

import (
	"context"
	"fmt"
	"time"

	"duplex/change"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka lets only the newest capture of a region publish. The one that lost its
// place can't tell from Kafka's error whether another process has taken it, or
// Kafka gave up a transaction that was open too long. In the first case it must
// stop, or the two would fence each other for ever; in the second it must go
// on. So whoever takes the place says who it is, before all else, by a record
// in the positions topic.

// ownerPatience is how long a capture that was fenced waits for the owner
// record of the one that did it.
const ownerPatience = time.Second

// ownerKey is the key of a region's owner record.
func ownerKey(r change.Region) string { return string(r) + "/owner" }

// own writes the owner record, in a Kafka transaction of its own.
func (c *Capture) own(ctx context.Context, p *publisher) error {
	cfg := c.cfg.Process
	if err := topics.EnsurePositions(ctx, p.admin(), cfg.Kafka); err != nil {
		return err
	}
	r := &kgo.Record{Topic: topics.Positions, Key: []byte(ownerKey(cfg.Region)), Value: []byte(c.instance)}
	if err := p.produce(ctx, r); err != nil {
		return err
	}
	if err := p.commit(ctx); err != nil {
		return err
	}
	c.owned = true
	return nil
}

// checkNotReplaced stops a capture that had the region before and has lost it
// to another process.
func (c *Capture) checkNotReplaced(ctx context.Context) error {
	if !c.owned {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(ownerPatience):
	}
	cfg := c.cfg.Process
	t, err := openTail(cfg.Kafka, topics.Positions)
	if err != nil {
		return err
	}
	defer t.close()
	owner := ""
	_, err = t.read(ctx, func(r *kgo.Record) {
		if string(r.Key) == ownerKey(cfg.Region) {
			owner = string(r.Value)
		}
	}, func() bool { return owner != "" })
	if err != nil || owner == "" || owner == c.instance {
		return err
	}
	return supervise.Permanent(fmt.Errorf("another capture of region %s has taken over; mend: run one capture for each region; if this is the one to keep, stop the other and restart this one", cfg.Region))
}
