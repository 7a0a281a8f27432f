package apply

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"duplex/change"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

const (
	// gapAfter is how long a transaction may wait for changes that its END
	// record promises. Both were committed at once, so they are there at once.
	gapAfter   = 60 * time.Second
	saveEvery  = time.Second
	drainLimit = 10 * time.Second
)

// session is one run of a stream, from taking the lease until something
// fails. The path of a row: consumer → assembler → batch → pool → writer.
type session struct {
	st       *Stream
	target   *sql.DB
	progress *progress
	in       *consumer
	asm      *assembler
	fetches  chan kgo.Fetches
	binders  *binders
	pool     *pool
	workers  int
	writers  []*writer
	streamer *writer // for large transactions
	open     *batch  // being filled
	openedAt time.Time
	waitFrom time.Time // since when the head of the spine waits for changes
	saver    *committer
	decoded  schemas.Decoded

	mu         sync.Mutex
	done       checkpoint // as far as nothing is under way
	attached   time.Time  // when a batch last got offsets
	cautiously int        // transactions left to apply one by one
}

// session runs one session.
func (st *Stream) session(ctx context.Context) error {
	final, carefully := verdict(st.run(ctx))
	st.careful = carefully
	return final
}

// run wires the stages of a session and runs them.
func (st *Stream) run(ctx context.Context) error {
	target, err := mysql.Open(st.cfg.Process.MySQL, mysql.Applying)
	if err != nil {
		return supervise.Permanent(err)
	}
	defer target.Close()
	server, err := inspect(ctx, target)
	if err != nil {
		return err
	}
	p := &progress{task: st.cfg.Spec.Task, origin: st.cfg.Source}
	lease, err := st.awaitLease(ctx, p, target)
	if err != nil {
		return err
	}
	defer lease.release()
	workers := st.workers()
	applied, err := p.takeOver(ctx, target, workers+1)
	if err != nil {
		return err
	}
	st.applied(applied)
	if err := st.proveMark(ctx, target, p); err != nil {
		return err
	}
	s := &session{st: st, target: target, progress: p, workers: workers, fetches: make(chan kgo.Fetches), cautiously: cautious}
	closeAll, err := s.connect(ctx, server, applied)
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
func (s *session) connect(ctx context.Context, server *mysql.Server, applied change.Seq) (closeAll func(), err error) {
	kafka, registryConfig := s.st.cfg.source()
	client, err := newConsumer(kafka)
	if err != nil {
		return nil, err
	}
	registry, err := schemas.NewRegistry(registryConfig)
	if err != nil {
		client.Close()
		return nil, supervise.Permanent(err)
	}
	admin := kadm.NewClient(client)
	spine := partition{topics.Spine(s.st.cfg.Source), 0}
	s.saver = &committer{admin: admin, spine: spine, group: topics.Group(s.st.cfg.Spec.Task, s.st.cfg.Source, s.st.cfg.Process.Region)}
	s.asm = &assembler{source: s.st.cfg.Source, wanted: s.st.wanted(), applied: applied, inboxes: map[partition]*inbox{}}
	s.in = &consumer{
		client: client, admin: admin, spine: spine, asm: s.asm, echoes: &s.st.echoes, queued: &s.st.queued,
		endOK: map[int]bool{}, check: func(ctx context.Context, id int) error { return checkEnd(ctx, registry, id) },
	}
	s.binders = &binders{db: s.target, registry: registry, dialect: dialectOf(server), bound: map[bindKey]*boundTable{}}
	s.pool = newPool(s.workers, s.written, s.troubled)
	s.open = newBatch()
	fail := func(err error) (func(), error) { client.Close(); return nil, err }
	if err := s.resume(ctx, applied); err != nil {
		return fail(err)
	}
	if err := s.subscribe(ctx); err != nil {
		return fail(err)
	}
	writers, err := newWriters(ctx, s.target, s.progress, s.workers+1, server.MaxAllowedPacket)
	if err != nil {
		return fail(err)
	}
	s.writers, s.streamer = writers[:s.workers], writers[s.workers]
	return func() {
		for _, w := range writers {
			w.conn.Close()
		}
		client.Close()
	}, nil
}

// resume finds where to read on. The truth is applied, from duplex.progress;
// the group's offsets say where in the topics that is.
func (s *session) resume(ctx context.Context, applied change.Seq) error {
	saved, err := s.saver.load(ctx)
	if err != nil {
		return err
	}
	s.saver.saved = maps.Clone(saved.offsets)
	s.in.start = saved.offsets
	switch {
	case saved.written > applied:
		// The target has lost what it had: it was restored from a backup, whose
		// progress came with it. Read all that the topics hold; what the
		// backup has is skipped by its seq.
		s.st.cfg.Log.Warn("the target went back", "had", saved.written, "has", applied)
		s.in.start = offsets{}
	case saved.seq > applied:
		s.asm.applied = saved.seq // what lies between had nothing for this task
	}
	s.done = checkpoint{offsets: offsets{}, seq: s.asm.applied, written: applied}
	return nil
}

func checkEnd(ctx context.Context, registry *schemas.Registry, id int) error {
	text, err := registry.Schema(ctx, id)
	if err != nil {
		return err
	}
	if err := schemas.CheckEndSchema(text); err != nil {
		return supervise.Permanent(err)
	}
	return nil
}

// subscribe begins with the spine and with the tables that the group has read
// before; others are found by the first END record that names them.
func (s *session) subscribe(ctx context.Context) error {
	if err := s.in.subscribe(ctx, s.in.spine.topic); err != nil {
		return fmt.Errorf("%w; it is made by the capture of region %s when that first runs", err, s.asm.source)
	}
	for p := range s.in.start {
		if p != s.in.spine && s.asm.wanted(p.topic) && s.asm.inboxes[p] == nil {
			if err := s.in.subscribe(ctx, p.topic); err != nil {
				return err
			}
		}
	}
	return nil
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

// fetch hands on what Kafka gives, one answer at a time.
func (s *session) fetch(ctx context.Context) error {
	for {
		fetches := s.in.client.PollFetches(ctx)
		select {
		case s.fetches <- fetches:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read assembles transactions and fills batches until ctx ends; work is the
// context of what must be finished.
func (s *session) read(ctx, work context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-work.Done():
			return context.Cause(work)
		case fetches := <-s.fetches:
			if err := s.in.accept(work, fetches); err != nil {
				return err
			}
		case <-s.pool.freed:
		case <-s.overdue():
		}
		if err := s.assemble(work); err != nil {
			return err
		}
		if err := s.handOn(work); err != nil {
			return err
		}
		if s.st.careful && s.cautiously <= 0 {
			return errFullSpeed
		}
		s.in.resume()
	}
}

// cautious is how many transactions are applied one by one after a batch has
// failed.
const cautious = 2000

// errFullSpeed ends a session that applied them.
var errFullSpeed = errors.New("the transactions of the failed batch went through one by one: going on at full speed")

// receive waits for one answer of Kafka and accepts it.
func (s *session) receive(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case fetches := <-s.fetches:
		return s.in.accept(ctx, fetches)
	case <-time.After(time.Second):
		return nil
	}
}

// overdue receives when the head of the spine has waited too long.
func (s *session) overdue() <-chan time.Time {
	if s.waitFrom.IsZero() {
		return nil
	}
	return time.After(time.Until(s.waitFrom.Add(gapAfter)))
}

// assemble takes every transaction that is whole.
func (s *session) assemble(ctx context.Context) error {
	for {
		status, end, missing, err := s.asm.next()
		if err != nil {
			return supervise.Permanent(err)
		}
		if status != waiting {
			s.waitFrom = time.Time{}
		}
		switch {
		case status == nothing:
			return nil
		case status == unknown:
			if err := s.discover(ctx, missing); err != nil {
				return err
			}
		case s.asm.events(end) > int64(s.st.cfg.Spec.Apply.BatchRows), status == waiting && s.asm.stuck(end):
			if err := s.alone(ctx, end); err != nil {
				return err
			}
		case status == waiting:
			if s.waitFrom.IsZero() {
				s.waitFrom = time.Now()
			}
			if time.Since(s.waitFrom) > gapAfter {
				return supervise.Permanent(s.asm.gap("transaction %d has not all of its %d changes after %s", end.Stamp.Seq, s.asm.events(end), gapAfter))
			}
			return nil
		default:
			if err := s.join(ctx, end); err != nil {
				return err
			}
		}
	}
}

// discover begins to read the topic of a table that is new to the session.
func (s *session) discover(ctx context.Context, p partition) error {
	if err := s.in.subscribe(ctx, p.topic); err != nil {
		return err
	}
	if s.asm.inboxes[p] == nil {
		return supervise.Permanent(s.asm.gap("the spine names %s[%d], which isn't there", p.topic, p.index))
	}
	return nil
}

// join merges the transaction at the head of the spine into the open batch.
func (s *session) join(ctx context.Context, end *ending) error {
	n := s.asm.events(end)
	limit := int64(s.st.cfg.Spec.Apply.BatchRows)
	if len(s.open.commits) > 0 && (s.open.changes+n > limit || s.st.careful) {
		if err := s.handOver(ctx); err != nil {
			return err
		}
	}
	b := s.open
	if len(b.commits) == 0 {
		s.openedAt = time.Now()
	}
	b.seq, b.hlc = end.Stamp.Seq, max(b.hlc, end.Stamp.HLC)
	b.commits = append(b.commits, end.CommitMicros)
	b.changes += n
	s.cautiously--
	err := s.asm.take(func(r record) error {
		b.bytes += sizeOf(r.Record)
		t, key, err := s.decode(ctx, r, &s.decoded)
		if err != nil {
			return err
		}
		if err := b.add(t, key, s.decoded.Before, s.decoded.After); err != nil {
			return supervise.Permanent(err)
		}
		return nil
	})
	if err == nil && s.full(b) {
		err = s.handOver(ctx)
	}
	return err
}

// decode reads a record. The change's slices are parts of the record's.
func (s *session) decode(ctx context.Context, r record, into *schemas.Decoded) (t *boundTable, key []byte, err error) {
	t, key, value, err := s.binders.of(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	if err := t.envelope.Decode(value, into); err != nil {
		return nil, nil, supervise.Permanent(fmt.Errorf("reading value of %s[%d]@%d: %w", r.Topic, r.Partition, r.Offset, err))
	}
	return t, key, nil
}

func (s *session) full(b *batch) bool {
	a := &s.st.cfg.Spec.Apply
	return b.changes >= int64(a.BatchRows) || b.bytes >= int64(a.BatchBytes)
}

// handOn gives the open batch to a worker that would start on it at once: an
// idle system adds no wait, a busy one fills its batches.
func (s *session) handOn(ctx context.Context) error {
	b := s.open
	if len(b.commits) == 0 {
		s.note()
		return nil
	}
	old := time.Since(s.openedAt) >= s.st.cfg.Spec.Apply.BatchWait
	if len(b.locks) > 0 && !old && !s.pool.welcome(b, s.workers) {
		return nil
	}
	return s.handOver(ctx)
}

// handOver gives the open batch to the pool and opens the next.
func (s *session) handOver(ctx context.Context) error {
	b := s.open
	s.open = newBatch()
	if time.Since(s.attached) > saveEvery/2 {
		b.offsets, s.attached = s.in.taken(), time.Now()
	}
	if len(b.tables) == 0 {
		// Nothing of the task in it: nothing to write means nothing written.
		return nil
	}
	b.sortTables()
	return s.pool.add(ctx, b)
}

// alone writes a large transaction with nothing else under way.
func (s *session) alone(ctx context.Context, end *ending) error {
	if len(s.open.commits) > 0 {
		if err := s.handOver(ctx); err != nil {
			return err
		}
	}
	for s.pool.count() > 0 {
		select {
		case <-s.pool.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return s.stream(ctx, end)
}

// drain finishes what is assembled, for a stop by the operator.
func (s *session) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	if len(s.open.commits) > 0 {
		if err := s.handOver(ctx); err != nil {
			return err
		}
	}
	for s.pool.count() > 0 {
		select {
		case <-s.pool.freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.note()
	return s.saver.save(ctx, s.position())
}

// note moves the offsets on over what needed no writing, if nothing that does
// is under way.
func (s *session) note() {
	if len(s.open.commits) == 0 && s.pool.count() == 0 {
		s.mu.Lock()
		s.done.offsets, s.done.seq = s.in.taken(), s.asm.applied
		s.mu.Unlock()
	}
}

// written records a batch that is committed.
func (s *session) written(b *batch) {
	s.mu.Lock()
	s.done.written = b.seq
	if b.offsets != nil {
		s.done.offsets, s.done.seq = b.offsets, b.seq
	}
	s.mu.Unlock()
	s.st.wrote(b)
}

// troubled shows why a batch is tried again.
func (s *session) troubled(reason error) {
	if reason == nil {
		s.st.service.Enter(supervise.Streaming, nil)
		return
	}
	s.st.retries.Add(1)
	var fault mysql.Fault
	if errors.As(reason, &fault) && fault.Waiting {
		s.st.service.Enter(supervise.Retrying, reason)
	}
}

func (s *session) position() checkpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done // its offsets are never changed in place
}

// save commits the group's offsets now and then, and watches for a reset.
func (s *session) save(ctx context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	unreachable := false
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			err := s.saver.save(ctx, s.position())
			var reset *ResetError
			switch {
			case errors.As(err, &reset):
				return err
			case err != nil && ctx.Err() == nil:
				// The offsets are a hint, but that Kafka can't be reached must
				// show: its client waits for it without a word.
				unreachable = true
				s.st.service.Enter(supervise.Retrying, err)
			case err == nil && unreachable:
				unreachable = false
				s.st.service.Enter(supervise.Streaming, nil)
			}
		}
	}
}
