package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// crashImage copies the directory of a running broker: what a process that was
// killed at this moment would have left behind.
func crashImage(t *testing.T, dir string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return image
}

// TestOpenTransactionStaysHidden crashes twice: the broker alone would bring
// the records of the first transaction to light with the second commit.
func TestOpenTransactionStaysHidden(t *testing.T) {
	dir := t.TempDir()
	k := startKafka(t, dir, "127.0.0.1:0")
	createTopic(t, k.Addr(), "t", 1, nil)
	producer := newClient(t, k.Addr(), kgo.TransactionalID("a"))
	begin(t, producer)
	produce(t, producer, record("t", 0, "open"))
	dir = crashImage(t, dir)
	closeKafka(t, k)

	k = startKafka(t, dir, "127.0.0.1:0")
	expect(t, committed(t, k.Addr(), "t"))
	producer = newClient(t, k.Addr(), kgo.TransactionalID("a"))
	begin(t, producer)
	produce(t, producer, record("t", 0, "committed"))
	commit(t, producer)
	expect(t, committed(t, k.Addr(), "t"), "committed")
	dir = crashImage(t, dir)
	closeKafka(t, k)

	k = startKafka(t, dir, "127.0.0.1:0")
	defer closeKafka(t, k)
	expect(t, committed(t, k.Addr(), "t"), "committed")
}

// TestHalfCommittedTransactionIsFinished puts together what a crash between the
// markers of two partitions leaves.
func TestHalfCommittedTransactionIsFinished(t *testing.T) {
	dir := t.TempDir()
	k := startKafka(t, dir, "127.0.0.1:0")
	createTopic(t, k.Addr(), "t", 2, nil)
	producer := newClient(t, k.Addr(), kgo.TransactionalID("a"))
	begin(t, producer)
	produce(t, producer, record("t", 0, "0"), record("t", 1, "1"))
	before := crashImage(t, dir)
	commit(t, producer)
	after := crashImage(t, dir)
	closeKafka(t, k)

	for _, file := range []string{"0.dat", "0.idx"} {
		data, err := os.ReadFile(filepath.Join(after, "partitions", "t-0", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(before, "partitions", "t-0", file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k = startKafka(t, before, "127.0.0.1:0")
	got := committed(t, k.Addr(), "t")
	if len(got) != 2 {
		t.Errorf("of the transaction's two records are visible: %q", got)
	}
	again := crashImage(t, before)
	closeKafka(t, k)
	k = startKafka(t, again, "127.0.0.1:0")
	defer closeKafka(t, k)
	if got := committed(t, k.Addr(), "t"); len(got) != 2 {
		t.Errorf("after one more crash: %q", got)
	}
}

// TestSurvivingProducerIsNotToldThatItCommitted lets a producer outlive the
// broker with a transaction open.
func TestSurvivingProducerIsNotToldThatItCommitted(t *testing.T) {
	dir := t.TempDir()
	k := startKafka(t, dir, "127.0.0.1:0")
	addr := k.Addr()
	createTopic(t, addr, "t", 1, nil)
	producer := newClient(t, addr, kgo.TransactionalID("a"))
	begin(t, producer)
	produce(t, producer, record("t", 0, "first"))
	commit(t, producer)
	begin(t, producer)
	produce(t, producer, record("t", 0, "lost"))
	dir = crashImage(t, dir)
	closeKafka(t, k)

	k = startKafka(t, dir, addr)
	defer closeKafka(t, k)
	if err := producer.EndTransaction(testContext(t), kgo.TryCommit); err == nil {
		t.Errorf("the commit is acknowledged, and readers see %q", committed(t, addr, "t"))
	}
	expect(t, committed(t, addr, "t"), "first")
}

// TestSurvivingProducerCanNotGoOn is the same with a producer that doesn't
// notice the crash, and would commit the second half of its transaction.
func TestSurvivingProducerCanNotGoOn(t *testing.T) {
	dir := t.TempDir()
	k := startKafka(t, dir, "127.0.0.1:0")
	addr := k.Addr()
	createTopic(t, addr, "t", 1, nil)
	producer := newClient(t, addr, kgo.TransactionalID("a"))
	begin(t, producer)
	produce(t, producer, record("t", 0, "half"))
	dir = crashImage(t, dir)
	closeKafka(t, k)

	k = startKafka(t, dir, addr)
	defer closeKafka(t, k)
	produced := producer.ProduceSync(testContext(t), record("t", 0, "rest")).FirstErr()
	if err := producer.EndTransaction(testContext(t), kgo.TryCommit); err == nil && produced == nil {
		t.Error("the second half is committed")
	}
	expect(t, committed(t, addr, "t"))
	for id, p := range producersOf(t, dir) {
		if p.Epoch == 0 {
			t.Errorf("producer %d still has the epoch of the transaction that was open", id)
		}
	}
}

func producersOf(t *testing.T, dir string) map[int64]producer {
	t.Helper()
	l, err := readProducers(filepath.Join(crashImage(t, dir), "pids.log"))
	if err != nil || len(l.byPID) == 0 {
		t.Fatalf("producers %v, %v", l, err)
	}
	return l.byPID
}

// TestFramesAfterACut cuts a log anywhere: what is written afterwards must be
// readable, and nothing that was whole be lost.
func TestFramesAfterACut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var whole []byte
	ends := []int{0}
	for i := range 4 {
		whole = append(whole, frame([]byte(strings.Repeat("x", i*7)))...)
		ends = append(ends, len(whole))
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := readFrames(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := appendTo(path, frame([]byte("new"))); err != nil {
			t.Fatal(err)
		}
		after, err := readFrames(path)
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for kept+1 < len(ends) && ends[kept+1] <= cut {
			kept++
		}
		if len(before) != kept || len(after) != kept+1 || string(after[kept]) != "new" {
			t.Errorf("cut at %d of %v: %d entries, then %d with the new one", cut, ends, len(before), len(after))
		}
	}
}

// TestCutOffBatch cuts the files at every place where a crash may cut them.
func TestCutOffBatch(t *testing.T) {
	dir := t.TempDir()
	k := startKafka(t, dir, "127.0.0.1:0")
	createTopic(t, k.Addr(), "t", 1, nil)
	producer := newClient(t, k.Addr(), kgo.TransactionalID("a"))
	begin(t, producer)
	produce(t, producer, record("t", 0, "committed"))
	commit(t, producer)
	whole := fileSize(t, filepath.Join(dir, "partitions", "t-0", "0.dat"))
	begin(t, producer)
	produce(t, producer, record("t", 0, "open"))
	image := crashImage(t, dir)
	full := fileSize(t, filepath.Join(image, "partitions", "t-0", "0.dat"))
	closeKafka(t, k)

	for _, cut := range []struct{ data, index int64 }{{full, 2 * indexEntrySize}, {full, 2*indexEntrySize + 7}, {whole + 5, 2 * indexEntrySize}, {full - 1, 2 * indexEntrySize}, {whole, 2 * indexEntrySize}} {
		dir := crashImage(t, image)
		if err := errors.Join(os.Truncate(filepath.Join(dir, "partitions", "t-0", "0.dat"), cut.data), os.Truncate(filepath.Join(dir, "partitions", "t-0", "0.idx"), cut.index)); err != nil {
			t.Fatal(err)
		}
		pids, err := os.OpenFile(filepath.Join(dir, "pids.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pids.Write([]byte{90, 0, 0, 0, 1, 2}); err != nil {
			t.Fatal(err)
		}
		pids.Close()
		k := startKafka(t, dir, "127.0.0.1:0")
		expect(t, committed(t, k.Addr(), "t"), "committed")
		producer := newClient(t, k.Addr(), kgo.TransactionalID("a"))
		begin(t, producer)
		produce(t, producer, record("t", 0, "next"))
		commit(t, producer)
		producer.Close()
		again := crashImage(t, dir)
		closeKafka(t, k)
		k = startKafka(t, again, "127.0.0.1:0")
		expect(t, committed(t, k.Addr(), "t"), "committed", "next")
		closeKafka(t, k)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

const (
	childDir = "DUPLEX_TEST_EMBEDDED_DIR"
	childRun = "DUPLEX_TEST_EMBEDDED_RUN"

	crashProducers  = 3
	crashPartitions = 4
	crashRounds     = 8
)

// produceUntilKilled is the child process of TestKilledBroker: a broker, and
// producers that tell on stdout of every transaction that was acknowledged.
func produceUntilKilled(dir, run string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	k, err := StartKafka(ctx, Options{Dir: dir, Listen: "127.0.0.1:0"})
	fail(err)
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr()))
	fail(err)
	if topics, err := kadm.NewClient(client).ListTopics(ctx, "t"); err != nil || !topics.Has("t") {
		_, err := kadm.NewClient(client).CreateTopic(ctx, crashPartitions, 1, nil, "t")
		fail(err)
	}
	fmt.Println("ready")
	for id := range crashProducers {
		go func() {
			client, err := kgo.NewClient(kgo.SeedBrokers(k.Addr()), kgo.TransactionalID(fmt.Sprint("p", id)), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
			fail(err)
			for n := 0; ; n++ {
				fail(client.BeginTransaction())
				name := fmt.Sprintf("%s-%d-%d", run, id, n)
				for p := range int32(crashPartitions) {
					client.Produce(ctx, record("t", p, name), nil)
				}
				fail(client.Flush(ctx))
				end := kgo.TransactionEndTry(n%5 != 4)
				fail(client.EndTransaction(ctx, end))
				if end == kgo.TryCommit {
					fmt.Println("acked", name)
				} else {
					fmt.Println("aborted", name)
				}
			}
		}()
	}
	select {}
}

// TestKilledBroker kills a broker in the midst of transactions, again and
// again on the same data. Of every transaction that was acknowledged all
// records must be there, of every aborted one none, and of the rest, which were
// open when the process died, all or none.
func TestKilledBroker(t *testing.T) {
	dir := t.TempDir()
	acked, aborted := map[string]bool{}, map[string]bool{}
	for run := range crashRounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir, childRun+"="+fmt.Sprint(run))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			what, name, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "ready":
				time.AfterFunc(200*time.Millisecond+rand.N(400*time.Millisecond), func() { cmd.Process.Kill() })
			case "acked":
				acked[name] = true
			case "aborted":
				aborted[name] = true
			default:
				t.Error(lines.Text())
			}
		}
		cmd.Wait() // it was killed
	}

	k := startKafka(t, dir, "127.0.0.1:0")
	defer closeKafka(t, k)
	count := map[string]int{}
	for _, name := range committed(t, k.Addr(), "t") {
		count[name]++
	}
	for name := range acked {
		if count[name] != crashPartitions {
			t.Errorf("of transaction %s, which was acknowledged, %d records are visible", name, count[name])
		}
	}
	unknown := 0
	for name, n := range count {
		if aborted[name] || n != crashPartitions {
			t.Errorf("of transaction %s (aborted: %v) %d records are visible", name, aborted[name], n)
		}
		if !acked[name] {
			unknown++
		}
	}
	if len(acked) == 0 || len(aborted) == 0 {
		t.Error("nothing was tested")
	}
	t.Logf("%d kills: %d transactions acknowledged, %d aborted, %d finished without the producer hearing of it", crashRounds, len(acked), len(aborted), unknown)
}
