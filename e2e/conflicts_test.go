package e2e_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"duplex/change"
)

// restLimit is how long rows may stay other than they must be, with nothing
// moving, once all is applied: what is left to do then are repairs. Those must
// have an end within repairLimit.
const restLimit, repairLimit = 30 * time.Second, 2 * time.Minute

// TestConflicts: writers of both regions change the same few rows, while
// captures and applies are frozen and killed. At rest both regions hold for each
// row the image of its greatest version (promise 4). DUPLEX_SEED=n repeats the
// settings, the writers' dice and the trouble of seed n, though not their order.
func TestConflicts(t *testing.T) { onEveryPairIfLong(t, testConflicts) }

func testConflicts(t *testing.T, e engines) {
	playConflicts(newClash(t, newPairOf(t, e, "conflicts", nil), e), scaled(3, 600))
}

// TestConflictsAmongThree: the same among three regions.
func TestConflictsAmongThree(t *testing.T) {
	playConflicts(newClash(t, newTrio(t, mysqlPair, "trio"), mysqlPair), scaled(2, 600))
}

// playConflicts goes on for so many seconds, and troubles.
func playConflicts(c *clash, seconds int) {
	length, least := time.Duration(seconds)*time.Second, min(seconds, 100)
	c.rivals.begin()
	for began, n := time.Now(), 0; time.Since(began) < length || n < least; n++ {
		c.disturb()
	}
	c.settle()
	c.t.Logf("meanwhile: %v", c.done)
	c.stop()
}

// TestConflictPolicies: the same where a policy of the table tells who wins: its newer value, or the
// region that is preferred (promise 4).
func TestConflictPolicies(t *testing.T) { onEveryPairIfLong(t, testConflictPolicies) }

func testConflictPolicies(t *testing.T, e engines) {
	playPolicies(newPairOf(t, e, "policies", nil), e, scaled(3, 600))
}

// TestConflictPoliciesAmongThree: the same among three regions: what stays is chosen among all writes that no other had seen.
func TestConflictPoliciesAmongThree(t *testing.T) {
	playPolicies(newTrio(t, mysqlPair, "triple"), mysqlPair, scaled(4, 600))
}

func playPolicies(p *pair, e engines, seconds int) {
	tables := hotTables(scaled(20, 100), e)
	var names []string
	for _, s := range p.sides() {
		names = append(names, s.region)
	}
	backwards := slices.Clone(names)
	slices.Reverse(backwards)
	prefers := func(order []string) func(change.Region, content, content) int64 {
		return func(origin change.Region, _, _ content) int64 { return -int64(slices.Index(order, string(origin))) }
	}
	rules := map[string]string{"ints": "policy: newest-column, column: v", "many": "policy: newest-column, column: day", "pairs": fmt.Sprintf("policy: region-priority, priority: [%s]", strings.Join(backwards, ", ")), "spelt": "policy: region-priority"}
	var lines []string
	for _, t := range tables {
		if rule := rules[t.name]; rule != "" {
			lines = append(lines, fmt.Sprintf("shop.%s: {%s}", t.name, rule))
		}
		switch t.name {
		case "ints":
			t.rank = func(_ change.Region, before, after content) int64 { return newerOf(before, after).number("v") }
		case "many":
			t.rank = func(_ change.Region, before, after content) int64 { return newerOf(before, after).number("day") }
		case "pairs":
			t.rank = prefers(backwards)
		case "spelt":
			t.rank = prefers(names)
		}
	}
	playConflicts(newClashOf(p.t, p, tables, "conflicts: {tables: {"+strings.Join(lines, ", ")+"}}"), seconds)
}

// newerOf is the image by which a write is ranked: what it deleted, if it left none.
func newerOf(before, after content) content {
	if after == nil {
		return before
	}
	return after
}

// number is a column as a number, the least one for NULL.
func (c content) number(column string) int64 {
	for _, cell := range c {
		if cell.column != column {
			continue
		}
		if !cell.Valid {
			return math.MinInt64
		}
		n, _ := strconv.ParseInt(strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, cell.String), 10, 64)
		return n
	}
	return 0
}

// TestConflictsAcrossOutage: what both regions write while one publishes
// nothing, or applies nothing, what an apply knew when it died, and where its groups
// are reset to before it starts again, makes no difference to what rows come to (promise 4).
func TestConflictsAcrossOutage(t *testing.T) { onEveryPairIfLong(t, testConflictsAcrossOutage) }

func testConflictsAcrossOutage(t *testing.T, e engines) {
	c := newClash(t, newPairOf(t, e, "outage", nil), e)
	p := c.rivals.p
	outage := time.Duration(scaled(1, 30)) * time.Second
	outages := [][]*Process{
		{c.captures[p.west]}, {c.applies[p.east]}, {c.captures[p.east], c.applies[p.east]}, {c.captures[p.east], c.captures[p.west]}, {c.captures[p.west], c.applies[p.east]},
	}
	for _, n := range c.r.Perm(len(outages))[:scaled(1, len(outages))] {
		var names []string
		c.rivals.begin()
		time.Sleep(outage / 4)
		for _, process := range outages[n] {
			names = append(names, process.Name)
			process.Kill()
		}
		time.Sleep(outage)
		for _, process := range outages[n] {
			process.Start()
		}
		time.Sleep(outage / 4) // they catch up while more is written
		t.Logf("outage of %v", names)
		c.settle()
	}
	for range scaled(1, 10) {
		c.rivals.begin()
		c.forget()
		c.settle()
	}
	for range scaled(1, 20) {
		c.reset()
		c.settle()
	}
	c.stop()
}

// clash is a pair whose regions write the same rows.
type clash struct {
	t                 *testing.T
	r                 *rand.Rand
	rivals            *rivals
	captures, applies map[*side]*Process
	processes         []*Process
	fence             int64
	since             map[change.Region]change.Seq // of the last fence
	done              map[string]int               // what disturb did
	large             bool                         // its transactions are larger than batches: images may be missing
}

func newClash(t *testing.T, p *pair, e engines) *clash {
	t.Helper()
	return newClashOf(t, p, hotTables(scaled(20, 100), e))
}

func newClashOf(t *testing.T, p *pair, tables []*table, lines ...string) *clash {
	t.Helper()
	seed := rand.Uint64N(1e6)
	if text := os.Getenv("DUPLEX_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("DUPLEX_SEED: %v", err)
		}
	}
	c := &clash{t: t, r: rand.New(rand.NewPCG(seed, 1)), captures: map[*side]*Process{}, applies: map[*side]*Process{}, done: map[string]int{}}
	threads, rows := []int{1, 4, 8}[c.r.IntN(3)], []int{1, 10, 100, 1000}[c.r.IntN(4)]
	p.writeTask(append(lines, "tables: {include: ['shop.*']}", fmt.Sprintf("apply: {threads: %d, batch_rows: %d}", threads, rows))...)
	t.Logf("DUPLEX_SEED=%d: threads %d, batch_rows %d", seed, threads, rows)
	c.rivals = newRivals(p, seed, tables, scaled(4, 16), time.Duration(scaled(10, 40))*time.Millisecond)
	for _, s := range p.sides() {
		c.captures[s], c.applies[s] = p.process(s, "capture"), p.process(s, "apply")
		c.processes = append(c.processes, c.captures[s], c.applies[s])
	}
	for _, process := range c.processes {
		process.Start()
	}
	c.streaming()
	return c
}

func (c *clash) streaming() {
	c.t.Helper()
	for _, process := range c.processes {
		process.WaitStreaming()
	}
}

// disturb freezes, kills or ends one or two processes for a while, or has both
// applies die again and again, and then lets all run for a while.
func (c *clash) disturb() {
	c.t.Helper()
	var victims []*Process
	for _, v := range c.r.Perm(len(c.processes))[:1+c.r.IntN(2)] {
		victims = append(victims, c.processes[v])
	}
	count := func(what string) {
		for _, process := range victims {
			c.done[what+" "+process.args[1]]++
		}
	}
	switch c.r.IntN(8) {
	case 0, 1, 2:
		count("frozen")
		for _, process := range victims {
			process.Signal(syscall.SIGSTOP)
		}
		time.Sleep(200*time.Millisecond + time.Duration(c.r.Int64N(int64(1800*time.Millisecond))))
		for _, process := range victims {
			process.Signal(syscall.SIGCONT)
		}
	case 3, 4, 5:
		count("killed")
		for _, process := range victims {
			process.Kill()
		}
		time.Sleep(time.Duration(c.r.IntN(3)) * 200 * time.Millisecond)
		for _, process := range victims {
			process.Start()
		}
	case 6:
		count("ended")
		c.streaming() // else one asked to end may not listen yet
		for _, process := range victims {
			process.Term()
			process.Start()
		}
	default:
		c.storm()
	}
	if c.r.IntN(3) > 0 { // else the next trouble meets one that starts
		c.streaming()
	}
	time.Sleep(time.Duration(c.r.Int64N(int64(time.Second))))
}

// storm kills both applies again and again while they learn what was applied and
// put rows back.
func (c *clash) storm() {
	c.t.Helper()
	c.done["storms"]++
	for range 2 + c.r.IntN(3) {
		for _, apply := range c.applies {
			apply.Kill()
			apply.Start()
		}
		time.Sleep(time.Duration(c.r.Int64N(int64(1500 * time.Millisecond))))
	}
}

// forget kills the applies of both regions right after a commit, so that what
// they knew of it is lost, and of which their region's topics tell only later:
// capture is frozen a while.
func (c *clash) forget() {
	c.t.Helper()
	var both sync.WaitGroup
	for _, s := range c.rivals.p.sides() {
		apply, capture, n := c.applies[s], c.captures[s], 1+c.r.IntN(10)
		both.Go(func() {
			var beside sync.WaitGroup
			beside.Go(func() {
				time.Sleep(time.Duration(n) * 100 * time.Millisecond)
				capture.Signal(syscall.SIGSTOP)
				time.Sleep(time.Second)
				capture.Signal(syscall.SIGCONT)
			})
			dieAt(c.t, apply, "apply.after-commit", n)
			beside.Wait()
		})
	}
	both.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
}

// settle stops the writers and waits until both regions hold what they must.
// Nothing may change that any more, the end of all that an apply remembers
// included.
func (c *clash) settle() {
	c.t.Helper()
	r, p := c.rivals, c.rivals.p
	r.end()
	if c.r.IntN(3) == 0 {
		c.storm() // instead of what there was to put back
	}
	c.streaming()
	c.pass()
	began := time.Now()
	v := readVerdict(p, r.tables, c.fence)
	c.come(v)
	took := time.Since(began)
	concurrent := v.rows.concurrent(c.since)
	c.t.Logf("%d rows, %d of them with concurrent writes; the newest by region: %v; as they must be after %s; %s", len(v.rows), concurrent, v.rows.winners(), took.Round(time.Millisecond), r)
	if concurrent == 0 {
		c.t.Error("no row had concurrent writes: there was nothing to resolve")
	}
	c.tellCounts()
	v.checkRecorded(c, concurrent)
	for _, s := range p.sides() {
		v.checkPublished(p, s)
		c.applies[s].Kill()
		c.applies[s].Start()
	}
	c.streaming()
	c.pass()
	c.quiet()
	if wrong := v.differences(p, r.tables); len(wrong) > 0 {
		c.wrong(v, wrong, "after a restart of both applies")
	}
	c.since = map[change.Region]change.Seq{}
	for _, s := range p.sides() {
		for _, stamp := range v.ends[s] {
			c.since[stamp.Origin] = max(c.since[stamp.Origin], stamp.Seq)
		}
	}
}

// tellCounts logs what the applies say of conflicts since they were started.
func (c *clash) tellCounts() {
	c.t.Helper()
	for _, s := range c.rivals.p.sides() {
		status, err := c.applies[s].Status()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, a := range status.Apply {
			c.t.Logf("%s since its start, from %s: %d conflicts won by local writes, %d by those applied, %d rows put back", c.applies[s].Name, a.Source, a.LocalWon, a.RemoteWon, a.Repaired)
		}
	}
}

// pass waits until each region has applied all that the other one has written.
func (c *clash) pass() {
	c.t.Helper()
	r := c.rivals
	c.fence++
	r.fence(c.fence)
	moved, last := time.Now(), ""
	for _, s := range r.p.sides() {
		for err := r.fenced(s, c.fence); err != nil; err = r.fenced(s, c.fence) {
			if now := fmt.Sprint(query(c.t, s, "SELECT SUM(seq), SUM(epoch) FROM duplex.progress")); now != last {
				moved, last = time.Now(), now
			}
			if stopped := expectNoStop(c.processes); stopped != nil {
				c.t.Fatal(stopped)
			}
			if time.Since(moved) > stallLimit {
				c.t.Fatalf("nothing has moved for %s: %v", stallLimit, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// come waits until both regions hold what they must.
func (c *clash) come(v *verdict) {
	c.t.Helper()
	moved, last := time.Now(), ""
	for began := time.Now(); ; {
		wrong := v.differences(c.rivals.p, c.rivals.tables)
		if len(wrong) == 0 {
			return
		}
		if now := fmt.Sprintf("%+v", wrong); now != last {
			moved, last = time.Now(), now
		}
		if stopped := expectNoStop(c.processes); stopped != nil {
			c.t.Fatal(stopped)
		}
		if time.Since(moved) > restLimit || time.Since(began) > repairLimit {
			c.wrong(v, wrong, fmt.Sprintf("%s after all was applied", time.Since(began).Round(time.Second)))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// quiet waits until nothing is written to any server any more.
func (c *clash) quiet() {
	c.t.Helper()
	eventually(c.t, restLimit, func() error {
		for _, s := range c.rivals.p.sides() {
			_, before := binlogRange(c.t, s.mysql)
			time.Sleep(500 * time.Millisecond)
			if _, after := binlogRange(c.t, s.mysql); after.Compare(before) != 0 {
				return fmt.Errorf("at rest, something still writes to %s", s.region)
			}
		}
		return nil
	})
}

// wrong fails the test, with the history of some of the rows.
func (c *clash) wrong(v *verdict, wrong []difference, when string) {
	c.t.Helper()
	v.tell(c.rivals.p, wrong)
	text := ""
	for i := range wrong[:min(len(wrong), 10)] {
		text += "\n" + wrong[i].String()
	}
	c.t.Fatalf("%d of %d rows are not the newest write's %s:%s", len(wrong), len(v.rows), when, text)
}

func (c *clash) stop() {
	c.t.Helper()
	c.streaming()
	stop(c.processes)
}
