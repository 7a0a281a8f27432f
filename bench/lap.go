package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"
)

// maxOthers is how many cores the rest of the machine may use during a lap.
const maxOthers = 0.1

// lap is one contender's work on a backlog.
type lap struct {
	name  string // of its figures
	rows  int64
	parts map[string]int // the processes that have part in it
}

// result is what a lap took.
type result struct {
	took time.Duration
	use  map[string]use // of each part
}

// measure has do do the work; it returns how long that took. The figures are
// written: speed, CPU time for each change and peak memory of each part, and
// how many cores the rest of the machine used, the rig's other servers aside;
// more than maxOthers is told.
func (r *rig) measure(l lap, to report, do func() (time.Duration, error)) (*result, error) {
	m, err := startMeter(l.parts)
	if err != nil {
		return nil, err
	}
	involved := slices.Collect(maps.Values(l.parts))
	rest, err := startBystanders(append(append(involved, r.servers...), os.Getpid()))
	if err != nil {
		return nil, err
	}
	took, err := do()
	if err != nil {
		return nil, err
	}
	others, err := rest.cores()
	if err != nil {
		return nil, err
	}
	used, err := m.read()
	if err != nil {
		return nil, err
	}
	to.figure(l.name+".rows", float64(l.rows)/took.Seconds(), "rows/s")
	for _, part := range m.names() {
		to.figure(l.name+".cpu_per_change."+part, used[part].cpu/float64(l.rows)*1e6, "us")
		to.figure(l.name+".peak_rss."+part, used[part].peak/(1<<20), "MiB")
	}
	to.figure(l.name+".others", others, "cores")
	if others >= maxOthers {
		r.log.Warn("this doesn't count: the rest of the machine was busy", "measuring", l.name, "cores", others)
	}
	return &result{took, used}, nil
}

// quiet waits until nothing on the machine does much, what servers put off
// included, but not for long: others may work here.
func quiet(ctx context.Context) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		all, err := startBystanders(nil)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
		if busy, err := all.cores(); err != nil || busy < maxOthers {
			return err
		}
	}
	return nil
}
