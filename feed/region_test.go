package feed_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/embedded"
	"duplex/feed"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// services are a Kafka and a registry inside the test, for all tests. They
// keep apart by the ids of their regions.
var services struct {
	once     sync.Once
	kafka    *embedded.Kafka
	registry *embedded.Registry
	err      error
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "duplex-feed-")
	if err != nil {
		panic(err)
	}
	servicesDir = dir
	code := m.Run()
	if services.kafka != nil {
		_ = services.kafka.Close()
		_ = services.registry.Close()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var servicesDir string

func start() (brokers []string, url string, err error) {
	s := &services
	s.once.Do(func() {
		ctx, quiet := context.Background(), slog.New(slog.DiscardHandler)
		if s.kafka, s.err = embedded.StartKafka(ctx, embedded.Options{Dir: servicesDir + "/kafka", Listen: "127.0.0.1:0", Log: quiet}); s.err == nil {
			s.registry, s.err = embedded.StartRegistry(ctx, embedded.Options{Dir: servicesDir + "/registry", Listen: "127.0.0.1:0", Log: quiet})
		}
	})
	if s.err != nil {
		return nil, "", s.err
	}
	return []string{s.kafka.Addr()}, s.registry.URL(), nil
}

// region publishes what a capture would, of tables that a test makes up.
type region struct {
	id       change.Region
	brokers  []string
	url      string
	client   *kgo.Client
	admin    *kadm.Client
	registry *schemas.Registry
	endKey   int
	end      int
	seq      change.Seq
	hlc      change.HLC
	number   int // of all transactions, for their ids
	now      time.Time
	open     []*kgo.Record
}

var regions atomic.Int64

// newRegion makes a region with an id of its own.
func newRegion(t testing.TB) *region {
	t.Helper()
	r, err := makeRegion(t.Context(), fmt.Sprintf("r%d", regions.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

func makeRegion(ctx context.Context, id string) (*region, error) {
	r := &region{id: change.Region(id), now: time.UnixMilli(1_800_000_000_000)}
	var err error
	if r.brokers, r.url, err = start(); err != nil {
		return nil, err
	}
	r.client, err = kgo.NewClient(kgo.SeedBrokers(r.brokers...), kgo.TransactionalID("capture."+id),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10*time.Millisecond), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	r.admin = kadm.NewClient(r.client)
	if r.registry, err = schemas.NewRegistry(config.Registry{URL: r.url}); err != nil {
		return nil, err
	}
	spine := topics.Spine(r.id)
	if r.endKey, err = r.registry.Register(ctx, spine+"-key", schemas.EndKeySchema); err != nil {
		return nil, err
	}
	if r.end, err = r.registry.Register(ctx, spine+"-value", schemas.EndSchema); err != nil {
		return nil, err
	}
	_, err = r.admin.CreateTopic(ctx, 1, 1, nil, spine)
	return r, err
}

// config returns what a reader of the region needs.
func (r *region) config() feed.Config {
	return feed.Config{Kafka: feed.Kafka{Brokers: r.brokers}, Registry: feed.Registry{URL: r.url}, Region: string(r.id)}
}

// table is a version of a table; its rows are made of the columns' encodings.
type table struct {
	topic      string
	partitions int32
	model      *schemas.Table
	envelope   *schemas.Envelope
	key, value int
}

// makeTable makes a version of a table and, if need be, its topic.
func (r *region) makeTable(ctx context.Context, partitions int32, model *schemas.Table) (*table, error) {
	topic, err := topics.Table(r.id, model.DB, model.Name)
	if err != nil {
		return nil, err
	}
	t := &table{topic: topic, partitions: partitions, model: model, envelope: schemas.NewEnvelope(model, r.id, "mysql", "test")}
	for _, s := range []struct {
		subject string
		text    func() (string, error)
		id      *int
	}{
		{topic + "-key", func() (string, error) { return schemas.KeySchema(model, r.id) }, &t.key},
		{topic + "-value", func() (string, error) { return schemas.EnvelopeSchema(model, r.id, "mysql") }, &t.value},
	} {
		text, err := s.text()
		if err != nil {
			return nil, err
		}
		if *s.id, err = r.registry.Register(ctx, s.subject, text); err != nil {
			return nil, err
		}
	}
	if _, err = r.admin.CreateTopic(ctx, partitions, 1, nil, topic); errors.Is(err, kerr.TopicAlreadyExists) {
		err = nil // another version of the table
	}
	return t, err
}

// plainTable has columns id BIGINT and name VARCHAR NULL.
func plainTable(db, name string) *schemas.Table {
	return &schemas.Table{DB: db, Name: name, Key: []int{0}, Columns: []schemas.Column{
		{Name: "id", Type: schemas.BigInt}, {Name: "name", Type: schemas.VarChar, Length: 100, Charset: "utf8mb4", Nullable: true}}}
}

// plainRow is a row of a plainTable, and its key.
func plainRow(id int64, name string) (row, key []byte) {
	return schemas.AppendString(append(schemas.AppendLong(nil, id), 2), name), schemas.AppendLong(nil, id)
}

// write is one change of a transaction.
type write struct {
	table         *table
	op            byte
	before, after []byte
	key           []byte
	exact         []byte
}

// local publishes a transaction of the region's own application.
func (r *region) local(writes ...write) string {
	r.seq++
	r.hlc = r.hlc.Next(r.now)
	return r.transaction(change.Stamp{Origin: r.id, Seq: r.seq, HLC: r.hlc}, writes...)
}

// transaction publishes a transaction with its END record, and returns its id.
// It is committed by commit.
func (r *region) transaction(stamp change.Stamp, writes ...write) string {
	r.number++
	id := fmt.Sprintf("uuid:%d", r.number)
	headers := topics.Headers(stamp)
	source := &schemas.Source{TsMicros: r.now.UnixMicro(), ServerID: 1, GTID: id, File: "binlog.000001", Stamp: stamp}
	end := &schemas.End{ID: id, Events: int64(len(writes)), Stamp: stamp, CommitMicros: r.now.UnixMicro(), Millis: r.now.UnixMilli()}
	counts := map[partition]int64{}
	for i, w := range writes {
		at := partition{w.table.topic, int32(w.key[0]>>1) % w.table.partitions}
		c := schemas.Change{Op: w.op, Before: w.before, After: w.after, Source: source, TxID: id, TotalOrder: int64(i + 1), CollectionOrder: 1, NowMicros: r.now.UnixMicro()}
		record := &kgo.Record{
			Topic: at.topic, Partition: at.index, Timestamp: r.now, Headers: headers,
			Key:   append(schemas.AppendHeader(nil, w.table.key), w.key...),
			Value: w.table.envelope.Append(schemas.AppendHeader(nil, w.table.value), &c),
		}
		if w.exact != nil {
			record.Headers = append(headers[:len(headers):len(headers)], kgo.RecordHeader{Key: topics.HeaderExact, Value: w.exact})
		}
		r.open = append(r.open, record)
		if w.op == 'd' {
			r.open = append(r.open, &kgo.Record{Topic: at.topic, Partition: at.index, Timestamp: r.now, Headers: headers, Key: record.Key})
		}
		if counts[at]++; counts[at] == 1 {
			end.Partitions = append(end.Partitions, schemas.PartitionCount{Topic: at.topic, Partition: at.index})
		}
	}
	for i := range end.Partitions {
		p := &end.Partitions[i]
		p.Count = counts[partition{p.Topic, p.Partition}]
	}
	r.publishEnd(end)
	return id
}

type partition struct {
	topic string
	index int32
}

func (r *region) publishEnd(end *schemas.End) {
	r.open = append(r.open, &kgo.Record{
		Topic: topics.Spine(r.id), Timestamp: r.now,
		Key:   schemas.AppendEndKey(schemas.AppendHeader(nil, r.endKey), end.ID),
		Value: schemas.AppendEnd(schemas.AppendHeader(nil, r.end), end),
	})
}

// canary publishes the END record of a transaction without changes.
func (r *region) canary() {
	r.publishEnd(&schemas.End{ID: "canary", Stamp: change.Stamp{Origin: r.id, HLC: r.hlc}, Canary: "token"})
}

// commit makes what was published visible, or aborts it.
func (r *region) commit(ctx context.Context, how kgo.TransactionEndTry) error {
	if len(r.open) == 0 {
		return nil
	}
	if err := r.client.BeginTransaction(); err != nil {
		return err
	}
	if err := r.client.ProduceSync(ctx, r.open...).FirstErr(); err != nil {
		return err
	}
	r.open = nil
	return r.client.EndTransaction(ctx, how)
}

// history publishes n transactions at random, of this region and of "other",
// over the tables, and returns what a reader must see of each.
func (r *region) history(ctx context.Context, rng *rand.Rand, n int, tables []*table) ([]seen, error) {
	var all []seen
	otherSeq := change.Seq(rng.IntN(5))
	for len(all) < n {
		var writes []write
		var cells []string
		for i := range 1 + rng.IntN(6) {
			w := write{table: tables[rng.IntN(len(tables))]}
			name := fmt.Sprintf("%d.%d", r.number+1, i)
			row, key := plainRow(rng.Int64N(50), name)
			w.key, w.op, w.after = key, 'c', row
			if rng.IntN(4) == 0 {
				w.op, w.before, w.after = 'd', row, nil
			}
			writes = append(writes, w)
			cells = append(cells, w.table.model.String()+" "+name)
		}
		s := seen{cells: cells, origin: string(r.id)}
		switch rng.IntN(8) {
		case 0:
			otherSeq += change.Seq(rng.IntN(3)) // merged and applied again: skipped and repeated
			s.origin, s.id = "other", r.transaction(change.Stamp{Origin: "other", Seq: otherSeq, HLC: 5}, writes...)
		case 1:
			r.canary()
			continue
		default:
			s.id = r.local(writes...)
		}
		all = append(all, s)
		r.now = r.now.Add(time.Millisecond)
		if rng.IntN(10) == 0 {
			if err := r.commit(ctx, kgo.TryCommit); err != nil {
				return nil, err
			}
			if rng.IntN(3) == 0 {
				saved := *r
				r.local(writes...)
				if err := r.commit(ctx, kgo.TryAbort); err != nil {
					return nil, err
				}
				r.seq, r.hlc, r.number = saved.seq, saved.hlc, saved.number
			}
		}
	}
	return all, r.commit(ctx, kgo.TryCommit)
}

// seen is what a reader must see of a transaction: its changes, in order, each
// with its table and the value of column name.
type seen struct {
	id, origin string
	cells      []string
}
