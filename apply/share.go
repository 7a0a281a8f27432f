package apply

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"duplex/apply/statement"
	"duplex/change"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// share is one run of a stream with ordering key: what this process does of it.
// The processes of a region share the partitions of the source's topics as the
// members of a consumer group. The path of a row: member → lane → writer.
type share struct {
	st       *Stream
	source   change.Region
	target   *sql.DB
	progress *progress
	truth    *truth
	// floor is the last transaction of those that were applied before the task had
	// ordering key.
	floor     change.Stamp
	client    *kgo.Client // the member of the group
	admin     *kadm.Client
	binders   *binders
	maxPacket int64
	wanted    func(topic string) bool
	lanes     []*lane

	bytes      atomic.Int64  // in all lanes
	freed      chan struct{} // receives when there are fewer
	failed     chan error    // what goes wrong in the group's callbacks
	cautiously atomic.Int64  // changes left to apply one by one

	mu        sync.Mutex
	tenures   map[spine.Partition]*tenure
	notes     map[spine.Partition]note // of partitions just assigned
	committed map[spine.Partition]note // as we have left it in the group
}

const (
	// laneBytes bounds what waits in all lanes, shareBytes what they may come to by
	// large rows before nothing is read any more.
	laneBytes  = 32 << 20
	shareBytes = 48 << 20
	// A member is taken for dead after memberSilence; the locks of its database
	// transaction last as long as that.
	memberSilence = leaseSilence
	memberBeat    = time.Second
	// discoverEvery is how often new tables are looked for.
	discoverEvery = time.Second
)

// runShare wires the stages and runs them.
func (st *Stream) runShare(ctx context.Context) error {
	target, err := mysql.Open(st.cfg.Process.MySQL, mysql.Applying)
	if err != nil {
		return supervise.Permanent(err)
	}
	defer target.Close()
	server, err := inspect(ctx, target)
	if err != nil {
		return err
	}
	if err := st.checkKeyOrder(ctx, target); err != nil {
		return err
	}
	s, closeAll, err := newShare(st, target, server)
	if err != nil {
		return err
	}
	defer closeAll()
	if err := s.awaitSpine(ctx); err != nil {
		return err
	}
	if err := s.refuseOlderUnlessBegun(ctx); err != nil {
		return err
	}
	slot, floor, err := s.takeSlot(ctx)
	if err != nil {
		return err
	}
	defer slot.release()
	s.floor = floor
	st.applied(floor.Seq)
	if err := slot.during(ctx, func(ctx context.Context) error { return st.proveMark(ctx, target, s.progress) }); err != nil {
		return err
	}
	writers, err := newWriters(ctx, target, s.progress, st.workers(), s.maxPacket)
	if err != nil {
		return err
	}
	defer func() {
		for _, w := range writers {
			w.conn.Close()
		}
	}()
	for _, w := range writers {
		s.lanes = append(s.lanes, newLane(s, w, int64(laneBytes/len(writers))))
	}
	if err := s.join(); err != nil {
		return err
	}
	defer s.leave()
	st.service.Enter(supervise.Streaming, nil)
	return s.flow(ctx, slot)
}

// checkKeyOrder refuses tables of the target that can't be applied with ordering
// key; one that comes later is looked at when its first record does.
func (st *Stream) checkKeyOrder(ctx context.Context, target *sql.DB) error {
	tables, err := mysql.LoadTables(ctx, target, st.cfg.Spec.Tables.Match)
	if err != nil {
		return classify(err)
	}
	var refused []error
	for _, t := range tables {
		for _, why := range statement.KeyOrder(t) {
			refused = append(refused, why)
		}
	}
	if len(refused) > 0 {
		return supervise.Permanent(errors.Join(refused...))
	}
	return nil
}

func newShare(st *Stream, target *sql.DB, server *mysql.Server) (s *share, closeAll func(), err error) {
	kafka, registryConfig := st.cfg.source()
	opts, err := topics.Client(kafka)
	if err != nil {
		return nil, nil, supervise.Permanent(err)
	}
	registry, err := schemas.NewRegistry(registryConfig)
	if err != nil {
		return nil, nil, supervise.Permanent(err)
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, nil, supervise.Permanent(fmt.Errorf("configuring kafka client: %w", err))
	}
	p := &progress{task: st.cfg.Spec.Task, origin: st.cfg.Source}
	s = &share{
		st: st, source: st.cfg.Source, target: target, progress: p, admin: kadm.NewClient(client), maxPacket: server.MaxAllowedPacket, wanted: st.wanted(),
		truth: &truth{db: target, progress: p, spine: spine.Partition{Topic: topics.Spine(st.cfg.Source)}},
		binders: &binders{db: target, watch: newWatch(target), secret: maphash.MakeSeed(), untracked: func(string, error) {}, registry: registry, dialect: dialectOf(server), bound: map[bindKey]*boundTable{},
			wanted: st.cfg.Spec.Tables.Match, rule: st.cfg.Spec.Rule, kin: map[string]*kin{}},
		freed: make(chan struct{}, 1), failed: make(chan error, 1),
		tenures: map[spine.Partition]*tenure{}, notes: map[spine.Partition]note{}, committed: map[spine.Partition]note{},
	}
	s.cautiously.Store(cautious)
	return s, client.Close, nil
}

// saver is the group as ordering transaction uses it.
func (s *share) saver() *spine.Committer {
	return &spine.Committer{Admin: s.admin, Source: s.source, Spine: s.truth.spine, Group: s.group()}
}

func (s *share) group() string {
	return topics.Group(s.st.cfg.Spec.Task, s.source, s.st.cfg.Process.Region)
}

// awaitSpine waits until the source's capture has run.
func (s *share) awaitSpine(ctx context.Context) error {
	for {
		found, err := s.admin.ListTopics(ctx, s.truth.spine.Topic)
		if err == nil {
			err = found.Error()
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			if err != nil {
				err = fmt.Errorf("looking for topic %s: %w", s.truth.spine.Topic, spine.Explain(err))
			}
			return err
		}
		s.st.service.Enter(supervise.Checking, fmt.Errorf("waiting for the capture of region %s to run for the first time: it makes topic %s", s.source, s.truth.spine.Topic))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// flow runs the stages until ctx ends, which finishes what is being written, or
// one fails.
func (s *share) flow(ctx context.Context, slot *lease) error {
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	group, work := errgroup.WithContext(work)
	var lanes errgroup.Group
	group.Go(func() error { return slot.keep(work) })
	group.Go(func() error { return s.read(ctx, work) })
	group.Go(func() error { return s.discover(ctx, work) })
	group.Go(func() error { return s.save(ctx, work) })
	group.Go(func() error { return s.binders.watch.keep(work) })
	group.Go(func() error {
		select {
		case err := <-s.failed:
			return err
		case <-work.Done():
			return context.Cause(work)
		}
	})
	for _, l := range s.lanes {
		lanes.Go(func() error {
			err := l.run(ctx, work)
			if err != nil {
				stop(err) // or the other lanes would go on
			}
			return err
		})
	}
	group.Go(func() error {
		err := lanes.Wait()
		if err == nil {
			err = context.Cause(ctx) // they end by themselves then only
		}
		stop(err)
		return err
	})
	err := group.Wait()
	if ctx.Err() == nil {
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	return s.commit(last, s.owned())
}

// batchRows is how many changes a batch may have.
func (s *share) batchRows() int {
	if s.st.careful {
		return 1
	}
	return s.st.cfg.Spec.Apply.BatchRows
}

// goneThrough reports whether, after a batch that failed, enough changes were
// applied one by one.
func (s *share) goneThrough() bool { return s.st.careful && s.cautiously.Load() <= 0 }

func (s *share) wrote(b *batch) {
	s.cautiously.Add(-b.changes)
	s.st.wrote(b)
	s.st.service.Enter(supervise.Streaming, nil)
}

// troubled shows why a batch is tried again.
func (s *share) troubled(fault mysql.Fault) {
	s.st.retries.Add(1)
	if fault.Waiting {
		s.st.service.Enter(supervise.Retrying, fault)
	}
}

// held notes that the lanes hold so many bytes more.
func (s *share) held(n int64) {
	s.st.queued.Store(s.bytes.Add(n))
	if n < 0 {
		select {
		case s.freed <- struct{}{}:
		default:
		}
	}
}

func isRetry(err error) bool { return mysql.Classify(err).Class == mysql.Retry }
