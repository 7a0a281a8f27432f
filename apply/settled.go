package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/change"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// watchConflicts prepares what finds out which of two regions' writes of a row
// stays. It returns a client of the own region's Kafka.
func (s *session) watchConflicts(server *mysql.Server) (*kgo.Client, error) {
	cfg := s.st.cfg.Process
	client, err := spine.Connect(cfg.Kafka)
	if err != nil || !s.st.cfg.Spec.Resolves() {
		return client, err
	}
	if s.round != nil {
		s.versions, s.tail = s.round.v.sources[s.st.cfg.Source], s.round.tail
	} else {
		s.versions = newVersions(cfg.Region, cleared{}, s.st).sources[s.st.cfg.Source]
		s.versions.spillOrTell(s.st.cfg.Log)
		s.pool.differed, s.pool.hold, s.recorder = s.differed, s.holdCopied, s.newRecorder(s.target)
	}
	s.pool.crowded = s.crowded
	s.pool.versions = s.versions
	if s.binders.weigher = newWeigher(s.target, dialectOf(server)); s.round != nil {
		s.binders.weigher = s.round.weigher
	}
	newBinders := func() *binders {
		return &binders{db: s.target, watch: s.binders.watch, secret: s.binders.secret, weigher: s.binders.weigher, untracked: s.st.untracked, dialect: dialectOf(server), bound: map[bindKey]*boundTable{}, wanted: s.st.cfg.Spec.Tables.Match, rule: s.st.cfg.Spec.Rule, kin: map[string]*kin{}}
	}
	s.ownBinders = newBinders()
	if s.ownBinders.registry, err = schemas.NewRegistry(cfg.Registry); err != nil {
		client.Close()
		return nil, supervise.Permanent(err)
	}
	if s.round != nil {
		return client, nil
	}
	s.tail = &tail{spec: s.st.cfg.Spec, log: s.st.cfg.Log, v: s.versions.versions, config: cfg.Kafka, from: cfg.Registry, admin: kadm.NewClient(client), binders: newBinders(),
		foreign: func(change.Region) (*binders, error) { return s.binders, nil }, pulses: map[string]chan struct{}{}}
	s.tailSaver = &spine.Committer{Admin: s.tail.admin, Source: cfg.Region, Spine: spine.Partition{Topic: topics.Spine(cfg.Region)},
		Group: topics.StreamTailGroup(s.st.cfg.Spec.Task, s.st.cfg.Source, cfg.Region)}
	return client, nil
}

// findTail finds where the tail begins.
func (s *session) findTail(ctx context.Context) error {
	if s.tail == nil || s.round != nil {
		return nil
	}
	saved, note, err := s.tailSaver.Load(ctx)
	if err != nil {
		return err
	}
	s.tailStart.offsets = saved
	read := readTailNote(note)
	if len(saved) > 0 && (s.astray || s.had > 0 || len(s.tailSaver.Moved) > 0) {
		found, err := s.placeTail(ctx)
		if err != nil {
			return err
		}
		if own := s.tailSaver.Spine; len(s.tailSaver.Moved) > 0 || found.offsets[own] < saved[own] {
			s.tailStart, read = found, 0
			if s.versions.parted != nil {
				read = found.local
			}
		}
	}
	s.versions.own.upTo(read)
	return nil
}

func (s *session) writtenUpTo() change.Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done.written
}

func (s *session) lastWritten() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writtenAt
}

// advance moves what is settled on.
func (s *session) advance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions == nil {
		s.settled = s.done
		return
	}
	if s.candidate.offsets != nil {
		queue := s.versions.clashes.queue
		if s.candidate.epoch == 0 {
			if !s.versions.settled(&s.candidate) {
				if s.versions.held(&s.candidate) {
					s.candidate = s.done
				}
				return
			}
			s.candidate.epoch = queue.mark()
		}
		if !queue.passed(s.candidate.epoch) {
			return // what isn't recorded must be found again
		}
		s.settled = s.candidate
		s.versions.settledParts(&s.settled)
	}
	s.candidate = s.done
}

// settledNow notes that all that was written is settled, and recorded.
func (s *session) settledNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions == nil {
		s.settled = s.done
		return
	}
	if s.done.offsets == nil || (s.round != nil || s.versions.parted != nil) && !s.versions.settled(&s.done) {
		return
	}
	s.settled = s.done
	s.settled.own = s.versions.readOwn()
	s.versions.settledParts(&s.settled)
}

// finish writes what is assembled and waits until it is settled. If that can't be had
// now, it is read again for its versions at the next start.
func (s *session) finish(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.note()
	if s.learning() {
		return nil // what is known of rows may be older than what they have
	}
	err := s.settleAll(ctx)
	if err == nil {
		err = s.recordAll(ctx)
	}
	if err != nil {
		s.st.cfg.Log.Info("the last transactions are not known to have come by", "error", err)
		return nil
	}
	s.settledNow()
	return nil
}

// saveSettled saves from where the next session reads on: the source's topics, and
// the own ones for the tail.
func (s *session) saveSettled(ctx context.Context) error {
	s.mu.Lock()
	now := s.settled
	s.mu.Unlock()
	if s.round != nil {
		if saved, err := s.round.saveTail(ctx); !saved {
			return err
		}
	}
	if err := save(ctx, s.saver, now); err != nil {
		return err
	}
	if err := s.keep(ctx, now); err != nil || s.tail == nil || s.round != nil {
		return err
	}
	if mark, ok := s.tail.before(func(m tailMark) bool { return m.local <= now.local }); ok {
		// Without its own Kafka a region goes on applying what others publish.
		err := s.tailSaver.Save(ctx, mark.offsets, fmt.Sprintf(tailNote, mark.local))
		if reset := new(spine.ResetError); errors.As(err, &reset) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			s.st.cfg.Log.Info("how far the own topics are read was not saved", "error", err)
		}
	}
	return nil
}
