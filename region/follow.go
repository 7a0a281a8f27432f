package region

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"duplex/apply"
	"duplex/capture"
	"duplex/change"
	"duplex/config"
	"duplex/control"
	"duplex/tasks"
)

const (
	// lookEvery is how often it is looked whether what a task waits for is there.
	lookEvery = 200 * time.Millisecond
	// againEvery is how often what couldn't be read or written, or didn't fit, is tried again.
	againEvery = 5 * time.Second
)

// follower does with the region's tasks what operators want, as the control plane tells. It never decides by what it has done
// itself: a process that is killed at any point and started again comes to the same.
type follower struct {
	r       *Region
	process string // how this one is called in its reports
	reports chan []control.Report

	mu     sync.Mutex
	boards map[string]*control.Board // the region's own, "", and those of peers with a Kafka of their own
	away   error                     // why the own can't be read

	tasks    map[string]*followed // of the one goroutine of keep
	selected *capture.Selection
	shown    map[string]control.Report // as reported last
	shownAt  time.Time
}

// followed is a task of the region.
type followed struct {
	record *tasks.Record
	run    *running
	// waits is why no streams run that should, failed if that doesn't pass by itself.
	waits  error
	failed bool
	check  *check
	since  [2]standing // of what was reported of capture and apply
}

type standing struct {
	state control.State
	at    time.Time
}

// running are a task's streams into the region.
type running struct {
	record  *tasks.Record
	streams []*apply.Stream
	cancel  context.CancelFunc
	done    chan struct{}
}

func (r *running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// check is the check of a task in the region, before its streams start.
type check struct {
	revision int64
	at       time.Time
	done     chan struct{}
	err      error // once done is closed
}

func newFollower(r *Region) *follower {
	host, _ := os.Hostname() // without one, the address must do
	return &follower{r: r, process: host + " " + r.cfg.Process.Listen, reports: make(chan []control.Report, 1),
		boards: map[string]*control.Board{}, tasks: map[string]*followed{}, shown: map[string]control.Report{}}
}

// run follows until ctx ends and all streams have.
func (f *follower) run(ctx context.Context) {
	var all sync.WaitGroup
	own := f.r.cfg.Process.Kafka
	all.Go(func() { f.watch(ctx, "", own) })
	all.Go(func() { f.report(ctx, own) })
	for region, peer := range f.r.cfg.Process.Peers {
		if !slices.Equal(peer.Kafka.Brokers, own.Brokers) {
			all.Go(func() { f.watch(ctx, string(region), peer.Kafka) })
		}
	}
	f.keep(ctx)
	all.Wait()
}

// watch keeps the board of one Kafka.
func (f *follower) watch(ctx context.Context, name string, cfg config.Kafka) {
	for ctx.Err() == nil {
		err := f.watchOnce(ctx, name, cfg)
		if ctx.Err() != nil {
			return
		}
		if name == "" {
			f.mu.Lock()
			f.away = err
			f.mu.Unlock()
		}
		f.r.cfg.Log.Warn("tasks can't be read from Kafka", "of", name, "error", err, "after", againEvery/5)
		pause(ctx, againEvery/5)
	}
}

func (f *follower) watchOnce(ctx context.Context, name string, cfg config.Kafka) error {
	store, err := control.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	return store.Watch(ctx, func(b *control.Board) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.boards[name] = &control.Board{Tasks: maps.Clone(b.Tasks), Reports: maps.Clone(b.Reports)}
		if name == "" {
			f.away = nil
		}
	})
}

// board is the region's tasks, and the reports of all regions; nil before they are known.
func (f *follower) board() *control.Board {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := f.boards[""]
	if own == nil {
		return nil
	}
	all := &control.Board{Tasks: map[string]*tasks.Record{}, Reports: maps.Clone(own.Reports)}
	for name, r := range own.Tasks {
		if slices.Contains(r.Spec.Regions, f.r.cfg.Process.Region) {
			all.Tasks[name] = r
		}
	}
	for name, b := range f.boards {
		if name != "" {
			maps.Copy(all.Reports, b.Reports)
		}
	}
	return all
}

// keep drives the tasks.
func (f *follower) keep(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		if b := f.board(); b != nil {
			f.adopt(b)
			for _, t := range f.inOrder() {
				f.drive(ctx, t, b)
			}
			f.choose(b)
			f.tell()
		}
		select {
		case <-ctx.Done():
		case <-look.C:
		}
	}
	for _, t := range f.inOrder() {
		if t.run != nil {
			<-t.run.done
		}
	}
}

func (f *follower) inOrder() (all []*followed) {
	for _, name := range slices.Sorted(maps.Keys(f.tasks)) {
		all = append(all, f.tasks[name])
	}
	return all
}

// adopt takes notice of what is wanted.
func (f *follower) adopt(b *control.Board) {
	for name, r := range b.Tasks {
		t := f.tasks[name]
		if t == nil {
			t = &followed{}
			f.tasks[name] = t
		}
		if t.record == nil || t.record.Revision != r.Revision {
			f.r.cfg.Log.Info("task", "task", name, "wanted", r.Wanted, "revision", r.Revision, "action", r.Last)
		}
		t.record = r
	}
}

// drive starts and ends the streams of a task.
func (f *follower) drive(ctx context.Context, t *followed, b *control.Board) {
	if f.r.cfg.Services&Apply == 0 {
		return
	}
	r := t.record
	wanted := r.Wanted == tasks.Running
	if t.run != nil && t.run.ended() {
		t.run = nil
		f.r.setStreams(f.streams())
	}
	since, missing := capturedSince(r, b)
	if run := t.run; run != nil {
		switch {
		case !wanted || run.record.Name() != r.Name():
			run.cancel()
		case len(tasks.Differences(run.record.Spec, r.Spec)) > 0 && missing == nil:
			run.cancel() // and begin again with the other specification, now that its tables are captured
		}
		return
	}
	t.waits, t.failed = nil, false
	if !wanted {
		t.check = nil
		return
	}
	if t.waits = missing; missing != nil {
		return
	}
	if err, done := f.checked(ctx, t); err != nil || !done {
		t.waits, t.failed = err, done
		return
	}
	f.start(ctx, t, since)
}

// capturedSince returns since when the tables of a task are captured in each of its regions, or what is waited for. Apply begins
// only then: it needs the region's own capture to know what is written there, and a copy must not begin before changes of
// every region are captured.
func capturedSince(r *tasks.Record, b *control.Board) (map[change.Region]change.Seq, error) {
	since := map[change.Region]change.Seq{}
	for _, p := range b.Reports {
		if p.Task == r.Task && p.Life == r.Life && p.Revision >= r.TablesAt && p.Capture != nil && p.Capture.Captured {
			since[p.Region] = max(since[p.Region], p.Capture.Since)
		}
	}
	for _, region := range r.Spec.Regions {
		if _, ok := since[region]; !ok {
			return nil, fmt.Errorf("waiting for the capture of region %s to take up the task's tables", region)
		}
	}
	return since, nil
}

// checked checks a task in the region once for each revision, and again after a while if it didn't fit. done is false as long as that
// takes.
func (f *follower) checked(ctx context.Context, t *followed) (err error, done bool) {
	if f.r.cfg.Check == nil {
		return nil, true
	}
	c := t.check
	if c != nil {
		select {
		case <-c.done:
		default:
			return errors.New("checking the preconditions"), false
		}
		if c.revision == t.record.Revision && (c.err == nil || time.Since(c.at) < againEvery) {
			return c.err, true
		}
	}
	var former error
	if c != nil {
		former = c.err
	}
	c = &check{revision: t.record.Revision, at: time.Now(), done: make(chan struct{})}
	t.check = c
	spec := named(t.record)
	go func() {
		defer close(c.done)
		c.err = f.r.cfg.Check(ctx, f.r.cfg.Process, spec)
	}()
	if former != nil {
		return former, true // and still, until it is known to fit
	}
	return errors.New("checking the preconditions"), false
}

// named is the specification under the name that its progress is kept under.
func named(r *tasks.Record) *tasks.Spec {
	spec := *r.Spec
	spec.Task = r.Name()
	return &spec
}

func (f *follower) start(ctx context.Context, t *followed, since map[change.Region]change.Seq) {
	ctx, cancel := context.WithCancel(ctx)
	run := &running{record: t.record, cancel: cancel, done: make(chan struct{}),
		streams: apply.NewStreams(apply.Config{Process: f.r.cfg.Process, Spec: named(t.record), Since: since, Log: f.r.cfg.Log})}
	t.run = run
	f.r.setStreams(f.streams())
	go func() {
		defer close(run.done)
		var streams sync.WaitGroup
		for _, s := range run.streams {
			streams.Go(func() { s.Run(ctx) })
		}
		streams.Wait()
		cancel()
	}()
}

func (f *follower) streams() (all []*apply.Stream) {
	for _, t := range f.inOrder() {
		if t.run != nil {
			all = append(all, t.run.streams...)
		}
	}
	return all
}

// choose tells capture what to capture: the tables of all tasks that were started, and of those being left as long as streams
// write them; and what to copy.
func (f *follower) choose(b *control.Board) {
	if f.r.capture == nil {
		return
	}
	s := &capture.Selection{}
	for _, t := range f.inOrder() {
		r := t.record
		if t.run != nil && t.run.record.Name() != r.Name() || t.run != nil && !r.Captured() {
			r = t.run.record
		}
		if !r.Captured() {
			continue
		}
		s.Runs = append(s.Runs, capture.Run{Name: r.Name(), Tables: r.Spec.Tables})
		c := &r.Spec.InitialCopy
		if _, missing := capturedSince(r, b); missing == nil && r.Wanted != tasks.Stopped && c.Begins(f.r.cfg.Process.Region) {
			s.Copies = append(s.Copies, capture.Copy{Task: r.CopyName(), Match: r.Spec.Tables.Match, Threads: c.Threads, Rows: c.BatchRows, PerSecond: c.RowsPerSecond})
		}
	}
	if f.selected != nil && sameSelection(f.selected, s) {
		return
	}
	f.selected = s
	f.r.capture.Select(*s)
}

func sameSelection(a, b *capture.Selection) bool {
	type copied struct {
		task                     string
		threads, rows, perSecond int
	}
	type run struct {
		name             string
		include, exclude []string
	}
	of := func(s *capture.Selection) (runs []run, copies []copied) {
		for _, r := range s.Runs {
			runs = append(runs, run{r.Name, r.Tables.Include, r.Tables.Exclude})
		}
		for _, c := range s.Copies {
			copies = append(copies, copied{c.Task, c.Threads, c.Rows, c.PerSecond})
		}
		return runs, copies
	}
	x, p := of(a)
	y, q := of(b)
	return reflect.DeepEqual(x, y) && reflect.DeepEqual(p, q)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
