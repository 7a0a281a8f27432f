package tasks

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"duplex/config"

	"github.com/goccy/go-yaml"
)

// Difference is a setting that two specifications have otherwise.
type Difference struct {
	Setting string `json:"setting"`
	Old     any    `json:"old"`
	New     any    `json:"new"`
}

func (d Difference) String() string { return fmt.Sprintf("%s: %v → %v", d.Setting, d.Old, d.New) }

// Differences lists what two specifications have otherwise, by setting.
func Differences(a, b *Spec) []Difference {
	x, y := settings(a), settings(b)
	var list []Difference
	for _, name := range slices.Sorted(maps.Keys(x)) {
		if !reflect.DeepEqual(x[name], y[name]) {
			list = append(list, Difference{name, show(x[name]), show(y[name])})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(y)) {
		if _, ok := x[name]; !ok {
			list = append(list, Difference{name, show(nil), show(y[name])})
		}
	}
	return list
}

func show(v any) any {
	if v == nil {
		return "not set"
	}
	return v
}

// settings returns what a specification sets, by the path of each setting.
func settings(s *Spec) map[string]any {
	all := map[string]any{}
	text, err := s.Encode()
	if err != nil {
		return all // it was read from such a text
	}
	var root map[string]any
	if yaml.Unmarshal(text, &root) != nil {
		return all
	}
	var walk func(path string, node any)
	walk = func(path string, node any) {
		m, ok := node.(map[string]any)
		if !ok {
			if list, is := node.([]any); node != nil && !(is && len(list) == 0) {
				all[path] = node
			}
			return
		}
		for name, child := range m {
			walk(strings.TrimPrefix(path+"."+name, "."), child)
		}
	}
	walk("", root)
	return all
}

// refuseEdit refuses what can't be had without losing something, or not while the task runs.
func (r *Record) refuseEdit(spec *Spec) error {
	refuse := func(setting, reason, mend string) error {
		return &config.Invalid{Setting: setting, Reason: reason, Mend: mend}
	}
	old := r.Spec
	switch {
	case spec.Task != r.Task:
		return refuse("task", fmt.Sprintf("the file is of task %s, not of %s", spec.Task, r.Task), "correct the name; duplex task copy makes a task of another name")
	case r.Wanted == Created:
		return nil // nothing has begun
	case !slices.Equal(old.Regions, spec.Regions):
		return refuse("regions", fmt.Sprintf("a task that was started keeps its regions, which are %v: another one would lack all that these have made", old.Regions),
			"delete this task and create one of the other regions, with initial_copy")
	case r.Wanted == Stopped:
		return nil
	}
	stopped := "stop the task (duplex task stop), edit it, and start it again"
	switch {
	case old.Apply.Ordering != spec.Apply.Ordering:
		return refuse("apply.ordering", "it can't be changed while the task runs: both orderings would be under way at once", stopped)
	case old.InitialCopy.From != spec.InitialCopy.From:
		return refuse("initial_copy.from", "it can't be changed while the task runs", stopped)
	}
	if what := changedRule(old, spec); what != "" {
		return refuse(what, "both regions must go by the same rule, so this can't be changed while the task runs",
			"let both regions apply all there is (duplex status), then "+stopped)
	}
	return nil
}

// changedRule returns a conflict rule that two specifications have otherwise, where it matters that both regions
// change it at once: of two writes last-write-wins and stop keep the same.
func changedRule(a, b *Spec) string {
	alike := func(r Rule) Rule {
		if r.Policy == PolicyStop {
			r.Policy = LastWriteWins
		}
		return r
	}
	x, y := a.rules(), b.rules()
	names := slices.Concat(slices.Collect(maps.Keys(x)), slices.Collect(maps.Keys(y)))
	slices.Sort(names)
	for _, name := range names {
		if p, q := alike(x[name].or(x["conflicts"])), alike(y[name].or(y["conflicts"])); !reflect.DeepEqual(p, q) {
			return name
		}
	}
	return ""
}
