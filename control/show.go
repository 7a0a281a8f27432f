package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"duplex/change"
	"duplex/tasks"
)

// Shown is what an operator is shown of a task.
type Shown struct {
	Task     string          `json:"task"`
	Revision int64           `json:"revision"`
	Wanted   tasks.Wanted    `json:"wanted"`
	Regions  []change.Region `json:"regions"`
	// State is the worst of those in the regions.
	State  State      `json:"state"`
	Since  time.Time  `json:"since"`
	Reason string     `json:"reason,omitempty"`
	In     []InRegion `json:"in"`
	// Name is what its progress is kept under.
	Name    string       `json:"name"`
	Last    tasks.Action `json:"last_action"`
	Changed time.Time    `json:"changed"`
	// Spec is the task file with all defaults; only show gives it.
	Spec string `json:"specification,omitempty"`
}

// InRegion is how a task is in one region.
type InRegion struct {
	Region change.Region `json:"region"`
	State  State         `json:"state"`
	Since  time.Time     `json:"since"`
	Reason string        `json:"reason,omitempty"`
	// Revision is what the region's services go by: lower than the task's if they haven't taken notice of it yet.
	Revision int64 `json:"revision"`
}

// order is that of the states from bad to good: what is shown of several is the first.
var order = []State{Failed, Silent, Checking, Copying, Streaming, Paused, Stopped, Created, Deleted}

func worse(a, b State) int { return cmp.Compare(slices.Index(order, a), slices.Index(order, b)) }

// Show tells how a task is, by what its regions' services report. It never says of a task that it is what it was merely
// asked to be.
func Show(r *tasks.Record, reports map[string]Report, now time.Time) Shown {
	s := Shown{Task: r.Task, Revision: r.Revision, Wanted: r.Wanted, Regions: r.Spec.Regions, Name: r.Name(), Last: r.Last, Changed: r.At, State: Reached(r.Wanted), Since: r.At}
	if !r.Started {
		return s // nothing has ever run
	}
	for _, region := range r.Spec.Regions {
		s.In = append(s.In, showIn(r, region, reports, now))
	}
	worst := slices.MinFunc(s.In, func(a, b InRegion) int { return worse(a.State, b.State) })
	s.State, s.Since, s.Reason = worst.State, worst.Since, worst.Reason
	if s.Reason != "" {
		s.Reason = fmt.Sprintf("%s: %s", worst.Region, worst.Reason)
	}
	return s
}

// Has reports whether all regions' services are where that revision, or a later one, wants them.
func (s *Shown) Has(revision int64) bool {
	if s.State != Reached(s.Wanted) && !(s.Wanted == tasks.Running && s.State == Copying) {
		return false
	}
	return !slices.ContainsFunc(s.In, func(in InRegion) bool { return in.Revision < revision })
}

// showIn puts together what the processes of a region report: one may run capture, and several apply.
func showIn(r *tasks.Record, region change.Region, reports map[string]Report, now time.Time) InRegion {
	var capture, apply *Report
	var latest *Report
	for _, key := range slices.Sorted(maps.Keys(reports)) {
		p := reports[key]
		if p.Task != r.Task || p.Region != region || p.Life != r.Life {
			continue
		}
		if latest == nil || p.AtMillis > latest.AtMillis {
			latest = &p
		}
		if p.Silent(now) {
			continue
		}
		if p.Capture != nil && (capture == nil || worse(capture.Capture.State, p.Capture.State) < 0) {
			capture = &p
		}
		// A second one that stands by takes nothing from the first.
		if p.Apply != nil && (apply == nil || worse(apply.Apply.State, p.Apply.State) < 0) {
			apply = &p
		}
	}
	in := InRegion{Region: region}
	switch {
	case latest == nil:
		in.State, in.Since, in.Reason = Silent, r.At, "no process of the region has reported on this task; mend: start duplex run there"
		return in
	case capture == nil || apply == nil:
		in.State, in.Since, in.Revision = Silent, time.UnixMilli(latest.AtMillis), latest.Revision
		what := "no process with capture and apply"
		switch {
		case capture != nil:
			what = "no process with apply"
		case apply != nil:
			what = "no process with capture"
		}
		in.Reason = fmt.Sprintf("%s has reported for %s, the last was %s; mend: start it", what, latest.Age(now).Round(time.Second), last(latest))
		return in
	}
	in.Revision = min(capture.Revision, apply.Revision)
	service := capture.Capture
	if worse(apply.Apply.State, service.State) <= 0 {
		service = apply.Apply
	}
	in.State, in.Since, in.Reason = service.State, time.UnixMilli(service.SinceMillis), service.Reason
	return in
}

// last is what a report says.
func last(r *Report) State {
	s := Deleted
	for _, service := range []*Service{r.Capture, r.Apply} {
		if service != nil && worse(service.State, s) < 0 {
			s = service.State
		}
	}
	return s
}

// Ended reports whether the services of all regions have said that they have done with a task that was deleted. If not
// it names a region.
func Ended(r *tasks.Record, reports map[string]Report) (change.Region, bool) {
	if !r.Started {
		return "", true
	}
	for _, region := range r.Spec.Regions {
		said := false
		for _, p := range reports {
			if p.Task != r.Task || p.Region != region || p.Life != r.Life {
				continue
			}
			if p.Revision < r.Revision || last(&p) != Deleted {
				return region, false
			}
			said = true
		}
		if !said {
			return region, false
		}
	}
	return "", true
}
