package main

import (
	"errors"
	"fmt"

	"duplex/change"
)

type conflictsAcceptCommand struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file; once for each region: each holds its own streams up."`
	Task   string   `placeholder:"NAME" help:"The conflict's task, where two tasks have one of the same id; with --all, only those of this task."`
	All    bool     `help:"All conflicts that hold a task up."`
	ID     string   `arg:"" optional:"" help:"The conflict's id, or its first digits."`
}

// accepted is what was accepted in a region.
type accepted struct {
	Region    change.Region `json:"region"`
	Conflicts int64         `json:"conflicts"`
}

// Run accepts one conflict, or all, in every region that was given.
func (c *conflictsAcceptCommand) Run(env *environment) error {
	if c.All == (c.ID != "") {
		return errors.New("nothing tells which conflict to accept; mend: give its id, as duplex conflicts list shows it, or --all")
	}
	all, err := openBooks(c.Config)
	if err != nil {
		return err
	}
	defer all.close()
	task, id := c.Task, ""
	if !c.All {
		_, found, err := all.find(env.ctx, c.Task, c.ID)
		if err != nil {
			return err
		}
		task, id = found.Task, found.ID
	}
	done, total := []accepted{}, int64(0)
	for _, b := range all {
		n := int64(0)
		if c.All {
			n, err = b.AcceptAll(env.ctx, task)
		} else {
			var held bool
			if held, err = b.Accept(env.ctx, task, id); held {
				n = 1
			}
		}
		if err != nil {
			return err
		}
		done, total = append(done, accepted{b.Region, n}), total+n
	}
	if env.json {
		return writeJSON(env, done)
	}
	if total == 0 {
		_, err := fmt.Fprintln(env.stdout, "no such conflict holds a task up in these regions")
		return err
	}
	for _, a := range done {
		if _, err := fmt.Fprintf(env.stdout, "region %s: %d accepted\n", a.Region, a.Conflicts); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(env.stdout, "what won stays; the streams go on with duplex resume")
	return err
}
