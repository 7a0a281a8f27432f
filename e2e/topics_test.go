package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"duplex/change"
	"duplex/schemas"
	"duplex/topics"
)

// history is what a region's topics hold, as a reader of committed records
// sees it.
type history struct {
	ends []schemas.End // without canaries
	// counts are the changes by topic, partition, origin and number of the
	// transaction.
	counts map[place]int64
}

type place struct {
	topic     string
	partition int32
	origin    change.Region
	seq       change.Seq
}

// auditTopics proves that the topics of a region hold each transaction of its
// binlog exactly once, whole, and in order (promises 1, 3 and 5). Capture may
// still be at work on the last ones.
func auditTopics(p *pair, s *side, a audited) {
	p.t.Helper()
	var h *history
	eventually(p.t, stallLimit, func() error {
		var err error
		if h, err = readTopics(p, s); err != nil {
			return err
		}
		if len(h.ends) < len(a.Published) {
			return fmt.Errorf("%s has %d transactions and its topics %d", s.region, len(a.Published), len(h.ends))
		}
		return nil
	})
	if err := h.check(change.Region(s.region), a.Published); err != nil {
		p.t.Errorf("the topics of %s: %v", s.region, err)
	}
}

// check compares the topics with the binlog.
func (h *history) check(own change.Region, want []published) error {
	var wrong []error
	if len(h.ends) != len(want) {
		wrong = append(wrong, fmt.Errorf("they have %d transactions, the binlog %d", len(h.ends), len(want)))
	}
	var seq change.Seq
	var hlc change.HLC
	// What apply wrote with ordering key has one number in all its transactions.
	said := map[place]int64{}
	for i := range h.ends {
		end := &h.ends[i]
		if i < len(want) && (end.ID != want[i].gtid || end.Events != want[i].changes) {
			wrong = append(wrong, fmt.Errorf("END %d is of %s with %d changes, the binlog has %s with %d there", i, end.ID, end.Events, want[i].gtid, want[i].changes))
		}
		if end.Stamp.Origin == own {
			if end.Stamp.Seq != seq+1 || end.Stamp.HLC <= hlc {
				wrong = append(wrong, fmt.Errorf("%s has seq %d and hlc %d after %d and %d", end.ID, end.Stamp.Seq, end.Stamp.HLC, seq, hlc))
			}
			seq, hlc = end.Stamp.Seq, end.Stamp.HLC
		}
		for _, c := range end.Partitions {
			said[place{c.Topic, c.Partition, end.Stamp.Origin, end.Stamp.Seq}] += c.Count
		}
	}
	for at, n := range said {
		if h.counts[at] != n {
			wrong = append(wrong, fmt.Errorf("transaction %d of %s has %d changes in %s[%d], its END record says %d", at.seq, at.origin, h.counts[at], at.topic, at.partition, n))
		}
		delete(h.counts, at)
	}
	for at, n := range h.counts {
		wrong = append(wrong, fmt.Errorf("%d changes in %s[%d] are of transaction %d of %s, which has no END record that names them", n, at.topic, at.partition, at.seq, at.origin))
	}
	return errors.Join(wrong[:min(len(wrong), 10)]...)
}

// readTopics reads all topics of a region from their start to their end.
func readTopics(p *pair, s *side) (*history, error) {
	h := &history{counts: map[place]int64{}}
	return h, readRecords(p, s.region+".", h.add)
}

// readRecords gives each all committed records of the topics whose names begin so.
func readRecords(p *pair, prefix string, each func(*kgo.Record) error) error {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Brokers()...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer client.Close()
	left, err := ends(ctx, client, prefix)
	if err != nil {
		return err
	}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			at := topicPartition{r.Topic, r.Partition}
			end, ok := left[at]
			if ok && r.Offset < end {
				failed = errors.Join(failed, each(r))
			}
			if ok && r.Offset >= end-1 {
				delete(left, at)
			}
		})
		if failed != nil {
			return failed
		}
	}
	return nil
}

type topicPartition struct {
	topic     string
	partition int32
}

// ends makes the client read all topics whose names begin so, and returns the
// ends of those partitions that hold anything.
func ends(ctx context.Context, client *kgo.Client, prefix string) (map[topicPartition]int64, error) {
	admin := kadm.NewClient(client)
	all, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range all.Names() {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no topic begins with %s", prefix)
	}
	found, err := admin.ListCommittedOffsets(ctx, names...)
	if err == nil {
		err = found.Error()
	}
	if err != nil {
		return nil, err
	}
	left, from := map[topicPartition]int64{}, map[string]map[int32]kgo.Offset{}
	found.Each(func(o kadm.ListedOffset) {
		if o.Offset == 0 {
			return
		}
		left[topicPartition{o.Topic, o.Partition}] = o.Offset
		if from[o.Topic] == nil {
			from[o.Topic] = map[int32]kgo.Offset{}
		}
		from[o.Topic][o.Partition] = kgo.NewOffset().At(0)
	})
	client.AddConsumePartitions(from)
	return left, nil
}

func (h *history) add(r *kgo.Record) error {
	if r.Attrs.IsControl() || r.Value == nil {
		return nil // a commit marker or a tombstone
	}
	if !strings.HasSuffix(r.Topic, ".transaction") {
		origin, seq, err := topics.Origin(r)
		if err != nil {
			return err
		}
		h.counts[place{r.Topic, r.Partition, change.Region(origin), seq}]++
		return nil
	}
	_, value, err := schemas.ReadHeader(r.Value)
	if err != nil {
		return err
	}
	var end schemas.End
	if err := schemas.ReadEnd(value, &end); err != nil {
		return err
	}
	if end.Canary == "" {
		h.ends = append(h.ends, end)
	}
	return nil
}
