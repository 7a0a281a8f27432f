package apply

import (
	"context"
	"fmt"
	"time"

	"duplex/internal/failpoint"
	"duplex/spine"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// note is what the consumer group has of a partition: an offset, and, as
// metadata, up to where the target had it applied then. Between the two there
// was nothing for the task. A reset by an operator leaves no metadata.
type note struct {
	at, written int64
	known       bool // written is
}

const noteForm = "written %d"

func noteOf(at int64, metadata string) note {
	n := note{at: at}
	_, err := fmt.Sscanf(metadata, noteForm, &n.written)
	n.known = err == nil
	return n
}

// fetchedNotes reads the metadata of the offsets that the group has.
func (s *share) fetchedNotes(_ context.Context, _ *kgo.Client, response *kmsg.OffsetFetchResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.notes)
	for _, group := range response.Groups {
		for _, topic := range group.Topics {
			for _, p := range topic.Partitions {
				metadata := ""
				if p.Metadata != nil {
					metadata = *p.Metadata
				}
				s.notes[spine.Partition{Topic: topic.Topic, Index: p.Partition}] = noteOf(p.Offset, metadata)
			}
		}
	}
	return nil
}

// save commits how far the partitions are done with, for the next start and for
// who watches the lag.
func (s *share) save(ctx, work context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-work.Done():
			return context.Cause(work)
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(work, 10*time.Second)
		err := s.commit(limited, s.owned())
		cancel()
		if err != nil && work.Err() == nil {
			// They are a hint; that Kafka can't be reached discover shows, and
			// after a rebalance others commit.
			s.st.cfg.Log.Debug("offsets not committed", "error", err)
		}
	}
}

// commit commits the offsets of partitions that have moved.
func (s *share) commit(ctx context.Context, tenures []*tenure) error {
	now, offsets := map[spine.Partition]note{}, map[string]map[int32]kgo.EpochOffset{}
	for _, t := range tenures {
		at, written := t.lane.offset(t)
		n := note{at, written, true}
		s.mu.Lock()
		same := s.committed[t.partition] == n
		s.mu.Unlock()
		if same {
			continue
		}
		now[t.partition] = n
		if offsets[t.partition.Topic] == nil {
			offsets[t.partition.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[t.partition.Topic][t.partition.Index] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	if len(now) == 0 {
		return nil
	}
	ctx = kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		for i := range request.Topics {
			topic := &request.Topics[i]
			for j := range topic.Partitions {
				p := &topic.Partitions[j]
				p.Metadata = kmsg.StringPtr(fmt.Sprintf(noteForm, now[spine.Partition{Topic: topic.Topic, Index: p.Partition}].written))
			}
		}
		return nil
	})
	var failed error
	s.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		failed = s.noteCommitted(now, answer, err)
	})
	return failed
}

// noteCommitted notes what Kafka took of a commit.
func (s *share) noteCommitted(now map[spine.Partition]note, answer *kmsg.OffsetCommitResponse, err error) error {
	if err != nil {
		return fmt.Errorf("committing offsets of group %s: %w", s.group(), err)
	}
	failpoint.Hit("apply.offsets")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, topic := range answer.Topics {
		for _, p := range topic.Partitions {
			at := spine.Partition{Topic: topic.Topic, Index: p.Partition}
			if refused := kerr.ErrorForCode(p.ErrorCode); refused != nil {
				err = fmt.Errorf("committing the offset of %s[%d] in group %s: %w", at.Topic, at.Index, s.group(), refused)
				continue
			}
			if _, ours := s.tenures[at]; ours {
				s.committed[at] = now[at]
			}
		}
	}
	return err
}
