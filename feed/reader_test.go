package feed_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"duplex/feed"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// wholeOf reads a transaction's changes as seen tells them.
func wholeOf(ctx context.Context, tx *feed.Transaction) (seen, error) {
	s := seen{id: tx.ID, origin: tx.Stamp.Origin}
	for c, err := range tx.Changes(ctx) {
		if err != nil {
			return s, err
		}
		row := c.After
		if c.Op == feed.Delete {
			row = c.Before
		}
		name, err := row.Get("NAME")
		if err != nil {
			return s, err
		}
		if c.TransactionID != tx.ID || c.Stamp != tx.Stamp || !c.CommitTime.Equal(tx.CommitTime) {
			return s, fmt.Errorf("change %d of %s says it is of %s", c.Order, tx.ID, c.TransactionID)
		}
		s.cells = append(s.cells, fmt.Sprintf("%s %v", c.Table, name))
	}
	if int64(len(s.cells)) != tx.Len {
		return s, fmt.Errorf("%s has %d changes and says %d", tx.ID, len(s.cells), tx.Len)
	}
	return s, nil
}

func equal(a, b seen) bool {
	return a.id == b.id && a.origin == b.origin && slices.Equal(a.cells, b.cells)
}

// expect returns what is left of a history for a reader that leaves something out.
func expect(all []seen, keep func(table string) bool, accept func(origin string) bool) (left []seen) {
	for _, s := range all {
		kept := seen{id: s.id, origin: s.origin}
		for _, c := range s.cells {
			if keep(c[:strings.IndexByte(c, ' ')]) {
				kept.cells = append(kept.cells, c)
			}
		}
		if len(kept.cells) > 0 && accept(s.origin) {
			left = append(left, kept)
		}
	}
	return left
}

func everyTable(string) bool  { return true }
func everyOrigin(string) bool { return true }

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// threeTables makes three tables with two partitions each.
func (r *region) threeTables(ctx context.Context) (tables []*table, err error) {
	for _, name := range []string{"shop.a", "shop.b", "crm.c"} {
		db, table, _ := strings.Cut(name, ".")
		made, err := r.makeTable(ctx, 2, plainTable(db, table))
		if err != nil {
			return nil, err
		}
		tables = append(tables, made)
	}
	return tables, nil
}

// Whatever is asked for, each transaction comes out once, whole and in order,
// also when the reader is closed at any point and goes on from its last commit.
func TestWholeInOrderOverRestarts(t *testing.T) {
	for name, c := range map[string]struct {
		tables []string
		accept func(r *region) func(string) bool
		keep   func(table string) bool
	}{
		"all":           {nil, func(*region) func(string) bool { return nil }, everyTable},
		"one schema":    {[]string{"shop.*"}, func(*region) func(string) bool { return nil }, func(table string) bool { return strings.HasPrefix(table, "shop.") }},
		"own changes":   {nil, func(r *region) func(string) bool { return feed.Only(string(r.id)) }, everyTable},
		"other changes": {nil, func(r *region) func(string) bool { return feed.Except(string(r.id)) }, everyTable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, r, rng := testContext(t), newRegion(t), rand.New(rand.NewPCG(7, uint64(len(name))))
			tables := must(r.threeTables(ctx))(t)
			all := must(r.history(ctx, rng, 150, tables))(t)
			cfg := r.config()
			cfg.Tables, cfg.Accept, cfg.Group = c.tables, c.accept(r), "g-"+string(r.id)
			accept := cfg.Accept
			if accept == nil {
				accept = everyOrigin
			}
			want := expect(all, c.keep, accept)
			committed, restarts := 0, 0
			for committed < len(want) {
				committed += readSome(ctx, t, cfg, rng, want[committed:])
				restarts++
				if restarts == 3 { // more comes while it is closed
					all = append(all, must(r.history(ctx, rng, 50, tables))(t)...)
					want = expect(all, c.keep, accept)
				}
			}
			if restarts < 4 {
				t.Errorf("only %d restarts", restarts)
			}
		})
	}
}

// readSome opens a reader, which must give want, reads a few, commits now and
// then, and returns how many were committed.
func readSome(ctx context.Context, t *testing.T, cfg feed.Config, rng *rand.Rand, want []seen) (committed int) {
	t.Helper()
	reader := must(feed.Open(ctx, cfg))(t)
	defer reader.Close()
	offset := int64(-1)
	for i := range min(len(want), 1+rng.IntN(60)) {
		tx := must(reader.Next(ctx))(t)
		if tx.Offset <= offset {
			t.Fatalf("offset %d follows %d", tx.Offset, offset)
		}
		offset = tx.Offset
		if rng.IntN(5) == 0 { // left before its end
			for range tx.Changes(ctx) {
				break
			}
		} else if got := must(wholeOf(ctx, tx))(t); !equal(got, want[i]) {
			t.Fatalf("transaction %d came out as %+v, want %+v", i, got, want[i])
		}
		if rng.IntN(6) == 0 {
			if err := reader.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			committed = i + 1
		}
	}
	return committed
}

// A reader without a group begins where Start says; what was published before
// doesn't come, and all that comes is whole.
func TestStart(t *testing.T) {
	ctx, r, rng := testContext(t), newRegion(t), rand.New(rand.NewPCG(3, 3))
	tables := must(r.threeTables(ctx))(t)
	before := must(r.history(ctx, rng, 60, tables))(t)
	cfg := r.config()
	cfg.Start = feed.Latest()
	latest := must(feed.Open(ctx, cfg))(t)
	defer latest.Close()
	r.now = r.now.Add(time.Minute)
	middle := r.now
	after := must(r.history(ctx, rng, 60, tables))(t)
	cfg.Start = feed.At(middle)
	since := must(feed.Open(ctx, cfg))(t)
	defer since.Close()
	cfg.Start = feed.Earliest()
	earliest := must(feed.Open(ctx, cfg))(t)
	defer earliest.Close()
	for name, c := range map[string]struct {
		reader *feed.Reader
		want   []seen
	}{"latest": {latest, after}, "at": {since, after}, "earliest": {earliest, append(before, after...)}} {
		for i, want := range c.want {
			tx := must(c.reader.Next(ctx))(t)
			if got := must(wholeOf(ctx, tx))(t); !equal(got, want) {
				t.Fatalf("%s: transaction %d came out as %+v, want %+v", name, i, got, want)
			}
		}
	}
}

// Where retention has taken the beginning of some topics away, the reader
// begins with the first transaction from which on all are whole.
func TestStartAfterRetention(t *testing.T) {
	ctx, r, rng := testContext(t), newRegion(t), rand.New(rand.NewPCG(5, 5))
	tables := must(r.threeTables(ctx))(t)
	var all []seen
	for range 60 { // seconds apart
		all = append(all, must(r.history(ctx, rng, 2, tables))(t)...)
		r.now = r.now.Add(time.Second)
	}
	gone := kadm.Offsets{}
	gone.Add(kadm.Offset{Topic: tables[0].topic, Partition: 0, At: 5})
	gone.Add(kadm.Offset{Topic: tables[2].topic, Partition: 1, At: 9})
	if err := must(r.admin.DeleteRecords(ctx, gone))(t).Error(); err != nil {
		t.Fatal(err)
	}
	reader := must(feed.Open(ctx, r.config()))(t)
	defer reader.Close()
	first := must(wholeOf(ctx, must(reader.Next(ctx))(t)))(t)
	at := slices.IndexFunc(all, func(s seen) bool { return s.id == first.id })
	if at <= 0 || at > 100 {
		t.Fatalf("it begins with transaction %d of %d", at, len(all))
	}
	for i := at; ; i++ {
		if !equal(first, all[i]) {
			t.Fatalf("transaction %d came out as %+v, want %+v", i, first, all[i])
		}
		if i == len(all)-1 {
			break
		}
		first = must(wholeOf(ctx, must(reader.Next(ctx))(t)))(t)
	}
}

// A transaction that was being published when retention cut a topic lacks
// changes, however late its END record is: it is left out.
func TestStartWithinATransaction(t *testing.T) {
	ctx, r := testContext(t), newRegion(t)
	one := must(r.makeTable(ctx, 1, plainTable("shop", "a")))(t)
	var want string
	for seq := range 3 {
		var writes []write
		for i := range int64(5) {
			row, key := plainRow(i, "x")
			writes = append(writes, write{table: one, op: 'c', after: row, key: key})
		}
		want = r.local(writes...)
		r.now = r.now.Add(time.Minute)
		if seq == 1 {
			r.open[len(r.open)-1].Timestamp = r.now
		}
	}
	if err := r.commit(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	gone := kadm.Offsets{}
	gone.Add(kadm.Offset{Topic: one.topic, At: 7})
	if err := must(r.admin.DeleteRecords(ctx, gone))(t).Error(); err != nil {
		t.Fatal(err)
	}
	reader := must(feed.Open(ctx, r.config()))(t)
	defer reader.Close()
	if tx := must(reader.Next(ctx))(t); tx.ID != want {
		t.Errorf("it begins with %s, want %s", tx.ID, want)
	}
}

// A transaction larger than the memory for what waits streams through.
func TestLargeTransactionStreams(t *testing.T) {
	ctx, r := testContext(t), newRegion(t)
	tables := must(r.threeTables(ctx))(t)
	filler := strings.Repeat("x", 8<<10)
	const n = 4000 // 32 MB
	for _, small := range []int64{1, 2} {
		row, key := plainRow(small, "small")
		r.local(write{table: tables[0], op: 'c', after: row, key: key})
		if small == 2 {
			break
		}
		var writes []write
		for i := range int64(n) {
			row, key := plainRow(i%2, fmt.Sprintf("%d %s", i, filler))
			writes = append(writes, write{table: tables[i%2], op: 'c', after: row, key: key})
		}
		r.local(writes...)
	}
	if err := r.commit(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	reader := must(feed.Open(ctx, r.config()))(t)
	defer reader.Close()
	for i := range 3 {
		tx := must(reader.Next(ctx))(t)
		if tx.Stamp.Seq != int64(i+1) {
			t.Fatalf("transaction %d came as number %d", tx.Stamp.Seq, i+1)
		}
		count := int64(0)
		for c, err := range tx.Changes(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				name := must(c.After.Get("name"))(t).(string)
				if !strings.HasPrefix(name, fmt.Sprintf("%d ", count)) {
					t.Fatalf("change %d is %.10q", count, name)
				}
			}
			count++
		}
		if count != tx.Len || i == 1 && count != n {
			t.Fatalf("transaction %d has %d of %d changes", tx.Stamp.Seq, count, tx.Len)
		}
	}
}

// What is missing from the topics stops the reader, with the region's name and
// what to do; what comes before it is right.
func TestMissing(t *testing.T) {
	hurt := map[string]func(open []*kgo.Record) []*kgo.Record{
		"a change":     func(open []*kgo.Record) []*kgo.Record { return open[1:] },
		"an END":       func(open []*kgo.Record) []*kgo.Record { return open[:len(open)-1] },
		"a whole one":  func([]*kgo.Record) []*kgo.Record { return nil },
		"two in order": func(open []*kgo.Record) []*kgo.Record { return append(open[:len(open):len(open)], open[0]) },
	}
	for name, hurt := range hurt {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, r := testContext(t), newRegion(t)
			one := must(r.makeTable(ctx, 1, plainTable("shop", "a")))(t)
			publish := func() {
				var writes []write
				for i := range int64(3) {
					row, key := plainRow(i, "x")
					writes = append(writes, write{table: one, op: 'c', after: row, key: key})
				}
				r.local(writes...)
			}
			publish()
			before := len(r.open)
			publish()
			r.open = append(r.open[:before:before], hurt(r.open[before:])...)
			publish()
			publish()
			if err := r.commit(ctx, kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
			reader := must(feed.Open(ctx, r.config()))(t)
			defer reader.Close()
			var err error
			for n := int64(1); err == nil; n++ {
				var tx *feed.Transaction
				if tx, err = reader.Next(ctx); err != nil {
					break
				}
				if tx.Stamp.Seq != n {
					t.Fatalf("number %d came as transaction %d", tx.Stamp.Seq, n)
				}
				for _, e := range tx.Changes(ctx) {
					err = e
				}
			}
			var gap *feed.GapError
			if !errors.As(err, &gap) || gap.Region != string(r.id) || !feed.Permanent(err) || !strings.Contains(err.Error(), "mend: ") {
				t.Errorf("error %v", err)
			}
			if _, again := reader.Next(ctx); again == nil || again.Error() != err.Error() {
				t.Errorf("the next call gave %v", again)
			}
		})
	}
}

// A second reader of a group, or an operator's reset, is noticed by Commit.
func TestReset(t *testing.T) {
	ctx, r, rng := testContext(t), newRegion(t), rand.New(rand.NewPCG(9, 9))
	all := must(r.history(ctx, rng, 30, must(r.threeTables(ctx))(t)))(t)
	cfg := r.config()
	cfg.Group = "reset-" + string(r.id)
	first := must(feed.Open(ctx, cfg))(t)
	defer first.Close()
	for range 20 {
		must(first.Next(ctx))(t)
	}
	if err := first.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	zero := kadm.Offsets{}
	must(r.admin.FetchOffsets(ctx, cfg.Group))(t).Offsets().Each(func(o kadm.Offset) {
		zero.Add(kadm.Offset{Topic: o.Topic, Partition: o.Partition, LeaderEpoch: -1}) // as kafka-consumer-groups.sh does
	})
	must(r.admin.CommitOffsets(ctx, cfg.Group, zero))(t)
	must(first.Next(ctx))(t)
	var reset *feed.ResetError
	if err := first.Commit(ctx); !errors.As(err, &reset) || reset.Group != cfg.Group {
		t.Fatalf("error %v", err)
	}
	second := must(feed.Open(ctx, cfg))(t)
	defer second.Close()
	for _, want := range all {
		if got := must(wholeOf(ctx, must(second.Next(ctx))(t)))(t); !equal(got, want) {
			t.Fatalf("after the reset %+v came, want %+v", got, want)
		}
	}
}

// Kafka forgets the offset of a partition in which nothing was committed for
// long, and keeps the others': the reader finds its place there again.
func TestForgottenOffset(t *testing.T) {
	ctx, r, rng := testContext(t), newRegion(t), rand.New(rand.NewPCG(11, 11))
	tables := must(r.threeTables(ctx))(t)
	all := must(r.history(ctx, rng, 80, tables))(t)
	cfg := r.config()
	cfg.Group = "forgotten-" + string(r.id)
	for len(all) > 0 {
		reader := must(feed.Open(ctx, cfg))(t)
		for _, want := range all[:20] {
			if got := must(wholeOf(ctx, must(reader.Next(ctx))(t)))(t); !equal(got, want) {
				t.Fatalf("%+v came, want %+v", got, want)
			}
		}
		if err := reader.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		reader.Close()
		all = all[20:]
		forgotten := kadm.TopicsSet{}
		forgotten.Add(tables[0].topic, 0, 1)
		forgotten.Add(tables[2].topic, 1)
		if err := must(r.admin.DeleteOffsets(ctx, cfg.Group, forgotten))(t).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// A call that ends in the midst of asking the registry loses nothing of what
// was fetched.
func TestContextEndsInAQuestion(t *testing.T) {
	ctx, r, rng := testContext(t), newRegion(t), rand.New(rand.NewPCG(13, 13))
	all := must(r.history(ctx, rng, 40, must(r.threeTables(ctx))(t)))(t)
	registry := must(url.Parse(r.url))(t)
	forward := httputil.NewSingleHostReverseProxy(registry)
	forward.ErrorLog = log.New(io.Discard, "", 0)
	var asked atomic.Int64
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if asked.Add(1)%3 != 0 {
			<-req.Context().Done() // the caller gives up
			return
		}
		forward.ServeHTTP(w, req)
	}))
	defer slow.Close()
	cfg := r.config()
	cfg.Registry.URL = slow.URL
	reader := must(feed.Open(ctx, cfg))(t)
	defer reader.Close()
	short := func(f func(context.Context) error) {
		for {
			soon, cancel := context.WithTimeout(ctx, 40*time.Millisecond)
			err := f(soon)
			cancel()
			if err == nil {
				return
			}
			if soon.Err() == nil || ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range all {
		var tx *feed.Transaction
		short(func(ctx context.Context) (err error) { tx, err = reader.Next(ctx); return err })
		got := seen{id: tx.ID, origin: tx.Stamp.Origin}
		short(func(ctx context.Context) error {
			for c, err := range tx.Changes(ctx) {
				if err != nil {
					return err
				}
				row := c.After
				if row == nil {
					row = c.Before
				}
				got.cells = append(got.cells, fmt.Sprintf("%s %v", c.Table, must(row.Get("name"))(t)))
			}
			return nil
		})
		if !equal(got, want) {
			t.Fatalf("%+v came, want %+v", got, want)
		}
	}
	if asked.Load() < 9 {
		t.Errorf("the registry was asked only %d times", asked.Load())
	}
}

// The end of the context ends a call and nothing else.
func TestContextEnds(t *testing.T) {
	ctx, r := testContext(t), newRegion(t)
	one := must(r.makeTable(ctx, 1, plainTable("shop", "a")))(t)
	reader := must(feed.Open(ctx, r.config()))(t)
	defer reader.Close()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := reader.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	row, key := plainRow(1, "x")
	id := r.local(write{table: one, op: 'c', after: row, key: key})
	if err := r.commit(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if tx := must(reader.Next(ctx))(t); tx.ID != id {
		t.Errorf("transaction %s came", tx.ID)
	}
}
