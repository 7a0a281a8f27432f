package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"duplex/config"
	"duplex/control"
	"duplex/tasks"
)

type taskCommand struct {
	Create taskCreateCommand `cmd:"" help:"Make a task of a task file. Nothing of it runs until it is started."`
	Start  taskStartCommand  `cmd:"" help:"Have the services of all regions run a task, or go on with it."`
	Pause  taskPauseCommand  `cmd:"" help:"Have apply wait in all regions. Changes are captured, and a copy goes on."`
	Stop   taskStopCommand   `cmd:"" help:"Have all of a task wait. Changes are captured, so that nothing is lost until it is started again."`
	Edit   taskEditCommand   `cmd:"" help:"Change a task, also while it runs, to what a task file says."`
	Copy   taskCopyCommand   `cmd:"" help:"Print a task's specification under another name, as a task file to edit and create."`
	Reset  taskResetCommand  `cmd:"" help:"Have the initial copy of a stopped task begin anew at the next start."`
	Delete taskDeleteCommand `cmd:"" help:"Delete a stopped task. Rows stay as they are in every region."`
	List   taskListCommand   `cmd:"" help:"List the tasks and how they are."`
	Show   taskShowCommand   `cmd:"" help:"Show a task: how it is in each region, and its specification."`
}

// planeFlags say how to reach the Kafkas of the regions.
type planeFlags struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file; may be given once for each region. One is enough to reach Kafka."`
}

// reach loads the process files and connects to their Kafkas.
func (f *planeFlags) reach(env *environment) (*control.Plane, []*config.Process, error) {
	var procs []*config.Process
	for _, file := range f.Config {
		p, err := config.Load(file)
		if err != nil {
			return nil, nil, err
		}
		procs = append(procs, p)
	}
	plane, err := control.Reach(env.ctx, procs)
	return plane, procs, err
}

// found is a task where the Kafkas of its regions are reached. Who found it closes the plane.
type found struct {
	plane  *control.Plane
	procs  []*config.Process
	view   *control.View
	record *tasks.Record
}

// find finds a task.
func (f *planeFlags) find(env *environment, task string) (*found, error) {
	plane, procs, err := f.reach(env)
	if err != nil {
		return nil, err
	}
	at := &found{plane: plane, procs: procs}
	if at.view, err = plane.Read(env.ctx); err == nil {
		at.record, err = at.view.Find(task)
	}
	if err != nil {
		plane.Close()
		return nil, err
	}
	return at, nil
}

// actFlags are the flags of what is done with a task that is there.
type actFlags struct {
	planeFlags
	Revision int64         `placeholder:"N" help:"Refuse if the task has another revision than this, as task show prints it."`
	Wait     time.Duration `placeholder:"1m" help:"Wait until the services of all regions have done it, for so long at most."`
	Task     string        `arg:"" help:"The task's name."`
}

type (
	taskStartCommand  struct{ actFlags }
	taskPauseCommand  struct{ actFlags }
	taskStopCommand   struct{ actFlags }
	taskResetCommand  struct{ actFlags }
	taskDeleteCommand struct{ actFlags }
)

// Run starts the task.
func (c *taskStartCommand) Run(env *environment) error { return c.act(env, tasks.Start) }

// Run pauses the task.
func (c *taskPauseCommand) Run(env *environment) error { return c.act(env, tasks.Pause) }

// Run stops the task.
func (c *taskStopCommand) Run(env *environment) error { return c.act(env, tasks.Stop) }

// Run resets the task.
func (c *taskResetCommand) Run(env *environment) error { return c.act(env, tasks.Reset) }

// Run deletes the task.
func (c *taskDeleteCommand) Run(env *environment) error { return c.act(env, tasks.Delete) }

// act has one of the actions done.
func (c *actFlags) act(env *environment, action tasks.Action) error {
	at, err := c.find(env, c.Task)
	if err != nil {
		return err
	}
	defer at.plane.Close()
	plane, v, r := at.plane, at.view, at.record
	made, err := plane.Change(env.ctx, r.Spec.Regions, v, func(b *control.Board) (*tasks.Record, error) {
		now, err := b.Find(c.Task)
		if err != nil {
			return nil, err
		}
		if err := unchanged(now, r, c.Revision); err != nil {
			return nil, err
		}
		next, err := now.Do(action, time.Now())
		return &next, err
	})
	if err != nil {
		return err
	}
	return done(env, plane, made, made.Revision == r.Revision, c.Wait)
}

// unchanged refuses what was decided by looking at another revision than the task has now.
func unchanged(now, seen *tasks.Record, wanted int64) error {
	switch {
	case wanted != 0 && now.Revision != wanted:
		return fmt.Errorf("task %s has revision %d, not %d: somebody changed it (%s, %s); mend: look at it with duplex task show, and repeat with its revision",
			now.Task, now.Revision, wanted, now.Last, now.At.Format(time.RFC3339))
	case now.Revision != seen.Revision:
		return fmt.Errorf("task %s was changed at this moment by somebody else (%s, revision %d); mend: look at it with duplex task show, and repeat", now.Task, now.Last, now.Revision)
	}
	return nil
}

// done prints what became of a task, and waits for the services if that is wished.
func done(env *environment, plane *control.Plane, made *tasks.Record, same bool, wait time.Duration) error {
	shown := control.Show(made, nil, time.Now())
	if wait > 0 {
		var err error
		if shown, err = await(env, plane, made, wait); err != nil {
			return err
		}
	}
	if env.json {
		shown.In = slices.Concat([]control.InRegion{}, shown.In)
		return writeJSON(env, shown)
	}
	what := fmt.Sprintf("task %s: %s (revision %d)", made.Task, made.Wanted, made.Revision)
	if same {
		what += ", as it was"
	}
	if _, err := fmt.Fprintln(env.stdout, what); err != nil {
		return err
	}
	if made.Wanted == tasks.Created {
		_, err := fmt.Fprintf(env.stdout, "nothing of it runs yet: duplex task start -c … %s\n", made.Task)
		return err
	}
	return nil
}

// await waits until the services have done what was asked for. A task that has failed doesn't get there.
func await(env *environment, plane *control.Plane, made *tasks.Record, limit time.Duration) (shown control.Shown, err error) {
	for deadline := time.Now().Add(limit); ; {
		v, err := plane.Read(env.ctx)
		if err != nil {
			return shown, err
		}
		r, err := v.Find(made.Task)
		if err != nil {
			return shown, err
		}
		shown = control.Show(r, v.Reports, time.Now())
		switch {
		case shown.Has(made.Revision):
			return shown, nil
		case shown.State == control.Failed:
			return shown, fmt.Errorf("task %s (revision %d) has failed: %s", r.Task, r.Revision, shown.Reason)
		case time.Now().After(deadline):
			return shown, fmt.Errorf("task %s is to be %s (revision %d) and after %s is %s: %s; mend: it goes on by itself; duplex task show tells how it is",
				r.Task, made.Wanted, made.Revision, limit, shown.State, shown.Reason)
		}
		select {
		case <-env.ctx.Done():
			return shown, env.ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

type taskCreateCommand struct {
	planeFlags
	File string `arg:"" help:"Task file."`
}

// Run makes a task of a file, which is checked as by duplex check.
func (c *taskCreateCommand) Run(env *environment) error {
	spec, content, err := readTask(c.File)
	if err != nil {
		return err
	}
	plane, procs, err := c.reach(env)
	if err != nil {
		return err
	}
	defer plane.Close()
	v, err := plane.Read(env.ctx)
	if err != nil {
		return err
	}
	begin := func(b *control.Board) (*tasks.Record, error) {
		if err := refuseOverlap(b, spec, c.File, content); err != nil {
			return nil, err
		}
		next, err := tasks.Begin(b.Tasks[spec.Task], spec, time.Now())
		return &next, err
	}
	if _, err := begin(&v.Board); err != nil {
		return err
	}
	if err := refuseUnchecked(env, procs, spec); err != nil {
		return err
	}
	before := int64(0)
	if r := v.Tasks[spec.Task]; r != nil {
		before = r.Revision
	}
	made, err := plane.Change(env.ctx, spec.Regions, v, begin)
	if err != nil {
		return err
	}
	return done(env, plane, made, made.Revision == before, 0)
}

// readTask reads a task file and refuses what isn't built.
func readTask(file string) (*tasks.Spec, []byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("reading task file: %w", err)
	}
	spec, err := tasks.Parse(file, content)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(spec.Unsupported()...); err != nil {
		return nil, nil, config.InFile(file, err)
	}
	return spec, content, nil
}
