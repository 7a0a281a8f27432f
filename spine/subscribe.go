package spine

import (
	"cmp"
	"context"
	"fmt"

	"duplex/change"
	"duplex/supervise"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Subscribe begins to read topics' partitions: from Start, or from the first
// record. It leaves alone those that are read already.
func (c *Consumer) Subscribe(ctx context.Context, names ...string) error {
	found, err := c.Admin.ListTopics(ctx, names...)
	if err == nil {
		err = found.Error()
	}
	if err != nil {
		return fmt.Errorf("looking for topics %v: %w", names, Explain(err))
	}
	if err := c.checkStart(ctx, names); err != nil {
		return err
	}
	from := map[string]map[int32]kgo.Offset{}
	for topic, details := range found {
		from[topic] = map[int32]kgo.Offset{}
		for index := range details.Partitions {
			p := Partition{topic, index}
			if c.reads(p) {
				continue
			}
			at, ok := c.Start[p]
			if ok {
				from[topic][index] = kgo.NewOffset().At(at)
			} else {
				from[topic][index], at = kgo.NewOffset().AtStart(), unknownOffset
			}
			if p == c.spine {
				c.spineFetched, c.asm.spineTaken, c.subscribed = at, at, true
				continue
			}
			c.asm.inboxes[p] = &Inbox{fetched: at, taken: at, adrift: c.Adrift != nil && c.Adrift(p), broken: c.passed[p]}
		}
	}
	c.Client.AddConsumePartitions(from)
	return nil
}

func (c *Consumer) reads(p Partition) bool {
	_, ok := c.asm.inboxes[p]
	return ok || p == c.spine && c.subscribed
}

// checkStart looks whether the partitions still have the offsets to go on from. The
// client doesn't always: one that doesn't know a topic's leader yet looks for that
// first, and takes the first or last record there is for an offset that is gone.
func (c *Consumer) checkStart(ctx context.Context, names []string) error {
	if len(c.Start) == 0 {
		return nil
	}
	starts, ends, err := c.bounds(ctx, names...)
	if err != nil {
		return fmt.Errorf("reading where topics begin and end: %w", Explain(err))
	}
	for _, topic := range names {
		for index, start := range starts[topic] {
			p := Partition{topic, index}
			at, ok := c.Start[p]
			if !ok || c.reads(p) || start.Offset <= at && at <= ends[topic][index].Offset {
				continue
			}
			gap := NoLonger(c.asm.Source, p, at)
			if p == c.spine {
				c.asm.spineBroken = cmp.Or(c.asm.spineBroken, gap)
			} else {
				c.passed[p] = gap
			}
		}
	}
	return nil
}

// NoLonger is the permanent error that a partition hasn't the offset any more
// where it is to be read on.
func NoLonger(source change.Region, p Partition, at int64) error {
	return supervise.Permanent(&GapError{source, fmt.Sprintf("%s[%d] no longer has the offset to go on from, %d", p.Topic, p.Index, at)})
}

// bounds returns where partitions begin and end, what isn't committed included.
func (c *Consumer) bounds(ctx context.Context, names ...string) (starts, ends kadm.ListedOffsets, err error) {
	if starts, err = c.Admin.ListStartOffsets(ctx, names...); err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, nil, err
	}
	if ends, err = c.Admin.ListEndOffsets(ctx, names...); err == nil {
		err = ends.Error()
	}
	return starts, ends, err
}

// SubscribeWanted begins to read every topic there is that the assembler wants.
func (c *Consumer) SubscribeWanted(ctx context.Context) error {
	found, err := c.Admin.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("listing topics: %w", Explain(err))
	}
	var wanted []string
	for topic := range found {
		if c.asm.Wanted(topic) {
			wanted = append(wanted, topic)
		}
	}
	if len(wanted) == 0 {
		return nil // no names would mean all
	}
	return c.Subscribe(ctx, wanted...)
}
