package control

import (
	"testing"
	"time"

	"duplex/change"
	"duplex/tasks"
)

// What is shown is what was reported, and not what was asked for; who hasn't reported lately is taken for gone.
func TestShow(t *testing.T) {
	spec, err := tasks.Parse("task.yaml", []byte("task: shop\nregions: [east, west]\ntables: {include: ['shop.*']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.UnixMilli(10_000_000)
	service := func(s State) *Service { return &Service{State: s, SinceMillis: now.UnixMilli()} }
	both := func(region change.Region, process string, s State, age time.Duration) Report {
		return Report{Task: "shop", Region: region, Process: process, Revision: 3, Life: 1, Capture: service(s), Apply: service(s), AtMillis: now.Add(-age).UnixMilli()}
	}
	only := func(r Report, capture, apply bool) Report {
		if !capture {
			r.Capture = nil
		}
		if !apply {
			r.Apply = nil
		}
		return r
	}
	former := both("west", "1", Streaming, 0)
	former.Life = 0
	tests := []struct {
		name    string
		wanted  tasks.Wanted
		reports []Report
		want    State
	}{
		{"both stream", tasks.Running, []Report{both("east", "1", Streaming, 0), both("west", "1", Streaming, 0)}, Streaming},
		{"one copies", tasks.Running, []Report{both("east", "1", Copying, 0), both("west", "1", Streaming, 0)}, Copying},
		{"one has failed", tasks.Running, []Report{both("east", "1", Failed, 0), both("west", "1", Streaming, 0)}, Failed},
		{"one was killed", tasks.Running, []Report{both("east", "1", Streaming, 0), both("west", "1", Streaming, time.Minute)}, Silent},
		{"one never came", tasks.Running, []Report{both("east", "1", Streaming, 0)}, Silent},
		{"only a former life has reported", tasks.Running, []Report{both("east", "1", Streaming, 0), former}, Silent},
		{"still streaming", tasks.Paused, []Report{both("east", "1", Streaming, 0), both("west", "1", Paused, 0)}, Streaming},
		{"paused", tasks.Paused, []Report{both("east", "1", Paused, 0), both("west", "1", Paused, 0)}, Paused},
		{"killed while paused", tasks.Paused, []Report{both("east", "1", Paused, time.Minute), both("west", "1", Paused, 0)}, Silent},
		{"two processes", tasks.Running, []Report{both("east", "1", Streaming, 0), only(both("west", "1", Streaming, 0), true, false), only(both("west", "2", Streaming, 0), false, true)}, Streaming},
		{"its apply was killed", tasks.Running, []Report{both("east", "1", Streaming, 0), only(both("west", "1", Streaming, 0), true, false), only(both("west", "2", Streaming, time.Minute), false, true)}, Silent},
		{"a second stands by", tasks.Running, []Report{both("east", "1", Streaming, 0), both("west", "1", Streaming, 0), only(both("west", "2", Checking, 0), false, true)}, Streaming},
		{"stopped", tasks.Stopped, []Report{both("east", "1", Stopped, 0), both("west", "1", Stopped, 0)}, Stopped},
	}
	for _, test := range tests {
		reports := map[string]Report{}
		for _, r := range test.reports {
			reports[r.Key()] = r
		}
		r := &tasks.Record{Task: "shop", Revision: 3, Life: 1, Wanted: test.wanted, Started: true, Spec: spec}
		shown := Show(r, reports, now)
		if shown.State != test.want {
			t.Errorf("%s: shown as %s (%s), not %s", test.name, shown.State, shown.Reason, test.want)
		}
		if shown.State == Silent && shown.Reason == "" {
			t.Errorf("%s: nothing tells who is silent", test.name)
		}
	}
	r := &tasks.Record{Task: "shop", Revision: 1, Life: 1, Wanted: tasks.Created, Spec: spec}
	if shown := Show(r, nil, now); shown.State != Created || shown.Has(1) != true {
		t.Errorf("what was never started is shown as %s", shown.State)
	}
}

// The name and the tables of a deleted task are free when the services of every region have said that they left it.
func TestEnded(t *testing.T) {
	spec, err := tasks.Parse("task.yaml", []byte("task: shop\nregions: [east, west]\ntables: {include: ['shop.*']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := &tasks.Record{Task: "shop", Revision: 5, Life: 1, Wanted: tasks.Deleted, Started: true, Spec: spec}
	left := func(region change.Region, process string, revision int64, s State) Report {
		return Report{Task: "shop", Region: region, Process: process, Revision: revision, Life: 1, Capture: &Service{State: s}, Apply: &Service{State: s}}
	}
	tests := []struct {
		reports []Report
		want    bool
	}{
		{nil, false},
		{[]Report{left("east", "1", 5, Deleted)}, false},
		{[]Report{left("east", "1", 5, Deleted), left("west", "1", 5, Deleted)}, true},
		{[]Report{left("east", "1", 5, Deleted), left("west", "1", 5, Checking)}, false},
		{[]Report{left("east", "1", 5, Deleted), left("west", "1", 5, Deleted), left("west", "2", 4, Streaming)}, false},
	}
	for i, test := range tests {
		reports := map[string]Report{}
		for _, p := range test.reports {
			reports[p.Key()] = p
		}
		if _, got := Ended(r, reports); got != test.want {
			t.Errorf("case %d: %t", i, got)
		}
	}
	r.Started = false
	if _, ended := Ended(r, nil); !ended {
		t.Error("what never ran has left nothing to end")
	}
}
