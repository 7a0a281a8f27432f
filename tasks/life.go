package tasks

import (
	"fmt"
	"strings"
	"time"
)

// Wanted is what operators want of a task.
type Wanted string

// What may be wanted of a task.
const (
	// Created is known, and nothing of it runs: its tables aren't even captured.
	Created Wanted = "created"
	Running Wanted = "running"
	// Paused is Running but for apply: its tables are captured, and a copy goes on.
	Paused Wanted = "paused"
	// Stopped has its tables captured, so that nothing is lost until it is started again.
	Stopped Wanted = "stopped"
	Deleted Wanted = "deleted"
)

// Action is what an operator does with a task.
type Action string

// The actions, besides making a task and editing it, which need a specification.
const (
	Create Action = "create"
	Start  Action = "start"
	Pause  Action = "pause"
	Stop   Action = "stop"
	Edit   Action = "edit"
	Reset  Action = "reset"
	Delete Action = "delete"
)

// Record is what is known of a task: its specification and what is wanted of it. Each change makes a
// new one, with the next revision.
type Record struct {
	Task     string
	Revision int64
	Wanted   Wanted
	// Life counts how often a task of this name was created, Copies how often its initial copy was begun anew.
	Life, Copies int
	// Started tells that it was started at some time of this life: it has left traces.
	Started bool
	// TablesAt is the revision since which its tables are what they are.
	TablesAt int64
	Spec     *Spec
	// Last is what made this revision, and At when.
	Last Action
	At   time.Time
}

// Name is what the task is called where its progress is kept: in consumer groups, in duplex.progress, in topic
// duplex.copies. A task that is created again under a name that was there must not go on where that one was.
func (r *Record) Name() string {
	if r.Life <= 1 {
		return r.Task
	}
	return fmt.Sprintf("%s~%d", r.Task, r.Life)
}

// CopyName is Name for the initial copy, which a reset begins anew.
func (r *Record) CopyName() string {
	if r.Copies == 0 {
		return r.Name()
	}
	return fmt.Sprintf("%s/%d", r.Name(), r.Copies)
}

// Captured reports whether the task's tables are to be captured.
func (r *Record) Captured() bool {
	return r.Wanted == Running || r.Wanted == Paused || r.Wanted == Stopped
}

// maxName is how long Name may be: duplex.progress has no room for more.
const maxName = 64

// RefusedError says why a task can't be treated so now.
type RefusedError struct {
	Task string
	// What was asked for, Reason why not, Mend what to do instead.
	What, Reason, Mend string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("task %s: %s: %s; mend: %s", e.Task, e.What, e.Reason, e.Mend)
}

// rule is what an action makes of a task that is in one of the states.
type rule struct {
	from []Wanted
	to   Wanted // as it was, if empty
}

// rules of the actions that need no specification. Who asks for what is so already has nothing changed.
var rules = map[Action]rule{
	Start:  {[]Wanted{Created, Paused, Stopped}, Running},
	Pause:  {[]Wanted{Running}, Paused},
	Stop:   {[]Wanted{Running, Paused}, Stopped},
	Reset:  {[]Wanted{Stopped}, ""},
	Delete: {[]Wanted{Created, Stopped}, Deleted},
}

// Begin makes a task. Former is what the name stood for before, nil if nothing.
func Begin(former *Record, spec *Spec, now time.Time) (Record, error) {
	next := Record{Task: spec.Task, Revision: 1, Wanted: Created, Life: 1, Spec: spec, Last: Create, At: now}
	if former == nil {
		return next, nil
	}
	if former.Wanted != Deleted {
		if former.Wanted == Created && len(Differences(former.Spec, spec)) == 0 {
			return *former, nil
		}
		return next, &RefusedError{spec.Task, "it can't be created", fmt.Sprintf("there is a task of this name, which is %s", former.Wanted),
			"give this one another name, or change that one by duplex task edit"}
	}
	next.Revision, next.Life = former.Revision+1, former.Life+1
	if !former.Started {
		next.Life = former.Life // which has left no traces
	}
	if len(next.Name()) > maxName {
		return next, &RefusedError{spec.Task, "it can't be created", fmt.Sprintf("a task of this name was deleted, and its successor would be kept as %s, which is too long", next.Name()), "give it another name"}
	}
	return next, nil
}

// Do is what an action makes of the task, with the same revision if there is nothing to do.
func (r *Record) Do(a Action, now time.Time) (Record, error) {
	rule := rules[a]
	if r.Wanted == rule.to {
		return *r, nil
	}
	if a == Reset && r.Wanted == Created {
		return *r, nil // nothing was copied yet
	}
	for _, from := range rule.from {
		if from != r.Wanted {
			continue
		}
		next := *r
		next.Revision, next.Last, next.At = r.Revision+1, a, now
		if rule.to != "" {
			next.Wanted = rule.to
		}
		if a == Start && !r.Started {
			next.Started, next.TablesAt = true, next.Revision
		}
		if a != Reset {
			return next, nil
		}
		next.Copies++
		if r.Spec.InitialCopy.From == NoCopy {
			return *r, &RefusedError{r.Task, "it can't be reset", "initial_copy.from is none, so that nothing would be copied, and to leave out changes that aren't applied yet would lose them",
				"set initial_copy by duplex task edit and reset it then; or just start it: it goes on where it was"}
		}
		return next, nil
	}
	return *r, r.refuse(a, rule)
}

func (r *Record) refuse(a Action, rule rule) error {
	var from []string
	for _, w := range rule.from {
		from = append(from, string(w))
	}
	reason := fmt.Sprintf("it is %s, and that can be done only with a task that is %s", r.Wanted, strings.Join(from, " or "))
	mend := "duplex task show tells how it is"
	switch {
	case r.Wanted == Deleted:
		reason, mend = "it was deleted", "create it again by duplex task create"
	case a == Delete || a == Reset:
		mend = "stop it first: duplex task stop"
	case r.Wanted == Created:
		reason, mend = "it was never started", "start it: duplex task start"
	case a == Pause:
		reason, mend = "it is stopped, which is more", "leave it so, or start it first"
	}
	return &RefusedError{r.Task, "can't " + string(a) + " it", reason, mend}
}

// Change gives the task another specification, with the same revision if it has that already.
func (r *Record) Change(spec *Spec, now time.Time) (Record, error) {
	if r.Wanted == Deleted {
		return *r, r.refuse(Edit, rule{})
	}
	if len(Differences(r.Spec, spec)) == 0 {
		return *r, nil
	}
	if err := r.refuseEdit(spec); err != nil {
		return *r, err
	}
	next := *r
	next.Revision, next.Spec, next.Last, next.At = r.Revision+1, spec, Edit, now
	if !r.Spec.Tables.same(spec.Tables) {
		next.TablesAt = next.Revision
	}
	return next, nil
}
