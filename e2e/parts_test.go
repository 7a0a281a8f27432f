package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sync/errgroup"
)

// TestDeltaColumns: both regions add to the same counters, change the rows' other columns, delete and
// insert rows, while captures and applies are frozen and killed. At rest both regions are equal, and each
// counter of a row that was never deleted is what all committed changes have added, exactly;
// a replay adds nothing (promises 3 and 4).
func TestDeltaColumns(t *testing.T) { onEveryPairIfLong(t, testDeltaColumns) }

func testDeltaColumns(t *testing.T, e engines) {
	playParts(t, e, `conflicts: {tables: {"shop.stock": {delta: [quantity, weight]}}}`)
}

// TestMergeColumns: the same, and of two concurrent updates of different columns both stay.
func TestMergeColumns(t *testing.T) { onEveryPairIfLong(t, testMergeColumns) }

func testMergeColumns(t *testing.T, e engines) {
	playParts(t, e, `conflicts: {tables: {"shop.stock": {policy: merge-columns, delta: [quantity, weight]}}}`)
}

const (
	// partsHot is how many rows are only updated; as many others come and go.
	partsHot = 8
	// partsWriters is how many clients write in each region.
	partsWriters = 3
)

// partsPlay is a pair whose regions write the same rows.
type partsPlay struct {
	t         *testing.T
	p         *pair
	r         *rand.Rand
	processes []*Process
	applies   map[*side]*Process
	mu        sync.Mutex
	quantity  [partsHot]int64 // as it must be
	weight    [partsHot]int64 // thousandths
	writes    int
}

func playParts(t *testing.T, e engines, rule string) {
	play := newPartsPlay(t, newPairOf(t, e, "parts", nil), "tables: {include: ['shop.*']}", rule)
	for _, s := range play.p.sides() {
		apply := play.p.process(s, "apply")
		play.applies[s] = apply
		play.processes = append(play.processes, play.p.process(s, "capture"), apply)
	}
	play.begin()
	play.rounds()
	if strings.Contains(rule, "merge-columns") {
		play.bothColumns()
	}
	play.replay()
	stop(play.processes)
}

// newPartsPlay makes the tables and the task file.
func newPartsPlay(t *testing.T, p *pair, lines ...string) *partsPlay {
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.stock (id INT PRIMARY KEY, quantity BIGINT UNSIGNED NOT NULL, name VARCHAR(40), weight DECIMAL(30,3) NOT NULL DEFAULT 0,"+
			" note TEXT, changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), twice BIGINT AS (quantity * 2) VIRTUAL)",
			"CREATE TABLE shop.fence (side VARCHAR(8) PRIMARY KEY, op INT NOT NULL)")
	}
	seed := rand.Uint64N(1e6)
	play := &partsPlay{t: t, p: p, r: rand.New(rand.NewPCG(seed, 3)), applies: map[*side]*Process{}}
	rows := []int{1, 10, 100, 1000}[play.r.IntN(4)]
	p.writeTask(append(lines, fmt.Sprintf("apply: {threads: %d, batch_rows: %d}", 1+play.r.IntN(6), rows))...)
	t.Logf("seed %d, batch_rows %d", seed, rows)
	return play
}

// begin starts the processes, and makes the rows that stay.
func (play *partsPlay) begin() {
	play.t.Helper()
	for _, process := range play.processes {
		process.Start()
	}
	for _, process := range play.processes {
		process.WaitStreaming()
	}
	for i := range partsHot {
		mustExec(play.t, play.p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.stock (id, quantity, name) VALUES (%d, 1000000, 'as it was')", i))
		play.quantity[i] = 1_000_000
	}
	eventually(play.t, stallLimit, func() error { return hasRows(play.p.west, "shop.stock", partsHot) })
}

// rounds has all write, and then be equal, a few times.
func (play *partsPlay) rounds() {
	play.t.Helper()
	for n := range scaled(2, 20) {
		play.during(time.Duration(scaled(2, 20))*time.Second, uint64(n))
		play.settle(int64(n + 1))
	}
}

// during has all clients write for a while, and troubles.
func (play *partsPlay) during(length time.Duration, seed uint64) {
	play.t.Helper()
	ctx, end := context.WithTimeout(play.t.Context(), length)
	defer end()
	group := errgroup.Group{}
	for _, s := range play.p.sides() {
		for i := range partsWriters {
			r := rand.New(rand.NewPCG(seed, uint64(s.number*100+i)))
			group.Go(func() error { return play.client(ctx, s, r) })
		}
	}
	for ctx.Err() == nil {
		process := play.processes[play.r.IntN(len(play.processes))]
		if play.r.IntN(3) > 0 {
			process.Kill()
			process.Start()
		} else {
			process.Signal(syscall.SIGSTOP)
			time.Sleep(time.Duration(play.r.IntN(600)) * time.Millisecond)
			process.Signal(syscall.SIGCONT)
		}
		time.Sleep(time.Duration(play.r.IntN(700)) * time.Millisecond)
	}
	if err := group.Wait(); err != nil {
		play.t.Fatal(err)
	}
}

// client makes transactions of one to three changes until ctx ends.
func (play *partsPlay) client(ctx context.Context, s *side, r *rand.Rand) error {
	conn, err := s.mysql.DB().Conn(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer conn.Close()
	for n := 0; ctx.Err() == nil; n++ {
		var quantity, weight [partsHot]int64
		statements := []string{"BEGIN"}
		for range 1 + r.IntN(3) {
			statements = append(statements, play.change(s, r, n, &quantity, &weight))
		}
		err := inTransaction(conn, append(statements, "COMMIT"))
		var fault *mysql.MySQLError
		switch {
		case errors.As(err, &fault) && slices.Contains([]uint16{1020, 1205, 1213}, fault.Number):
			if _, err := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		play.mu.Lock()
		for i := range partsHot {
			play.quantity[i] += quantity[i]
			play.weight[i] += weight[i]
		}
		play.writes++
		play.mu.Unlock()
		time.Sleep(time.Duration(r.IntN(8)) * time.Millisecond)
	}
	return nil
}

func inTransaction(conn *sql.Conn, statements []string) error {
	for _, statement := range statements {
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// change returns a statement, and adds what it adds to a counter of a row that stays.
func (play *partsPlay) change(s *side, r *rand.Rand, n int, quantity, weight *[partsHot]int64) string {
	text := fmt.Sprintf("'%s %d %d'", sideName(s), n, r.IntN(1000))
	id := r.IntN(partsHot)
	if r.IntN(3) == 0 {
		id += partsHot
		switch r.IntN(4) {
		case 0:
			return fmt.Sprintf("DELETE FROM shop.stock WHERE id = %d", id)
		case 1, 2:
			return fmt.Sprintf("REPLACE INTO shop.stock (id, quantity, name, weight) VALUES (%d, %d, %s, %d)", id, 1_000_000+r.IntN(1000), text, r.IntN(100))
		}
	}
	d, g := int64(r.IntN(21)-10), int64(r.IntN(20001)-10_000)
	var set []string
	if r.IntN(2) == 0 {
		set = append(set, fmt.Sprintf("quantity = quantity + %d", d))
		if id < partsHot {
			quantity[id] += d
		}
	}
	if r.IntN(3) == 0 {
		set = append(set, fmt.Sprintf("weight = weight + %d / 1000", g))
		if id < partsHot {
			weight[id] += g
		}
	}
	if r.IntN(3) == 0 {
		set = append(set, "name = "+text)
	}
	if r.IntN(4) == 0 || set == nil {
		set = append(set, "note = "+text)
	}
	return fmt.Sprintf("UPDATE shop.stock SET %s WHERE id = %d", strings.Join(set, ", "), id)
}

// settle waits until both regions are equal and the counters right.
func (play *partsPlay) settle(op int64) {
	play.t.Helper()
	for _, process := range play.processes {
		process.WaitStreaming()
	}
	play.equal(op)
	play.mu.Lock()
	defer play.mu.Unlock()
	for i := range partsHot {
		var quantity int64
		var weight string
		if err := play.p.east.mysql.DB().QueryRow("SELECT quantity, CAST(weight * 1000 AS SIGNED) FROM shop.stock WHERE id = ?", i).Scan(&quantity, &weight); err != nil {
			play.t.Fatal(err)
		}
		if quantity != play.quantity[i] || weight != fmt.Sprint(play.weight[i]) {
			play.t.Errorf("row %d has quantity %d and weight %s, not %d and %d", i, quantity, weight, play.quantity[i], play.weight[i])
		}
	}
	for s, process := range play.applies {
		status, err := process.Status()
		if err != nil {
			play.t.Fatal(err)
		}
		for _, a := range status.Apply {
			play.t.Logf("%s since its start: %d conflicts won by local writes, %d by those applied, %d rows put right", s.region, a.LocalWon, a.RemoteWon, a.Repaired)
		}
	}
	play.t.Logf("%d transactions so far", play.writes)
}

// equal waits until a fence of each region is in the other, and both are equal.
func (play *partsPlay) equal(op int64) {
	play.t.Helper()
	for _, s := range play.p.sides() {
		mustExec(play.t, s.mysql.DB(), fmt.Sprintf("REPLACE INTO shop.fence VALUES ('%s', %d)", sideName(s), op))
	}
	eventually(play.t, repairLimit, func() error {
		if stopped := expectNoStop(play.processes); stopped != nil {
			return stopped
		}
		var all [2]string
		for i, s := range play.p.sides() {
			all[i] = fmt.Sprint(query(play.t, s, "SELECT * FROM shop.fence ORDER BY side")) + "\n"
			if n := strings.Count(all[i], fmt.Sprintf("{%d true}", op)); n != 2 {
				return fmt.Errorf("%s has %d of the fences", s.region, n)
			}
			for _, row := range query(play.t, s, "SELECT * FROM shop.stock ORDER BY id") {
				all[i] += fmt.Sprintln(row)
			}
		}
		if all[0] != all[1] {
			return fmt.Errorf("the regions differ:\n%s\n%s", all[0], all[1])
		}
		return nil
	})
}

// bothColumns has both regions change a row's columns while neither applies anything.
func (play *partsPlay) bothColumns() {
	play.t.Helper()
	for _, process := range play.applies {
		process.Signal(syscall.SIGSTOP)
	}
	mustExec(play.t, play.p.east.mysql.DB(), "UPDATE shop.stock SET name = 'by east', quantity = quantity + 5 WHERE id = 0")
	mustExec(play.t, play.p.west.mysql.DB(), "UPDATE shop.stock SET note = 'by west', quantity = quantity - 3 WHERE id = 0")
	play.quantity[0] += 2
	for _, process := range play.applies {
		process.Signal(syscall.SIGCONT)
	}
	play.settle(1000)
	if got := fmt.Sprint(query(play.t, play.p.west, "SELECT name, note FROM shop.stock WHERE id = 0")); got != "[[{by east true} {by west true}]]" {
		play.t.Errorf("of two updates of different columns there is %s", got)
	}
}

// replay has each region read all again.
func (play *partsPlay) replay() {
	play.t.Helper()
	epoch := func(s *side) string { return fmt.Sprint(query(play.t, s, "SELECT SUM(epoch) FROM duplex.progress")) }
	for _, s := range play.p.sides() {
		before := epoch(s)
		config, _ := play.p.processFile(s, "replay")
		// What is held on to keeps the offsets back, at the beginning even, where a replay changes nothing: until
		// the other region has written again.
		for n := 0; epoch(s) == before; n++ {
			text, exit := runProgram(play.t, "replay", "-c", config, "--task", play.p.taskName, "--source", play.p.other(s).region, "--from", "beginning")
			if exit != 0 && !strings.Contains(text, "has no offsets") || n > 30 {
				play.t.Fatalf("replay: exit code %d: %s; %s doesn't read again", exit, text, s.region)
			}
			for began := time.Now(); epoch(s) == before && time.Since(began) < 2*time.Second; {
				time.Sleep(50 * time.Millisecond)
			}
			play.equal(int64(1001 + 100*s.number + n))
		}
	}
	play.settle(2000)
}
