package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/mysql"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Run is a task whose tables are captured, by the name that its progress is kept under.
type Run struct {
	Name   string
	Tables tasks.Tables
}

// Selection is what is captured.
type Selection struct {
	Runs   []Run
	Copies []Copy
	// Fixed tables are captured from wherever capture goes on. Others begin after what the server had committed when they
	// were asked for, which may have been long before capture comes to that: what lies between is captured
	// as it was, or old changes would be published of tables that were made equal since.
	Fixed bool
}

// selecting is what is to be captured, and since when it is.
type selecting struct {
	wanted  *Selection
	changed chan struct{} // closed when wanted is another
	goal    *binlog.Position
	// saved is what the record in topic duplex.positions says, nil if it wasn't read yet; active is what this process
	// captures by it, nil before its first session.
	saved  *taken
	active *taken
}

// taken is the record, in topic duplex.positions, of what the region captures from its position on.
type taken struct {
	Runs map[string]takenRun `json:"tasks"`
}

type takenRun struct {
	Include []string `json:"include"`
	Exclude []string `json:"exclude,omitempty"`
	// Since is the region's last transaction before the tables of the task were captured.
	Since change.Seq `json:"since"`
}

// takenKey is the key of a region's record.
func takenKey(r change.Region) string { return string(r) + "/captured" }

// errReselected ends a session when something else is to be captured.
var errReselected = errors.New("other tables are to be captured")

// Select has the capture go over to other tables, at once if it runs.
func (c *Capture) Select(s Selection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.selecting.changed != nil {
		close(c.selecting.changed)
	}
	if old := c.selecting.wanted; old == nil || !reflect.DeepEqual(patterns(old.Runs), patterns(s.Runs)) {
		c.selecting.goal = nil
	}
	c.selecting.wanted, c.selecting.changed = &s, make(chan struct{})
}

// Captures reports whether the tables of a run are captured, exactly as it says, and since which of the region's transactions.
func (c *Capture) Captures(r Run) (since change.Seq, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.selecting.active == nil {
		return 0, false
	}
	run, ok := c.selecting.active.Runs[r.Name]
	return run.Since, ok && reflect.DeepEqual(run.patterns(), patternsOf(r))
}

// Knows reports whether a run of that name is captured, with whatever tables; or may be, as nothing is known yet.
func (c *Capture) Knows(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.selecting.active == nil {
		return true
	}
	_, ok := c.selecting.active.Runs[name]
	return ok
}

func (r *takenRun) patterns() [2][]string {
	return [2][]string{slices.Concat([]string{}, r.Include), slices.Concat([]string{}, r.Exclude)}
}

func patternsOf(r Run) [2][]string {
	return (&takenRun{Include: r.Tables.Include, Exclude: r.Tables.Exclude}).patterns()
}

func patterns(runs []Run) map[string][2][]string {
	all := map[string][2][]string{}
	for _, r := range runs {
		all[r.Name] = patternsOf(r)
	}
	return all
}

// reselecting runs sessions, and a new one each time that other tables are to be captured.
func (c *Capture) reselecting(ctx context.Context) error {
	for {
		c.mu.Lock()
		wanted, changed := c.selecting.wanted, c.selecting.changed
		c.mu.Unlock()
		session, cancel := context.WithCancelCause(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			select {
			case <-changed:
				cancel(errReselected)
			case <-session.Done():
			}
		}()
		err := c.session(session, wanted)
		again := errors.Is(err, errReselected) || errors.Is(context.Cause(session), errReselected) && !supervise.IsPermanent(err)
		cancel(nil)
		<-watched
		if !again {
			c.selecting.saved = nil // another capture may have been here before the next session
		}
		if ctx.Err() != nil || !again {
			return err
		}
	}
}

// take decides what the session captures. Where that is to be another than before, and capture hasn't come so far yet,
// it is what it was, and the session ends when it has.
func (s *session) take(ctx context.Context, wanted *Selection, server *mysql.Server, begins bool) error {
	c, p := s.c, &s.publishing
	saved, err := c.savedSelection(ctx, begins)
	if err != nil {
		return err
	}
	next := &taken{Runs: map[string]takenRun{}}
	for _, r := range wanted.Runs {
		run := takenRun{Include: r.Tables.Include, Exclude: r.Tables.Exclude, Since: p.numbers.Seq}
		if old, ok := saved.Runs[r.Name]; ok {
			run.Since = old.Since
		} else if saved.Runs == nil && wanted.Fixed {
			run.Since = 0 // as it was before there was such a record
		}
		next.Runs[r.Name] = run
	}
	s.selection = wanted
	goal, err := c.goalOf(server)
	if err != nil {
		return err
	}
	switch {
	case saved.same(next):
	case wanted.Fixed || p.position.Covers(goal):
		if err := c.saveSelection(ctx, p.publisher, next); err != nil {
			return err
		}
	default:
		p.goal = goal
		s.selection, err = saved.selection()
		if err != nil {
			return supervise.Permanent(err)
		}
		next = saved
		c.cfg.Log.Info("other tables are to be captured, after what was committed before", "goal", goal.String(), "position", p.position.String())
	}
	c.mu.Lock()
	c.selecting.active = next
	c.mu.Unlock()
	return nil
}

func (t *taken) same(o *taken) bool {
	if t.Runs == nil || len(t.Runs) != len(o.Runs) {
		return false
	}
	for name, run := range t.Runs {
		other, ok := o.Runs[name]
		if !ok || !reflect.DeepEqual(run.patterns(), other.patterns()) {
			return false
		}
	}
	return true
}

// selection is what the record says.
func (t *taken) selection() (*Selection, error) {
	s := &Selection{}
	for name, run := range t.Runs {
		tables, err := tasks.NewTables(run.Include, run.Exclude)
		if err != nil {
			return nil, fmt.Errorf("reading what is captured of task %s: %w", name, err)
		}
		s.Runs = append(s.Runs, Run{name, tables})
	}
	return s, nil
}

// goalOf is what the server had committed when the selection was first looked at.
func (c *Capture) goalOf(server *mysql.Server) (*binlog.Position, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.selecting.goal == nil {
		goal, err := binlog.ParsePosition(c.cfg.Process.Engine, server.GTIDExecuted)
		if err != nil {
			return nil, supervise.Permanent(err)
		}
		c.selecting.goal = goal
	}
	return c.selecting.goal, nil
}

// savedSelection reads what was captured up to the saved position. It is called after the publisher took over; what this
// process has read or written since is still so. A region that has no position has captured nothing.
func (c *Capture) savedSelection(ctx context.Context, begins bool) (*taken, error) {
	if c.selecting.saved != nil && !begins {
		return c.selecting.saved, nil
	}
	saved := &taken{}
	if begins {
		saved.Runs = map[string]takenRun{}
		c.selecting.saved = saved
		return saved, nil
	}
	cfg := c.cfg.Process
	t, err := openTail(cfg.Kafka, topics.Positions)
	if err != nil {
		return nil, err
	}
	defer t.close()
	var last *kgo.Record
	if _, err = t.read(ctx, func(r *kgo.Record) {
		if string(r.Key) == takenKey(cfg.Region) {
			last = r
		}
	}, func() bool { return last != nil }); err != nil {
		return nil, err
	}
	if last != nil {
		if err := json.Unmarshal(last.Value, saved); err != nil {
			return nil, supervise.Permanent(fmt.Errorf("reading %s@%d, which tables are captured: %w", last.Topic, last.Offset, err))
		}
	}
	c.selecting.saved = saved
	return saved, nil
}

// saveSelection writes the record, in a Kafka transaction of its own, before anything is published by it.
func (c *Capture) saveSelection(ctx context.Context, p *publisher, next *taken) error {
	value, err := json.Marshal(next)
	if err != nil {
		return supervise.Permanent(fmt.Errorf("encoding what is captured: %w", err))
	}
	c.selecting.saved = nil // until it is known to be written
	r := &kgo.Record{Topic: topics.Positions, Key: []byte(takenKey(c.cfg.Process.Region)), Value: value}
	if err := p.produce(ctx, r); err != nil {
		return err
	}
	if err := p.commit(ctx); err != nil {
		return err
	}
	c.selecting.saved = next
	for name, run := range next.Runs {
		c.cfg.Log.Info("captured from here on", "task", name, "include", run.Include, "exclude", run.Exclude, "since", run.Since)
	}
	return nil
}

// reached ends the session when it has come to its goal, having saved that.
func (s *publishing) reached(ctx context.Context) error {
	if s.goal == nil || s.inTxn || !s.position.Covers(s.goal) {
		return nil
	}
	if err := s.commit(ctx); err != nil {
		return err
	}
	return errReselected
}

func (s *session) captured(db, table string) bool {
	return slices.ContainsFunc(s.selection.Runs, func(r Run) bool { return r.Tables.Match(db, table) })
}

func (s *session) capturedIn(db string) bool {
	return slices.ContainsFunc(s.selection.Runs, func(r Run) bool { return r.Tables.MatchIn(db) })
}

func (s *session) touched(d *ddlStatement) bool { return d.touches(s.captured, s.capturedIn) }
