package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/change"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ChangeReader reads single changes: in order for each key, and not by
// transactions. Any number of them may share a consumer group; each then gets
// some of the partitions. One goroutine may use each.
type ChangeReader struct {
	cfg     Config
	client  *kgo.Client
	admin   *kadm.Client
	decoder *Decoder
	wanted  func(topic string) bool
	accept  func(change.Region) bool
	reading map[string]bool // topics
	looked  time.Time       // when new topics were last looked for
	fetched []*kgo.Record   // not yet returned
	last    map[spine.Partition]*kgo.Record
	left    int64
	failed  error
}

// lookEvery is how often topics of new tables are looked for.
const lookEvery = 5 * time.Second

// OpenChanges joins the consumer group, which Config must name, and begins to
// read. Close must be called at the end.
func OpenChanges(ctx context.Context, cfg Config) (*ChangeReader, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Group == "" {
		return nil, &ConfigError{errors.New("field Group is empty; mend: name the consumer group that keeps the position")}
	}
	registry, err := schemas.NewRegistry(cfg.Registry.config())
	if err != nil {
		return nil, &ConfigError{err}
	}
	opts, err := topics.Client(cfg.kafka())
	if err != nil {
		return nil, &ConfigError{err}
	}
	client, err := kgo.NewClient(append(opts,
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeResetOffset(cfg.Start.offset()),
		// Nothing is committed but what Commit marks, and that at once.
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Hour),
		kgo.FetchMaxBytes(8<<20),
		kgo.FetchMaxWait(250*time.Millisecond),
	)...)
	if err != nil {
		return nil, &ConfigError{err}
	}
	r := &ChangeReader{cfg: cfg, client: client, admin: kadm.NewClient(client), decoder: newDecoder(registry),
		accept: cfg.accept(), reading: map[string]bool{}, last: map[spine.Partition]*kgo.Record{}}
	if r.wanted, err = cfg.wanted(); err == nil {
		err = r.look(ctx)
	}
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("opening changes of region %s: %w", cfg.Region, err)
	}
	return r, nil
}

func (s Start) offset() kgo.Offset {
	switch {
	case s.latest:
		return kgo.NewOffset().AtEnd()
	case !s.at.IsZero():
		return kgo.NewOffset().AfterMilli(s.at.UnixMilli())
	default:
		return kgo.NewOffset().AtStart()
	}
}

// Close leaves the group. What was not committed is read again, by whoever
// gets the partition.
func (r *ChangeReader) Close() { r.client.CloseAllowingRebalance() }

// look begins to read the topics of tables that are new.
func (r *ChangeReader) look(ctx context.Context) error {
	r.looked = time.Now()
	found, err := r.admin.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("listing topics: %w", spine.Explain(err))
	}
	for name := range found {
		if r.wanted(name) && !r.reading[name] {
			r.reading[name] = true
			r.client.AddConsumeTopics(name)
		}
	}
	return nil
}

// Next returns the next change. It waits for one until ctx ends, which gives
// ctx's error and does no harm. Kafka being away for a while is no error; any
// other error ends the reading.
func (r *ChangeReader) Next(ctx context.Context) (*Change, error) {
	for r.failed == nil {
		for len(r.fetched) > 0 {
			record := r.fetched[0]
			c, err := r.decode(ctx, record)
			if err != nil {
				return nil, r.fail(ctx, err)
			}
			r.fetched[0], r.fetched = nil, r.fetched[1:]
			r.last[spine.Partition{Topic: record.Topic, Index: record.Partition}] = record
			if c != nil {
				return c, nil
			}
		}
		if err := r.poll(ctx); err != nil {
			return nil, r.fail(ctx, err)
		}
	}
	return nil, r.failed
}

func (r *ChangeReader) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	r.failed = fmt.Errorf("reading changes of region %s: %w", r.cfg.Region, err)
	return r.failed
}

// decode returns the change of a record, nil if it is a tombstone or of an
// origin that isn't wanted.
func (r *ChangeReader) decode(ctx context.Context, record *kgo.Record) (*Change, error) {
	if record.Value == nil {
		return nil, nil
	}
	origin, _, err := topics.Origin(record)
	if err != nil {
		return nil, &RecordError{record.Topic, record.Partition, record.Offset, err}
	}
	if !r.accept(change.Region(origin)) {
		r.left++
		return nil, nil
	}
	return r.decoder.decode(ctx, record)
}

func (r *ChangeReader) poll(ctx context.Context) error {
	if time.Since(r.looked) > lookEvery {
		if err := r.look(ctx); err != nil && supervise.IsPermanent(err) {
			return err
		}
	}
	poll, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	fetches := r.client.PollFetches(poll)
	for _, fe := range fetches.Errors() {
		switch {
		case errors.Is(fe.Err, context.Canceled), errors.Is(fe.Err, context.DeadlineExceeded):
		case errors.Is(fe.Err, kerr.UnknownTopicOrPartition), errors.Is(fe.Err, kerr.UnknownTopicID):
			return fmt.Errorf("topic %s is gone: %w; mend: read the tables anew, and begin a new group", fe.Topic, fe.Err)
		default:
			return fmt.Errorf("reading topic %s[%d]: %w", fe.Topic, fe.Partition, spine.Explain(fe.Err))
		}
	}
	r.fetched = fetches.Records()
	return ctx.Err()
}

// Left returns how many changes were left out because of their origin.
func (r *ChangeReader) Left() int64 { return r.left }

// Commit saves in the consumer group that every change that Next has returned
// is dealt with.
func (r *ChangeReader) Commit(ctx context.Context) error {
	if r.failed != nil {
		return r.failed
	}
	for p, record := range r.last {
		r.client.MarkCommitRecords(record)
		delete(r.last, p)
	}
	if err := r.client.CommitMarkedOffsets(ctx); err != nil {
		return fmt.Errorf("committing the position of group %s: %w", r.cfg.Group, spine.Explain(err))
	}
	return nil
}
