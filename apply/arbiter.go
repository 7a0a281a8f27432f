package apply

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"duplex/change"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// arbiter has what the streams of a task into one region have in common, if there are
// several: whichever of them writes a row must know what the others wrote. So all of
// them run in one process.
type arbiter struct {
	cfg     Config // without a source
	streams []*Stream

	mu    sync.Mutex
	round *round
	// next is how the next round begins.
	next beginning
}

// beginning is how a round begins, where not as the last one was saved.
type beginning struct {
	// blind is set where what was applied before can't be known.
	blind bool
	// least, if it isn't 0, is the HLC up to which at most all is forgotten.
	least change.HLC
}

// round lasts from the first stream's session that begins to the last one's that ends:
// what is known of versions, and who reads the region's own topics for that. A failure of
// one stream leaves it to the others.
type round struct {
	a       *arbiter
	target  *sql.DB
	server  *mysql.Server
	watch   *watch
	secret  maphash.Seed
	weigher *weigher
	lease   *lease      // of the whole task
	client  *kgo.Client // of the own Kafka
	v       *versions
	tail    *tail
	saver   *spine.Committer // of how far the tail is
	saved   spine.Offsets
	blind   bool // what was applied before isn't known: the tail begins at the end
	lowered bool // a stream applies anew what was forgotten: all read more again

	ctx   context.Context // ends with the round
	end   context.CancelCauseFunc
	group errgroup.Group
	users int
	floor change.HLC // what was saved as forgotten, or is when the round begins

	// repairing has the stream that puts rows back or makes room for unique values, saving the one that saves.
	repairing *semaphore.Weighted
	saving    sync.Mutex

	mu sync.Mutex
	// thirds bind what other regions' topics have, for who doesn't read them as a stream.
	thirds map[change.Region]*binders
	// unready are the sources whose streams haven't found yet where they go on; fresh is
	// set if none of the others had anything saved.
	unready map[change.Region]bool
	fresh   bool
	told    map[string]bool // topics of which untracked was logged
}

var (
	errOthers    = errors.New("waiting for the task's other streams into this region to end, which begin anew")
	errRoundOver = errors.New("the streams of the task into this region have ended")
	// errAnew ends a round that began with too little.
	errAnew = errors.New("the task's streams into this region begin anew, to read more again for its versions")
)

// forgottenForm is the form of what is saved beside the tail's place: the HLC up to
// which nothing need be known, the region's last transaction before it, and up to where rows of tables with a
// ranking are right.
const forgottenForm = "forgotten %d local %d right %d"

// readForgotten reads that; ok is false if it is none.
func readForgotten(note string) (forgotten cleared, local change.Seq, ok bool) {
	n, _ := fmt.Sscanf(note, forgottenForm, &forgotten.least, &local, &forgotten.right)
	if n == 2 { // of an older version
		forgotten.right = forgotten.least
	}
	return forgotten, local, n >= 2
}

// looksForConflicts reports whether apply finds out which of two writes of a row stays.
func (c *Config) looksForConflicts() bool {
	return c.Spec.Apply.Ordering == tasks.OrderingTransaction && c.Spec.Resolves()
}

// join returns the round, and begins it if need be: errStandby says that another
// process has it.
func (a *arbiter) join(ctx context.Context) (*round, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.round == nil {
		r, err := a.begin(ctx)
		if err != nil {
			return nil, err
		}
		a.round, a.next = r, beginning{}
	}
	if a.round.ctx.Err() != nil {
		return nil, errOthers
	}
	a.round.users++
	return a.round, nil
}

// leave ends the part of a source's session in the round.
func (a *arbiter) leave(r *round, source change.Region) {
	r.v.sources[source].leave()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := r.v.failed(); err != nil {
		r.end(err) // the others can't go on with it either
	}
	if r.users--; r.users > 0 {
		return
	}
	r.end(errRoundOver)
	_ = r.group.Wait() // each has told why it ended
	r.v.close()
	r.close()
	a.round = nil
}

func (r *round) close() {
	if r.client != nil {
		r.client.Close()
	}
	if r.lease != nil {
		r.lease.release()
	}
	r.target.Close()
}

// begin opens what a round has.
func (a *arbiter) begin(ctx context.Context) (r *round, err error) {
	r = &round{a: a, secret: maphash.MakeSeed(), repairing: semaphore.NewWeighted(1), thirds: map[change.Region]*binders{},
		unready: map[change.Region]bool{}, fresh: true, told: map[string]bool{}}
	if r.target, err = mysql.Open(a.cfg.Process.MySQL, mysql.Applying); err != nil {
		return nil, supervise.Permanent(err)
	}
	forgotten, local, err := r.open(ctx)
	if err != nil {
		r.close()
		return nil, err
	}
	r.ctx, r.end = context.WithCancelCause(context.WithoutCancel(ctx))
	r.floor = forgotten.least
	r.v = newVersions(a.cfg.Process.Region, forgotten, a.streams...)
	for source := range r.v.sources {
		r.unready[source] = true
	}
	r.v.spillOrTell(a.cfg.Log)
	r.v.own.upTo(local)
	r.watch, r.weigher = newWatch(r.target), newWeigher(r.target, dialectOf(r.server))
	p := a.cfg.Process
	r.tail = &tail{spec: a.cfg.Spec, log: a.cfg.Log, v: r.v, config: p.Kafka, from: p.Registry, admin: r.saver.Admin, binders: r.newBinders(), foreign: r.bindersOf, pulses: map[string]chan struct{}{}}
	r.goes(r.watch.keep)
	r.goes(r.lease.keep)
	return r, nil
}

// open takes the lease and loads what was saved.
func (r *round) open(ctx context.Context) (forgotten cleared, local change.Seq, err error) {
	p, next := r.a.cfg.Process, r.a.next
	if r.server, err = inspect(ctx, r.target); err != nil {
		return forgotten, 0, err
	}
	if r.lease, err = (&progress{task: r.a.cfg.Spec.Task}).takeLease(ctx, r.target); err != nil {
		return forgotten, 0, err
	}
	if r.client, err = spine.Connect(p.Kafka); err != nil {
		return forgotten, 0, err
	}
	r.saver = &spine.Committer{Admin: kadm.NewClient(r.client), Source: p.Region, Spine: spine.Partition{Topic: topics.Spine(p.Region)},
		Group: topics.TailGroup(r.a.cfg.Spec.Task, p.Region)}
	var note string
	if r.saved, note, err = r.saver.Load(ctx); err != nil {
		return forgotten, 0, err
	}
	forgotten, local, known := readForgotten(note)
	if next.blind || len(r.saved) > 0 && (!known || len(r.saver.Moved) > 0) {
		r.blind, r.saved = true, nil
		return cleared{}, 0, nil
	}
	if next.least > 0 {
		r.lowered, forgotten, local = true, cleared{least: min(forgotten.least, next.least)}, 0
	}
	return forgotten, local, nil
}

func (r *round) newBinders() *binders {
	return &binders{db: r.target, watch: r.watch, secret: r.secret, weigher: r.weigher, untracked: r.untracked, dialect: dialectOf(r.server), bound: map[bindKey]*boundTable{},
		wanted: r.a.cfg.Spec.Tables.Match, rule: r.a.cfg.Spec.Rule, kin: map[string]*kin{}}
}

// untracked says, once for each topic, that conflicts in its table aren't looked
// for.
func (r *round) untracked(topic string, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told[topic] {
		r.told[topic] = true
		r.a.cfg.Log.Warn("conflicts of a table are not looked for", "topic", topic, "error", why)
	}
}

// goes runs a part of the round. If it fails, the round and all its sessions end.
func (r *round) goes(part func(context.Context) error) {
	r.group.Go(func() error {
		if err := part(r.ctx); err != nil {
			r.end(err)
		}
		return nil
	})
}

// during runs f until it returns, or ends it with the round.
func (r *round) during(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })()
	err := f(ctx)
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return err
}

// keep ends a session's flow with the round.
func (r *round) keep(ctx context.Context) error {
	select {
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// anew ends the round, so that the next one begins otherwise.
func (r *round) anew(next beginning) error {
	r.a.mu.Lock()
	r.a.next = next
	r.a.mu.Unlock()
	r.end(errAnew)
	return errAnew
}

// admit takes in a session that has found where it goes on: settled is the last of the
// source's transactions that is not told. When all are there the tail begins, which must
// not come by what isn't known to be settled or to be told.
func (r *round) admit(ctx context.Context, s *session, settled change.Seq) error {
	if s.st.unlearnt && !r.blind {
		return r.anew(beginning{blind: true})
	}
	if s.had > 0 && !r.blind {
		least, err := s.firstAgain(ctx)
		if err != nil {
			return err
		}
		if again, lower := r.v.before(least); lower {
			return r.anew(beginning{least: again})
		}
	}
	s.versions.start(settled, s.known, s.had > 0)
	r.mu.Lock()
	defer r.mu.Unlock()
	source := s.st.cfg.Source
	if !r.unready[source] {
		return nil
	}
	delete(r.unready, source)
	r.goes(s.newRecorder(r.target).keep)
	r.fresh = r.fresh && settled == 0
	if len(r.unready) > 0 {
		r.a.cfg.Log.Info("conflicts are looked for as soon as the task's other streams into this region have begun", "source", source)
		return nil
	}
	r.goes(r.follow)
	return nil
}

// follow runs the tail.
func (r *round) follow(ctx context.Context) error {
	for {
		start, err := r.place(ctx)
		if err == nil {
			return r.tail.keep(ctx, start)
		}
		r.a.cfg.Log.Warn("the own topics can't be read yet", "error", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(tailPause):
		}
	}
}

// place finds where the tail begins: where it was, or before what a stream applies anew,
// or at the end.
func (r *round) place(ctx context.Context) (start tailStart, err error) {
	if r.blind || len(r.saved) == 0 && !r.fresh {
		r.a.cfg.Log.Warn("it isn't saved how far the region's own topics were read: conflicts with what was written before are not looked for", "group", r.saver.Group)
		ends, err := r.tail.ends(ctx)
		return tailStart{offsets: ends, adrift: true}, err
	}
	start.offsets = r.saved
	if !r.lowered || len(r.saved) == 0 {
		return start, nil
	}
	forgotten := r.v.least
	earlier, cut, err := r.tail.startFrom(ctx, func(s *change.Stamp) bool { return s.HLC > forgotten })
	if err != nil || cut.At >= r.saved[r.saver.Spine] {
		return start, err
	}
	return earlier, nil
}

// saveTail saves from where the tail must read after a restart, and what need not be
// known then, and reports whether that is saved: no stream may be saved further.
func (r *round) saveTail(ctx context.Context) (bool, error) {
	r.saving.Lock()
	defer r.saving.Unlock()
	forgotten := r.v.clear()
	mark, ok := r.tail.before(func(m tailMark) bool { return m.hlc <= forgotten.least })
	if !ok || forgotten.least < r.floor {
		return false, nil
	}
	err := r.saver.Save(ctx, mark.offsets, fmt.Sprintf(forgottenForm, forgotten.least, max(mark.local, 0), forgotten.right))
	if reset := new(spine.ResetError); errors.As(err, &reset) {
		r.end(err)
		return false, err
	}
	if err != nil && ctx.Err() == nil {
		// Without its own Kafka a region goes on applying what others publish.
		r.a.cfg.Log.Info("how far the own topics are read was not saved", "error", err)
	}
	if err == nil {
		r.floor = forgotten.least
	}
	return err == nil, nil
}

// firstAgain returns the HLC of the first transaction that isn't applied, 0 if there is
// none yet.
func (s *session) firstAgain(ctx context.Context) (change.HLC, error) {
	first, err := s.cut(ctx, func(m *change.Stamp) bool { return m.Seq > s.known })
	return first[s.in.Spine()].First.HLC, err
}

// cut finds where the question reached divides the source's topics.
func (s *session) cut(ctx context.Context, reached func(*change.Stamp) bool) (map[spine.Partition]spine.Cut, error) {
	kafka, _ := s.st.cfg.source()
	f, err := spine.NewFinder(kafka, s.st.cfg.Source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := f.Partitions(ctx, s.asm.Wanted)
	if err != nil {
		return nil, err
	}
	return f.Cut(ctx, all, reached)
}

// goBack has a session of a round that was lowered read again what isn't forgotten.
func (s *session) goBack(ctx context.Context) error {
	if s.round == nil || !s.round.lowered || s.asm.Applied == spine.Unknown || s.st.unlearnt {
		return nil
	}
	forgotten := s.versions.least
	cuts, err := s.cut(ctx, func(m *change.Stamp) bool { return m.HLC > forgotten })
	if err != nil {
		return err
	}
	first := cuts[s.in.Spine()].First.Seq
	if first == 0 || first > s.asm.Applied {
		return nil
	}
	s.asm.Applied, s.in.Start = first-1, spine.Offsets{}
	for at, cut := range cuts {
		s.in.Start[at] = cut.At
	}
	// Or the next round might begin with what lies before the place saved, and not after.
	now := checkpoint{offsets: s.in.Start, seq: s.asm.Applied, written: s.known, had: s.had}
	return errors.Join(save(ctx, s.saver, now), s.keep(ctx, now))
}

// readThird reads images from the topics of a third region, for a repair. That may be
// away for long: its rows are put back when it is there again.
func (r *repair) readThird(ctx context.Context, region change.Region, wanted map[spine.Partition]map[int64]*repairRow) error {
	s, cfg := r.s, r.s.st.cfg
	if !slices.Contains(cfg.Spec.Regions, region) {
		return fmt.Errorf("reading images of region %s, which isn't of the task", region)
	}
	cfg.Source = region
	kafka, _ := cfg.source()
	b, err := s.round.bindersOf(region)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, tailPatience, errTailLate)
	defer cancel()
	err = r.read(limited, kafka, wanted, b)
	if err != nil && ctx.Err() == nil && !supervise.IsPermanent(err) {
		s.st.cfg.Log.Info("rows are not put back yet", "region", region, "error", err)
		r.away = region
		return nil
	}
	return err
}

// bindersOf returns what binds the topics of a region of the task.
func (r *round) bindersOf(region change.Region) (*binders, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.thirds[region]; b != nil {
		return b, nil
	}
	cfg := r.a.cfg
	cfg.Source = region
	_, from := cfg.source()
	b := r.newBinders()
	var err error
	if b.registry, err = schemas.NewRegistry(from); err != nil {
		return nil, supervise.Permanent(fmt.Errorf("reading images of region %s: %w", region, err))
	}
	r.thirds[region] = b
	return b, nil
}
