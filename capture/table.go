package capture

import (
	"context"
	"fmt"
	"time"

	"duplex/capture/binlog"
	"duplex/change"
	"duplex/config"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// table is one version of a captured table and where its changes go.
type table struct {
	version     *binlog.TableVersion
	topic       string
	collection  string // db.table, as Debezium writes it
	partitions  int
	partitioner kgo.TopicPartitioner
	keyID       int
	valueID     int
	envelope    *schemas.Envelope
	key         *schemas.Record
	// cascade is the header of a change at which the server changed other rows
	// unlogged, values what reads the columns that decide; nil if it never does.
	cascade *kgo.RecordHeader
	values  *schemas.Record
	// cascaded are the tables, db.table, of which it may change rows then.
	cascaded []string
	// The first records of a version are held against goavro before they are
	// published; unproven is how many are still to be.
	proof    *schemas.Proof
	unproven int

	// In the transaction being published: changes by partition, and in all.
	counts []int64
	rows   int64
}

// provenRecords is how many records of a table version are held against goavro:
// some 20 µs each.
const provenRecords = 32

// prove refuses a table whose compiled encoder and schema disagree.
func (t *table) prove(r *kgo.Record) error {
	t.unproven--
	if err := t.proof.Check(r.Key, r.Value); err != nil {
		return supervise.Permanent(fmt.Errorf("table %s: the encoder made for it is wrong: of a record, %w; nothing of this transaction was published; mend: leave the table out of the task and report this with SHOW CREATE TABLE", t.collection, err))
	}
	if t.unproven == 0 {
		t.proof = nil
	}
	return nil
}

// partition returns where a key belongs: as any Kafka client would have it.
func (t *table) partition(r *kgo.Record) int32 {
	return int32(t.partitioner.Partition(r, t.partitions))
}

// tables makes a table version known to Kafka and the registry when its first
// row comes.
type tables struct {
	region   change.Region
	engine   string
	version  string // of this program
	kafka    config.Kafka
	admin    *kadm.Client
	registry *schemas.Registry
	known    map[*binlog.TableVersion]*table
}

func (t *tables) of(ctx context.Context, v *binlog.TableVersion) (*table, error) {
	if known, ok := t.known[v]; ok {
		return known, nil
	}
	made, err := t.publish(ctx, v)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", v.Table, err)
	}
	t.known[v] = made
	return made, nil
}

func (t *tables) publish(ctx context.Context, v *binlog.TableVersion) (*table, error) {
	topic, err := topics.Table(t.region, v.Table.DB, v.Table.Name)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	keySchema, err := schemas.KeySchema(v.Table, t.region)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	key, err := schemas.ParseKey(keySchema)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	valueSchema, err := schemas.EnvelopeSchema(v.Table, t.region, t.engine)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	proof, err := schemas.NewProof(keySchema, valueSchema)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	envelope := schemas.NewEnvelope(v.Table, t.region, t.engine, t.version)
	if err := proof.Rehearse(envelope); err != nil {
		return nil, supervise.Permanent(fmt.Errorf("the encoder made for it is wrong: of made-up rows, %w; nothing of it was published; mend: leave the table out of the task and report this with SHOW CREATE TABLE", err))
	}
	keyID, err := t.registry.Register(ctx, topic+"-key", keySchema)
	if err != nil {
		return nil, err
	}
	valueID, err := t.registry.Register(ctx, topic+"-value", valueSchema)
	if err != nil {
		return nil, err
	}
	partitions, err := topics.EnsureTable(ctx, t.admin, t.kafka, topic)
	if err != nil {
		return nil, err
	}
	made := &table{
		version: v, topic: topic, collection: v.Table.String(),
		partitions: int(partitions), counts: make([]int64, partitions),
		partitioner: kgo.StickyKeyPartitioner(nil).ForTopic(topic),
		keyID:       keyID, valueID: valueID,
		envelope: envelope, key: key,
		proof: proof, unproven: provenRecords,
	}
	if v.Table.Cascades != nil {
		if err := made.cascading(valueSchema); err != nil {
			return nil, supervise.Permanent(err)
		}
	}
	return made, nil
}

// describe returns what asks the server for the rest of a table's definition.
// The server shows the table as it is now, which may be later than the binlog
// that is read; only what a schema says besides the values depends on it.
func (s *session) describe(ctx context.Context) func(*schemas.Table) error {
	return func(t *schemas.Table) error {
		db, err := mysql.Open(s.c.cfg.Process.MySQL, mysql.Reading)
		if err != nil {
			return supervise.Permanent(err)
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		now, err := mysql.LoadTable(ctx, db, t.DB, t.Name)
		if err != nil {
			return classify(err)
		}
		t.Complete(now)
		return s.cascades(t, func() ([]mysql.ForeignKey, error) { return mysql.LoadForeignKeys(ctx, db) })
	}
}
