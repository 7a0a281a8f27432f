package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"duplex/control"
)

// steered is a pair whose tasks are on Kafka.
type steered struct {
	*pair
	t         *testing.T
	r         *rand.Rand
	files     []string // process files
	processes []*Process
	next      int // id of the next row written
}

func newSteered(t *testing.T, e engines, name string) *steered {
	t.Helper()
	s := &steered{pair: newPairOf(t, e, name, nil), t: t}
	for _, side := range s.sides() {
		file, listen := s.processFile(side, side.region)
		s.files = append(s.files, file)
		s.processes = append(s.processes, newProcess(t, side.region+"-run", listen, "run", "-c", file))
	}
	return s
}

func (s *steered) start() {
	for _, p := range s.processes {
		p.Start()
	}
}

// duplex runs a command about tasks and returns what it says and its exit code.
func (s *steered) duplex(args ...string) (string, int) {
	s.t.Helper()
	args = append([]string{"task"}, args...)
	for _, file := range s.files {
		args = append(args, "-c", file)
	}
	return runProgram(s.t, args...)
}

// must demands that a command is done.
func (s *steered) must(args ...string) string {
	s.t.Helper()
	text, exit := s.duplex(args...)
	if exit != 0 {
		s.t.Fatalf("duplex task %v: exit %d\n%s", args, exit, text)
	}
	return text
}

// refuse demands that a command is refused, and says all that is given.
func (s *steered) refuse(args []string, says ...string) {
	s.t.Helper()
	text, exit := s.duplex(args...)
	if exit != 1 {
		s.t.Errorf("duplex task %v: exit %d\n%s", args, exit, text)
	}
	for _, part := range says {
		if !strings.Contains(text, part) {
			s.t.Errorf("duplex task %v doesn't say %q:\n%s", args, part, text)
		}
	}
}

// write makes a task file of some lines besides its name and regions.
func (s *steered) write(task string, lines ...string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, task+"-task.yaml")
	writeLines(s.t, path, append([]string{"task: " + task, fmt.Sprintf("regions: [%s, %s]", s.east.region, s.west.region)}, lines...))
	return path
}

func (s *steered) show(task string) (shown control.Shown) {
	s.t.Helper()
	text := s.must("show", task, "--json")
	if err := json.Unmarshal([]byte(text), &shown); err != nil {
		s.t.Fatalf("%v: %s", err, text)
	}
	return shown
}

// await waits until a task is shown in a state in all regions.
func (s *steered) await(task string, want control.State) {
	s.t.Helper()
	eventually(s.t, stallLimit, func() error {
		shown := s.show(task)
		if shown.State != want {
			return fmt.Errorf("task %s is shown as %s (%s), not %s", task, shown.State, shown.Reason, want)
		}
		for _, in := range shown.In {
			if want != control.Created && in.Revision != shown.Revision {
				return fmt.Errorf("region %s goes by revision %d of %d", in.Region, in.Revision, shown.Revision)
			}
		}
		return nil
	})
}

// table makes a table on both sides.
func (s *steered) table(name string) {
	s.t.Helper()
	for _, side := range s.sides() {
		mustExec(s.t, side.mysql.DB(), "CREATE TABLE shop."+name+" (id INT PRIMARY KEY, v VARCHAR(40) NOT NULL)")
	}
}

// fill writes some rows of a table on both sides, each its own, and changes some that are there.
func (s *steered) fill(table string, rows int) {
	s.t.Helper()
	for i := range rows {
		s.next++
		side := s.sides()[i%2]
		mustExec(s.t, side.mysql.DB(), fmt.Sprintf("INSERT INTO shop.%s VALUES (%d, '%s %d')", table, s.next, sideName(side), s.next),
			fmt.Sprintf("UPDATE shop.%s SET v = CONCAT('changed ', %d) WHERE id <= %d ORDER BY id DESC LIMIT 1", table, s.next, max(0, s.next-5)))
	}
}

// rows returns the rows of a table.
func (s *steered) rows(side *side, table string) string {
	s.t.Helper()
	rows, err := side.mysql.DB().Query("SELECT CONCAT(id, '=', v) FROM shop." + table + " ORDER BY id")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

func (s *steered) equal(table string) error {
	s.t.Helper()
	if east, west := s.rows(s.east, table), s.rows(s.west, table); east != west {
		a, b := strings.Split(east, "\n"), strings.Split(west, "\n")
		differ := func(x, y []string) (only []string) {
			for _, row := range x {
				if !slices.Contains(y, row) {
					only = append(only, row)
				}
			}
			return only
		}
		return fmt.Errorf("table %s: east alone has %q, west alone %q", table, differ(a, b), differ(b, a))
	}
	return nil
}

func (s *steered) awaitEqual(tables ...string) {
	s.t.Helper()
	for _, table := range tables {
		eventually(s.t, stallLimit, func() error { return s.equal(table) })
	}
}

// TestTasks goes through the life of tasks on two regions: what is asked for comes to be, and is shown; changes made at any time while
// a task has its tables reach the other side; what is wrong is refused and changes nothing.
func TestTasks(t *testing.T) { onEveryPairIfLong(t, testTasks) }

func testTasks(t *testing.T, e engines) {
	s := newSteered(t, e, "tasks")
	for _, name := range []string{"a", "b", "c"} {
		s.table(name)
	}
	one, two := s.taskName+"-one", s.taskName+"-two"
	file := s.write(one, "tables: {include: ['shop.a']}")
	s.start()
	s.must("create", file)
	if shown := s.show(one); shown.State != control.Created || shown.Revision != 1 {
		t.Errorf("after create: %+v", shown)
	}
	s.refuse([]string{"pause", one}, "was never started")
	s.must("start", one, "--wait", "1m")
	s.await(one, control.Streaming)
	s.fill("a", 10)
	s.awaitEqual("a")

	// A second task comes beside the first, whose tables are written all the while, with rows to copy.
	mustExec(t, s.east.mysql.DB(), "INSERT INTO shop.b VALUES (1000001, 'there before'), (1000002, 'there before')")
	s.refuse([]string{"create", s.write(two, "tables: {include: ['shop.*']}")}, two+"-task.yaml:3:", "has tables in common with", "task "+one)
	second := s.write(two, "tables: {include: ['shop.b']}", "initial_copy: {from: "+s.east.region+"}")
	s.must("create", second)
	s.fill("a", 4)
	s.must("start", two)
	s.fill("a", 4)
	s.await(two, control.Streaming)
	s.fill("b", 6)
	s.awaitEqual("a", "b")
	if n := strings.Count(s.rows(s.west, "b"), "there before"); n != 2 {
		t.Errorf("%d rows were copied, not 2", n)
	}

	// Paused and stopped: nothing arrives, and nothing is lost.
	for _, step := range []struct {
		do    string
		state control.State
	}{{"pause", control.Paused}, {"stop", control.Stopped}} {
		s.must(step.do, one)
		s.await(one, step.state)
		s.fill("a", 6)
		time.Sleep(300 * time.Millisecond) // whatever runs would have written by now
		if s.equal("a") == nil {
			t.Errorf("changes arrive in a task that is %s", step.state)
		}
		s.fill("b", 4)
		s.awaitEqual("b") // the other goes on
	}
	s.refuse([]string{"delete", two}, "stop it first")
	s.must("start", one)
	s.await(one, control.Streaming)
	s.awaitEqual("a")

	s.editRunning(one)
	s.again(one)
	s.badInput(one, two)
	stop(s.processes)
}

// editRunning adds a table to a task that runs, one that has rows on one side.
func (s *steered) editRunning(task string) {
	s.t.Helper()
	mustExec(s.t, s.east.mysql.DB(), "INSERT INTO shop.c VALUES (1000001, 'there before')")
	file := s.write(task, "tables: {include: ['shop.a', 'shop.c']}", "apply: {threads: 3}", "initial_copy: {from: "+s.east.region+"}")
	s.refuse([]string{"edit", file}, "initial_copy.from", "stop the task")
	before := s.show(task).Revision
	s.must("stop", task, "--wait", "1m")
	text := s.must("edit", file)
	if !strings.Contains(text, "apply.threads: 8 → 3") || !strings.Contains(text, "shop.c") {
		s.t.Errorf("the edit shows:\n%s", text)
	}
	s.must("start", task)
	s.await(task, control.Streaming)
	s.fill("c", 6)
	s.awaitEqual("a", "c")
	if n := strings.Count(s.rows(s.west, "c"), "there before"); n != 1 {
		s.t.Errorf("%d rows of the table that was added were copied, not 1", n)
	}
	s.table("d")
	s.must("edit", s.write(task, "tables: {include: ['shop.a', 'shop.c', 'shop.d']}", "apply: {threads: 3}", "initial_copy: {from: "+s.east.region+"}"))
	s.fill("a", 6)
	s.await(task, control.Streaming)
	s.fill("d", 6)
	s.fill("a", 6)
	s.awaitEqual("a", "c", "d")
	s.must("edit", s.write(task, "tables: {include: ['shop.a']}", "initial_copy: {from: "+s.east.region+"}"), "--dry-run")
	if now := s.show(task).Revision; now != before+4 {
		s.t.Errorf("revision %d after %d and four changes", now, before)
	}
}

// again deletes a task and makes it again, after its tables were made other, and equal, while nobody captured them. Nothing of its former life
// may come over that.
func (s *steered) again(task string) {
	s.t.Helper()
	s.must("stop", task, "--wait", "1m")
	s.fill("a", 6) // published, and never applied
	s.must("delete", task, "--wait", "1m")
	if text := s.must("list"); strings.Contains(text, task+" ") {
		s.t.Errorf("what was deleted is listed:\n%s", text)
	}
	for _, side := range s.sides() {
		mustExec(s.t, side.mysql.DB(), "DELETE FROM shop.a WHERE id % 3 = 0", "DELETE FROM shop.a WHERE id > 30")
	}
	mustExec(s.t, s.west.mysql.DB(), "DELETE FROM shop.a")
	for _, row := range strings.Split(s.rows(s.east, "a"), "\n") {
		id, _, _ := strings.Cut(row, "=")
		for _, side := range s.sides() {
			mustExec(s.t, side.mysql.DB(), fmt.Sprintf("REPLACE INTO shop.a VALUES (%s, 'made equal')", id))
		}
	}
	s.must("create", s.write(task, "tables: {include: ['shop.a']}"))
	s.must("start", task)
	s.await(task, control.Streaming)
	s.fill("a", 6)
	s.awaitEqual("a")
	if strings.Count(s.rows(s.west, "a"), "made equal") < 5 {
		s.t.Errorf("changes of the task's former life came over what was made since:\n%s", s.rows(s.west, "a"))
	}
	if shown := s.show(task); shown.Name != task+"~2" {
		s.t.Errorf("its progress is kept as %s", shown.Name)
	}
}

// badInput gives files and commands that are wrong. Nothing is changed by any.
func (s *steered) badInput(one, two string) {
	s.t.Helper()
	before := s.must("list", "--json")
	for _, side := range s.sides() {
		mustExec(s.t, side.mysql.DB(), "CREATE TABLE shop.keyless (v INT)", "CREATE TABLE shop.uneven (id INT PRIMARY KEY)")
	}
	mustExec(s.t, s.west.mysql.DB(), "ALTER TABLE shop.uneven ADD COLUMN w INT NOT NULL")
	name := s.taskName + "-bad"
	for _, bad := range []struct {
		lines []string
		says  []string
	}{
		{[]string{"tables: {includ: ['shop.x']}"}, []string{name + "-task.yaml:3:", "there is no such setting"}},
		{[]string{"tables: {include: ['shop.nothing_*']}"}, []string{"matches no table"}},
		{[]string{"tables: {include: ['shop.keyless']}"}, []string{"has no primary key"}},
		{[]string{"tables: {include: ['shop.uneven']}"}, []string{"uneven"}},
		{[]string{"tables: {include: ['shop.b']}"}, []string{"has tables in common with", two}},
		{[]string{"tables: {include: ['shop.keyless']}", "ddl: replicate"}, []string{"not built yet"}},
	} {
		s.refuse([]string{"create", s.write(name, bad.lines...)}, bad.says...)
	}
	path := filepath.Join(s.dir, "same.yaml")
	writeLines(s.t, path, []string{"task: " + name, fmt.Sprintf("regions: [%s, %[1]s]", s.east.region), "tables: {include: ['shop.x']}"})
	s.refuse([]string{"create", path}, "is named twice")
	s.refuse([]string{"start", name}, "there is no such task")
	s.refuse([]string{"delete", one}, "stop it first")
	s.refuse([]string{"reset", one}, "stop it first")
	s.refuse([]string{"pause", one, "--revision", "1"}, "has revision")
	s.refuse([]string{"edit", s.write(one, "tables: {include: ['shop.a', 'shop.d']}")}, "captured before")
	if text, exit := s.duplex("start"); exit != 2 {
		s.t.Errorf("a command without a name: exit %d\n%s", exit, text)
	}
	if file, err := os.CreateTemp(s.t.TempDir(), ""); err != nil {
		s.t.Fatal(err)
	} else if _, exit := s.duplex("create", file.Name()+"-that-is-not-there"); exit != 1 {
		s.t.Errorf("a file that isn't there: exit %d", exit)
	}
	revisions := func(text string) (all []string) {
		var list struct{ Tasks []control.Shown }
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			s.t.Fatal(err)
		}
		for _, shown := range list.Tasks {
			all = append(all, fmt.Sprint(shown.Task, shown.Revision, shown.Wanted))
		}
		return all
	}
	if after := s.must("list", "--json"); !slices.Equal(revisions(before), revisions(after)) {
		s.t.Errorf("what was refused changed something:\n%s\n%s", before, after)
	}
}
