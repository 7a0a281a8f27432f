package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"duplex/change"
	"duplex/internal/failpoint"
	"duplex/supervise"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// offsets are positions in partitions: the offset to read next.
type offsets map[partition]int64

// checkpoint is what is saved in Kafka: how far each partition is read, and, as
// metadata of the spine's, what that means.
type checkpoint struct {
	offsets offsets
	// seq is the last transaction of the source that is done with; written the
	// last that is in the target's duplex.progress. What lies between had
	// nothing for this task.
	seq, written change.Seq
}

// committer saves in Kafka how far the group has read. It is a hint for the
// next start and for who watches the lag: the truth is in duplex.progress. But
// it is also how an operator asks for a replay, so a committed offset that
// somebody else has changed ends the session, which then starts from there.
type committer struct {
	admin  *kadm.Client
	group  string
	source change.Region
	spine  partition

	mu    sync.Mutex // one save at a time: another's commit would look like a reset
	saved offsets    // as committed by us, or found at the start
}

// metadata is the form of the spine's: seq and written.
const metadata = "done %d written %d"

// ResetError says that somebody has reset the group's offsets.
type ResetError struct{ Group string }

// Error tells which group.
func (e *ResetError) Error() string {
	return fmt.Sprintf("the offsets of consumer group %s were reset from outside: reading again from there", e.Group)
}

// load reads the group's offsets. seq and written are 0 if the operator has
// reset them, which leaves no metadata.
func (c *committer) load(ctx context.Context) (checkpoint, error) {
	found, err := c.admin.FetchOffsets(ctx, c.group)
	if err == nil {
		err = found.Error()
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return checkpoint{}, fmt.Errorf("reading offsets of group %s: %w", c.group, explain(err))
	}
	at := checkpoint{offsets: offsets{}}
	for topic, partitions := range found {
		for index, o := range partitions {
			p := partition{topic, index}
			if o.At >= 0 {
				at.offsets[p] = o.At
			}
			if p == c.spine {
				_, _ = fmt.Sscanf(o.Metadata, metadata, &at.seq, &at.written) // a hint, like the offsets
			}
		}
	}
	return at, nil
}

// save commits what differs from what is saved, unless somebody else has
// committed meanwhile.
func (c *committer) save(ctx context.Context, now checkpoint) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	found, err := c.load(ctx)
	if err != nil {
		return err
	}
	for p, at := range found.offsets {
		if saved, ok := c.saved[p]; ok && saved != at {
			return &ResetError{c.group}
		}
	}
	if err := c.lookFor(ctx, c.vanished(found.offsets)); err != nil {
		return err
	}
	commit := kadm.Offsets{}
	for p, at := range now.offsets {
		if saved, ok := c.saved[p]; ok && saved == at {
			continue
		}
		o := kadm.Offset{Topic: p.topic, Partition: p.index, At: at, LeaderEpoch: -1}
		if p == c.spine {
			o.Metadata = fmt.Sprintf(metadata, now.seq, now.written)
		}
		commit.Add(o)
	}
	if len(commit) == 0 {
		return nil
	}
	return c.commit(ctx, commit)
}

// commit commits offsets and notes those that Kafka took: of several
// partitions it may refuse some.
func (c *committer) commit(ctx context.Context, commit kadm.Offsets) error {
	answers, err := c.admin.CommitOffsets(ctx, c.group, commit)
	if err != nil {
		return fmt.Errorf("committing offsets of group %s: %w", c.group, explain(err))
	}
	failpoint.Hit("apply.offsets")
	var doubtful []string
	for topic, partitions := range answers {
		for index, o := range partitions {
			switch {
			case o.Err == nil:
				c.saved[partition{topic, index}] = o.At
				continue
			case errors.Is(o.Err, kerr.UnknownTopicOrPartition):
				doubtful = append(doubtful, topic)
			}
			err = errors.Join(err, fmt.Errorf("committing the offset of %s[%d] in group %s: %w", topic, index, c.group, o.Err))
		}
	}
	if gone := c.lookFor(ctx, doubtful); gone != nil {
		return gone
	}
	return err
}

// vanished returns the topics whose committed offsets are no longer there.
// Kafka drops them with a topic that is deleted, while its client goes on
// waiting for the topic without a word. It also drops those of a partition in
// which nothing moved for days: they are committed again.
func (c *committer) vanished(found offsets) (names []string) {
	for p := range c.saved {
		if _, ok := found[p]; !ok {
			names = append(names, p.topic)
			delete(c.saved, p)
		}
	}
	return names
}

// lookFor fails for good if one of the topics was deleted.
func (c *committer) lookFor(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	listed, err := c.admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("looking for topics: %w", explain(err))
	}
	for _, d := range listed {
		if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			return topicGone(d.Topic, c.source, d.Err)
		}
	}
	return nil
}

// topicGone is what is to be said of a topic that was deleted.
func topicGone(topic string, source change.Region, err error) error {
	return supervise.Permanent(fmt.Errorf("topic %s is gone: %w; mend: restart the capture of region %s, which makes it anew, and copy the tables whose changes it held", topic, err, source))
}
