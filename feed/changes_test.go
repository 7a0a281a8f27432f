package feed_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"duplex/feed"
	"duplex/schemas"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Two readers of a group get every change between them, and after a restart
// what was not committed again; each key's changes stay in order.
func TestSingleChanges(t *testing.T) {
	ctx, r, rng := testContext(t), newRegion(t), rand.New(rand.NewPCG(21, 21))
	tables := must(r.threeTables(ctx))(t)
	all := must(r.history(ctx, rng, 120, tables))(t)
	own := expect(all, everyTable, func(origin string) bool { return origin == string(r.id) })
	cfg := r.config()
	cfg.Group, cfg.Accept = "single-"+string(r.id), feed.Only(string(r.id))
	want := map[string]bool{}
	for _, s := range own {
		for _, c := range s.cells {
			want[c] = true
		}
	}
	got, half := map[string]bool{}, 0
	orders := map[string]string{} // of each key, the id of its last transaction
	for round := range 2 {
		reader := must(feed.OpenChanges(ctx, cfg))(t)
		for len(got) < len(want)/2*(round+1)+len(want)%2*round {
			c := must(reader.Next(ctx))(t)
			row := c.After
			if c.Op == feed.Delete {
				row = c.Before
			}
			cell := fmt.Sprintf("%s %v", c.Table, must(row.Get("name"))(t))
			if c.Stamp.Origin != string(r.id) || got[cell] || !want[cell] {
				t.Fatalf("change %s of %s came, again %t", cell, c.Stamp.Origin, got[cell])
			}
			got[cell] = true
			key := fmt.Sprintf("%s %v", c.Table, must(c.Key.At(0))(t))
			if last := orders[key]; len(last) > len(c.TransactionID) || len(last) == len(c.TransactionID) && last > c.TransactionID {
				t.Fatalf("of key %s transaction %s came after %s", key, c.TransactionID, last)
			}
			orders[key] = c.TransactionID
		}
		half = len(got)
		if err := reader.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if round == 0 { // one that isn't committed comes again
			must(reader.Next(ctx))(t)
		}
		if round == 1 && reader.Left() == 0 {
			t.Error("nothing was left out")
		}
		reader.Close()
	}
	if half != len(want) {
		t.Errorf("%d of %d changes came", half, len(want))
	}
}

// A table that is altered gives rows with the columns that they had, and a
// new Table.
func TestAlteredTable(t *testing.T) {
	ctx, r := testContext(t), newRegion(t)
	old := must(r.makeTable(ctx, 1, plainTable("shop", "a")))(t)
	model := plainTable("shop", "a")
	model.Columns = append(model.Columns, schemas.Column{Name: "price", Type: schemas.Decimal, Precision: 10, Scale: 2, Nullable: true})
	altered := must(r.makeTable(ctx, 1, model))(t)
	row, key := plainRow(1, "x")
	r.local(write{table: old, op: 'c', after: row, key: key})
	priced := schemas.AppendBytes(append(slices.Clone(row), 2), []byte{5, 57}) // 1337
	r.local(write{table: altered, op: 'c', after: priced, key: key})
	if err := r.commit(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	reader := must(feed.Open(ctx, r.config()))(t)
	defer reader.Close()
	var versions []*feed.Table
	var rows []map[string]any
	for range 2 {
		for c, err := range must(reader.Next(ctx))(t).Changes(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			versions, rows = append(versions, c.Table), append(rows, must(c.After.Map())(t))
			if _, err := c.After.Get("colour"); err == nil || !strings.Contains(err.Error(), `"colour"`) {
				t.Errorf("a column that isn't there: error %v", err)
			}
		}
	}
	if versions[0] == versions[1] || len(versions[0].Columns) != 2 || versions[1].ValueSchema == versions[0].ValueSchema {
		t.Errorf("versions %+v and %+v", versions[0], versions[1])
	}
	want := []map[string]any{{"id": int64(1), "name": "x"}, {"id": int64(1), "name": "x", "price": feed.Decimal("13.37")}}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
}

// What Debezium's form can't hold comes as it is, in rows and keys.
func TestExactValues(t *testing.T) {
	ctx, r := testContext(t), newRegion(t)
	model := &schemas.Table{DB: "shop", Name: "d", Key: []int{0}, Columns: []schemas.Column{{Name: "day", Type: schemas.Date}}}
	days := must(r.makeTable(ctx, 1, model))(t)
	var exact schemas.Exact
	exact.Add(0, schemas.AppendLong(nil, schemas.PackDate(2024, 0, 31)))
	epoch := schemas.AppendLong(nil, 0)
	r.local(write{table: days, op: 'c', after: epoch, key: epoch, exact: schemas.AppendExact(nil, nil, &exact)})
	if err := r.commit(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	reader := must(feed.Open(ctx, r.config()))(t)
	defer reader.Close()
	for c, err := range must(reader.Next(ctx))(t).Changes(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		want := feed.Date{Year: 2024, Month: 0, Day: 31}
		if key, row := must(c.Key.At(0))(t), must(c.After.Get("day"))(t); key != want || row != want {
			t.Errorf("the key is %v, the row %v", key, row)
		}
	}
}

// A record that something else wrote is refused with its place.
func TestForeignRecords(t *testing.T) {
	ctx, r := testContext(t), newRegion(t)
	one := must(r.makeTable(ctx, 1, plainTable("shop", "a")))(t)
	row, key := plainRow(1, "x")
	r.local(write{table: one, op: 'c', after: row, key: key})
	good := r.open[0]
	decoder := must(feed.NewDecoder(feed.Registry{URL: r.url}))(t)
	message := func(change func(*feed.Message)) feed.Message {
		m := feed.Message{Topic: good.Topic, Offset: 7, Key: good.Key, Value: good.Value}
		change(&m)
		return m
	}
	if c := must(decoder.Decode(ctx, message(func(*feed.Message) {})))(t); c.Op != feed.Create || c.Offset != 7 {
		t.Fatalf("a good record gives %+v", c)
	}
	if c, err := decoder.Decode(ctx, message(func(m *feed.Message) { m.Value = nil })); c != nil || err != nil {
		t.Errorf("a tombstone gives %v, %v", c, err)
	}
	for name, change := range map[string]func(*feed.Message){
		"not framed":    func(m *feed.Message) { m.Value = []byte("{}") },
		"cut short":     func(m *feed.Message) { m.Value = m.Value[:len(m.Value)-3] },
		"more follows":  func(m *feed.Message) { m.Value = append(slices.Clone(m.Value), 0) },
		"no such id":    func(m *feed.Message) { m.Value = append([]byte{0, 0, 1, 0, 0}, m.Value[5:]...) },
		"another topic": func(m *feed.Message) { m.Topic = "elsewhere" },
		"a bad exact":   func(m *feed.Message) { m.Headers = []feed.Header{{Name: "exact", Value: []byte{9}}} },
		"no key":        func(m *feed.Message) { m.Key = nil },
		"key of values": func(m *feed.Message) { m.Key = m.Value },
	} {
		_, err := decoder.Decode(ctx, message(change))
		var record *feed.RecordError
		if !errors.As(err, &record) || record.Offset != 7 {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// All that is wrong with the settings is told at once, with the mends.
func TestConfigIsChecked(t *testing.T) {
	_, err := feed.Open(context.Background(), feed.Config{Region: "East!", Tables: []string{"shop"}, Kafka: feed.Kafka{Mechanism: "NTLM", TLS: feed.TLS{Mode: "on"}}})
	var wrong *feed.ConfigError
	if !errors.As(err, &wrong) || !feed.Permanent(err) {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{"Kafka.Brokers", "Registry.URL", "Region", "Kafka.Mechanism", "Kafka.TLS.Mode", "tables.include", "host:port"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q isn't told in %v", part, err)
		}
	}
	ctx, r := testContext(t), newRegion(t)
	cfg := r.config()
	cfg.Region = "nobody"
	if _, err := feed.Open(ctx, cfg); !errors.Is(err, feed.ErrNotPublished) {
		t.Errorf("a region that publishes nothing: %v", err)
	}
	reader := must(feed.Open(ctx, r.config()))(t)
	defer reader.Close()
	if err := reader.Commit(ctx); !errors.As(err, &wrong) {
		t.Errorf("a commit without a group: %v", err)
	}
	cfg = r.config()
	if _, err := feed.OpenChanges(ctx, cfg); !errors.As(err, &wrong) {
		t.Errorf("changes without a group: %v", err)
	}
}
