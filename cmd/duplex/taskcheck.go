package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/control"
	"duplex/preflight"
	"duplex/tasks"
)

// refuseOverlap refuses a specification with tables that another task has, or one that was deleted and that a region's
// services haven't left yet. Two tasks would apply each change twice.
func refuseOverlap(b *control.Board, spec *tasks.Spec, file string, content []byte) error {
	for _, other := range b.Tasks {
		common := slices.ContainsFunc(spec.Regions, func(r change.Region) bool { return slices.Contains(other.Spec.Regions, r) })
		if !common {
			continue
		}
		if other.Wanted == tasks.Deleted {
			if region, ended := control.Ended(other, b.Reports); !ended && (other.Task == spec.Task || overlaps(spec, other)) {
				return fmt.Errorf("%s: task %s was deleted, and the services of region %s haven't left it yet: both would write the same tables; mend: start duplex run there, and repeat", file, other.Task, region)
			}
			continue
		}
		if other.Task == spec.Task {
			continue
		}
		if mine, theirs, overlap := spec.Tables.Overlaps(other.Spec.Tables); overlap {
			return (&config.Invalid{File: file, Setting: "tables.include", Reason: fmt.Sprintf("%q has tables in common with %q of task %s, and a table can be in one task only", mine, theirs, other.Task),
				Mend: fmt.Sprintf("name them otherwise, or take them out with tables.exclude, here or in task %s", other.Task)}).Find(content, mine)
		}
	}
	return nil
}

func overlaps(spec *tasks.Spec, other *tasks.Record) bool {
	_, _, overlap := spec.Tables.Overlaps(other.Spec.Tables)
	return overlap
}

// refuseUnchecked checks the task in the regions of the process files, as duplex check does, and refuses what that
// refuses.
func refuseUnchecked(env *environment, procs []*config.Process, spec *tasks.Spec) error {
	ctx, cancel := context.WithTimeout(env.ctx, 2*time.Minute)
	defer cancel()
	embedded := make([]*config.Process, 0, len(procs))
	for _, p := range procs { // of these another process serves the addresses
		p := *p
		if p.Kafka.IsEmbedded() {
			p.Kafka.Brokers = []string{p.Kafka.Embedded.Listen}
		}
		if p.Registry.IsEmbedded() {
			p.Registry.URL = "http://" + p.Registry.Embedded.Listen
		}
		embedded = append(embedded, &p)
	}
	report, err := preflight.Check(ctx, embedded, spec)
	if err != nil {
		return err
	}
	refused := &preflight.Report{}
	var unseen []string
	for _, f := range report.Findings {
		if f.Severity == preflight.Refuse {
			refused.Findings = append(refused.Findings, f)
		}
		if f.Severity == preflight.Warn && f.Code == "task" {
			unseen = append(unseen, string(f.Region))
		}
	}
	if len(unseen) > 0 {
		fmt.Fprintf(env.stderr, "region %s wasn't checked, nor compared: give its process file too, by -c\n", strings.Join(unseen, ", "))
	}
	if len(refused.Findings) == 0 {
		return nil
	}
	if env.json {
		if err := writeJSON(env, refused); err != nil {
			return err
		}
		return errFailed
	}
	var text strings.Builder
	if err := refused.WriteText(&text); err != nil {
		return err
	}
	return fmt.Errorf("task %s is refused, and nothing was changed:\n%s", spec.Task, text.String())
}
