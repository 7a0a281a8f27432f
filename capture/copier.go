package capture

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"duplex/capture/snapshot"
	"duplex/mysql"
	"duplex/supervise"

	"golang.org/x/sync/errgroup"
)

const (
	// partBytes is from how many bytes of row images on a chunk ends. There is one for each thread.
	partBytes = 2 << 20
	// copyLog is how often the log tells how far the copy is.
	copyLog = 10 * time.Second
	// copyPause is waited after a failure, longer each time, up to copyLongPause.
	copyPause     = 100 * time.Millisecond
	copyLongPause = 10 * time.Second
	// againPause is waited before a chunk is read again.
	againPause     = 5 * time.Millisecond
	againLongPause = 500 * time.Millisecond
)

// copier copies the tables of one session, one after the other. A splitter cuts them into
// ranges of so many rows, readers read these side by side, and placer gives the chunks
// to publishing in the order of the ranges: so how far a table is copied is told by one key.
type copier struct {
	c       *Capture
	engine  string
	db      *sql.DB
	copies  []Copy
	done    map[string]*copied // of topic duplex.copies
	placing *placing
	sizes   map[[2]string]snapshot.Size

	work, order chan *job
	rest        *snapshot.Reader // of the splitter
	told        time.Time

	mu   sync.Mutex
	next time.Time // when the next chunk may be read
}

// job is a range of a table.
type job struct {
	table *copyTable
	rng   snapshot.Range
	parts chan *part // closed after the last
	done  chan struct{}
}

// prepareCopies reads how far copies are, if there are any.
func (s *session) prepareCopies(ctx context.Context) (err error) {
	if len(s.selection.Copies) == 0 {
		return nil
	}
	if s.done, err = loadCopied(ctx, s.c.cfg.Process.Kafka); err != nil {
		return err
	}
	s.publishing.placing = newPlacing()
	s.stamping.parts = s.publishing.placing.inject
	return nil
}

// copyTables runs the copies of a session to their end.
func (s *session) copyTables(ctx context.Context, done map[string]*copied) error {
	db, err := mysql.Open(s.c.cfg.Process.MySQL, mysql.Reading)
	if err != nil {
		return supervise.Permanent(err)
	}
	defer db.Close()
	cp := &copier{
		c: s.c, engine: s.c.cfg.Process.Engine, db: db, copies: s.selection.Copies, done: done, placing: s.publishing.placing,
		work: make(chan *job), told: time.Now(),
	}
	cp.rest = snapshot.NewReader(db, cp.engine)
	defer cp.rest.Close()
	var tables []*copyTable
	if err := cp.insist(ctx, "listing the tables to copy", func() (err error) {
		tables, err = cp.list(ctx)
		return err
	}); err != nil {
		return err
	}
	if len(tables) > 0 {
		if err := cp.run(ctx, tables); err != nil {
			return err
		}
		s.c.cfg.Log.Info("initial copy is done", "tables", len(tables))
	}
	s.c.copying(func(p *copyProgress) { p.status.State, p.status.Table, p.status.Error = copyDone, "", "" })
	return nil
}

// list finds the tables that aren't copied yet, by name, and tells the status of all.
func (cp *copier) list(ctx context.Context) (tables []*copyTable, err error) {
	matches := func(db, table string) bool {
		return slices.ContainsFunc(cp.copies, func(c Copy) bool { return c.Match(db, table) })
	}
	if cp.sizes, err = cp.rest.Sizes(ctx, matches); err != nil {
		return nil, err
	}
	defs, err := mysql.LoadTables(ctx, cp.db, matches)
	if err != nil {
		return nil, err
	}
	progress := &copyProgress{left: map[string]int{}, sizes: map[string]int64{}, done: map[string]int64{}, at: time.Now(), status: CopyStatus{State: copyCopying}}
	for _, c := range cp.copies {
		progress.left[c.Task] = 0
		for _, def := range defs {
			if !c.Match(def.DB, def.Name) || snapshot.IsSequence(def) {
				continue
			}
			t := &copyTable{copied: copied{Task: c.Task, DB: def.DB, Table: def.Name}, key: copyKey(cp.c.cfg.Process.Region, c.Task, def.DB, def.Name)}
			if p := cp.done[t.key]; p != nil {
				t.copied = *p
			}
			size := cp.sizes[[2]string{def.DB, def.Name}]
			t.rows, t.perSecond = c.Rows, c.PerSecond
			if size.RowBytes > 0 {
				t.rows = int(max(1, min(int64(c.Rows), partBytes/size.RowBytes)))
			}
			progress.status.Tables++
			progress.done[c.Task+" "+t.name()] = t.Rows
			progress.sizes[c.Task+" "+t.name()] = size.Rows
			if t.Done {
				progress.status.TablesDone++
				progress.sizes[c.Task+" "+t.name()] = t.Rows
				continue
			}
			progress.left[c.Task]++
			tables = append(tables, t)
		}
	}
	cp.c.copying(func(p *copyProgress) { *p = *progress })
	return tables, nil
}

func (cp *copier) run(ctx context.Context, tables []*copyTable) error {
	threads := 1
	for _, c := range cp.copies {
		threads = max(threads, c.Threads)
	}
	cp.order = make(chan *job, threads)
	cp.c.cfg.Log.Info("initial copy begins", "tables", len(tables), "threads", threads)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return cp.split(ctx, tables) })
	for range threads {
		group.Go(func() error { return cp.read(ctx) })
	}
	group.Go(func() error { return cp.place(ctx) })
	return group.Wait()
}

// split cuts tables into ranges.
func (cp *copier) split(ctx context.Context, tables []*copyTable) error {
	defer close(cp.work)
	defer close(cp.order)
	for _, t := range tables {
		if err := cp.begin(ctx, t); err != nil {
			return err
		}
		after := t.Last
		for more := true; more; {
			j := &job{table: t, rng: snapshot.Range{After: after}, parts: make(chan *part), done: make(chan struct{})}
			err := cp.insist(ctx, "dividing table "+t.name(), func() (err error) {
				j.rng.UpTo, err = cp.rest.Boundary(ctx, t.table(), after, t.rows)
				return err
			})
			if err != nil {
				return err
			}
			after, more = j.rng.UpTo, j.rng.UpTo != nil
			for _, to := range []chan *job{cp.order, cp.work} {
				select {
				case to <- j:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			if !t.table().Wide() {
				continue
			}
			select { // one at a time: a few rows may be all that memory has room for
			case <-j.done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// begin loads a table's definition. A copy that stopped half-way under another primary key is begun anew.
func (cp *copier) begin(ctx context.Context, t *copyTable) error {
	err := cp.insist(ctx, "reading the definition of table "+t.name(), func() error {
		now, err := cp.rest.Load(ctx, t.DB, t.Table)
		if err == nil {
			t.redefine(now)
		}
		return err
	})
	if err != nil {
		return err
	}
	key := t.table().KeyColumns()
	if t.Last != nil && !slices.Equal(key, t.Key) {
		cp.c.cfg.Log.Warn("the primary key was altered since a part of the table was copied: it is copied from the start", "table", t.name(), "key", strings.Join(key, ", "))
		cp.c.copying(func(p *copyProgress) { p.done[t.Task+" "+t.name()] = 0 })
		t.Last, t.Rows = nil, 0
	}
	t.Key = key
	cp.c.cfg.Log.Info("copying table", "task", t.Task, "table", t.name(), "rows_before", t.Rows, "rows_estimated", cp.sizes[[2]string{t.DB, t.Table}].Rows)
	return nil
}

// read reads ranges.
func (cp *copier) read(ctx context.Context) error {
	r := snapshot.NewReader(cp.db, cp.engine)
	defer r.Close()
	for {
		select {
		case j, ok := <-cp.work:
			if !ok {
				return nil
			}
			if err := cp.readJob(ctx, r, j); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// readJob reads a range: in parts, if its rows are wide, and again what changed too much meanwhile.
func (cp *copier) readJob(ctx context.Context, r *snapshot.Reader, j *job) error {
	rest, again := j.rng, 0
	for {
		if err := cp.slow(ctx, j.table); err != nil {
			return err
		}
		p, err := cp.readPart(ctx, r, j.table, rest)
		if err != nil {
			return err
		}
		whole, last := p.chunk.Whole, p.chunk.Last
		p.after.Last, p.after.Done = last, whole && j.rng.UpTo == nil
		if last == nil {
			p.after.Last = rest.After // no row was left
		}
		select {
		case j.parts <- p:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var o outcome
		select {
		case o = <-p.outcome:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if o.again {
			again++
			cp.c.copying(func(p *copyProgress) { p.status.Again++ })
			if err := wait(ctx, min(againPause<<min(again, 10), againLongPause)); err != nil {
				return err
			}
			continue
		}
		if whole {
			close(j.parts) // and only then: it tells that the range is done
			return nil
		}
		rest.After, again = last, 0
	}
}

// readPart reads the next part of a range, as often as it takes.
func (cp *copier) readPart(ctx context.Context, r *snapshot.Reader, t *copyTable, rng snapshot.Range) (p *part, err error) {
	err = cp.insist(ctx, "copying table "+t.name(), func() error {
		window, err := cp.openWindow(ctx, t.name())
		if err != nil {
			return err
		}
		chunk, err := r.Read(ctx, t.table(), window.seen, rng, snapshot.Limits{Rows: t.rows, Bytes: partBytes})
		if err == nil {
			p = &part{chunk: chunk, window: window.window, published: make(chan outcome, 1), outcome: make(chan outcome, 1), after: t.copied}
			p.high, err = parseHigh(cp.engine, chunk.High)
		}
		if err == nil {
			p.wide = chunk.Wide()
			return nil
		}
		select {
		case cp.placing.drop <- window.window:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if errors.Is(err, snapshot.ErrAltered) {
			return cp.reload(ctx, r, t, err)
		}
		return err
	})
	return p, err
}

// reload reads a table's definition again, which was altered.
func (cp *copier) reload(ctx context.Context, r *snapshot.Reader, t *copyTable, altered error) error {
	now, err := r.Load(ctx, t.DB, t.Table)
	if err != nil {
		return err
	}
	if key := now.KeyColumns(); !slices.Equal(key, t.Key) {
		return fmt.Errorf("the primary key of table %s is now (%s): %w; beginning anew with it", t.name(), strings.Join(key, ", "), errKeyAltered)
	}
	t.redefine(now)
	return altered // and try again
}

// errKeyAltered ends the session: the next begins the table anew.
var errKeyAltered = errors.New("it was altered while the table was copied")

func (cp *copier) openWindow(ctx context.Context, table string) (o opened, err error) {
	ask := opening{table, make(chan opened, 1)}
	select {
	case cp.placing.open <- ask:
		return <-ask.reply, nil
	case <-ctx.Done():
		return o, context.Cause(ctx)
	}
}

// place gives chunks to publishing in the order of their ranges.
func (cp *copier) place(ctx context.Context) error {
	rows := map[*copyTable]int64{}
	for j := range cp.order {
		for {
			p, ok, err := cp.partOf(ctx, j)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			t := j.table
			p.after.Rows = t.Rows + rows[t] + p.chunk.Rows
			select {
			case cp.placing.ready <- p:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			o, err := cp.await(ctx, p)
			if err != nil {
				return err
			}
			if o.again {
				continue
			}
			rows[t] += p.chunk.Rows
			if p.after.Done {
				cp.tableDone(t, p.after.Rows)
			}
			cp.tell(t)
		}
		close(j.done)
	}
	return context.Cause(ctx)
}

func (cp *copier) partOf(ctx context.Context, j *job) (p *part, ok bool, err error) {
	select {
	case p, ok = <-j.parts:
		return p, ok, nil
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
}

// await waits until a part is published, and passes that on to its reader.
func (cp *copier) await(ctx context.Context, p *part) (o outcome, err error) {
	select {
	case o = <-p.published:
		p.outcome <- o // has room
		return o, nil
	case <-ctx.Done():
		return o, context.Cause(ctx)
	}
}

// slow keeps to the task's limit of rows a second. It waits before a window is opened: of what is open long,
// much must be left out.
func (cp *copier) slow(ctx context.Context, t *copyTable) error {
	if t.perSecond == 0 {
		return nil
	}
	cp.mu.Lock()
	now := time.Now()
	if cp.next.Before(now) {
		cp.next = now
	}
	pause := cp.next.Sub(now)
	cp.next = cp.next.Add(time.Duration(float64(t.rows) / float64(t.perSecond) * float64(time.Second)))
	cp.mu.Unlock()
	return wait(ctx, pause)
}

func (cp *copier) tableDone(t *copyTable, rows int64) {
	cp.c.cfg.Log.Info("table is copied", "task", t.Task, "table", t.name(), "rows", rows)
	cp.c.copying(func(p *copyProgress) {
		p.status.TablesDone++
		p.left[t.Task]--
		p.sizes[t.Task+" "+t.name()] = rows
	})
}

// tell logs now and then how far the copy is.
func (cp *copier) tell(t *copyTable) {
	cp.c.copying(func(p *copyProgress) { p.status.Table = t.name() })
	if time.Since(cp.told) < copyLog {
		return
	}
	cp.told = time.Now()
	s := cp.c.Status().Copy
	cp.c.cfg.Log.Info("initial copy goes on", "table", t.name(), "tables_done", s.TablesDone, "tables", s.Tables, "rows_done", s.RowsDone, "rows_estimated", s.Rows, "seconds_left", s.SecondsLeft)
}

// insist does what may fail for a while, until it succeeds. What waiting doesn't mend ends the session.
func (cp *copier) insist(ctx context.Context, what string, do func() error) error {
	for pause := copyPause; ; pause = min(2*pause, copyLongPause) {
		err := do()
		if err == nil || ctx.Err() != nil {
			if err != nil {
				err = context.Cause(ctx)
			} else {
				cp.c.copying(func(p *copyProgress) { p.status.Error = "" })
			}
			return err
		}
		if err = judge(what, err); err != nil && (supervise.IsPermanent(err) || errors.Is(err, errKeyAltered)) {
			return err
		}
		cp.c.cfg.Log.Warn("the initial copy waits", "error", err, "after", pause)
		cp.c.copying(func(p *copyProgress) { p.status.Error = err.Error() })
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// judge tells what waiting doesn't mend.
func judge(what string, err error) error {
	const missingColumn = 1054 // the table was altered since its definition was read
	fault := mysql.Classify(err)
	switch {
	case errors.Is(err, snapshot.ErrGone):
		return supervise.Permanent(fmt.Errorf("%s: %w; mend: if it was dropped on purpose, restart: what isn't there isn't copied", what, err))
	case errors.Is(err, snapshot.ErrAltered), errors.Is(err, errKeyAltered), supervise.IsPermanent(err):
		return fmt.Errorf("%s: %w", what, err)
	case fault.Number != 0 && fault.Class == mysql.Stop && fault.Number != missingColumn:
		return supervise.Permanent(fmt.Errorf("%s: %w", what, classify(err)))
	case fault.Number == 0 && fault.Class == mysql.Stop:
		return supervise.Permanent(fmt.Errorf("%s: %w", what, err))
	}
	return fmt.Errorf("%s: %w", what, err)
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
