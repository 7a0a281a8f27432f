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

	"duplex/change"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

const (
	saveEvery  = time.Second
	drainLimit = 10 * time.Second
)

// session is one run of a stream, from taking the lease until something
// fails. The path of a row: consumer → assembler → batch → pool → writer.
type session struct {
	st       *Stream
	target   *sql.DB
	progress *progress
	in       *spine.Consumer
	asm      *spine.Assembler
	// hungry holds a token when the reader wants what fetch will send it in
	// fetches.
	hungry   chan struct{}
	fetches  chan kgo.Fetches
	asked    bool // hungry was told, and nothing has come yet
	binders  *binders
	pool     *pool
	workers  int
	writers  []*writer
	streamer *writer // of the large transaction being written
	// maxPacket is the target's max_allowed_packet, in bytes.
	maxPacket int64
	open      *batch // being filled
	openedAt  time.Time
	wait      spine.Patience // of the head of the spine
	saver     *spine.Committer
	decoded   schemas.Decoded

	// versions is nil where conflicts aren't looked for. round is what the task's streams
	// into the region share, nil if there is one.
	versions      *inbound
	round         *round
	tail          *tail
	tailStart     tailStart
	tailSaver     *spine.Committer
	ownBinders    *binders
	awaited       bool // the tail, among several sources
	ahead         ahead
	recorder      *recorder
	known         change.Seq     // the last that was applied before this session
	keptUpTo      change.Seq     // the last that was settled then, as far as is known
	stamps        []change.Stamp // of the source's transactions that no batch has yet
	beats         []int64        // commit times of canaries that no batch has yet, Unix µs
	repairsFailed int            // in a row
	pulseFrom     time.Time      // when the next canary may be sent
	tailLate      atomic.Bool    // the last one didn't come back in time
	resets        chan error     // that an operator has reset the group
	// keeper saves, beside the group, what a reset of that leaves alone.
	keeper *spine.Committer
	// had is what the target once had, if it went back: what is applied up to there
	// may have been applied here before.
	had    change.Seq
	astray bool   // the group's offsets weren't gone by
	skips  []Skip // what was left out for good

	mu         sync.Mutex
	done       checkpoint // as far as nothing is under way
	candidate  checkpoint // done, some time ago
	saw        change.Seq // of this region, by what is done with
	heard      change.HLC // of the source's transactions that are done with
	settled    checkpoint // as far as nothing is under way and the tail has come by
	writtenAt  time.Time  // when done.written last moved
	attached   time.Time  // when a batch last got offsets
	cautiously int        // transactions left to apply one by one
}

// session runs one session.
func (st *Stream) session(ctx context.Context) error {
	run := st.runAlone
	if st.arbiter != nil {
		run = st.runTogether
	}
	if st.cfg.Spec.Apply.Ordering == tasks.OrderingKey {
		run = st.runShare
	}
	final, carefully := verdict(run(ctx))
	final = withRoom(final)
	st.careful = carefully
	var gap *unlearntError
	st.unlearnt = errors.As(final, &gap) || st.unlearnt && (errors.Is(final, errAnew) || errors.Is(final, errOthers))
	if supervise.IsPermanent(final) {
		final = st.withMend(final)
	}
	return final
}

func (st *Stream) runAlone(ctx context.Context) error { return st.run(ctx, nil) }

// runTogether runs a session with those of the task's other streams into the region.
func (st *Stream) runTogether(ctx context.Context) error {
	r, err := st.joinRound(ctx)
	if err != nil {
		return err
	}
	defer st.arbiter.leave(r, st.cfg.Source)
	return r.during(ctx, func(ctx context.Context) error { return st.run(ctx, r) })
}

// run wires the stages of a session and runs them.
func (st *Stream) run(ctx context.Context, r *round) error {
	target, err := mysql.Open(st.cfg.Process.MySQL, mysql.Applying)
	if err != nil {
		return supervise.Permanent(err)
	}
	defer target.Close()
	server, err := inspect(ctx, target)
	if err != nil {
		return err
	}
	p := &progress{task: st.cfg.Spec.Task, origin: st.cfg.Source, last: everyWorker}
	lease, err := st.awaitLease(ctx, p, target)
	if err != nil {
		return err
	}
	defer lease.release()
	s := &session{st: st, round: r, target: target, progress: p, workers: st.workers(), hungry: make(chan struct{}, 1), fetches: make(chan kgo.Fetches), resets: make(chan error, 1), cautiously: cautious}
	closeAll := func() {}
	err = lease.during(ctx, func(ctx context.Context) error {
		if err := (&truth{db: target, progress: p}).refuse(ctx); err != nil {
			return err
		}
		if err := expectNoneHeld(ctx, target, st.cfg.Spec); err != nil {
			return err
		}
		applied, err := p.takeOver(ctx, target, s.workers+2)
		if err != nil {
			return err
		}
		st.applied(applied.Seq)
		if r != nil {
			r.v.sources[st.cfg.Source].took(applied.Seq)
		}
		if err := st.proveMark(ctx, target, p); err != nil {
			return err
		}
		closeAll, err = s.connect(ctx, server, applied)
		return err
	})
	if err != nil {
		return err
	}
	defer closeAll()
	st.service.Enter(supervise.Streaming, nil)
	return s.flow(ctx, lease)
}

// inspect asks the target for its facts and makes schema duplex.
func inspect(ctx context.Context, target *sql.DB) (*mysql.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server, err := mysql.Inspect(ctx, target)
	if err != nil {
		return nil, classify(err)
	}
	if err := mysql.EnsureSchema(ctx, target); err != nil {
		return nil, classify(err)
	}
	return server, nil
}

// connect opens what the session reads from and writes to.
func (s *session) connect(ctx context.Context, server *mysql.Server, applied change.Stamp) (closeAll func(), err error) {
	kafka, registryConfig := s.st.cfg.source()
	client, err := spine.Connect(kafka)
	if err != nil {
		return func() {}, err
	}
	registry, err := schemas.NewRegistry(registryConfig)
	if err != nil {
		client.Close()
		return func() {}, supervise.Permanent(err)
	}
	source := s.st.cfg.Source
	s.asm = &spine.Assembler{Source: source, Task: s.st.cfg.Spec.Task, Wanted: s.st.wanted(), Applied: applied.Seq, Newest: applied,
		Accept: func(origin change.Region) bool { return origin == source }}
	s.asm.Passed = s.noteEnd
	s.in = spine.NewConsumer(client, registry, s.asm)
	s.in.Left, s.in.Queued, s.in.Pass = &s.st.echoes, &s.st.queued, s.st.passes
	s.saver = &spine.Committer{Admin: s.in.Admin, Source: source, Spine: s.in.Spine(), Group: topics.Group(s.st.cfg.Spec.Task, source, s.st.cfg.Process.Region)}
	s.keeper = &spine.Committer{Admin: s.in.Admin, Source: source, Spine: s.in.Spine(), Group: topics.PlaceGroup(s.st.cfg.Spec.Task, source, s.st.cfg.Process.Region)}
	s.binders = &binders{db: s.target, watch: newWatch(s.target), secret: maphash.MakeSeed(), untracked: s.st.untracked, registry: registry, dialect: dialectOf(server), bound: map[bindKey]*boundTable{},
		wanted: s.st.cfg.Spec.Tables.Match, rule: s.st.cfg.Spec.Rule, kin: map[string]*kin{}}
	if s.round != nil { // rows have one id for all
		s.binders.watch, s.binders.secret = s.round.watch, s.round.secret
	}
	s.pool = newPool(s.workers, s.written, s.troubled)
	s.open = newBatch(0)
	own, err := s.watchConflicts(server)
	if err != nil {
		client.Close()
		return func() {}, err
	}
	fail := func(err error) (func(), error) {
		client.Close()
		own.Close()
		s.closeVersions()
		return func() {}, err
	}
	if applied, err = s.beginAfter(ctx, applied); err != nil {
		return fail(err)
	}
	if err := s.resume(ctx, applied.Seq); err != nil {
		return fail(err)
	}
	if err := s.findTail(ctx); err != nil {
		return fail(err)
	}
	if err := s.subscribe(ctx); err != nil {
		return fail(err)
	}
	s.maxPacket = server.MaxAllowedPacket
	if s.writers, err = newWriters(ctx, s.target, s.progress, s.workers, s.maxPacket); err != nil {
		return fail(err)
	}
	return func() {
		for _, w := range s.writers {
			w.conn.Close()
		}
		client.Close()
		own.Close()
		s.closeVersions()
	}, nil
}

// resume finds where to read on. The truth is applied, from duplex.progress;
// the group's offsets say where in the topics that is.
func (s *session) resume(ctx context.Context, applied change.Seq) error {
	saved, err := load(ctx, s.saver)
	if err != nil {
		return err
	}
	kept, err := load(ctx, s.keeper)
	if err != nil {
		return err
	}
	if err := s.findSkips(ctx); err != nil {
		return err
	}
	p := &placing{s: s, applied: applied, saved: saved, kept: kept}
	s.had, s.in.Start = p.had(), saved.offsets
	switch s.astray = p.astray(); {
	case s.astray:
		if err := p.place(ctx); err != nil {
			return err
		}
	case s.st.unlearnt:
		s.in.Start = spine.Offsets{}
	case saved.seq > applied, len(saved.offsets) > 0 && s.versions != nil:
		// If it is more, what lies between had nothing for this task; if it is less,
		// and be it 0, what lies between is read again for its versions.
		s.asm.Applied = saved.seq
	}
	s.known, s.keptUpTo = applied, min(kept.seq, applied)
	own := saved.own
	if s.astray {
		own = kept.own
	}
	if err := s.goBack(ctx); err != nil {
		return err
	}
	s.done = checkpoint{offsets: spine.Offsets{}, seq: max(s.asm.Applied, 0), written: applied, had: s.had}
	if s.versions == nil {
		return nil
	}
	settled := max(0, min(s.asm.Applied, applied))
	if !s.astray && len(saved.offsets) == 0 && applied > 0 && !s.st.unlearnt {
		// Nothing was ever saved: all that was applied is read again.
		s.asm.Applied, settled = spine.Unknown, 0
		s.in.Adrift = func(spine.Partition) bool { return true }
	}
	if s.round != nil {
		if err := s.round.admit(ctx, s, settled); err != nil {
			return err
		}
	} else {
		s.versions.from, s.versions.fromOwn, s.versions.tail, s.versions.again = settled, own, settled, s.had > 0
		s.versions.told.upTo(settled)
	}
	s.st.unlearnt = false
	return nil
}

// subscribe begins with the spine, which may have to be waited for, and with
// the tables of the task that have a topic; a table that comes later is found by
// the first END record that names it.
func (s *session) subscribe(ctx context.Context) error {
	for {
		err := s.in.Subscribe(ctx, s.in.Spine().Topic)
		if err == nil {
			break
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return err
		}
		s.st.service.Enter(supervise.Checking, fmt.Errorf("waiting for the capture of region %s to run for the first time: it makes topic %s", s.asm.Source, s.in.Spine().Topic))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
	}
	return s.in.SubscribeWanted(ctx)
}

// flow runs the stages until ctx ends, which drains them, or one fails.
func (s *session) flow(ctx context.Context, lease *lease) error {
	// What is under way when ctx ends is finished, so that a stop by the
	// operator leaves no batch half done.
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	group, work := errgroup.WithContext(work)
	s.pool.start(work, group, s.writers)
	group.Go(func() error { return lease.keep(work) })
	group.Go(func() error { return s.fetch(work) })
	group.Go(func() error { return s.save(work) })
	if s.round != nil {
		group.Go(func() error { return s.round.keep(work) })
	} else {
		group.Go(func() error { return s.binders.watch.keep(work) })
	}
	if s.tail != nil && s.round == nil {
		group.Go(func() error { return s.tail.keep(work, s.tailStart) })
		group.Go(func() error { return s.recorder.keep(work) })
	}
	group.Go(func() error {
		err := s.read(ctx, work)
		if err == nil {
			err = s.drain(work)
		}
		stop(err)
		return err
	})
	return group.Wait()
}

// fetch hands on what Kafka gives, one answer at a time. It asks only when the
// reader is hungry: Kafka's client has the next answer ready as it is, and a
// third one with a wide row in it would be too much.
func (s *session) fetch(ctx context.Context) error {
	for {
		select {
		case <-s.hungry:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		fetches := s.in.Client.PollFetches(ctx)
		select {
		case s.fetches <- fetches:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// drain finishes what is assembled, for a stop by the operator.
func (s *session) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	if err := s.finish(ctx); err != nil {
		return err
	}
	return s.saveSettled(ctx)
}
