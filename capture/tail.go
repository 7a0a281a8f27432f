package capture

import (
	"context"
	"fmt"
	"time"

	"duplex/config"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// tail looks for something near the end of a topic of one partition.
//
// It doesn't leave it to Kafka to hide what isn't committed: Kafka hides all
// that follows the oldest open transaction, and the regions share the positions
// topic. While another region's transaction is open, a capture would find an
// old position of its own, and publish everything after it again (promise 3).
// So it reads all, and passes on the records of a transaction when its commit
// marker comes.
type tail struct {
	topic  string
	client *kgo.Client
	admin  *kadm.Client
}

func openTail(cfg config.Kafka, topic string) (*tail, error) {
	opts, err := topics.Client(cfg)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	client, err := kgo.NewClient(append(opts, kgo.FetchIsolationLevel(kgo.ReadUncommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("configuring kafka client: %w", err))
	}
	return &tail{topic, client, kadm.NewClient(client)}, nil
}

func (t *tail) close() { t.client.Close() }

// read visits the last committed records, oldest first, and then again more of
// them, until found or all were visited. It returns the topic's first offset:
// more than 0 if something was removed.
func (t *tail) read(ctx context.Context, visit func(*kgo.Record), found func() bool) (start int64, err error) {
	start, end, err := t.bounds(ctx)
	if err != nil {
		return 0, err
	}
	for back := int64(1000); ; back *= 100 {
		from := max(start, end-back)
		if err := t.visit(ctx, from, end, visit); err != nil {
			return 0, err
		}
		if found() || from == start {
			return start, nil
		}
	}
}

// bounds returns the topic's first offset and the one after its last.
func (t *tail) bounds(ctx context.Context) (start, end int64, err error) {
	starts, err := t.admin.ListStartOffsets(ctx, t.topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading offsets of topic %s: %w", t.topic, err)
	}
	ends, err := t.admin.ListEndOffsets(ctx, t.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading offsets of topic %s: %w", t.topic, err)
	}
	first, _ := starts.Lookup(t.topic, 0)
	last, _ := ends.Lookup(t.topic, 0)
	return first.Offset, last.Offset, nil
}

// visit visits the records between two offsets that are committed before the
// second, those of one producer in their order.
func (t *tail) visit(ctx context.Context, from, end int64, visit func(*kgo.Record)) error {
	if from >= end {
		return nil
	}
	t.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.topic: {0: kgo.NewOffset().At(from)}})
	defer t.client.RemoveConsumePartitions(map[string][]int32{t.topic: {0}})
	open := map[int64][]*kgo.Record{} // by producer
	for next := from; next < end; {
		fetches := t.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading topic %s: %w", t.topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			switch {
			case r.Offset >= end:
			case r.Attrs.IsControl():
				if isCommit(r) {
					for _, committed := range open[r.ProducerID] {
						visit(committed)
					}
				}
				delete(open, r.ProducerID)
			case r.Attrs.IsTransactional():
				open[r.ProducerID] = append(open[r.ProducerID], r)
			default:
				visit(r)
			}
		})
	}
	return nil
}

// isCommit tells a commit marker from an abort marker.
func isCommit(marker *kgo.Record) bool {
	var key kmsg.ControlRecordKey
	return key.ReadFrom(marker.Key) == nil && key.Type == kmsg.ControlRecordKeyTypeCommit
}
