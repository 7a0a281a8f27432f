package spine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"duplex/change"
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

// Consumer reads a region's topics, leaves out what isn't wanted, and fills the
// assembler's inboxes. One goroutine uses it.
type Consumer struct {
	// Client reads; Admin asks the same Kafka.
	Client *kgo.Client
	Admin  *kadm.Client
	// Start is where partitions are read from. One that isn't there is read
	// from its first record.
	Start Offsets
	// Adrift tells of a partition whether what precedes the first transaction
	// that comes out may be passed over in it. If nil, it may in none.
	Adrift func(Partition) bool
	// Pass tells whether a record is to be passed over since another program wrote
	// it. If nil, none is.
	Pass func(*kgo.Record) bool
	// Left counts the changes left out because of their origin, Queued the
	// bytes that wait.
	Left, Queued *atomic.Int64

	spine Partition
	asm   *Assembler
	ends  schemas.EndReader
	endOK map[int]bool // schema ids known to be that of END records
	check func(ctx context.Context, id int) error
	names map[string]change.Region // each origin's name is allocated once

	passed       map[Partition]error // those that no longer have where to go on from
	subscribed   bool                // to the spine
	spineFetched int64
	spineFull    bool
}

// Connect returns a client that reads as a Consumer must, with more options.
func Connect(cfg config.Kafka, more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := topics.Client(cfg)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	client, err := kgo.NewClient(append(append(opts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// The offset after a commit marker must be known, for the group's lag
		// to come down to zero.
		kgo.KeepControlRecords(),
		// A position that retention has passed is an error, never a jump.
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(fetchBytes),
		kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
		kgo.FetchMaxWait(fetchWait),
	), more...)...)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("configuring kafka client: %w", err))
	}
	return client, nil
}

// NewConsumer makes one that reads nothing yet, and asm's inboxes.
func NewConsumer(client *kgo.Client, registry *schemas.Registry, asm *Assembler) *Consumer {
	asm.inboxes = map[Partition]*Inbox{}
	return &Consumer{
		Client: client, Admin: kadm.NewClient(client), Left: new(atomic.Int64), Queued: new(atomic.Int64),
		spine: Partition{topics.Spine(asm.Source), 0}, asm: asm, endOK: map[int]bool{}, names: map[string]change.Region{}, passed: map[Partition]error{},
		check: func(ctx context.Context, id int) error { return CheckEnd(ctx, registry, id) },
	}
}

// CheckEnd refuses a schema id that isn't that of END records.
func CheckEnd(ctx context.Context, registry *schemas.Registry, id int) error {
	text, err := registry.Schema(ctx, id)
	if err != nil {
		return err
	}
	if err := schemas.CheckEndSchema(text); err != nil {
		return supervise.Permanent(err)
	}
	return nil
}

// Spine returns the partition of the END records.
func (c *Consumer) Spine() Partition { return c.spine }

// Discover begins to read the topic of a table that is new to the consumer.
func (c *Consumer) Discover(ctx context.Context, p Partition) error {
	if err := c.Subscribe(ctx, p.Topic); err != nil {
		return err
	}
	if c.asm.inboxes[p] == nil {
		return supervise.Permanent(c.asm.Gap("the spine names %s[%d], which isn't there", p.Topic, p.Index))
	}
	return nil
}

// Accept sorts what was fetched into the inboxes. If it fails, it may be called
// again with the same: what it has sorted already is left alone.
func (c *Consumer) Accept(ctx context.Context, fetches kgo.Fetches) error {
	for _, fe := range fetches.Errors() {
		if err := Failure(c.asm.Source, c.Start, fe); err != nil && !c.breaks(Partition{fe.Topic, fe.Partition}, err) {
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

// breaks notes that a partition can't be read any further, if the error is one
// that stays.
func (c *Consumer) breaks(p Partition, err error) bool {
	var gap *GapError
	box := c.asm.inboxes[p]
	switch {
	case !errors.As(err, &gap):
		return false
	case p == c.spine:
		c.asm.spineBroken = cmp.Or(c.asm.spineBroken, err)
	case box != nil:
		box.broken = cmp.Or(box.broken, err)
	}
	c.Client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Index}}) // or it would give the error again and again
	return true
}

// Failure returns what an error of a fetch of the source's topics means, nil if
// nothing. start is where the partitions are read from.
func Failure(source change.Region, start Offsets, fe kgo.FetchError) error {
	var loss *kgo.ErrDataLoss
	switch {
	case errors.Is(fe.Err, context.Canceled), errors.Is(fe.Err, context.DeadlineExceeded):
		return nil
	case errors.Is(fe.Err, kerr.OffsetOutOfRange):
		p := Partition{fe.Topic, fe.Partition}
		return NoLonger(source, p, start[p])
	case errors.As(fe.Err, &loss):
		return supervise.Permanent(&GapError{source, fmt.Sprintf("%s[%d] lost records that were read: it ended at %d and now ends at %d", fe.Topic, fe.Partition, loss.ConsumedTo, loss.ResetTo)})
	case errors.Is(fe.Err, kerr.UnknownTopicOrPartition), errors.Is(fe.Err, kerr.UnknownTopicID):
		return topicGone(fe.Topic, source, fe.Err)
	case errors.Is(fe.Err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("reading topic %s: %w; mend: allow the user READ and DESCRIBE on the topics of region %s", fe.Topic, fe.Err, source)
	default:
		return fmt.Errorf("reading topic %s[%d]: %w", fe.Topic, fe.Partition, Explain(fe.Err))
	}
}

// Explain marks errors of Kafka that waiting doesn't mend.
func Explain(err error) error {
	if refused, ok := topics.Refused(err); ok {
		return supervise.Permanent(refused)
	}
	return err
}

func (c *Consumer) push(ctx context.Context, r *kgo.Record) error {
	p := Partition{r.Topic, r.Partition}
	if p == c.spine {
		return c.pushEnd(ctx, r)
	}
	box := c.asm.inboxes[p]
	if r.Offset < box.fetched || box.broken != nil {
		return nil // accepted already, or behind what can't be read
	}
	if r.Attrs.IsControl() || r.Value == nil || c.Pass != nil && c.Pass(r) {
		box.fetched = r.Offset + 1
		return nil // a commit marker or a tombstone
	}
	name, seq, err := topics.Origin(r)
	if err != nil {
		box.broken = Unreadable(r, err)
		return nil
	}
	box.fetched = r.Offset + 1
	origin := c.region(name)
	switch {
	case !c.asm.Accept(origin):
		c.Left.Add(1) // promise 2: what another region wrote comes by its own topics
	case origin == c.asm.Source && seq <= c.asm.Applied:
		// Read again after a restart or a replay.
	default:
		box.push(Record{r, origin, seq})
	}
	return nil
}

// region returns the name of an origin, the same string each time.
func (c *Consumer) region(name []byte) change.Region {
	if r, ok := c.names[string(name)]; ok {
		return r
	}
	r := change.Region(name)
	if len(c.names) < 1024 { // whoever writes to the topic must not exhaust us
		c.names[string(r)] = r
	}
	return r
}

func (c *Consumer) pushEnd(ctx context.Context, r *kgo.Record) error {
	if r.Offset < c.spineFetched || c.asm.spineBroken != nil {
		return nil // accepted already, or behind what can't be read
	}
	if r.Attrs.IsControl() || c.Pass != nil && c.Pass(r) {
		c.spineFetched = r.Offset + 1
		return nil
	}
	id, value, err := schemas.ReadHeader(r.Value)
	if err != nil {
		c.asm.spineBroken = Unreadable(r, err)
		return nil
	}
	if !c.endOK[id] {
		err := c.check(ctx, id)
		if supervise.IsPermanent(err) {
			c.asm.spineBroken = Unreadable(r, err)
			return nil
		}
		if err != nil {
			return err
		}
		c.endOK[id] = true
	}
	end := Ending{offset: r.Offset, Cascades: topics.Cascade(r) != nil}
	if end.Yielded, end.MakesRoom, err = topics.YieldedRows(r); err != nil {
		c.asm.spineBroken = Unreadable(r, err)
		return nil
	}
	if err := c.ends.Read(value, &end.End); err != nil {
		c.asm.spineBroken = Unreadable(r, err)
		return nil
	}
	if c.asm.Task != "" {
		end.Stamp.Seen = end.Stamp.Seen.In(c.asm.Task)
	}
	c.spineFetched = r.Offset + 1
	c.asm.spine = append(c.asm.spine, end)
	return nil
}

// pause stops fetching the partitions whose inbox is full; Resume undoes it.
func (c *Consumer) pause() {
	limit, queued := c.share(), int64(0)
	for p, box := range c.asm.inboxes {
		queued += box.bytes
		if !box.full && box.bytes >= limit {
			box.full = true
			c.Client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Index}})
		}
	}
	c.Queued.Store(queued)
	if !c.spineFull && len(c.asm.spine)-c.asm.head >= spineInbox {
		c.spineFull = true
		c.Client.PauseFetchPartitions(map[string][]int32{c.spine.Topic: {0}})
	}
}

// Resume fetches again what was full and has room now.
func (c *Consumer) Resume() {
	limit, queued := c.share()/2, int64(0)
	for p, box := range c.asm.inboxes {
		queued += box.bytes
		if box.full && box.broken == nil && box.bytes <= limit {
			box.full = false
			c.Client.ResumeFetchPartitions(map[string][]int32{p.Topic: {p.Index}})
		}
	}
	c.Queued.Store(queued)
	if c.spineFull && len(c.asm.spine)-c.asm.head <= spineInbox/2 {
		c.spineFull = false
		c.Client.ResumeFetchPartitions(map[string][]int32{c.spine.Topic: {0}})
	}
}

// share returns the bytes that one inbox may hold.
func (c *Consumer) share() int64 {
	n := int64(max(1, len(c.asm.inboxes)))
	return min(max(inboxBytes/n, minInbox), maxInbox)
}

// Taken returns, for every partition, the offset after which nothing is done
// yet, as far as assembled.
func (c *Consumer) Taken() Offsets {
	at := make(Offsets, len(c.asm.inboxes)+1)
	for p, box := range c.asm.inboxes {
		if box.Len() == 0 {
			at[p] = box.fetched
		} else {
			at[p] = box.taken
		}
	}
	at[c.spine] = c.asm.spineTaken
	if c.asm.head == len(c.asm.spine) {
		at[c.spine] = c.spineFetched
	}
	maps.DeleteFunc(at, func(_ Partition, o int64) bool { return o == unknownOffset })
	return at
}
