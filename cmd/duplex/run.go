package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"duplex/config"
	"duplex/control"
	"duplex/mysql"
	"duplex/preflight"
	"duplex/region"
	"duplex/tasks"
)

// serviceFlags are the flags of run, capture and apply.
type serviceFlags struct {
	Config []string `short:"c" required:"" placeholder:"FILE" help:"Process file of the region."`
	Task   []string `placeholder:"FILE" help:"Task file; may be given more than once. Without any, the tasks on Kafka run: duplex task."`
}

type captureFlags struct {
	AcceptDDL []string `placeholder:"GTID" help:"Go on after the statement of this GTID, which removed rows and was run in the other regions too."`
}

type runCommand struct {
	serviceFlags
	captureFlags
}

// Run runs capture and apply.
func (c *runCommand) Run(env *environment) error {
	return c.serve(env, region.Capture|region.Apply, c.AcceptDDL)
}

type captureCommand struct {
	serviceFlags
	captureFlags
}

// Run runs capture.
func (c *captureCommand) Run(env *environment) error {
	return c.serve(env, region.Capture, c.AcceptDDL)
}

type applyCommand struct{ serviceFlags }

// Run runs apply.
func (c *applyCommand) Run(env *environment) error { return c.serve(env, region.Apply, nil) }

// serve runs services until the process is told to end.
func (f *serviceFlags) serve(env *environment, services region.Services, accept []string) error {
	if len(f.Config) != 1 {
		return fmt.Errorf("one process runs one region: -c was given %d times", len(f.Config))
	}
	process, err := config.Load(f.Config[0])
	if err != nil {
		return err
	}
	specs, err := loadTasks(f.Task, process)
	if err != nil {
		return err
	}
	log := env.logger()
	r, err := region.Start(env.ctx, region.Config{
		Process: process, Tasks: specs, Services: services, AcceptDDL: accept, Version: version(), Log: log, Check: checkTask(log),
		Banner: func(text string) { fmt.Fprintln(env.stderr, text) },
	})
	if err != nil {
		return err
	}
	if specs != nil {
		err = errors.Join(refuseMixed(env, r.Process()), refuseUnfit(env, r.Process(), specs))
	}
	if err == nil {
		limitMemory(env.ctx, r)
		err = r.Run(env.ctx)
	}
	return errors.Join(err, r.Close())
}

// memoryLimit is where the garbage collector begins to work harder, in bytes.
// What the queues hold is bounded well below it; the limit keeps garbage from
// doubling that.
const memoryLimit = 224 << 20

// garbagePercent is how much garbage may pile up, in percent of what is in use.
// That is so little that Go's own 100 has the collector take a fifth of
// capture's CPU.
const garbagePercent = 200

// limitMemory sets both, unless the operator did by GOMEMLIMIT and GOGC. What apply
// remembers of rows comes on top as it grows: it isn't garbage.
func limitMemory(ctx context.Context, r *region.Region) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
		go func() {
			look := time.NewTicker(time.Second)
			defer look.Stop()
			for limit := int64(memoryLimit); ; {
				select {
				case <-ctx.Done():
					return
				case <-look.C:
				}
				if now := memoryLimit + r.VersionBytes(); now != limit {
					limit = now
					debug.SetMemoryLimit(limit)
				}
			}
		}()
	}
}

// loadTasks reads the task files and refuses what isn't for this region, or
// not built yet.
func loadTasks(files []string, process *config.Process) ([]*tasks.Spec, error) {
	var specs []*tasks.Spec
	for _, file := range files {
		spec, err := tasks.Load(file)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(spec.Unsupported()...); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		mine := false
		for _, r := range spec.Regions {
			mine = mine || r == process.Region
		}
		if !mine {
			return nil, fmt.Errorf("%s: regions: %v has not the region of the process file, %s; mend: correct regions there, or region in the process file", file, spec.Regions, process.Region)
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// refuseUnfit checks the region before its services run. A server that can't
// be reached now is no reason: the services wait for it.
func refuseUnfit(env *environment, process *config.Process, specs []*tasks.Spec) error {
	check := checkTask(env.logger())
	for _, spec := range specs {
		if err := check(env.ctx, process, spec); err != nil {
			return err
		}
	}
	return nil
}

// refuseMixed refuses to run task files in a region whose tasks are on Kafka: each would have its own view of what is
// captured. A Kafka that can't be reached now tells nothing.
func refuseMixed(env *environment, process *config.Process) error {
	ctx, cancel := context.WithTimeout(env.ctx, 10*time.Second)
	defer cancel()
	store, err := control.Open(ctx, process.Kafka)
	if err != nil {
		env.logger().Warn("whether tasks are on Kafka was not looked for", "error", err)
		return nil
	}
	defer store.Close()
	board, err := store.Read(ctx)
	if err != nil {
		env.logger().Warn("whether tasks are on Kafka was not looked for", "error", err)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(board.Tasks)) {
		if r := board.Tasks[name]; r.Wanted != tasks.Deleted && slices.Contains(r.Spec.Regions, process.Region) {
			return fmt.Errorf("region %s has tasks on Kafka, such as %s, and runs those or task files, not both; mend: leave --task out; or, to go back to files, stop and delete its tasks on Kafka (duplex task)", process.Region, name)
		}
	}
	return nil
}

// checkTask returns what checks a task in the region.
func checkTask(log *slog.Logger) func(context.Context, *config.Process, *tasks.Spec) error {
	return func(ctx context.Context, process *config.Process, spec *tasks.Spec) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		if err := reach(ctx, process); err != nil {
			if mysql.Classify(err).Class == mysql.Stop {
				return err
			}
			log.Warn("not checked before the start", "task", spec.Task, "error", err)
			return nil
		}
		report, err := preflight.Check(ctx, []*config.Process{process}, spec)
		if err != nil {
			log.Warn("not checked before the start", "task", spec.Task, "error", err)
			return nil
		}
		refused := onlyRefused(report)
		if len(refused.Findings) == 0 {
			return nil
		}
		var text strings.Builder
		if err := refused.WriteText(&text); err != nil {
			return err
		}
		return fmt.Errorf("task %s can't start in region %s:\n%s", spec.Task, process.Region, text.String())
	}
}

// reach connects to the region's database once.
func reach(ctx context.Context, process *config.Process) error {
	db, err := mysql.Open(process.MySQL, mysql.Reading)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.PingContext(ctx)
}

// onlyRefused keeps what forbids the start and doesn't pass by itself.
func onlyRefused(report *preflight.Report) *preflight.Report {
	kept := &preflight.Report{}
	for _, f := range report.Findings {
		switch f.Code {
		case "connection", "kafka", "registry":
			continue // may come up yet
		}
		if f.Severity == preflight.Refuse {
			kept.Findings = append(kept.Findings, f)
		}
	}
	return kept
}
