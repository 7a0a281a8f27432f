package region

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"duplex/apply"
	"duplex/capture"
	"duplex/config"
	"duplex/control"
	"duplex/supervise"
	"duplex/tasks"
)

// tell hands what there is to say of the tasks to report: at once if it is new, and now and then if not, so that whoever
// reads it knows that we live.
func (f *follower) tell() {
	now, changed := time.Now(), false
	var all []control.Report
	for _, t := range f.inOrder() {
		if !t.record.Started {
			continue
		}
		p := f.reportOf(t, now)
		if old, ok := f.shown[t.record.Task]; !ok || !sameReport(old, p) {
			changed = true
		}
		f.shown[t.record.Task] = p
		all = append(all, p)
	}
	if len(all) == 0 || !changed && now.Sub(f.shownAt) < control.Beat {
		return
	}
	f.shownAt = now
	select {
	case <-f.reports: // that is old
	default:
	}
	f.again(all)
}

func sameReport(a, b control.Report) bool {
	alike := func(x, y *control.Service) bool { return x == y || x != nil && y != nil && *x == *y }
	return a.Revision == b.Revision && a.Life == b.Life && alike(a.Capture, b.Capture) && alike(a.Apply, b.Apply)
}

// report writes reports to the region's Kafka.
func (f *follower) report(ctx context.Context, cfg config.Kafka) {
	var store *control.Store
	defer func() {
		if store != nil {
			store.Close()
		}
	}()
	for {
		var all []control.Report
		select {
		case all = <-f.reports:
		case <-ctx.Done():
			return
		}
		var err error
		if store == nil {
			store, err = control.Open(ctx, cfg)
		}
		if err == nil {
			err = store.Report(ctx, all)
		}
		if err != nil && ctx.Err() == nil {
			f.r.cfg.Log.Warn("how the tasks are was not reported", "error", err)
			f.again(all)
			pause(ctx, time.Second)
		}
	}
}

// again puts in what is to be reported, unless there is something.
func (f *follower) again(all []control.Report) {
	select {
	case f.reports <- all:
	default:
	}
}

func (f *follower) reportOf(t *followed, now time.Time) control.Report {
	p := control.Report{Task: t.record.Task, Region: f.r.cfg.Process.Region, Process: f.process, Revision: t.record.Revision, Life: t.record.Life, AtMillis: now.UnixMilli()}
	if f.r.capture != nil {
		p.Capture = f.captureOf(t)
	}
	if f.r.cfg.Services&Apply != 0 {
		p.Apply = f.applyOf(t)
	}
	for i, s := range []*control.Service{p.Capture, p.Apply} {
		if s == nil {
			continue
		}
		if t.since[i].state != s.State {
			t.since[i] = standing{s.State, now}
		}
		s.SinceMillis = t.since[i].at.UnixMilli()
	}
	return p
}

// captureOf tells how the capture of a task is.
func (f *follower) captureOf(t *followed) *control.Service {
	r, c := t.record, f.r.capture
	if r.Wanted == tasks.Deleted {
		if c.Knows(r.Name()) {
			return &control.Service{State: control.Checking, Reason: "its tables are still captured"}
		}
		return &control.Service{State: control.Deleted}
	}
	s := &control.Service{State: control.Reached(r.Wanted)}
	s.Since, s.Captured = c.Captures(capture.Run{Name: r.Name(), Tables: r.Spec.Tables})
	status := c.Status()
	switch {
	case status.State == supervise.Stopped:
		s.State, s.Reason = control.Failed, "capture: "+status.Error
	case status.State != supervise.Streaming:
		s.State, s.Reason = control.Checking, strings.TrimSuffix(fmt.Sprintf("capture is %s: %s", status.State, status.Error), ": ")
	case !s.Captured:
		s.State, s.Reason = control.Checking, "capture takes up its tables"
	case r.Wanted == tasks.Running && r.Spec.InitialCopy.Begins(f.r.cfg.Process.Region) && !c.Copied(r.CopyName()):
		s.State = control.Copying
	}
	return s
}

// applyOf tells how the streams of a task into the region are.
func (f *follower) applyOf(t *followed) *control.Service {
	r := t.record
	s := &control.Service{State: control.Reached(r.Wanted)}
	switch {
	case t.run != nil && r.Wanted != tasks.Running:
		s.State, s.Reason = control.Checking, "its streams end"
	case r.Wanted != tasks.Running:
	case t.run == nil && t.failed:
		s.State, s.Reason = control.Failed, t.waits.Error()
	case t.run == nil && t.waits != nil:
		s.State, s.Reason = control.Checking, t.waits.Error()
	case t.run == nil:
		s.State = control.Checking
	default:
		s.State, s.Reason = statesOf(t.run.streams)
	}
	return s
}

// statesOf is the worst state of streams.
func statesOf(streams []*apply.Stream) (control.State, string) {
	state, reason := control.Streaming, ""
	for _, stream := range streams {
		st := stream.Status()
		switch {
		case st.State == supervise.Stopped:
			return control.Failed, fmt.Sprintf("apply from %s: %s", st.Source, st.Error)
		case st.State != supervise.Streaming:
			state, reason = control.Checking, strings.TrimSuffix(fmt.Sprintf("apply from %s is %s: %s", st.Source, st.State, st.Error), ": ")
		}
	}
	return state, reason
}

// shownTasks is how the tasks are, in all regions, as far as is known here.
func (f *follower) shownTasks() (list []control.Shown) {
	b := f.board()
	if b == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(b.Tasks)) {
		if r := b.Tasks[name]; r.Wanted != tasks.Deleted {
			list = append(list, control.Show(r, b.Reports, time.Now()))
		}
	}
	return list
}
