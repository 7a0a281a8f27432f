package spine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"duplex/change"
	"duplex/internal/failpoint"
	"duplex/supervise"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Offsets are positions in partitions: the offset to read next.
type Offsets map[Partition]int64

// Committer saves in a consumer group how far it has read, for the next start
// and for who watches the lag. It is also how an operator asks for a replay, so
// a committed offset that somebody else has changed is an error.
type Committer struct {
	Admin  *kadm.Client
	Group  string
	Source change.Region
	Spine  Partition

	// Moved are the partitions whose offsets, as Load found them, were committed by
	// somebody else: Kafka's own tool leaves no note.
	Moved []Partition

	mu    sync.Mutex // one save at a time: another's commit would look like a reset
	saved Offsets    // as committed by us, or found at the start
	noted string     // the note of the spine's
}

// ResetError says that somebody has reset the group's offsets.
type ResetError struct{ Group string }

// Error tells which group.
func (e *ResetError) Error() string {
	return fmt.Sprintf("the offsets of consumer group %s were reset from outside: going on from there", e.Group)
}

// Load reads where the group stands, and what was saved with that as note. The
// note is empty if an operator has reset the offsets.
func (c *Committer) Load(ctx context.Context) (at Offsets, note string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, c.Moved, note, err = c.find(ctx); err == nil {
		c.saved, c.noted = maps.Clone(at), note
	}
	return at, note, err
}

func (c *Committer) find(ctx context.Context) (at Offsets, moved []Partition, note string, err error) {
	found, err := c.Admin.FetchOffsets(ctx, c.Group)
	if err == nil {
		err = found.Error()
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil, "", fmt.Errorf("reading offsets of group %s: %w", c.Group, Explain(err))
	}
	at = Offsets{}
	for topic, partitions := range found {
		for index, o := range partitions {
			p := Partition{topic, index}
			if o.At < 0 {
				continue
			}
			at[p] = o.At
			if o.Metadata == "" {
				moved = append(moved, p)
			}
			if p == c.Spine {
				note = o.Metadata
			}
		}
	}
	return at, moved, note, nil
}

// Save commits what differs from what is saved, unless somebody else has
// committed meanwhile. The note, which must not be empty, goes with each offset; that of
// the spine's is the one that Load gives.
func (c *Committer) Save(ctx context.Context, now Offsets, note string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	found, moved, _, err := c.find(ctx)
	if err != nil {
		return err
	}
	for p, at := range found {
		if saved, ok := c.saved[p]; ok && saved != at {
			return &ResetError{c.Group}
		}
	}
	if err := c.lookFor(ctx, c.vanished(found)); err != nil {
		return err
	}
	commit := kadm.Offsets{}
	for p, at := range now {
		if saved, ok := c.saved[p]; ok && saved == at && (p != c.Spine || note == c.noted) && !slices.Contains(moved, p) {
			continue
		}
		commit.Add(kadm.Offset{Topic: p.Topic, Partition: p.Index, At: at, LeaderEpoch: -1, Metadata: note})
	}
	if len(commit) == 0 {
		return nil
	}
	if err := c.commit(ctx, commit); err != nil {
		return err
	}
	if _, ok := now[c.Spine]; ok {
		c.noted = note
	}
	return nil
}

// commit commits offsets and notes those that Kafka took: of several
// partitions it may refuse some.
func (c *Committer) commit(ctx context.Context, commit kadm.Offsets) error {
	answers, err := c.Admin.CommitOffsets(ctx, c.Group, commit)
	if err != nil {
		return fmt.Errorf("committing offsets of group %s: %w", c.Group, Explain(err))
	}
	failpoint.Hit("apply.offsets")
	var doubtful []string
	for topic, partitions := range answers {
		for index, o := range partitions {
			switch {
			case o.Err == nil:
				c.saved[Partition{topic, index}] = o.At
				continue
			case errors.Is(o.Err, kerr.UnknownTopicOrPartition):
				doubtful = append(doubtful, topic)
			}
			err = errors.Join(err, fmt.Errorf("committing the offset of %s[%d] in group %s: %w", topic, index, c.Group, o.Err))
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
func (c *Committer) vanished(found Offsets) (names []string) {
	for p := range c.saved {
		if _, ok := found[p]; !ok {
			names = append(names, p.Topic)
			delete(c.saved, p)
		}
	}
	return names
}

// lookFor fails for good if one of the topics was deleted.
func (c *Committer) lookFor(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	listed, err := c.Admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("looking for topics: %w", Explain(err))
	}
	for _, d := range listed {
		if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			return topicGone(d.Topic, c.Source, d.Err)
		}
	}
	return nil
}

// topicGone is what is to be said of a topic that was deleted.
func topicGone(topic string, source change.Region, err error) error {
	return supervise.Permanent(fmt.Errorf("topic %s is gone: %w; mend: restart the capture of region %s, which makes it anew, and copy the tables whose changes it held", topic, err, source))
}
