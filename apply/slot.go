package apply

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"duplex/change"
	"duplex/supervise"

	"github.com/twmb/franz-go/pkg/kadm"
)

// slots is how many processes of a region may apply one task at once, and
// slotWorkers how many worker ids each of them has: those of its slot, so that no
// two write their markers into one row.
const (
	slots       = 1000
	slotWorkers = 100
)

// takeSlot waits until no applier with ordering transaction runs, takes the first
// slot that is free, and makes its workers' rows. The slot is kept as a lease is.
// floor is the last transaction that was applied before the task had ordering key.
func (s *share) takeSlot(ctx context.Context) (slot *lease, floor change.Stamp, err error) {
	slot, err = s.st.awaitLease(ctx, s.progress, s.target)
	if err != nil {
		return nil, floor, err
	}
	fail := func(err error) (*lease, change.Stamp, error) { slot.release(); return nil, floor, err }
	number, err := s.freeSlot(ctx, slot.conn)
	if err != nil {
		return fail(err)
	}
	s.progress.first, s.progress.last = number*slotWorkers, (number+1)*slotWorkers-1
	if floor, err = s.enter(ctx); err != nil {
		return fail(err)
	}
	// Another process may enter now.
	if _, err := slot.conn.ExecContext(ctx, "DO RELEASE_LOCK(?)", s.progress.lockName()); err != nil {
		return fail(classify(err))
	}
	return slot, floor, nil
}

// freeSlot locks the first slot that nobody has, on the lease's connection.
func (s *share) freeSlot(ctx context.Context, conn *sql.Conn) (number int, err error) {
	for ; number < slots; number++ {
		var got sql.NullInt64
		if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 0)", s.progress.lockName()+"."+strconv.Itoa(number)).Scan(&got); err != nil {
			return 0, classify(err)
		}
		if got.Int64 == 1 {
			return number, nil
		}
	}
	return 0, fmt.Errorf("%d processes apply the task already", slots)
}

// enter makes the workers' rows, and the rows of duplex.offsets if this is the
// first process with ordering key.
func (s *share) enter(ctx context.Context) (floor change.Stamp, err error) {
	floor, known, err := s.truth.floor(ctx)
	if err != nil {
		return floor, err
	}
	if !known {
		// All workers' rows: an applier with ordering transaction that wakes up
		// must not write.
		all := &progress{task: s.progress.task, origin: s.progress.origin, last: everyWorker}
		if floor, err = all.takeOver(ctx, s.target, 0); err != nil {
			return floor, err
		}
		if err := s.goOver(ctx, floor); err != nil {
			return floor, err
		}
	}
	_, err = s.progress.takeOver(ctx, s.target, s.st.workers())
	return floor, err
}

// goOver makes duplex.offsets from what ordering transaction has saved in Kafka.
func (s *share) goOver(ctx context.Context, floor change.Stamp) error {
	saver := s.saver()
	offsets, note, err := saver.Load(ctx)
	if err != nil {
		return err
	}
	if floor.Seq == 0 || len(offsets) == 0 { // nothing is saved yet: all topics from offset 0 on
		return s.truth.begin(ctx, floor, nil, nil)
	}
	var done, written change.Seq
	if n, err := fmt.Sscanf(note, metadata, &done, &written); n != 2 || err != nil || written > floor.Seq {
		return supervise.Permanent(fmt.Errorf("the offsets of consumer group %s don't tell where in the topics transaction %d lies, the last that is applied here: they were reset, have expired, or the database was restored; mend: run the task with apply: {ordering: transaction} until it has caught up, then set ordering: key again", saver.Group, floor.Seq))
	}
	var names []string
	for p := range offsets {
		if s.wanted(p.Topic) {
			names = append(names, p.Topic)
		}
	}
	topics := kadm.TopicDetails{}
	if len(names) > 0 {
		if topics, err = s.admin.ListTopics(ctx, names...); err == nil {
			err = topics.Error()
		}
		if err != nil {
			return fmt.Errorf("looking for the topics of consumer group %s: %w", saver.Group, err)
		}
	}
	return s.truth.begin(ctx, floor, offsets, topics)
}

// claim returns how far partitions are applied. It tries again while a former
// owner, which may be frozen, is writing a batch of theirs.
func (s *share) claim(ctx context.Context, topic kadm.TopicDetail, parts []int32) (map[int32]standing, error) {
	for {
		found, err := s.truth.claim(ctx, topic, parts, s.floor)
		if err == nil || supervise.IsPermanent(err) || !isRetry(err) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
