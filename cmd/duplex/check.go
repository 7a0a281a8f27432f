package main

import (
	"encoding/json"
	"fmt"

	"duplex/config"
	"duplex/preflight"
	"duplex/tasks"
)

type checkCommand struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file; once for each region of the task."`
	Task   string   `placeholder:"FILE" help:"Task file."`
}

// Run checks the preconditions of a task. It fails if any refuses.
func (c *checkCommand) Run(env *environment) error {
	var procs []*config.Process
	for _, file := range c.Config {
		p, err := config.Load(file)
		if err != nil {
			return err
		}
		procs = append(procs, p)
	}
	var spec *tasks.Spec
	if c.Task != "" {
		var err error
		if spec, err = tasks.Load(c.Task); err != nil {
			return err
		}
	}
	report, err := preflight.Check(env.ctx, procs, spec)
	if err != nil {
		return err
	}
	if env.json {
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.WriteText(env.stdout)
	}
	if err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	if report.Refused() {
		return errFailed
	}
	return nil
}
