package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"duplex/apply"
	"duplex/change"
	"duplex/config"
)

type replayCommand struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Process file of the region that is to read again."`
	Task   string `required:"" placeholder:"NAME" help:"The task."`
	Source string `required:"" placeholder:"REGION" help:"The region whose transactions are to be read again."`
	From   string `required:"" placeholder:"PLACE" help:"From where on: beginning, a time (2026-01-31T08:00:00Z, or -2h for two hours ago), offset:<offset of the spine> or seq:<number of a transaction>."`
	DryRun bool   `help:"Only say what would be read again."`
}

// Run moves the offsets of the stream's group to one transaction and says to which.
func (c *replayCommand) Run(env *environment) error {
	process, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	if process.Kafka.IsEmbedded() {
		process.Kafka.Brokers = []string{process.Kafka.Embedded.Listen}
	}
	from, err := apply.ParseFrom(c.From, time.Now())
	if err != nil {
		return fmt.Errorf("--from: %w", err)
	}
	done, err := (&apply.Replay{Process: process, Task: c.Task, Source: change.Region(c.Source), From: from, DryRun: c.DryRun}).Run(env.ctx)
	if err != nil {
		return err
	}
	if env.json {
		return json.NewEncoder(env.stdout).Encode(done)
	}
	first := fmt.Sprintf("transaction %d of %s", done.First, done.Source)
	if done.FirstCommit != nil {
		first += ", committed at " + done.FirstCommit.Format(time.RFC3339Nano)
	}
	what := "is set"
	if done.DryRun {
		what = "would be set"
	}
	_, err = fmt.Fprintf(env.stdout, "group %s %s, in %d partitions, to %s (offset %d of the spine)\n%d transactions of the task are read again, up to %d, the last that %s has applied: nothing of them is written again\n",
		done.Group, what, done.Partitions, first, done.Offset, done.Transactions, done.Applied, done.Target)
	if err == nil && !done.DryRun {
		_, err = io.WriteString(env.stdout, "a running apply goes on from there within seconds; a stopped one with duplex resume\n")
	}
	return err
}
