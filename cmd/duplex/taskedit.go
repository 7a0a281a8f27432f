package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"duplex/config"
	"duplex/control"
	"duplex/tasks"
)

type taskEditCommand struct {
	planeFlags
	Revision int64         `placeholder:"N" help:"Refuse if the task has another revision than this, as task show prints it."`
	Wait     time.Duration `placeholder:"1m" help:"Wait until the services of all regions have done it, for so long at most."`
	DryRun   bool          `help:"Only show what would change."`
	File     string        `arg:"" help:"Task file."`
}

// Run shows what a task file changes of its task, and changes that.
func (c *taskEditCommand) Run(env *environment) error {
	spec, content, err := readTask(c.File)
	if err != nil {
		return err
	}
	at, err := c.find(env, spec.Task)
	if err != nil {
		return err
	}
	defer at.plane.Close()
	plane, procs, v, r := at.plane, at.procs, at.view, at.record
	changed := tasks.Differences(r.Spec, spec)
	if !env.json {
		for _, d := range changed {
			fmt.Fprintln(env.stdout, d)
		}
	}
	edit := func(b *control.Board) (*tasks.Record, error) {
		now, err := b.Find(spec.Task)
		if err != nil {
			return nil, err
		}
		if err := unchanged(now, r, c.Revision); err != nil {
			return nil, err
		}
		if err := refuseOverlap(b, spec, c.File, content); err != nil {
			return nil, err
		}
		next, err := now.Change(spec, time.Now())
		if invalid := (*config.Invalid)(nil); errors.As(err, &invalid) {
			invalid.File = c.File
			return nil, invalid.Find(content, lastName(invalid.Setting))
		}
		return &next, err
	}
	if _, err := edit(&v.Board); err != nil {
		return err
	}
	if err := refuseAgain(env, plane, r, spec, c.File); err != nil {
		return err
	}
	if err := refuseUnchecked(env, procs, spec); err != nil {
		return err
	}
	if c.DryRun {
		if env.json {
			return writeJSON(env, changed)
		}
		return nil
	}
	made, err := plane.Change(env.ctx, spec.Regions, v, edit)
	if err != nil {
		return err
	}
	return done(env, plane, made, made.Revision == r.Revision, c.Wait)
}

// refuseAgain refuses to add tables of which older changes are in the topics: a stream that goes on would apply those that
// it hasn't read yet, and nothing tells what became of the rows while nobody captured them.
func refuseAgain(env *environment, plane *control.Plane, r *tasks.Record, spec *tasks.Spec, file string) error {
	if !r.Started {
		return nil
	}
	again, err := plane.Published(env.ctx, spec.Regions, func(db, table string) bool { return spec.Tables.Match(db, table) && !r.Spec.Tables.Match(db, table) })
	if err != nil || len(again) == 0 {
		return err
	}
	return &config.Invalid{File: file, Setting: "tables", Reason: fmt.Sprintf("tables that were captured before can't be added to a task that was started, as older changes of them are in topics %s", strings.Join(again, ", ")),
		Mend: "make a task of its own for them, which begins after those changes: duplex task create"}
}

// lastName is how a setting is called in its file.
func lastName(setting string) string {
	if _, table, ok := strings.Cut(setting, `tables."`); ok {
		return strings.TrimSuffix(table, `"`)
	}
	return setting[strings.LastIndex(setting, ".")+1:]
}
