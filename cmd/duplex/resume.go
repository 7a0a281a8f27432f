package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"duplex/config"
	"duplex/console"
)

type resumeCommand struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file; once for each region."`
	Task   string   `placeholder:"NAME" help:"Only the streams of this task."`
	Pass   []string `placeholder:"TOPIC:PARTITION:OFFSET" help:"Pass over this record, which another program wrote to the topic."`
	Skip   []string `placeholder:"SOURCE:FIRST-LAST/NUMBER" help:"Leave out these transactions for good: the offsets were moved past them. Needs --task."`
}

// Run asks the processes of the regions to have what has stopped go on.
func (c *resumeCommand) Run(env *environment) error {
	all := []string{}
	for _, file := range c.Config {
		p, err := config.Load(file)
		if err != nil {
			return err
		}
		resumed, err := askResume(env.ctx, p.Listen, console.Resume{Task: c.Task, Pass: c.Pass, Skip: c.Skip})
		if err != nil {
			return fmt.Errorf("region %s: %w", p.Region, err)
		}
		all = append(all, resumed...)
	}
	if env.json {
		return json.NewEncoder(env.stdout).Encode(all)
	}
	text := "nothing was stopped\n"
	if len(all) > 0 {
		text = "resumed: " + strings.Join(all, ", ") + "\n"
	}
	_, err := io.WriteString(env.stdout, text)
	return err
}

// askResume posts to /resume of the process that listens there and returns what it
// has resumed.
func askResume(ctx context.Context, listen string, asked console.Resume) (resumed []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+listen+"/resume", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking to resume: %w; mend: if the process doesn't run, start it: that resumes too", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("asking to resume: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking to resume: %s", strings.TrimSpace(string(text)))
	}
	if err := json.Unmarshal(text, &resumed); err != nil {
		return nil, fmt.Errorf("reading what was resumed: %w", err)
	}
	return resumed, nil
}
