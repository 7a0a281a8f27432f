package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"duplex/change"
	"duplex/supervise"
	"duplex/topics"
)

// TestKeyOrderGoOver: a task goes over from ordering transaction to key while both
// regions write, and back as the refusal says; nothing is lost or written twice.
func TestKeyOrderGoOver(t *testing.T) { onEveryPairIfLong(t, testKeyOrderGoOver) }

func testKeyOrderGoOver(t *testing.T, e engines) {
	p, l := newKeyed(t, e, "over")
	l.pace = 15 * time.Millisecond
	use := func(ordering string) {
		p.writeTask("tables: {include: ['shop.*']}", "apply: {ordering: "+ordering+", threads: 4, batch_rows: 30}")
	}
	use("transaction")
	processes := p.start("capture", "apply")
	west := processes[3]
	l.begin(0)
	waitFlow(t, []*Process{west})
	west.Kill() // offsets in Kafka may be behind what is applied
	use("key")
	west.Start()
	waitShared(t, []*Process{west})
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)

	west.Term()
	use("transaction")
	west.Start()
	waitState(t, west, supervise.Stopped, "was applied here with ordering key")
	_, mend, _ := strings.Cut(lastError(west), "run in this region's database: ")
	mend, _, _ = strings.Cut(mend, ", and start again")
	capture, err := processes[0].Status()
	if err != nil {
		t.Fatal(err)
	}
	mend = strings.Replace(mend, "<the seq that duplex status shows of capture "+p.east.region+">", fmt.Sprint(capture.Capture.Seq), 1)
	west.Term()
	mustExec(t, p.west.mysql.DB(), strings.Split(mend, "; ")...)
	west.Start()
	west.WaitStreaming()
	l.begin(0)
	waitFlow(t, []*Process{west})
	l.end()
	waitEqual(p, l)
	checkHistory(p, l)
	stop(processes)
}

// TestKeyOrderStops: what must not go on stops by name, at exactly that place, and
// goes on after the mend.
func TestKeyOrderStops(t *testing.T) {
	p := newPair(t, "keystops", nil)
	p.writeTask("tables: {include: ['shop.*']}", "apply: {ordering: key}")
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.a (id INT PRIMARY KEY, v VARCHAR(20))")
	}
	k := &keyedStops{p: p, capture: p.process(p.east, "capture"), west: p.process(p.west, "apply"), topic: p.east.region + ".shop.a"}
	other := p.process(p.west, "capture")
	for _, process := range []*Process{k.capture, other, k.west} {
		process.Start()
	}
	for _, process := range []*Process{k.capture, other, k.west} {
		process.WaitStreaming()
	}
	k.insert("ok")
	k.equal()

	k.refused()

	// A value that the target can't take: what came before is there.
	mustExec(t, p.west.mysql.DB(), "ALTER TABLE shop.a MODIFY v VARCHAR(5)")
	k.west.Term()
	k.insert("short")
	k.insert("much too long")
	k.west.Start()
	waitState(t, k.west, supervise.Stopped, "writing transaction 4 to table shop.a (key `id`): MySQL error 1406")
	mustExec(t, p.west.mysql.DB(), "ALTER TABLE shop.a MODIFY v VARCHAR(20), ADD CHECK (v <> 'bad')")
	k.again()
	k.equal()
	k.west.Term()
	k.insert("good")
	for _, v := range []string{"better", "bad"} {
		mustExec(t, p.east.mysql.DB(), fmt.Sprintf("UPDATE shop.a SET v = '%s' WHERE id = %d", v, k.last))
		k.updates++
	}
	k.west.Start()
	waitState(t, k.west, supervise.Stopped, "writing transaction 7 to table shop.a (key `id`): MySQL error 3819")
	if err := k.has("v = 'better'", 1); err != nil {
		t.Error(err)
	}
	name := ""
	if err := p.west.mysql.DB().QueryRow("SELECT CONSTRAINT_NAME FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = 'shop'").Scan(&name); err != nil {
		t.Fatal(err)
	}
	mustExec(t, p.west.mysql.DB(), "ALTER TABLE shop.a DROP CHECK "+name)
	k.again()
	k.equal()

	// The group's offsets moved forward over changes that never were applied.
	k.west.Term()
	k.insert("jumped over")
	k.tool("--to-latest")
	k.west.Start()
	waitState(t, k.west, supervise.Stopped, "was moved to ")
	k.west.Term()
	k.tool("--to-earliest")
	k.west.Start()
	k.equal()

	// Retention has passed what is next.
	k.west.Term()
	k.insert("expired")
	first := k.expire()
	k.west.Start()
	waitState(t, k.west, supervise.Stopped, "no longer has the offset to go on from")
	mustExec(t, p.west.mysql.DB(), fmt.Sprintf("INSERT INTO shop.a VALUES (%d, 'expired')", k.last))
	text := lastError(k.west)
	k.west.Term()
	for partition, offset := range first {
		mend := text[strings.Index(text, "UPDATE duplex.offsets"):]
		mend = fmt.Sprintf("%s%d%s", mend[:strings.Index(mend, "<")], offset, mend[strings.Index(mend, ">")+1:])
		mustExec(t, p.west.mysql.DB(), mend[:strings.LastIndex(mend, "=")+1]+fmt.Sprint(partition))
	}
	k.west.Start()
	k.insert("after")
	k.equal()

	// More partitions: keys move between them.
	k.west.Term()
	k.grow(3)
	k.west.Start()
	waitState(t, k.west, supervise.Stopped, "has 3 partitions now and had 2")
	stop([]*Process{k.capture, other, k.west})
}

// keyedStops is a stream with ordering key that is stopped in many ways.
type keyedStops struct {
	p             *pair
	capture, west *Process
	topic         string
	last          int // row
	updates       int
}

func (k *keyedStops) insert(v string) {
	k.p.t.Helper()
	k.last++
	mustExec(k.p.t, k.p.east.mysql.DB(), fmt.Sprintf("INSERT INTO shop.a VALUES (%d, '%s')", k.last, v))
}

// refused gives the task a table that has no order by key alone: it is refused at
// its first change, and at the next start.
func (k *keyedStops) refused() {
	k.p.t.Helper()
	for _, s := range k.p.sides() {
		mustExec(k.p.t, s.mysql.DB(), "CREATE TABLE shop.coded (id INT PRIMARY KEY, code INT UNIQUE)")
	}
	mustExec(k.p.t, k.p.east.mysql.DB(), "INSERT INTO shop.coded VALUES (1, 1)")
	k.updates++
	const says = "has the unique key `code`"
	waitState(k.p.t, k.west, supervise.Stopped, "table shop.coded can't be applied with ordering key: it "+says)
	if text := lastError(k.west); !strings.Contains(text, "mend: set apply: {ordering: transaction}") {
		k.p.t.Errorf("no mend: %s", text)
	}
	k.west.Term()
	k.west.Start()
	if state := k.west.Wait(exitLimit); state.ExitCode() != 1 || !strings.Contains(k.west.LogTail(10), says) {
		k.p.t.Errorf("it started and gave %s:\n%s", state, k.west.LogTail(10))
	}
	for _, s := range k.p.sides() {
		mustExec(k.p.t, s.mysql.DB(), "ALTER TABLE shop.coded DROP KEY code")
	}
	k.west.Start()
	k.west.WaitStreaming()
}

// again starts apply anew.
func (k *keyedStops) again() {
	k.p.t.Helper()
	k.west.Term()
	k.west.Start()
	k.west.WaitStreaming()
}

func (k *keyedStops) has(condition string, want int) error {
	var n int
	if err := k.p.west.mysql.DB().QueryRow("SELECT COUNT(*) FROM shop.a WHERE " + condition).Scan(&n); err != nil {
		return final(err)
	}
	if n != want {
		return fmt.Errorf("%d rows with %s, want %d", n, condition, want)
	}
	return nil
}

// equal waits until all rows have arrived.
func (k *keyedStops) equal() {
	k.p.t.Helper()
	eventually(k.p.t, stallLimit, func() error {
		if s, err := k.west.Status(); err == nil && s.Apply[0].State == supervise.Stopped {
			return final(fmt.Errorf("stopped: %s", s.Apply[0].Error))
		}
		return k.has("TRUE", k.last)
	})
}

func (k *keyedStops) group() string {
	return topics.Group(k.p.taskName, change.Region(k.p.east.region), change.Region(k.p.west.region))
}

func (k *keyedStops) tool(how string) {
	k.p.t.Helper()
	k.published()
	text, err := k.p.kafka.Tool(k.p.t.Context(), "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
		"--group", k.group(), "--reset-offsets", how, "--all-topics", "--execute")
	if err != nil || !strings.Contains(text, k.topic) {
		k.p.t.Fatalf("resetting group %s: %v\n%s", k.group(), err, text)
	}
}

// published waits until capture has published the last row.
func (k *keyedStops) published() {
	k.p.t.Helper()
	eventually(k.p.t, stallLimit, func() error {
		s, err := k.capture.Status()
		if err != nil {
			return err
		}
		if int(s.Capture.Seq) != k.last+k.updates {
			return fmt.Errorf("%d of %d are published", s.Capture.Seq, k.last+k.updates)
		}
		return nil
	})
}

func (k *keyedStops) admin(do func(context.Context, *kadm.Client) error) {
	k.p.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.p.kafka.Brokers()...))
	if err != nil {
		k.p.t.Fatal(err)
	}
	defer client.Close()
	if err := do(k.p.t.Context(), kadm.NewClient(client)); err != nil {
		k.p.t.Fatal(err)
	}
}

// expire deletes all records, as retention would, and returns each partition's
// first offset then.
func (k *keyedStops) expire() map[int32]int64 {
	k.p.t.Helper()
	k.published()
	first := map[int32]int64{}
	k.admin(func(ctx context.Context, admin *kadm.Client) error {
		ends, err := admin.ListEndOffsets(ctx, k.topic)
		if err != nil {
			return err
		}
		ends.Each(func(o kadm.ListedOffset) { first[o.Partition] = o.Offset })
		deleted, err := admin.DeleteRecords(ctx, ends.Offsets())
		if err == nil {
			err = deleted.Error()
		}
		return err
	})
	return first
}

func (k *keyedStops) grow(partitions int) {
	k.p.t.Helper()
	k.admin(func(ctx context.Context, admin *kadm.Client) error {
		answers, err := admin.UpdatePartitions(ctx, partitions, k.topic)
		if err == nil {
			err = answers.Error()
		}
		return err
	})
}

// TestKeyOrderAcrossAlter: when a primary key's column gets another type, the
// bytes of every key change, and so may its partition. What a row had before is
// applied first all the same, however far its old partition is behind.
func TestKeyOrderAcrossAlter(t *testing.T) {
	const rows = 40
	p := newPair(t, "keyalter", nil)
	p.writeTask("tables: {include: ['shop.*']}", "apply: {ordering: key, threads: 1}")
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.a (id INT PRIMARY KEY, v INT NOT NULL)")
	}
	processes := p.start("capture")
	first, second := p.named(p.west, "apply", "first"), p.named(p.west, "apply", "second")
	for _, process := range []*Process{first, second} {
		process.Start()
		process.WaitStreaming()
	}
	east, west := p.east.mysql.DB(), p.west.mysql.DB()
	write := func(v int) {
		for id := range rows {
			mustExec(t, east, fmt.Sprintf("INSERT INTO shop.a VALUES (%d, %d) ON DUPLICATE KEY UPDATE v = VALUES(v)", id, v))
		}
	}
	count := func(v int) (n int) {
		if err := west.QueryRow("SELECT COUNT(*) FROM shop.a WHERE v = ?", v).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	write(1)
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.a", rows) })

	// A user's lock keeps one partition behind.
	locked, err := west.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Rollback()
	if _, err := locked.ExecContext(t.Context(), "SELECT * FROM shop.a WHERE id = 0 FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	write(2)
	for _, s := range p.sides() {
		if s == p.east {
			mustExec(t, s.mysql.DB(), "ALTER TABLE shop.a MODIFY id BIGINT")
		}
	}
	write(3)
	waits := "the primary key's schema has changed"
	eventually(t, stallLimit, func() error {
		if !strings.Contains(first.Log()+second.Log(), waits) {
			return fmt.Errorf("nobody waits; %d rows with 2, %d with 3", count(2), count(3))
		}
		return nil
	})
	time.Sleep(2 * time.Second) // a change that doesn't wait would come in this time
	if n := count(3); n > 0 {
		t.Errorf("%d rows have their last image before others have the one before", n)
	}
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	eventually(t, stallLimit, func() error {
		if n := count(3); n != rows {
			return fmt.Errorf("%d of %d rows have arrived", n, rows)
		}
		return nil
	})
	stop(append(processes, first, second))
}
