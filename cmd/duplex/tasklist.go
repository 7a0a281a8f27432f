package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"duplex/change"
	"duplex/control"
	"duplex/region"
	"duplex/tasks"
)

type taskListCommand struct {
	planeFlags
	All bool `help:"Also those that were deleted."`
}

// listing is what list gives as JSON.
type listing struct {
	Tasks []control.Shown `json:"tasks"`
	// Behind and Away tell what isn't the same on all Kafkas, and which can't be reached.
	Behind map[string][]string `json:"behind,omitempty"`
	Away   []string            `json:"away,omitempty"`
}

// Run lists the tasks.
func (c *taskListCommand) Run(env *environment) error {
	plane, _, err := c.reach(env)
	if err != nil {
		return err
	}
	defer plane.Close()
	v, err := plane.Read(env.ctx)
	if err != nil {
		return err
	}
	list := listing{Tasks: []control.Shown{}, Behind: v.Behind}
	for _, name := range slices.Sorted(maps.Keys(v.Tasks)) {
		if r := v.Tasks[name]; c.All || r.Wanted != tasks.Deleted {
			list.Tasks = append(list.Tasks, control.Show(r, v.Reports, time.Now()))
		}
	}
	for _, err := range v.Away {
		list.Away = append(list.Away, err.Error())
	}
	if env.json {
		return writeJSON(env, list)
	}
	if err := writeTasks(env.stdout, list.Tasks); err != nil {
		return err
	}
	return writeUneven(env.stdout, v)
}

// writeTasks writes a line for each task.
func writeTasks(out io.Writer, list []control.Shown) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TASK\tREGIONS\tWANTED\tSTATE\tSINCE\tREVISION\tREASON")
	for i := range list {
		s := &list[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", s.Task, regionsOf(s.Regions), s.Wanted, s.State, since(s.Since), s.Revision, s.Reason)
	}
	return w.Flush()
}

// tasksOf are the tasks that the processes know from Kafka, each once: as the first tells.
func tasksOf(all []region.Status) (list []control.Shown) {
	known := map[string]bool{}
	for i := range all {
		for _, shown := range all[i].Tasks {
			if !known[shown.Task] {
				known[shown.Task] = true
				list = append(list, shown)
			}
		}
	}
	return list
}

func since(at time.Time) string { return time.Since(at).Round(time.Second).String() }

func regionsOf(regions []change.Region) string {
	var names []string
	for _, r := range regions {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// writeUneven tells what isn't the same on all Kafkas.
func writeUneven(out io.Writer, v *control.View) error {
	for _, name := range slices.Sorted(maps.Keys(v.Behind)) {
		if _, err := fmt.Fprintf(out, "task %s has revision %d, but %s: repeat the last command (%s)\n", name, v.Tasks[name].Revision, strings.Join(v.Behind[name], " and "), v.Tasks[name].Last); err != nil {
			return err
		}
	}
	for _, err := range v.Away {
		if _, err := fmt.Fprintln(out, err); err != nil {
			return err
		}
	}
	return nil
}

type taskShowCommand struct {
	planeFlags
	Task string `arg:"" help:"The task's name."`
}

// Run shows one task.
func (c *taskShowCommand) Run(env *environment) error {
	at, err := c.find(env, c.Task)
	if err != nil {
		return err
	}
	defer at.plane.Close()
	v, r := at.view, at.record
	shown := control.Show(r, v.Reports, time.Now())
	text, err := r.Spec.Encode()
	if err != nil {
		return err
	}
	shown.Spec = string(text)
	if env.json {
		return writeJSON(env, struct {
			control.Shown
			Behind []string `json:"behind,omitempty"`
		}{shown, v.Behind[c.Task]})
	}
	fmt.Fprintf(env.stdout, "task %s, wanted: %s, is: %s\nrevision %d: %s at %s\nprogress is kept as %s\n\n", shown.Task, shown.Wanted, shown.State, shown.Revision, shown.Last, shown.Changed.Format(time.RFC3339), shown.Name)
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "REGION\tSTATE\tSINCE\tREVISION\tREASON")
	for _, in := range shown.In {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", in.Region, in.State, since(in.Since), in.Revision, in.Reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := writeUneven(env.stdout, &control.View{Board: v.Board, Behind: only(v.Behind, c.Task), Away: v.Away}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "\n%s", text)
	return err
}

func only(behind map[string][]string, task string) map[string][]string {
	if list, ok := behind[task]; ok {
		return map[string][]string{task: list}
	}
	return nil
}

type taskCopyCommand struct {
	planeFlags
	Task string `arg:"" help:"The task's name."`
	As   string `arg:"" help:"The name that the copy gets."`
}

// Run prints a task's specification under another name. It can't be created as it is: two tasks can't have the same tables.
func (c *taskCopyCommand) Run(env *environment) error {
	at, err := c.find(env, c.Task)
	if err != nil {
		return err
	}
	defer at.plane.Close()
	v, r := at.view, at.record
	if other := v.Tasks[c.As]; other != nil && other.Wanted != tasks.Deleted {
		return fmt.Errorf("there is a task %s; mend: give the copy another name", c.As)
	}
	spec := *r.Spec
	spec.Task = c.As
	text, err := spec.Encode()
	if err != nil {
		return err
	}
	if _, err := tasks.Parse("the copy", text); err != nil {
		return err
	}
	if env.json {
		return writeJSON(env, map[string]string{"task": c.As, "specification": string(text)})
	}
	_, err = env.stdout.Write(text)
	return err
}
