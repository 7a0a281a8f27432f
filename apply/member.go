package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"duplex/spine"
	"duplex/supervise"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// join becomes a member of the group. It has no topics yet: discover adds them.
func (s *share) join() error {
	kafka, _ := s.st.cfg.source()
	var err error
	s.client, err = spine.Connect(kafka,
		kgo.ConsumerGroup(s.group()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(memberSilence), kgo.HeartbeatInterval(memberBeat),
		kgo.DisableAutoCommit(),
		// What is read of a partition is in its lane before another tenure of it
		// begins.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnOffsetsFetched(s.fetchedNotes),
		kgo.AdjustFetchOffsetsFn(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
	)
	return err
}

// leave leaves the group, so that the others have its partitions at once.
func (s *share) leave() { s.client.CloseAllowingRebalance() }

func (s *share) pause(p spine.Partition) {
	s.client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Index}})
}

func (s *share) resume(p spine.Partition) {
	s.client.ResumeFetchPartitions(map[string][]int32{p.Topic: {p.Index}})
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// assigned begins the tenures of partitions that were assigned and tells where to
// read them from.
func (s *share) assigned(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	err := s.assign(ctx, offsets)
	if err != nil && ctx.Err() == nil {
		s.fail(err)
	}
	return offsets, err
}

// fail ends the session from within a callback.
func (s *share) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

func (s *share) assign(ctx context.Context, offsets map[string]map[int32]kgo.Offset) error {
	names := make([]string, 0, len(offsets))
	for topic := range offsets {
		names = append(names, topic)
	}
	if len(names) == 0 {
		return nil
	}
	found, err := s.admin.ListTopics(ctx, names...)
	if err == nil {
		err = found.Error()
	}
	if err != nil {
		return fmt.Errorf("looking for assigned topics: %w", spine.Explain(err))
	}
	starts, err := s.admin.ListStartOffsets(ctx, names...)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fmt.Errorf("reading where assigned topics begin: %w", spine.Explain(err))
	}
	for topic, parts := range offsets {
		indexes := make([]int32, 0, len(parts))
		for index := range parts {
			indexes = append(indexes, index)
		}
		standings, err := s.claim(ctx, found[topic], indexes)
		if err != nil {
			return err
		}
		for index, standing := range standings {
			t := s.begin(ctx, spine.Partition{Topic: topic, Index: index}, standing)
			if t.from < starts[topic][index].Offset {
				// Not all ways by which the client begins to read say so.
				return s.withMend(spine.NoLonger(s.st.cfg.Source, t.partition, t.from), t.partition)
			}
			parts[index] = kgo.NewOffset().At(t.from)
		}
	}
	return nil
}

// begin begins the tenure of a partition. The truth is its standing; the group's
// offset says how far there was nothing for the task after it.
func (s *share) begin(ctx context.Context, p spine.Partition, standing standing) *tenure {
	s.end(ctx, p)
	t := &tenure{partition: p, standing: standing, from: standing.next, seq: standing.seq, hlc: standing.hlc, schema: standing.keySchema}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.notes[p]
	switch {
	case ok && n.known && n.written == standing.next:
		t.from = max(n.at, standing.next)
	case ok && !n.known && n.at > standing.next:
		t.forward = n.at
	case ok && n.known && n.written > standing.next:
		s.st.cfg.Log.Warn("the target went back", "topic", p.Topic, "partition", p.Index, "had", n.written, "has", standing.next)
	}
	t.fetched = t.from
	t.lane = slices.MinFunc(s.lanes, func(a, b *lane) int { return a.count() - b.count() })
	t.lane.admit(t)
	s.tenures[p] = t
	s.st.partitions.Store(int64(len(s.tenures)))
	return t
}

// end ends the tenure of a partition, if there is one. It waits for the batch
// that is being written, but no longer than ctx.
func (s *share) end(ctx context.Context, p spine.Partition) {
	s.mu.Lock()
	t := s.tenures[p]
	delete(s.tenures, p)
	delete(s.committed, p)
	s.st.partitions.Store(int64(len(s.tenures)))
	s.mu.Unlock()
	if t != nil {
		t.lane.dismiss(ctx, t)
	}
}

// revoked gives partitions back: what is being written of them is finished, so
// that their next owner finds the rows free and the group's offsets at the right
// place.
func (s *share) revoked(ctx context.Context, _ *kgo.Client, partitions map[string][]int32) {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	given := s.tenuresOf(partitions)
	for _, t := range given {
		s.end(ctx, t.partition)
	}
	if err := s.commit(ctx, given); err != nil && ctx.Err() == nil {
		s.st.cfg.Log.Info("offsets of partitions given back were not committed", "error", err) // a hint: the next owner reads duplex.offsets
	}
}

// lost drops partitions that are no longer ours: another process may have them.
func (s *share) lost(ctx context.Context, _ *kgo.Client, partitions map[string][]int32) {
	ctx, cancel := context.WithCancel(ctx)
	cancel() // nothing is waited for
	for _, t := range s.tenuresOf(partitions) {
		s.end(ctx, t.partition)
	}
}

func (s *share) tenuresOf(partitions map[string][]int32) (found []*tenure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, parts := range partitions {
		for _, index := range parts {
			if t, ok := s.tenures[spine.Partition{Topic: topic, Index: index}]; ok {
				found = append(found, t)
			}
		}
	}
	return found
}

// owned returns all tenures.
func (s *share) owned() (all []*tenure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tenures {
		all = append(all, t)
	}
	return all
}

// read hands what Kafka gives to the lanes.
func (s *share) read(ctx, work context.Context) error {
	polling, stop := context.WithCancel(work)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	for {
		for s.bytes.Load() >= shareBytes && polling.Err() == nil {
			select {
			case <-polling.Done():
			case <-s.freed:
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		fetches := s.client.PollFetches(polling)
		err := s.accept(fetches)
		s.client.AllowRebalance()
		clear(fetches) // or a row of 64 MiB would stay in memory until the next poll
		switch {
		case work.Err() != nil:
			return context.Cause(work)
		case err != nil:
			return err
		}
	}
}

func (s *share) accept(fetches kgo.Fetches) error {
	for _, fe := range fetches.Errors() {
		t, _ := s.tenure(fe.Topic, fe.Partition)
		start := spine.Offsets{}
		if t != nil {
			start[t.partition], _ = t.lane.offset(t)
		}
		if err := spine.Failure(s.source, start, fe); err != nil {
			return s.withMend(err, spine.Partition{Topic: fe.Topic, Index: fe.Partition})
		}
	}
	var failed error
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		t, ok := s.tenure(p.Topic, p.Partition)
		if !ok || failed != nil || len(p.Records) == 0 {
			return
		}
		var records []keyed
		var next int64
		if records, next, failed = s.sift(t, p.Records); failed == nil {
			t.lane.put(piece{t, records, next})
		}
	})
	return failed
}

// withMend says how duplex.offsets is brought forward where the records to go on
// from are gone.
func (s *share) withMend(err error, p spine.Partition) error {
	var gap *spine.GapError
	if !errors.As(err, &gap) {
		return err
	}
	return supervise.Permanent(fmt.Errorf("%w; then, while no apply of the task runs, in this region's database: UPDATE duplex.offsets SET next_offset = <the first offset of %s[%d]> WHERE task = '%s' AND origin = '%s' AND topic = '%[2]s' AND part = %[3]d",
		err, p.Topic, p.Index, s.progress.task, s.source))
}

func (s *share) tenure(topic string, index int32) (*tenure, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tenures[spine.Partition{Topic: topic, Index: index}]
	return t, ok
}

// discover adds the topics of the task to the subscription as they come.
func (s *share) discover(ctx, work context.Context) error {
	tick := time.NewTicker(discoverEvery)
	defer tick.Stop()
	known, unreachable := map[string]bool{}, false
	for {
		found, err := s.admin.ListTopics(work)
		switch {
		case err != nil && work.Err() == nil:
			if refused := spine.Explain(err); supervise.IsPermanent(refused) {
				return refused
			}
			unreachable = true
			s.st.service.Enter(supervise.Retrying, fmt.Errorf("listing topics: %w", err))
		case err == nil && unreachable:
			unreachable = false
			s.st.service.Enter(supervise.Streaming, nil)
		}
		s.client.AddConsumeTopics(s.newTopics(found, known)...)
		select {
		case <-ctx.Done():
			return nil
		case <-work.Done():
			return context.Cause(work)
		case <-tick.C:
		}
	}
}

func (s *share) newTopics(found kadm.TopicDetails, known map[string]bool) (names []string) {
	for topic, d := range found {
		if d.Err == nil && !known[topic] && s.wanted(topic) {
			known[topic] = true
			names = append(names, topic)
		}
	}
	return names
}
