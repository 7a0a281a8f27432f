package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	trimInterval = 5 * time.Minute
	trimTimeout  = 2 * time.Minute
)

// trimmer gives disk back: of each partition it removes records from the front,
// by age and size, and of compacted topics those before the oldest one that is
// still the newest of its key. It never removes the last batch, nor anything of
// an open transaction: a partition that is empty would begin at offset 0 again
// after a restart, and consumers further on would miss what comes then.
type trimmer struct {
	cluster   *kfake.Cluster
	addr      string
	retention time.Duration
	maxBytes  int64
	log       *slog.Logger
	keys      map[string]*keyOffsets // by compacted topic
}

func newTrimmer(cluster *kfake.Cluster, addr string, opts Options) *trimmer {
	return &trimmer{cluster, addr, opts.Retention, opts.MaxBytes, opts.logger(), map[string]*keyOffsets{}}
}

func (t *trimmer) run(ctx context.Context) {
	ticker := time.NewTicker(trimInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := t.trim(ctx); err != nil && ctx.Err() == nil {
			t.log.Warn("embedded broker can't give disk back now and tries again", "error", err, "in", trimInterval)
		}
	}
}

// trim goes over all topics once.
func (t *trimmer) trim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, trimTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(t.addr))
	if err != nil {
		return fmt.Errorf("connecting to embedded broker: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	var problems []error
	for _, topic := range topics.Names() {
		if err := t.trimTopic(ctx, admin, topic); err != nil {
			problems = append(problems, fmt.Errorf("trimming topic %s: %w", topic, err))
		}
	}
	return errors.Join(problems...)
}

func (t *trimmer) trimTopic(ctx context.Context, admin *kadm.Client, topic string) error {
	info := t.cluster.TopicInfo(topic)
	if info == nil {
		return nil // deleted just now
	}
	partitions := t.cluster.PartitionInfos(topic)
	if policy := info.Configs["cleanup.policy"]; policy != nil && strings.Contains(*policy, "compact") {
		return t.trimCompacted(ctx, topic, partitions)
	}
	var old kadm.ListedOffsets
	if t.retention > 0 {
		var err error
		if old, err = admin.ListOffsetsAfterMilli(ctx, time.Now().Add(-t.retention).UnixMilli(), topic); err != nil {
			return fmt.Errorf("looking for old records: %w", err)
		}
	}
	for _, p := range partitions {
		to := p.LogStartOffset
		if o, ok := old.Lookup(topic, p.Partition); ok && o.Err == nil {
			to = max(to, o.Offset)
		}
		if t.maxBytes > 0 && p.NumBytes > t.maxBytes {
			// By the mean size: the rest is found the next time.
			share := float64(p.NumBytes-t.maxBytes) / float64(p.NumBytes)
			to = max(to, p.LogStartOffset+int64(share*float64(p.HighWatermark-p.LogStartOffset)))
		}
		if err := t.removeBefore(topic, p, to); err != nil {
			return err
		}
	}
	return nil
}

func (t *trimmer) trimCompacted(ctx context.Context, topic string, partitions []*kfake.PartitionInfo) error {
	keys := t.keys[topic]
	if keys == nil {
		keys = newKeyOffsets()
		t.keys[topic] = keys
	}
	if err := keys.readUpTo(ctx, t.addr, topic, partitions); err != nil {
		return err
	}
	for _, p := range partitions {
		if err := t.removeBefore(topic, p, keys.oldest(p.Partition)); err != nil {
			return err
		}
	}
	return nil
}

func (t *trimmer) removeBefore(topic string, p *kfake.PartitionInfo, offset int64) error {
	offset = min(offset, p.LastStableOffset, p.HighWatermark-1)
	if offset <= p.LogStartOffset {
		return nil
	}
	return t.cluster.DeleteRecords(topic, p.Partition, offset)
}

// keyOffsets knows of a compacted topic where the newest record of each key is.
type keyOffsets struct {
	next   map[int32]int64            // by partition: the offset to read on from
	newest map[int32]map[string]int64 // by partition and key; deleted keys are absent
}

func newKeyOffsets() *keyOffsets {
	return &keyOffsets{map[int32]int64{}, map[int32]map[string]int64{}}
}

// oldest returns the offset of the first record that is still the newest of its
// key, and the end of what was read if there is none.
func (k *keyOffsets) oldest(partition int32) int64 {
	oldest := k.next[partition]
	for _, offset := range k.newest[partition] {
		oldest = min(oldest, offset)
	}
	return oldest
}

// readUpTo reads the committed records that the partitions hold by now.
func (k *keyOffsets) readUpTo(ctx context.Context, addr, topic string, partitions []*kfake.PartitionInfo) error {
	starts, ends := map[int32]kgo.Offset{}, map[int32]int64{}
	for _, p := range partitions {
		k.next[p.Partition] = max(k.next[p.Partition], p.LogStartOffset)
		if k.next[p.Partition] < p.LastStableOffset {
			starts[p.Partition] = kgo.NewOffset().At(k.next[p.Partition])
			ends[p.Partition] = p.LastStableOffset
		}
	}
	if len(ends) == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return fmt.Errorf("connecting to embedded broker: %w", err)
	}
	defer client.Close()
	for len(ends) > 0 {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return fmt.Errorf("reading keys: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			k.see(r)
			if end, ok := ends[r.Partition]; ok && k.next[r.Partition] >= end {
				delete(ends, r.Partition)
			}
		})
	}
	return nil
}

func (k *keyOffsets) see(r *kgo.Record) {
	k.next[r.Partition] = r.Offset + 1
	switch {
	case r.Attrs.IsControl():
	case r.Value == nil:
		delete(k.newest[r.Partition], string(r.Key))
	default:
		if k.newest[r.Partition] == nil {
			k.newest[r.Partition] = map[string]int64{}
		}
		k.newest[r.Partition][string(r.Key)] = r.Offset
	}
}
