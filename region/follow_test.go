package region_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/control"
	"duplex/internal/testbed"
	"duplex/region"
	"duplex/tasks"
)

// operator steers tasks as the commands do.
type operator struct {
	t     *testing.T
	plane *control.Plane
}

func (o *operator) view() *control.View {
	o.t.Helper()
	v, err := o.plane.Read(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	return v
}

func (o *operator) change(spec *tasks.Spec, next func(*tasks.Record) (tasks.Record, error)) {
	o.t.Helper()
	_, err := o.plane.Change(o.t.Context(), spec.Regions, o.view(), func(b *control.Board) (*tasks.Record, error) {
		r, err := next(b.Tasks[spec.Task])
		return &r, err
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *operator) do(spec *tasks.Spec, a tasks.Action) {
	o.t.Helper()
	o.change(spec, func(r *tasks.Record) (tasks.Record, error) { return r.Do(a, time.Now()) })
}

func (o *operator) create(spec *tasks.Spec) {
	o.t.Helper()
	o.change(spec, func(r *tasks.Record) (tasks.Record, error) { return tasks.Begin(r, spec, time.Now()) })
}

func (o *operator) await(task string, want control.State) {
	o.t.Helper()
	eventually(o.t, time.Minute, func() error {
		v := o.view()
		shown := control.Show(v.Tasks[task], v.Reports, time.Now())
		if shown.State != want || !shown.Has(shown.Revision) {
			return fmt.Errorf("task %s is %s: %s", task, shown.State, shown.Reason)
		}
		return nil
	})
}

// Ten tasks in one process of each region, made while it runs, each with a table that is written all the while.
func TestManyTasks(t *testing.T) {
	east, west := servers(t)
	const many = 10
	for _, m := range []*testbed.MySQL{east, west} {
		exec(t, m.DB(), "CREATE DATABASE shop")
		for i := range many {
			exec(t, m.DB(), fmt.Sprintf("CREATE TABLE shop.t%d (id bigint unsigned primary key, v varchar(100), at datetime(6), d decimal(12,2))", i))
		}
	}
	dir := t.TempDir()
	follow := func(p *config.Process) *region.Region {
		r, err := region.Start(t.Context(), region.Config{Process: p, Services: region.Capture | region.Apply, Version: "test",
			Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Banner: func(string) {}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a := follow(process(t, "east", east,
		fmt.Sprintf("{brokers: [embedded], embedded: {dir: %s}}", filepath.Join(dir, "kafka")),
		fmt.Sprintf("{url: embedded, embedded: {dir: %s}}", filepath.Join(dir, "registry"))))
	b := follow(process(t, "west", west,
		fmt.Sprintf("{brokers: ['%s'], replication_factor: 1}", a.Process().Kafka.Brokers[0]),
		fmt.Sprintf("{url: '%s'}", a.Process().Registry.URL)))
	run(t, a)
	run(t, b)
	plane, err := control.Reach(t.Context(), []*config.Process{b.Process()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plane.Close)
	o := &operator{t, plane}
	var specs []*tasks.Spec
	for i := range many {
		spec, err := tasks.Parse("task.yaml", fmt.Appendf(nil, "task: task%d\nregions: [east, west]\ntables: {include: ['shop.t%[1]d']}\napply: {threads: 2}\n", i))
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec)
	}
	id := 0
	write := func(upTo int) {
		for i := range upTo {
			id++
			exec(t, east.DB(), fmt.Sprintf("INSERT INTO shop.t%d VALUES (%d, 'e', NOW(6), 1)", i, 2*id))
			exec(t, west.DB(), fmt.Sprintf("INSERT INTO shop.t%d VALUES (%d, 'w', NOW(6), 2)", i, 2*id+1))
		}
	}
	for i, spec := range specs {
		o.create(spec)
		o.do(spec, tasks.Start)
		write(i) // those that are there already, while capture goes over
		if i%3 == 0 || i == many-1 {
			o.await(spec.Task, control.Streaming)
			write(i + 1)
		} else {
			eventually(t, time.Minute, func() error { return captured(o, spec, []change.Region{"east", "west"}) })
			write(i + 1)
		}
	}
	for i, spec := range specs {
		o.await(spec.Task, control.Streaming)
		eventually(t, time.Minute, func() error { return equal(east.DB(), west.DB(), fmt.Sprintf("shop.t%d", i)) })
	}
	var rows int
	if err := west.DB().QueryRow("SELECT (SELECT COUNT(*) FROM shop.t0) + (SELECT COUNT(*) FROM shop.t9)").Scan(&rows); err != nil || rows < 10 {
		t.Errorf("%d rows, %v", rows, err)
	}

	// One waits; the others don't.
	o.do(specs[0], tasks.Pause)
	o.await("task0", control.Paused)
	write(many)
	for i := 1; i < many; i++ {
		eventually(t, time.Minute, func() error { return equal(east.DB(), west.DB(), fmt.Sprintf("shop.t%d", i)) })
	}
	if equal(east.DB(), west.DB(), "shop.t0") == nil {
		t.Error("what is paused goes on")
	}
	o.do(specs[0], tasks.Start)
	eventually(t, time.Minute, func() error { return equal(east.DB(), west.DB(), "shop.t0") })
}

// captured reports whether the captures of regions have taken up a task's tables.
func captured(o *operator, spec *tasks.Spec, regions []change.Region) error {
	v := o.view()
	for _, r := range regions {
		found := false
		for _, p := range v.Reports {
			found = found || p.Task == spec.Task && p.Region == r && p.Capture != nil && p.Capture.Captured
		}
		if !found {
			return fmt.Errorf("region %s hasn't taken up task %s", r, spec.Task)
		}
	}
	return nil
}
