package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Message is a record of a table's topic, however it was read from Kafka.
type Message struct {
	Topic      string
	Partition  int32
	Offset     int64
	Key, Value []byte
	Headers    []Header
}

// Header is one header of a record.
type Header struct {
	Name  string
	Value []byte
}

// Decoder decodes records that another Kafka client has read. It asks the
// registry once for each schema. It isn't safe for concurrent use.
type Decoder struct {
	registry *schemas.Registry
	tables   map[tableVersion]*Table
	decoded  schemas.Decoded
	// Of the last change: the next one nearly always has the same.
	origin, txID string
}

type tableVersion struct {
	topic      string
	key, value int
}

// maxTables bounds the versions of tables that are kept.
const maxTables = 8192

// NewDecoder makes a Decoder. It doesn't connect yet.
func NewDecoder(registry Registry) (*Decoder, error) {
	if err := registry.check(); err != nil {
		return nil, &ConfigError{err}
	}
	client, err := schemas.NewRegistry(registry.config())
	if err != nil {
		return nil, &ConfigError{err}
	}
	return newDecoder(client), nil
}

func newDecoder(registry *schemas.Registry) *Decoder {
	return &Decoder{registry: registry, tables: map[tableVersion]*Table{}}
}

// Decode decodes a record. A tombstone, which follows each delete for the sake
// of Kafka's compaction, gives nil and no error. The change keeps m's bytes.
func (d *Decoder) Decode(ctx context.Context, m Message) (*Change, error) {
	r := kgo.Record{Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Key: m.Key, Value: m.Value}
	for _, h := range m.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	if r.Value == nil {
		return nil, nil
	}
	return d.decode(ctx, &r)
}

// made is a change with its rows, in one piece of memory.
type made struct {
	Change
	key, before, after Row
}

func (d *Decoder) decode(ctx context.Context, r *kgo.Record) (*Change, error) {
	fail := func(err error) (*Change, error) {
		return nil, &RecordError{r.Topic, r.Partition, r.Offset, err}
	}
	keyID, key, err := schemas.ReadHeader(r.Key)
	if err != nil {
		return fail(fmt.Errorf("key: %w", err))
	}
	valueID, value, err := schemas.ReadHeader(r.Value)
	if err != nil {
		return fail(fmt.Errorf("value: %w", err))
	}
	t, err := d.table(ctx, tableVersion{r.Topic, keyID, valueID})
	if err != nil {
		return fail(err)
	}
	in := &d.decoded
	if err := t.envelope.Decode(value, in); err != nil {
		return fail(err)
	}
	if exact := topics.Exact(r); exact != nil {
		if key, err = t.restore(in, exact); err != nil {
			return fail(err)
		}
	}
	d.origin, d.txID = same(d.origin, in.Origin), same(d.txID, in.TxID)
	c := &made{Change: Change{
		Op: Op(in.Op), Table: t, CommitTime: time.UnixMicro(in.TsMicros).UTC(),
		Stamp:         Stamp{d.origin, in.Seq, in.HLC},
		TransactionID: d.txID, Order: in.TotalOrder,
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
	}}
	c.key = Row{columns: t.Key, record: t.key, data: key}
	c.Key = &c.key
	if in.Before != nil {
		c.before = Row{columns: t.Columns, record: t.envelope.Value, data: in.Before}
		c.Before = &c.before
	}
	if in.After != nil {
		c.after = Row{columns: t.Columns, record: t.envelope.Value, data: in.After}
		c.After = &c.after
	}
	return &c.Change, nil
}

// same returns b as a string: s itself if it is that.
func same(s string, b []byte) string {
	if s == string(b) {
		return s
	}
	return string(b)
}

// restore puts into the rows what Debezium's form can't hold, and returns the
// key that they then have.
func (t *Table) restore(into *schemas.Decoded, exact []byte) (key []byte, err error) {
	if err := t.envelope.Restore(into, exact); err != nil {
		return nil, err
	}
	row := into.After
	if row == nil {
		row = into.Before
	}
	return t.envelope.Value.AppendKey(nil, t.key, row)
}

// table returns the version of a table that a record was written with.
func (d *Decoder) table(ctx context.Context, v tableVersion) (*Table, error) {
	if t, ok := d.tables[v]; ok {
		return t, nil
	}
	region, db, name, ok := topics.ParseTable(v.topic)
	if !ok {
		return nil, errors.New("the topic is not one of a table, <region>.<db>.<table>")
	}
	t := &Table{Region: string(region), DB: db, Name: name, ValueSchema: v.value, KeySchema: v.key}
	text, err := d.registry.Schema(ctx, v.value)
	if err != nil {
		return nil, err
	}
	if t.envelope, err = schemas.ParseEnvelope(text); err != nil {
		return nil, fmt.Errorf("schema %d of its value: %w", v.value, err)
	}
	if text, err = d.registry.Schema(ctx, v.key); err != nil {
		return nil, err
	}
	if t.key, err = schemas.ParseKey(text); err != nil {
		return nil, fmt.Errorf("schema %d of its key: %w", v.key, err)
	}
	t.Columns, t.Key = columnsOf(t.envelope.Value), columnsOf(t.key)
	if len(d.tables) >= maxTables {
		clear(d.tables)
	}
	d.tables[v] = t
	return t, nil
}
