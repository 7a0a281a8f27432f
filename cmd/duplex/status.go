package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"duplex/config"
	"duplex/region"
	"duplex/supervise"
	"duplex/tasks"
)

type statusCommand struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file; once for each region."`
}

// Run asks the processes of the regions how they are. It fails if one can't be
// reached or has a stopped service.
func (c *statusCommand) Run(env *environment) error {
	var all []region.Status
	var failed []error
	for _, file := range c.Config {
		p, err := config.Load(file)
		if err != nil {
			return err
		}
		s, err := askStatus(env.ctx, p.Listen)
		if err != nil {
			failed = append(failed, fmt.Errorf("region %s: %w; mend: start it with duplex run -c %s --task …", p.Region, err, file))
			continue
		}
		all = append(all, s)
	}
	if err := writeStatus(env, all); err != nil {
		return fmt.Errorf("writing status: %w", err)
	}
	for _, s := range all {
		for _, service := range servicesOf(s) {
			if service.State == supervise.Stopped {
				failed = append(failed, fmt.Errorf("%s is stopped: %s", service.name, service.Error))
			}
		}
	}
	return errors.Join(failed...)
}

// askStatus reads /status of the process that listens there.
func askStatus(ctx context.Context, listen string) (s region.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/status", nil)
	if err != nil {
		return s, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, fmt.Errorf("asking for the status: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return s, fmt.Errorf("asking for the status at %s: %s", listen, answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 16<<20)).Decode(&s); err != nil {
		return s, fmt.Errorf("reading the status from %s: %w", listen, err)
	}
	return s, nil
}

// service is one service's line of the table.
type service struct {
	supervise.Status
	name     string
	lag      string
	rows     int64
	position string
	queue    int64
}

func servicesOf(s region.Status) []service {
	var list []service
	if c := s.Capture; c != nil {
		list = append(list, service{c.Status, "capture " + string(c.Region), fmt.Sprintf("%d ms", c.LagMillis), c.Rows, fmt.Sprintf("seq %d", c.Seq), c.QueueBytes})
	}
	for i := range s.Apply {
		a := &s.Apply[i]
		position := fmt.Sprintf("seq %d", a.Seq)
		if a.Ordering == tasks.OrderingKey {
			position = fmt.Sprintf("%d partitions, seq %d", a.Partitions, a.Seq)
		}
		list = append(list, service{a.Status, fmt.Sprintf("apply %s %s→%s", a.Task, a.Source, a.Target),
			fmt.Sprintf("p50 %.1f ms, p99 %.1f ms", a.LagP50Millis, a.LagP99Millis), a.Rows, position, a.QueueBytes})
	}
	return list
}

func writeStatus(env *environment, all []region.Status) error {
	if env.json {
		encoder := json.NewEncoder(env.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(all)
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tSTATE\tSINCE\tLAG\tROWS\tPOSITION\tQUEUE\tREASON")
	for _, s := range all {
		for _, l := range servicesOf(s) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%d B\t%s\n", l.name, l.State, time.Since(l.Since).Round(time.Second), l.lag, l.rows, l.position, l.queue, l.Error)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return errors.Join(writeCopies(env, all), writeSkipped(env, all))
}

// writeCopies tells how far initial copies are.
func writeCopies(env *environment, all []region.Status) error {
	for _, s := range all {
		if s.Capture == nil || s.Capture.Copy == nil || s.Capture.Copy.State == "done" {
			continue
		}
		p := s.Capture.Copy
		left := "not known how long it still takes"
		if p.SecondsLeft >= 0 {
			left = fmt.Sprintf("about %s left", time.Duration(p.SecondsLeft)*time.Second)
		}
		if p.Error != "" {
			left = "it waits: " + p.Error
		}
		_, err := fmt.Fprintf(env.stdout, "capture %s: initial copy of %d tables: %d are done, %d of some %d rows, now %s; %s\n",
			s.Region, p.Tables, p.TablesDone, p.RowsDone, p.Rows, p.Table, left)
		if err != nil {
			return err
		}
	}
	return nil
}

// writeSkipped tells of transactions that were left out for good.
func writeSkipped(env *environment, all []region.Status) error {
	for _, s := range all {
		for i := range s.Apply {
			a := &s.Apply[i]
			for _, k := range a.Skipped {
				_, err := fmt.Fprintf(env.stdout, "apply %s %s→%s: %d transactions of %s were left out, of those from %d to %d, as confirmed on %s\n",
					a.Task, a.Source, a.Target, k.Transactions, k.Source, k.First, k.Last, k.At.Format(time.RFC3339))
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}
