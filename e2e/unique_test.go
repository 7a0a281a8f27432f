package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"duplex/mysql"
)

// TestUniqueGivenTwice: both regions give one unique value to different rows before they
// have seen each other's write. The newer write has it in both, the other row is
// gone, and no stream stops (promise 4).
func TestUniqueGivenTwice(t *testing.T) { onEveryPair(t, testUniqueGivenTwice) }

func testUniqueGivenTwice(t *testing.T, e engines) {
	u := newGifts(t, e, "gifts")
	for n, tt := range []struct {
		name string
		// before is in both regions; then first writes, and after it second, and
		// neither has seen the other.
		before, first, second []string
		want                  string
	}{
		{"inserted twice", nil, []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0)"}, []string{"INSERT INTO shop.gifts VALUES (2, 10, 'b', 0)"}, "2:10:b:0"},
		{"two keys, two losers", []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0), (2, 11, 'b', 0), (3, 12, 'c', 0)"},
			[]string{"UPDATE shop.gifts SET u = 20 WHERE id = 1", "UPDATE shop.gifts SET v = 'x' WHERE id = 2"}, []string{"UPDATE shop.gifts SET u = 20, v = 'x' WHERE id = 3"}, "3:20:x:0"},
		{"moved by updates", []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0), (2, 11, 'b', 0)"},
			[]string{"UPDATE shop.gifts SET u = 12 WHERE id = 1"}, []string{"UPDATE shop.gifts SET u = 12 WHERE id = 2"}, "2:12:b:0"},
		{"taken from the row that had it", []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0), (2, 11, 'b', 0)"},
			[]string{"UPDATE shop.gifts SET u = 12 WHERE id = 1", "UPDATE shop.gifts SET u = 10 WHERE id = 2"}, []string{"UPDATE shop.gifts SET n = 1 WHERE id = 1"}, "1:10:a:1"},
		{"swapped in both", []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0), (2, 11, 'b', 0)"},
			[]string{"BEGIN", "UPDATE shop.gifts SET u = NULL WHERE id = 1", "UPDATE shop.gifts SET u = 10, n = 1 WHERE id = 2", "UPDATE shop.gifts SET u = 11, n = 1 WHERE id = 1", "COMMIT"},
			[]string{"BEGIN", "UPDATE shop.gifts SET u = NULL WHERE id = 1", "UPDATE shop.gifts SET u = 10, n = 2 WHERE id = 2", "UPDATE shop.gifts SET u = 11, n = 2 WHERE id = 1", "COMMIT"}, "1:11:a:2 2:10:b:2"},
		{"rotated against each other", []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0), (2, 11, 'b', 0), (3, 12, 'c', 0)"},
			[]string{"BEGIN", "UPDATE shop.gifts SET u = NULL", "UPDATE shop.gifts SET u = 11 WHERE id = 1", "UPDATE shop.gifts SET u = 12 WHERE id = 2", "UPDATE shop.gifts SET u = 10 WHERE id = 3", "COMMIT"},
			[]string{"BEGIN", "UPDATE shop.gifts SET u = NULL", "UPDATE shop.gifts SET u = 12 WHERE id = 1", "UPDATE shop.gifts SET u = 10 WHERE id = 2", "UPDATE shop.gifts SET u = 11 WHERE id = 3", "COMMIT"}, "1:12:a:0 2:10:b:0 3:11:c:0"},
		{"freed where it wins", nil, []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0)"}, []string{"INSERT INTO shop.gifts VALUES (2, 10, 'b', 0)", "UPDATE shop.gifts SET u = 11 WHERE id = 2"}, ""},
		{"in a large transaction", []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0)"}, []string{"UPDATE shop.gifts SET u = 1005 WHERE id = 1"},
			[]string{"INSERT INTO shop.gifts SELECT 1000 + a.n * 10 + b.n, 1000 + a.n * 10 + b.n, NULL, 0 FROM shop.ten a, shop.ten b"}, "100 rows"},
	} {
		for i, first := range u.p.sides() {
			if i != n%2 && !soak() {
				continue
			}
			second := u.p.other(first)
			u.write(first, append([]string{"DELETE FROM shop.gifts"}, tt.before...))
			u.wait(tt.name)
			u.apart(func() {
				u.write(first, tt.first)
				time.Sleep(50 * time.Millisecond)
				u.write(second, tt.second)
			})
			got := u.wait(tt.name)
			if tt.name == "inserted twice" {
				u.recorded(`{"id":1}`)
			}
			switch {
			case strings.HasSuffix(tt.want, " rows"):
				if n := len(strings.Fields(got)); fmt.Sprint(n, " rows") != tt.want {
					t.Errorf("%s, %s first: %d rows, want %s", tt.name, first.region, n, tt.want)
				}
			case tt.want == "": // whether the two met depends on how it was cut into batches
			case got != tt.want:
				t.Errorf("%s, %s first: %s, want %s", tt.name, first.region, got, tt.want)
			}
		}
	}
	// A row that yielded comes back when it is written again.
	u.write(u.p.east, []string{"DELETE FROM shop.gifts", "INSERT INTO shop.gifts VALUES (1, 10, 'a', 7)"})
	if got := u.wait("written again"); got != "1:10:a:7" {
		t.Errorf("written again: %s", got)
	}
	u.newerStays()
	yielded := int64(0)
	for _, apply := range u.applies {
		status, err := apply.Status()
		if err != nil {
			t.Fatal(err)
		}
		yielded += status.Apply[0].Yielded
	}
	if t.Logf("%d rows yielded", yielded); yielded == 0 {
		t.Error("no row yielded")
	}
	stop(u.processes)
}

// newerStays has a row yield in east while west has written it again, later than what it
// yielded to: that stays, however late east found out.
func (u *gifts) newerStays() {
	u.t.Helper()
	east, west := u.p.east, u.p.west
	u.write(east, []string{"DELETE FROM shop.gifts", "INSERT INTO shop.gifts VALUES (1, 9, 'a', 0)"})
	u.wait("newer stays")
	capture := u.captures[1]
	u.applies[1].Signal(syscall.SIGSTOP)
	u.applies[0].Signal(syscall.SIGSTOP)
	u.write(east, []string{"UPDATE shop.gifts SET u = 10 WHERE id = 1"})
	time.Sleep(50 * time.Millisecond)
	u.write(west, []string{"INSERT INTO shop.gifts VALUES (2, 10, 'b', 0)"})
	time.Sleep(500 * time.Millisecond) // it is published
	capture.Signal(syscall.SIGSTOP)
	u.write(west, []string{"UPDATE shop.gifts SET u = 12 WHERE id = 1"})
	u.applies[0].Signal(syscall.SIGCONT)
	eventually(u.t, stallLimit, func() error {
		return errors.Join(hasRows(east, "shop.gifts", 1), hasRows(east, "shop.gifts WHERE id = 2", 1))
	})
	capture.Signal(syscall.SIGCONT)
	u.applies[1].Signal(syscall.SIGCONT)
	if got := u.wait("newer stays"); got != "1:12:a:0 2:10:b:0" {
		u.t.Errorf("newer stays: %s", got)
	}
}

// gifts are regions with a table that has two unique keys.
type gifts struct {
	t                 *testing.T
	p                 *pair
	captures, applies []*Process
	processes         []*Process
	fence             int
}

func newGifts(t *testing.T, e engines, name string) *gifts {
	t.Helper()
	return newGiftsOf(t, newPairOf(t, e, name, nil))
}

func newGiftsOf(t *testing.T, p *pair) *gifts {
	t.Helper()
	u := &gifts{t: t, p: p}
	u.p.writeTask("tables: {include: ['shop.*']}", "apply: {threads: 4, batch_rows: 50}")
	for _, s := range u.p.sides() {
		mustExec(t, s.mysql.DB(),
			"CREATE TABLE shop.gifts (id INT PRIMARY KEY, u INT, v VARCHAR(20) CHARACTER SET utf8mb4, n INT NOT NULL, UNIQUE u (u), UNIQUE v (v))",
			"CREATE TABLE shop.fence (id INT PRIMARY KEY)", "CREATE TABLE shop.ten (n INT PRIMARY KEY)")
	}
	u.captures, u.applies = u.p.start("capture"), u.p.start("apply")
	u.processes = append(append(u.processes, u.captures...), u.applies...)
	mustExec(t, u.p.east.mysql.DB(), "INSERT INTO shop.ten VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)")
	u.wait("begin")
	return u
}

// write runs statements on one connection, again if apply is in the way.
func (u *gifts) write(s *side, statements []string) {
	u.t.Helper()
	conn, err := s.mysql.DB().Conn(context.Background())
	if err != nil {
		u.t.Fatal(err)
	}
	defer conn.Close()
	for i := 0; i < len(statements); {
		_, err := conn.ExecContext(context.Background(), statements[i])
		switch {
		case err == nil:
			i++
		case mysql.Classify(err).Class == mysql.Retry:
			_, _ = conn.ExecContext(context.Background(), "ROLLBACK")
			if statements[0] == "BEGIN" {
				i = 0
			}
		default:
			u.t.Fatalf("%s: %s: %v", s.region, statements[i], err)
		}
	}
}

// apart does something while neither region applies what the other writes.
func (u *gifts) apart(do func()) {
	for _, apply := range u.applies {
		apply.Signal(syscall.SIGSTOP)
	}
	do()
	for _, apply := range u.applies {
		apply.Signal(syscall.SIGCONT)
	}
}

// wait waits until all regions have applied all that was written, and hold the
// same, and returns that.
func (u *gifts) wait(when string) (rows string) {
	u.t.Helper()
	u.fence++
	for _, s := range u.p.sides() {
		mustExec(u.t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.fence VALUES (%d)", 10*u.fence+s.number))
	}
	var at time.Time
	eventually(u.t, stallLimit, func() error {
		if err := expectNoStop(u.processes); err != nil {
			u.t.Fatalf("%s: %v", when, err)
		}
		var all []string
		for _, s := range u.p.sides() {
			if err := hasRows(s, fmt.Sprintf("shop.fence WHERE id > %d", 10*u.fence), len(u.p.sides())); err != nil {
				return err
			}
			all = append(all, u.rows(s))
		}
		if slices.ContainsFunc(all, func(other string) bool { return other != all[0] }) {
			at = time.Time{}
			return fmt.Errorf("%s: the regions have %q", when, all)
		}
		if all[0] != rows || at.IsZero() {
			rows, at = all[0], time.Now()
		}
		// What yields is published, and may still be on its way.
		if time.Since(at) < 300*time.Millisecond {
			return errors.New("the same for a moment only")
		}
		return nil
	})
	return rows
}

func (u *gifts) rows(s *side) string {
	u.t.Helper()
	var all []string
	for _, row := range query(u.t, s, "SELECT id, u, v, n FROM shop.gifts ORDER BY id") {
		all = append(all, fmt.Sprintf("%s:%s:%s:%s", row[0].String, row[1].String, row[2].String, row[3].String))
	}
	return strings.Join(all, " ")
}

// TestUniqueFoughtOver: writers of both regions give a few unique values to a few rows,
// while applies and captures are frozen and killed. At rest both hold the same, and no
// stream has stopped (promise 4).
func TestUniqueFoughtOver(t *testing.T) { onEveryPairIfLong(t, testUniqueFoughtOver) }

func testUniqueFoughtOver(t *testing.T, e engines) {
	newGifts(t, e, "fought").fightOn()
}

// TestUniqueFoughtOverAmongThree: the same among three regions.
func TestUniqueFoughtOverAmongThree(t *testing.T) {
	newGiftsOf(t, newTrio(t, mysqlPair, "foughtthree")).fightOn()
}

// fightOn has all regions write, and processes fail, again and again.
func (u *gifts) fightOn() {
	t := u.t
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range scaled(2, 20) {
		var writers sync.WaitGroup
		var done atomic.Bool
		var written atomic.Int64
		for i := range 16 {
			s, dice := u.p.sides()[i%len(u.p.sides())], rand.New(rand.NewPCG(r.Uint64(), 0))
			writers.Go(func() {
				for !done.Load() {
					if u.fight(s, dice) {
						written.Add(1)
					}
					time.Sleep(time.Duration(dice.IntN(40)) * time.Millisecond)
				}
			})
		}
		for range scaled(4, 12) {
			victim := u.processes[r.IntN(len(u.processes))]
			if r.IntN(2) == 0 {
				victim.Kill()
				time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
				victim.Start()
			} else {
				victim.Signal(syscall.SIGSTOP)
				time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
				victim.Signal(syscall.SIGCONT)
			}
			time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		}
		done.Store(true)
		writers.Wait()
		for _, process := range u.processes {
			process.WaitStreaming()
		}
		began := time.Now()
		got := u.wait("fought over")
		if owed := u.owed(); got != owed {
			t.Errorf("the regions have %q, and the newest of all that was published is %q", got, owed)
		}
		t.Logf("%d writes, the same %s later: %s", written.Load(), time.Since(began).Round(time.Millisecond), got)
	}
	stop(u.processes)
}

// TestUniqueHandedOn: one region gives up a unique value, which another takes for a new row. The third, to which that comes
// first, keeps both rows: the value was free, which it can't know yet.
func TestUniqueHandedOn(t *testing.T) {
	u := newGiftsOf(t, newTrio(t, mysqlPair, "handed"))
	east, west, north := u.p.east, u.p.west, u.p.north
	u.write(north, []string{"INSERT INTO shop.gifts VALUES (1, 10, 'a', 0), (9, 90, NULL, 0)"})
	u.wait("begin")
	conn, err := west.mysql.DB().Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	execOn(t, conn, "BEGIN")
	execOn(t, conn, "SELECT * FROM shop.gifts WHERE id = 9 FOR UPDATE") // what comes from north waits for that
	u.write(north, []string{"BEGIN", "UPDATE shop.gifts SET n = 1 WHERE id = 9", "UPDATE shop.gifts SET u = 11 WHERE id = 1", "COMMIT"})
	eventually(t, stallLimit, func() error { return hasRows(east, "shop.gifts WHERE id = 1 AND u = 11", 1) })
	u.write(east, []string{"INSERT INTO shop.gifts VALUES (2, 10, 'b', 0)"})
	eventually(t, stallLimit, func() error { return hasRows(north, "shop.gifts WHERE id = 2", 1) })
	eventually(t, stallLimit, func() error {
		status, err := u.applies[1].Status()
		if err != nil {
			return err
		}
		for _, a := range status.Apply {
			if strings.Contains(a.Error, "waiting for the stream from region "+north.region) {
				return nil
			}
		}
		return errors.New("west doesn't say that it waits for what comes from north")
	})
	execOn(t, conn, "COMMIT")
	if got := u.wait("handed on"); got != "1:11:a:0 2:10:b:0 9:90::1" {
		t.Errorf("the regions have %s", got)
	}
	for _, apply := range u.applies {
		status, err := apply.Status()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range status.Apply {
			if a.Yielded > 0 {
				t.Errorf("%d rows yielded to what comes from %s", a.Yielded, a.Source)
			}
		}
	}
	stop(u.processes)
}

// recorded waits until some region's record has what a row lost as it was deleted for its unique value.
func (u *gifts) recorded(key string) {
	u.t.Helper()
	eventually(u.t, stallLimit, func() error {
		n := 0
		for _, s := range u.p.sides() {
			rows := query(u.t, s, "SELECT row_key, winner_op, loser_op, loser_image IS NOT NULL FROM duplex.conflicts WHERE tbl = 'gifts'")
			for _, row := range rows {
				if strings.ReplaceAll(row[0].String, " ", "") == key && row[1].String == "delete" && row[2].String == "insert" && row[3].String == "1" {
					n++
				}
			}
		}
		if n == 0 {
			return fmt.Errorf("no region has recorded what row %s lost", key)
		}
		return nil
	})
}

// fight makes one transaction of a writer, and reports whether it was
// committed: others may have the value.
func (u *gifts) fight(s *side, dice *rand.Rand) bool {
	tx, err := s.mysql.DB().Begin()
	if err != nil {
		return false
	}
	defer tx.Rollback()
	const rows, values = 8, 5
	id, other, n := dice.IntN(rows), dice.IntN(rows), dice.IntN(1e6)
	var statements []string
	switch dice.IntN(6) {
	case 0:
		statements = []string{fmt.Sprintf("DELETE FROM shop.gifts WHERE id = %d", id)}
	case 1:
		statements = []string{
			fmt.Sprintf("DELETE FROM shop.gifts WHERE id IN (%d, %d)", id, other),
			fmt.Sprintf("INSERT INTO shop.gifts VALUES (%d, %d, NULL, %d)", id, dice.IntN(values), n)}
	case 2:
		statements = []string{ // the value goes from one row to another
			fmt.Sprintf("UPDATE shop.gifts SET u = NULL, n = %d WHERE id = %d", n, id),
			fmt.Sprintf("UPDATE shop.gifts SET u = %d, n = %d WHERE id = %d", dice.IntN(values), n, other)}
	default:
		statements = []string{fmt.Sprintf("INSERT INTO shop.gifts VALUES (%d, %d, '%d', %d) ON DUPLICATE KEY UPDATE n = VALUES(n), v = VALUES(v)", id, dice.IntN(values), dice.IntN(values), n)}
	}
	for _, statement := range statements {
		if _, err := tx.Exec(statement); err != nil {
			return false
		}
	}
	return tx.Commit() == nil
}
