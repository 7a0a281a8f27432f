package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"duplex/change"
	"duplex/internal/failpoint"

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
	admin *kadm.Client
	group string
	spine partition

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
	if err := c.admin.CommitAllOffsets(ctx, c.group, commit); err != nil {
		return fmt.Errorf("committing offsets of group %s: %w", c.group, err)
	}
	failpoint.Hit("apply.offsets")
	maps.Copy(c.saved, now.offsets)
	return nil
}
