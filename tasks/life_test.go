package tasks

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"duplex/config"
)

func lifeSpec(t interface{ Fatal(...any) }, lines string) *Spec {
	s, err := Parse("shop.yaml", []byte("task: shop\nregions: [east, west]\ntables: {include: ['shop.*']}\n"+lines))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Each action in each state.
func TestLife(t *testing.T) {
	const same, no = "same", "no"
	table := map[Action]map[Wanted]string{
		Start:  {Created: "running", Running: same, Paused: "running", Stopped: "running", Deleted: no},
		Pause:  {Created: no, Running: "paused", Paused: same, Stopped: no, Deleted: no},
		Stop:   {Created: no, Running: "stopped", Paused: "stopped", Stopped: same, Deleted: no},
		Reset:  {Created: same, Running: no, Paused: no, Stopped: "stopped", Deleted: no},
		Delete: {Created: "deleted", Running: no, Paused: no, Stopped: "deleted", Deleted: same},
	}
	now := time.UnixMilli(5000)
	for action, states := range table {
		for from, want := range states {
			r := Record{Task: "shop", Revision: 7, Life: 1, Wanted: from, Spec: lifeSpec(t, "initial_copy: {from: east}\n")}
			next, err := r.Do(action, now)
			refused := (*RefusedError)(nil)
			switch {
			case want == no:
				if !errors.As(err, &refused) || refused.Mend == "" || next != r {
					t.Errorf("%s of a task that is %s: %v, and made %+v", action, from, err, next)
				}
			case err != nil:
				t.Errorf("%s of a task that is %s: %v", action, from, err)
			case want == same:
				if next != r {
					t.Errorf("%s of a task that is %s changed it to %+v", action, from, next)
				}
			case string(next.Wanted) != want || next.Revision != 8 || next.Last != action || next.At != now:
				t.Errorf("%s of a task that is %s: %+v", action, from, next)
			}
		}
	}
}

// Whatever operators do in whatever order: a revision tells one state from the next, what is asked for twice changes
// nothing more, the tables are captured from the first start to the end of a life, and no two lives that have left traces share a name.
func TestLifeHistories(t *testing.T) {
	specs := []*Spec{lifeSpec(t, ""), lifeSpec(t, "initial_copy: {from: east}\n"), lifeSpec(t, "apply: {threads: 3}\n")}
	rapid.Check(t, func(t *rapid.T) {
		var current *Record
		names, copies := map[string]bool{}, map[string]bool{}
		started := false
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			now := time.UnixMilli(int64(step))
			action := rapid.SampledFrom([]Action{Create, Edit, Start, Pause, Stop, Reset, Delete}).Draw(t, "action")
			spec := rapid.SampledFrom(specs).Draw(t, "spec")
			do := func(r *Record) (Record, error) {
				switch {
				case action == Create:
					return Begin(r, spec, now)
				case r == nil:
					return Record{}, errors.New("there is none")
				case action == Edit:
					return r.Change(spec, now)
				}
				return r.Do(action, now)
			}
			next, err := do(current)
			if err != nil {
				continue
			}
			if again, err := do(&next); err == nil && action != Reset && again != next {
				t.Fatalf("%s twice made %+v and then %+v", action, next, again)
			}
			if current != nil && next != *current && next.Revision != current.Revision+1 {
				t.Fatalf("after %+v came %+v", *current, next)
			}
			if current == nil && next.Revision != 1 {
				t.Fatalf("the first is %+v", next)
			}
			if action == Start && (current == nil || current.Wanted != Running) && !started {
				if started = true; names[next.Name()] || copies[next.CopyName()] {
					t.Fatalf("%s was there before", next.CopyName())
				}
				names[next.Name()], copies[next.CopyName()] = true, true
			}
			if next.Wanted == Deleted {
				started = false
			}
			if next.Captured() != started {
				t.Fatalf("captured is %t: %+v", next.Captured(), next)
			}
			current = &next
		}
	})
}

// A name that was there gets a number, which must have room in duplex.progress.
func TestNamesOfLives(t *testing.T) {
	old := Record{Task: "shop", Revision: 9, Life: 1, Wanted: Deleted, Started: true, Spec: lifeSpec(t, "")}
	next, err := Begin(&old, lifeSpec(t, ""), time.Now())
	if err != nil || next.Name() != "shop~2" || next.Revision != 10 {
		t.Errorf("%s, %v", next.Name(), err)
	}
	next.Copies = 3
	if next.CopyName() != "shop~2/3" {
		t.Errorf("the copy is called %s", next.CopyName())
	}
	old.Started = false
	if next, _ = Begin(&old, lifeSpec(t, ""), time.Now()); next.Name() != "shop" {
		t.Errorf("what never ran left the name %s", next.Name())
	}
	long := *lifeSpec(t, "")
	long.Task = strings.Repeat("x", 64)
	old = Record{Task: long.Task, Life: 1, Wanted: Deleted, Started: true, Spec: &long}
	if _, err := Begin(&old, &long, time.Now()); err == nil {
		t.Error("a name of 66 characters was taken")
	}
}

func TestRefusedEdits(t *testing.T) {
	const north = "task: shop\nregions: [east, north]\ntables: {include: ['shop.*']}\n"
	tests := []struct {
		wanted  Wanted
		file    string
		setting string // that is refused; empty: none
	}{
		{Created, north, ""},
		{Stopped, north, "regions"},
		{Running, north, "regions"},
		{Running, "task: other\nregions: [east, west]\ntables: {include: ['shop.*']}\n", "task"},
		{Running, "apply: {ordering: key}\n", "apply.ordering"},
		{Stopped, "apply: {ordering: key}\n", ""},
		{Paused, "initial_copy: {from: west}\n", "initial_copy.from"},
		{Running, "conflicts: {policy: region-priority}\n", "conflicts"},
		{Running, "conflicts: {policy: stop, retention: 1h}\n", ""},
		{Running, "conflicts: {tables: {shop.a: {delta: [n]}}}\n", `conflicts.tables."shop.a"`},
		{Stopped, "conflicts: {tables: {shop.a: {delta: [n]}}}\n", ""},
		{Running, "apply: {threads: 2, batch_rows: 10, batch_wait: 1s}\n", ""},
		{Running, "initial_copy: {rows_per_second: 5}\n", ""},
	}
	for _, test := range tests {
		if !strings.HasPrefix(test.file, "task:") {
			test.file = "task: shop\nregions: [east, west]\ntables: {include: ['shop.*']}\n" + test.file
		}
		spec, err := Parse("new.yaml", []byte(test.file))
		if err != nil {
			t.Fatal(err)
		}
		r := Record{Task: "shop", Revision: 3, Life: 1, Wanted: test.wanted, Spec: lifeSpec(t, "")}
		next, err := r.Change(spec, time.Now())
		invalid := (*config.Invalid)(nil)
		if errors.As(err, &invalid) != (test.setting != "") || invalid != nil && invalid.Setting != test.setting || invalid != nil && invalid.Mend == "" {
			t.Errorf("%s, %s: %v", test.wanted, test.file, err)
		}
		if want := map[bool]int64{true: 4, false: 3}[err == nil]; next.Revision != want {
			t.Errorf("%s, %s: revision %d", test.wanted, test.file, next.Revision)
		}
	}
}

func TestDifferences(t *testing.T) {
	a, b := lifeSpec(t, ""), lifeSpec(t, "apply: {threads: 3}\nconflicts: {tables: {shop.a: {policy: none}}}\n")
	if got := fmt.Sprint(Differences(a, b)); got != "[apply.threads: 8 → 3 conflicts.tables.shop.a.policy: not set → none]" {
		t.Error(got)
	}
	if got := Differences(a, lifeSpec(t, "")); got != nil {
		t.Errorf("of the same: %v", got)
	}
}

// Two tasks overlap where a name is covered by both; a name is drawn from few letters, so that it often is.
func TestOverlaps(t *testing.T) {
	patterns := func(t *rapid.T, name string, least int) (list []string) {
		for range rapid.IntRange(least, 2).Draw(t, name) {
			list = append(list, rapid.StringMatching(`[ab*?]{1,4}\.[ab*?]{1,4}`).Draw(t, "pattern"))
		}
		return list
	}
	rapid.Check(t, func(t *rapid.T) {
		draw := func() Tables {
			tables, err := NewTables(patterns(t, "include", 1), patterns(t, "exclude", 0))
			if err != nil {
				t.Fatal(err)
			}
			return tables
		}
		a, b := draw(), draw()
		_, _, overlap := a.Overlaps(b)
		if _, _, back := b.Overlaps(a); back != overlap {
			t.Fatalf("one way %t, the other %t", overlap, back)
		}
		found := false
		for _, db := range shortNames {
			for _, table := range shortNames {
				found = found || a.Match(db, table) && b.Match(db, table)
			}
		}
		if found && !overlap {
			t.Fatal("a table of both was not seen")
		}
		if !found && overlap && len(a.Exclude)+len(b.Exclude) == 0 {
			t.Fatal("they have no table in common")
		}
	})
}

// shortNames are all names of up to six letters a and b: two patterns of four elements have one of those in common, or none.
var shortNames = func() (names []string) {
	for n := 1; n <= 6; n++ {
		for bits := range 1 << n {
			name := ""
			for i := range n {
				name += string("ab"[bits>>i&1])
			}
			names = append(names, name)
		}
	}
	return names
}()

func TestOverlapsSays(t *testing.T) {
	tests := []struct {
		a, b, exclude string
		want          bool
	}{
		{"shop.*", "shop.orders", "", true},
		{"shop.*", "shop.orders", "shop.orders", false},
		{"shop.*", "crm.*", "", false},
		{"*.orders", "shop.*", "", true},
		{"shop.a*", "shop.b*", "", false},
		{"shop.*", "shop.tmp_*", "shop.tmp_*", false},
		{"shop.*", "shop.tmp_*", "shop.tmp_1*", true},
	}
	for _, test := range tests {
		var exclude []string
		if test.exclude != "" {
			exclude = []string{test.exclude}
		}
		a, err := NewTables([]string{test.a}, exclude)
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewTables([]string{test.b}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, got := a.Overlaps(b); got != test.want {
			t.Errorf("%+v: %t", test, got)
		}
	}
}
