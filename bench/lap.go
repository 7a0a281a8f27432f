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
	name  string         // of its figures
	parts map[string]int // the processes that have part in it
}

// pace is how long so many rows took.
type pace struct {
	rows int64
	took time.Duration
}

// speed is in rows a second.
func (p pace) speed() float64 { return float64(p.rows) / p.took.Seconds() }

// result is what came of a lap.
type result struct {
	pace
	cpu map[string]float64 // seconds that each part used for a row
}

// measure has do do the work and returns its result. The figures are
// written: speed, CPU time for each change and peak memory of each part, and
// how many cores the rest of the machine used, the rig's other servers aside;
// more than maxOthers is told.
func (r *rig) measure(l lap, to report, do func() (pace, error)) (*result, error) {
	m, err := startMeter(l.parts)
	if err != nil {
		return nil, err
	}
	involved := slices.Collect(maps.Values(l.parts))
	rest, err := startBystanders(append(append(involved, r.servers...), os.Getpid()))
	if err != nil {
		return nil, err
	}
	p, err := do()
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
	to.figure(l.name+".rows", p.speed(), "rows/s")
	result := &result{p, map[string]float64{}}
	for _, part := range m.names() {
		result.cpu[part] = used[part].cpu / float64(p.rows)
		to.figure(l.name+".cpu_per_change."+part, result.cpu[part]*1e6, "us")
		to.figure(l.name+".peak_rss."+part, used[part].peak/(1<<20), "MiB")
	}
	to.figure(l.name+".others", others, "cores")
	if others >= maxOthers {
		r.log.Warn("this doesn't count: the rest of the machine was busy", "measuring", l.name, "cores", others)
	}
	return result, nil
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
