package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"duplex/config"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// inboxBytes bounds what waits in all inboxes; each partition has its
	// share, so that a full one never keeps another from being fetched.
	inboxBytes = 32 << 20
	minInbox   = 256 << 10
	maxInbox   = 4 << 20
	// fetchBytes bounds one answer of a broker.
	fetchBytes          = 8 << 20
	fetchPartitionBytes = 1 << 20
	// fetchWait is how long a broker may hold an answer back while there is
	// nothing new. A partition added meanwhile waits for that too.
	fetchWait  = 250 * time.Millisecond
	spineInbox = 20_000 // END records
	// unknownOffset stands for a partition read from its start, wherever that
	// is, until its first record comes.
	unknownOffset = -1
)

// consumer reads the source region's topics, leaves out what its own region
// wrote, and fills the assembler's inboxes.
type consumer struct {
	client *kgo.Client
	admin  *kadm.Client
	spine  partition
	asm    *assembler
	start  offsets // where the group stands
	ends   schemas.EndReader
	endOK  map[int]bool // schema ids known to be that of END records
	check  func(ctx context.Context, id int) error
	echoes *atomic.Int64 // changes of other origins left out
	queued *atomic.Int64 // bytes waiting

	subscribed   bool // to the spine
	spineFetched int64
	spineFull    bool
}

func newConsumer(cfg config.Kafka) (*kgo.Client, error) {
	opts, err := topics.Client(cfg)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	client, err := kgo.NewClient(append(opts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The offset after a commit marker must be known, for the group's lag
		// to come down to zero.
		kgo.KeepControlRecords(),
		// A position that retention has passed is an error, never a jump.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		kgo.FetchMaxWait(fetchWait),
	)...)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("configuring kafka client: %w", err))
	}
	return client, nil
}

// subscribe begins to read partitions: from the group's offset, or from the
// first record if the group has none.
func (c *consumer) subscribe(ctx context.Context, topic string) error {
	found, err := c.admin.ListTopics(ctx, topic)
	if err == nil {
		err = found.Error()
	}
	if err != nil {
		return fmt.Errorf("looking for topic %s: %w", topic, explain(err))
	}
	from := map[int32]kgo.Offset{}
	for index := range found[topic].Partitions {
		p := partition{topic, index}
		if _, ok := c.asm.inboxes[p]; ok || p == c.spine && c.subscribed {
			continue
		}
		at, ok := c.start[p]
		if ok {
			from[index] = kgo.NewOffset().At(at)
		} else {
			from[index], at = kgo.NewOffset().AtStart(), unknownOffset
		}
		if p != c.spine {
			c.asm.inboxes[p] = &inbox{fetched: at, taken: at}
		} else {
			c.spineFetched, c.asm.spineTaken, c.subscribed = at, at, true
		}
	}
	c.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	return nil
}

// accept sorts what was fetched into the inboxes.
func (c *consumer) accept(ctx context.Context, fetches kgo.Fetches) error {
	for _, fe := range fetches.Errors() {
		if err := c.failure(fe); err != nil {
			return err
		}
	}
	var failed error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		for _, r := range p.Records {
			if failed == nil {
				failed = c.push(ctx, r)
			}
		}
	})
	if failed == nil {
		c.pause()
	}
	return failed
}

func (c *consumer) failure(fe kgo.FetchError) error {
	switch {
	case errors.Is(fe.Err, context.Canceled), errors.Is(fe.Err, context.DeadlineExceeded):
		return nil
	case errors.Is(fe.Err, kerr.OffsetOutOfRange):
		return supervise.Permanent(&GapError{c.asm.source, fmt.Sprintf("%s[%d] no longer has the offset to go on from, %d", fe.Topic, fe.Partition, c.start[partition{fe.Topic, fe.Partition}])})
	case errors.Is(fe.Err, kerr.UnknownTopicOrPartition), errors.Is(fe.Err, kerr.UnknownTopicID):
		return topicGone(fe.Topic, c.asm.source, fe.Err)
	case errors.Is(fe.Err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("reading topic %s: %w; mend: allow the user READ and DESCRIBE on the topics of region %s", fe.Topic, fe.Err, c.asm.source)
	default:
		return fmt.Errorf("reading topic %s[%d]: %w", fe.Topic, fe.Partition, explain(fe.Err))
	}
}

func (c *consumer) push(ctx context.Context, r *kgo.Record) error {
	p := partition{r.Topic, r.Partition}
	if p == c.spine {
		return c.pushEnd(ctx, r)
	}
	box := c.asm.inboxes[p]
	box.fetched = r.Offset + 1
	if r.Attrs.IsControl() || r.Value == nil {
		return nil // a commit marker or a tombstone
	}
	origin, seq, err := topics.Origin(r)
	if err != nil {
		return supervise.Permanent(err)
	}
	switch {
	case string(origin) != string(c.asm.source):
		c.echoes.Add(1) // promise 2: what another region wrote comes by its own topics
	case seq <= c.asm.applied:
		// Read again after a restart or a replay.
	default:
		box.push(record{r, seq})
	}
	return nil
}

func (c *consumer) pushEnd(ctx context.Context, r *kgo.Record) error {
	c.spineFetched = r.Offset + 1
	if r.Attrs.IsControl() {
		return nil
	}
	id, value, err := schemas.ReadHeader(r.Value)
	if err != nil {
		return supervise.Permanent(fmt.Errorf("reading %s@%d: %w", r.Topic, r.Offset, err))
	}
	if !c.endOK[id] {
		if err := c.check(ctx, id); err != nil {
			return err
		}
		c.endOK[id] = true
	}
	c.asm.spine = append(c.asm.spine, ending{offset: r.Offset})
	if err := c.ends.Read(value, &c.asm.spine[len(c.asm.spine)-1].End); err != nil {
		return supervise.Permanent(fmt.Errorf("reading %s@%d: %w", r.Topic, r.Offset, err))
	}
	return nil
}

// pause stops fetching the partitions whose inbox is full; resume undoes it
// once there is room.
func (c *consumer) pause() {
	limit, queued := c.share(), int64(0)
	for p, box := range c.asm.inboxes {
		queued += box.bytes
		if !box.full && box.bytes >= limit {
			box.full = true
			c.client.PauseFetchPartitions(map[string][]int32{p.topic: {p.index}})
		}
	}
	c.queued.Store(queued)
	if !c.spineFull && len(c.asm.spine)-c.asm.head >= spineInbox {
		c.spineFull = true
		c.client.PauseFetchPartitions(map[string][]int32{c.spine.topic: {0}})
	}
}

func (c *consumer) resume() {
	limit, queued := c.share()/2, int64(0)
	for p, box := range c.asm.inboxes {
		queued += box.bytes
		if box.full && box.bytes <= limit {
			box.full = false
			c.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.index}})
		}
	}
	c.queued.Store(queued)
	if c.spineFull && len(c.asm.spine)-c.asm.head <= spineInbox/2 {
		c.spineFull = false
		c.client.ResumeFetchPartitions(map[string][]int32{c.spine.topic: {0}})
	}
}

// share returns the bytes that one inbox may hold.
func (c *consumer) share() int64 {
	n := int64(max(1, len(c.asm.inboxes)))
	return min(max(inboxBytes/n, minInbox), maxInbox)
}

// taken returns, for every partition, the offset after which nothing is done
// yet, as far as assembled.
func (c *consumer) taken() offsets {
	at := make(offsets, len(c.asm.inboxes)+1)
	for p, box := range c.asm.inboxes {
		if box.len() == 0 {
			at[p] = box.fetched
		} else {
			at[p] = box.taken
		}
	}
	at[c.spine] = c.asm.spineTaken
	if c.asm.head == len(c.asm.spine) {
		at[c.spine] = c.spineFetched
	}
	maps.DeleteFunc(at, func(_ partition, o int64) bool { return o == unknownOffset })
	return at
}
