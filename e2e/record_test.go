package e2e_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"duplex/schemas"
)

// madeConflict is a conflict that a test makes: what each region writes to one row of
// which neither has seen the other's, and which of them comes later.
type madeConflict struct {
	id           int
	before       string // value of the row in both regions, "" for no row
	loser        string // statements, of the region that writes first
	winner       string
	lost, won    string // the values that they leave, "" for no row
	lostOp, kept string // operations
}

// madeConflicts are of every kind, each twice: once east wins, once west.
func madeConflicts() (all []madeConflict) {
	kinds := []madeConflict{
		{before: "a", loser: "UPDATE shop.t SET v = 'l' WHERE id = %d", lost: "l", lostOp: "update", winner: "UPDATE shop.t SET v = 'w' WHERE id = %d", won: "w", kept: "update"},
		{before: "a", loser: "DELETE FROM shop.t WHERE id = %d", lostOp: "delete", winner: "UPDATE shop.t SET v = 'w' WHERE id = %d", won: "w", kept: "update"},
		{before: "a", loser: "UPDATE shop.t SET v = 'l' WHERE id = %d", lost: "l", lostOp: "update", winner: "DELETE FROM shop.t WHERE id = %d", kept: "delete"},
		{loser: "INSERT INTO shop.t VALUES (%d, 'l')", lost: "l", lostOp: "insert", winner: "INSERT INTO shop.t VALUES (%d, 'w')", won: "w", kept: "insert"},
		{before: "a", loser: "DELETE FROM shop.t WHERE id = %d", lostOp: "delete", winner: "DELETE FROM shop.t WHERE id = %d", kept: "delete"},
		// Several writes of one transaction are one.
		{before: "a", loser: "BEGIN; DELETE FROM shop.t WHERE id = %[1]d; INSERT INTO shop.t VALUES (%[1]d, 'l'); COMMIT", lost: "l", lostOp: "insert",
			winner: "BEGIN; UPDATE shop.t SET v = 'v' WHERE id = %[1]d; UPDATE shop.t SET v = 'w' WHERE id = %[1]d; COMMIT", won: "w", kept: "update"},
	}
	for i, kind := range slices.Concat(kinds, kinds) {
		kind.id = i + 1
		kind.loser, kind.winner = fmt.Sprintf(kind.loser, kind.id), fmt.Sprintf(kind.winner, kind.id)
		all = append(all, kind)
	}
	return all
}

// TestConflictRecord: each conflict is recorded in both regions exactly once, with
// the images of both writes, though apply dies before and after it records them;
// recording publishes nothing. Undoing them gives both regions what was lost.
func TestConflictRecord(t *testing.T) { onEveryPairIfLong(t, testConflictRecord) }

func testConflictRecord(t *testing.T, e engines) {
	p := newSmall(t, e, "record")
	captures, applies := p.start("capture"), p.start("apply")
	r := &recorded{t: t, p: p, files: []string{captures[0].argument("-c"), captures[1].argument("-c")}, made: madeConflicts()}
	for _, c := range r.made {
		if c.before != "" {
			mustExec(t, p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, '%s')", c.id, c.before))
		}
	}
	eventually(t, stallLimit, r.equal)
	for _, apply := range applies {
		apply.Kill()
	}
	r.write()
	for _, point := range []string{"apply.before-record", "apply.after-record"} {
		for _, apply := range applies {
			apply.Start("DUPLEX_FAILPOINT=" + point + ":1")
		}
		for _, apply := range applies {
			if state := apply.Wait(startLimit); !killed(state) {
				t.Fatalf("%s has not died at %s: %s", apply.Name, point, state)
			}
		}
	}
	for _, apply := range applies {
		apply.Start()
	}
	for _, apply := range applies {
		apply.WaitStreaming()
	}
	eventually(t, stallLimit, r.equal)
	eventually(t, stallLimit, r.complete)
	r.check()
	r.checkUnpublished()
	stop(applies) // settled: nothing is found again
	for _, apply := range applies {
		apply.Start()
		apply.WaitStreaming()
	}
	r.undoChanged()
	r.undo()
	r.checkUnpublished()
	if err := r.complete(); err != nil {
		t.Errorf("after all was undone: %v", err) // undoing is no conflict
	}
	stop(append(captures, applies...))
}

// recorded is the record of conflicts of a pair.
type recorded struct {
	t     *testing.T
	p     *pair
	files []string // process files of east and west
	made  []madeConflict
}

// sidesOf returns which region loses and which wins.
func (r *recorded) sidesOf(c *madeConflict) (loser, winner *side) {
	if c.id <= len(r.made)/2 {
		return r.p.east, r.p.west
	}
	return r.p.west, r.p.east
}

// write has the regions write, the losers first.
func (r *recorded) write() {
	r.t.Helper()
	conns := map[*side]*sql.Conn{}
	for _, s := range r.p.sides() {
		conn, err := s.mysql.DB().Conn(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		defer conn.Close()
		conns[s] = conn
	}
	say := func(s *side, statements string) {
		for statement := range strings.SplitSeq(statements, "; ") {
			execOn(r.t, conns[s], statement)
		}
	}
	for i := range r.made {
		loser, _ := r.sidesOf(&r.made[i])
		say(loser, r.made[i].loser)
	}
	time.Sleep(20 * time.Millisecond) // commit times have milliseconds
	for i := range r.made {
		_, winner := r.sidesOf(&r.made[i])
		say(winner, r.made[i].winner)
	}
}

// equal tells whether both regions have the same rows, for a while.
func (r *recorded) equal() error {
	const all = "SELECT id, v FROM shop.t ORDER BY id"
	if east, west := fmt.Sprint(query(r.t, r.p.east, all)), fmt.Sprint(query(r.t, r.p.west, all)); east != west {
		return fmt.Errorf("east has %s, west %s", east, west)
	}
	return nil
}

// complete tells whether both regions have recorded as many conflicts as were made.
func (r *recorded) complete() error {
	for _, s := range r.p.sides() {
		var n int
		if err := s.mysql.DB().QueryRow("SELECT COUNT(*) FROM duplex.conflicts").Scan(&n); err != nil {
			return err
		}
		if n != len(r.made) {
			return fmt.Errorf("%s has recorded %d conflicts of %d", s.region, n, len(r.made))
		}
	}
	return nil
}

// listedConflict is what duplex conflicts list --json tells.
type listedConflict struct {
	Recorded string `json:"recorded_in"`
	ID, Key  string
	Table    string
	Winner   struct{ Region, Operation string }
	Loser    struct{ Region, Operation string }
	Undone   *string
}

func (r *recorded) list() (all []listedConflict) {
	r.t.Helper()
	r.run(&all, "list", "--table", "shop.t", "--since", "1h", "--limit", "1000")
	return all
}

// run runs duplex conflicts with --json, which must succeed.
func (r *recorded) run(into any, args ...string) {
	r.t.Helper()
	text, exit := r.command(append(args, "--json")...)
	if exit != 0 {
		r.t.Fatalf("duplex conflicts %v: %s", args, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		r.t.Fatalf("duplex conflicts %v: %v: %s", args, err, text)
	}
}

func (r *recorded) command(args ...string) (text string, exit int) {
	r.t.Helper()
	return runProgram(r.t, slices.Concat([]string{"conflicts", args[0], "-c", r.files[0], "-c", r.files[1], "--task", r.p.taskName}, args[1:])...)
}

// check compares what is recorded with what was made.
func (r *recorded) check() {
	r.t.Helper()
	ids := map[string][]string{}
	for _, l := range r.list() {
		ids[l.Key] = append(ids[l.Key], l.ID)
		c := r.conflictOf(l.Key)
		loser, winner := r.sidesOf(c)
		got := fmt.Sprint(l.Table, l.Winner.Region, l.Winner.Operation, l.Loser.Region, l.Loser.Operation)
		if want := fmt.Sprint("shop.t", winner.region, c.kept, loser.region, c.lostOp); got != want {
			r.t.Errorf("row %d: %s has recorded %s, want %s", c.id, l.Recorded, got, want)
		}
	}
	for i := range r.made {
		c := &r.made[i]
		both := ids[fmt.Sprintf(`{"id":%d}`, c.id)]
		if len(both) != 2 || both[0] != both[1] {
			r.t.Errorf("row %d is recorded as %v, not once in each region with one id", c.id, both)
			continue
		}
		for side := range 2 { // each region's own record
			r.checkImages(c, both[0], r.files[side])
		}
	}
	if text, exit := r.command("list"); exit != 0 || strings.Count(text, "\n") != 2*len(r.made)+1 {
		r.t.Errorf("duplex conflicts list: exit code %d, %s", exit, text)
	}
}

func (r *recorded) conflictOf(key string) *madeConflict {
	r.t.Helper()
	i := slices.IndexFunc(r.made, func(c madeConflict) bool { return fmt.Sprintf(`{"id":%d}`, c.id) == key })
	if i < 0 {
		r.t.Fatalf("a conflict of row %s is recorded, and there was none", key)
	}
	return &r.made[i]
}

// checkImages compares both images with what was written.
func (r *recorded) checkImages(c *madeConflict, id, file string) {
	r.t.Helper()
	text, exit := runProgram(r.t, "conflicts", "show", "-c", file, id, "--json")
	var shown struct {
		Columns []struct {
			Column        string
			Winner, Loser *string
			Differs       bool
		}
	}
	if err := json.Unmarshal([]byte(text), &shown); exit != 0 || err != nil {
		r.t.Fatalf("duplex conflicts show %s: exit code %d, %v: %s", id, exit, err, text)
	}
	var won, lost string
	for _, column := range shown.Columns {
		if column.Column != "v" {
			continue
		}
		if column.Winner != nil {
			won = *column.Winner
		}
		if column.Loser != nil {
			lost = *column.Loser
		}
		if column.Differs != (won != lost) {
			r.t.Errorf("row %d: column v differs: %t", c.id, column.Differs)
		}
	}
	if won != c.won || lost != c.lost {
		r.t.Errorf("row %d: the winner's image is %q and the loser's %q, want %q and %q", c.id, won, lost, c.won, c.lost)
	}
}

// checkUnpublished proves that what is written to duplex.conflicts alone is not
// published, and has no number of its own.
func (r *recorded) checkUnpublished() {
	r.t.Helper()
	for _, s := range r.p.sides() {
		unpublished := map[string]bool{}
		readBinlog(r.t, s.mysql, func(txn *logged) {
			other := slices.ContainsFunc(txn.rows, func(row loggedRow) bool { return row.schema != "duplex" || row.table != "conflicts" })
			unpublished[txn.gtid] = !other
		})
		h := &history{}
		if err := readRecords(r.p, s.region+".transaction", h.add); err != nil {
			r.t.Fatal(err)
		}
		if slices.ContainsFunc(h.ends, func(end schemas.End) bool { return unpublished[end.ID] }) {
			r.t.Errorf("%s has published that conflicts were recorded", s.region)
		}
		n := 0
		for _, is := range unpublished {
			if is {
				n++
			}
		}
		if n == 0 {
			r.t.Errorf("the binlog of %s has no transaction that records conflicts", s.region)
		}
	}
}

// undoChanged has a row changed after its conflict, which isn't undone then, and
// puts it back to what the winner left.
func (r *recorded) undoChanged() {
	r.t.Helper()
	for _, c := range r.made {
		if c.won == "" || c.lost == "" {
			continue
		}
		list := r.list()
		at := slices.IndexFunc(list, func(l listedConflict) bool { return l.Key == fmt.Sprintf(`{"id":%d}`, c.id) })
		set := func(v string) {
			mustExec(r.t, r.p.east.mysql.DB(), fmt.Sprintf("UPDATE shop.t SET v = '%s' WHERE id = %d", v, c.id))
			eventually(r.t, stallLimit, r.equal)
		}
		set("later")
		if text, exit := r.command("undo", list[at].ID); exit != 1 || !strings.Contains(text, "changed after the conflict") {
			r.t.Errorf("undoing a conflict of a row that was changed since: exit code %d, %s", exit, text)
		}
		set(c.won)
		return
	}
}

// undo undoes each conflict: half of them in each region.
func (r *recorded) undo() {
	r.t.Helper()
	list := r.list()
	for i := range r.made {
		c := &r.made[i]
		at := slices.IndexFunc(list, func(l listedConflict) bool { return l.Key == fmt.Sprintf(`{"id":%d}`, c.id) })
		id := list[at].ID
		if c.id%2 == 0 {
			slices.Reverse(r.files)
		}
		args := []string{"undo", id}
		if c.id == 3 {
			mustExec(r.t, r.p.east.mysql.DB(), "INSERT INTO shop.t VALUES (3, 'later')")
			eventually(r.t, stallLimit, r.equal)
			args = append(args, "--force")
		}
		switch text, exit := r.command(args...); {
		case c.won == "" && c.lost == "":
			if exit != 1 || !strings.Contains(text, "nothing to bring back") {
				r.t.Errorf("undoing a conflict of two deletes: exit code %d, %s", exit, text)
			}
			continue
		case exit != 0:
			r.t.Fatalf("duplex conflicts undo %s: %s", id, text)
		}
		if text, exit := r.command("undo", id); exit != 1 || !strings.Contains(text, "undone already") {
			r.t.Errorf("undoing a conflict twice: exit code %d, %s", exit, text)
		}
	}
	eventually(r.t, stallLimit, func() error { return r.have(func(c *madeConflict) string { return c.lost }) })
	for _, l := range r.list() {
		if c := r.conflictOf(l.Key); (l.Undone != nil) != (c.won != "" || c.lost != "") {
			r.t.Errorf("row %d in %s: undone: %v", c.id, l.Recorded, l.Undone)
		}
	}
}

// have tells whether both regions hold these values.
func (r *recorded) have(value func(*madeConflict) string) error {
	for _, s := range r.p.sides() {
		rows := map[string]string{}
		for _, row := range query(r.t, s, "SELECT id, v FROM shop.t") {
			rows[row[0].String] = row[1].String
		}
		for i := range r.made {
			if c := &r.made[i]; rows[fmt.Sprint(c.id)] != value(c) {
				return fmt.Errorf("row %d of %s is %q, want %q", c.id, s.region, rows[fmt.Sprint(c.id)], value(c))
			}
		}
	}
	return nil
}
