package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"duplex/config"
	"duplex/control"
	"duplex/region"
	"duplex/supervise"
)

type statusCommand struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file; once for each region."`
	Watch  bool     `short:"w" help:"Show it anew every two seconds, until Ctrl-C."`
}

const (
	// ratePause is what rates are taken over, watchPause that where they are shown again and again.
	ratePause  = time.Second
	watchPause = 2 * time.Second
)

// Run asks the processes of the regions how they are. It fails if one can't be
// reached or has a stopped service.
func (c *statusCommand) Run(env *environment) error {
	if c.Watch && env.json {
		return errors.New("--watch shows a table; mend: leave out --json, or ask for it again and again")
	}
	before, err := c.ask(env)
	if before == nil {
		return err
	}
	if env.json {
		return errors.Join(writeJSON(env, before.all), before.failed())
	}
	for pause := ratePause; ; pause = watchPause {
		select {
		case <-env.ctx.Done():
			return nil
		case <-time.After(pause):
		}
		now, err := c.ask(env)
		if now == nil {
			return err
		}
		if c.Watch {
			const home = "\x1b[H\x1b[2J" // of a terminal: the cursor to the top, and all cleared
			fmt.Fprint(env.stdout, home, now.at.Format(time.DateTime), "\n")
		}
		if err := writeStatus(env, before, now); err != nil {
			return fmt.Errorf("writing status: %w", err)
		}
		if !c.Watch {
			return now.failed()
		}
		if err := now.failed(); err != nil {
			fmt.Fprintln(env.stdout, err)
		}
		before = now
	}
}

// asked is what the processes said at one time.
type asked struct {
	at     time.Time
	all    []region.Status
	absent []error // of those that said nothing
}

// ask asks all processes; nil with an error if one's file is wrong.
func (c *statusCommand) ask(env *environment) (*asked, error) {
	a := &asked{at: time.Now()}
	for _, file := range c.Config {
		p, err := config.Load(file)
		if err != nil {
			return nil, err
		}
		s, err := askStatus(env.ctx, p.Listen)
		if err != nil {
			a.absent = append(a.absent, fmt.Errorf("region %s: %w; mend: start it with duplex run -c %s", p.Region, err, file))
			continue
		}
		a.all = append(a.all, s)
	}
	return a, nil
}

// failed tells of processes that said nothing, and of services that are stopped.
func (a *asked) failed() error {
	failed := a.absent
	for _, s := range a.all {
		for _, service := range servicesOf(s) {
			if service.State == supervise.Stopped {
				failed = append(failed, fmt.Errorf("%s is stopped: %s", service.name, service.Error))
			}
		}
	}
	for _, shown := range tasksOf(a.all) {
		if shown.State == control.Failed {
			failed = append(failed, fmt.Errorf("task %s has failed: %s", shown.Task, shown.Reason))
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
