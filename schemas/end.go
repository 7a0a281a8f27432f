package schemas

import (
	"errors"
	"fmt"
	"reflect"

	"duplex/change"
)

// End is the record of topic `<region>.transaction` that follows the changes
// of one transaction: Debezium's TransactionMetadataValue with status END,
// then the stamp and what is needed to prove that no change is missing.
type End struct {
	// ID is the GTID of the transaction.
	ID string
	// Events is the number of changes, and Collections that of each table.
	Events      int64
	Collections []CollectionCount
	// Millis is the time of writing, Unix milliseconds.
	Millis int64
	Stamp  change.Stamp
	// Partitions is the number of records in each partition that has any.
	Partitions []PartitionCount
	// CommitMicros is the commit time in the origin, Unix microseconds.
	CommitMicros int64
	// Canary is the token of a canary transaction, empty for all others.
	Canary string
}

// CollectionCount is the number of changes of one table, `<db>.<table>`.
type CollectionCount struct {
	Name  string
	Count int64
}

// PartitionCount is the number of records of one partition of a topic.
type PartitionCount struct {
	Topic     string
	Partition int32
	Count     int64
}

// EndKeySchema is the schema of the key of an END record, Debezium's own.
const EndKeySchema = `{"type":"record","name":"TransactionMetadataKey","namespace":"io.debezium.connector.common","fields":[{"name":"id","type":"string"}],` +
	`"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataKey"}`

// EndSchema is the schema of an END record: Debezium's, and more fields.
const EndSchema = `{"type":"record","name":"TransactionMetadataValue","namespace":"io.debezium.connector.common","fields":[` +
	`{"name":"status","type":"string"},{"name":"id","type":"string"},{"name":"event_count","type":["null","long"],"default":null},` +
	`{"name":"data_collections","type":["null",{"type":"array","items":["null",{"type":"record","name":"collection","namespace":"event","fields":[` +
	`{"name":"data_collection","type":"string"},{"name":"event_count","type":"long"}],"connect.version":1,"connect.name":"event.collection"}]}],"default":null},` +
	`{"name":"ts_ms","type":"long"},` +
	`{"name":"origin","type":"string"},{"name":"seq","type":"long"},{"name":"hlc","type":"long"},` +
	`{"name":"seen","type":{"type":"array","items":` + seenSchema + `}},` +
	`{"name":"partitions","type":{"type":"array","items":{"type":"record","name":"Partition","namespace":"duplex","fields":[` +
	`{"name":"topic","type":"string"},{"name":"partition","type":"int"},{"name":"count","type":"long"}],"connect.version":1,"connect.name":"duplex.Partition"}}},` +
	`{"name":"ts_us","type":"long"},{"name":"canary","type":["null","string"],"default":null}],` +
	`"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataValue"}`

const seenSchema = `{"type":"record","name":"Seen","namespace":"duplex","fields":[` +
	`{"name":"region","type":"string"},{"name":"seq","type":"long"}],"connect.version":1,"connect.name":"duplex.Seen"}`

// AppendEndKey appends the Avro encoding of the key of an END record.
func AppendEndKey(dst []byte, id string) []byte { return AppendString(dst, id) }

// AppendEnd appends the Avro encoding of an END record. It doesn't allocate
// but for the growth of dst.
func AppendEnd(dst []byte, e *End) []byte {
	dst = AppendString(dst, "END")
	dst = AppendString(dst, e.ID)
	dst = appendOptionalLong(dst, e.Events)
	dst = appendBlock(append(dst, 2), len(e.Collections))
	for i := range e.Collections {
		dst = AppendString(append(dst, 2), e.Collections[i].Name)
		dst = AppendLong(dst, e.Collections[i].Count)
	}
	dst = append(dst, 0)
	dst = AppendLong(dst, e.Millis)
	dst = AppendString(dst, string(e.Stamp.Origin))
	dst = AppendLong(dst, int64(e.Stamp.Seq))
	dst = AppendLong(dst, int64(e.Stamp.HLC))
	dst = appendBlock(dst, len(e.Stamp.Seen))
	for _, s := range e.Stamp.Seen {
		dst = AppendLong(AppendString(dst, string(s.Region)), int64(s.Seq))
	}
	dst = append(dst, 0)
	dst = appendBlock(dst, len(e.Partitions))
	for i := range e.Partitions {
		p := &e.Partitions[i]
		dst = AppendLong(AppendString(dst, p.Topic), int64(p.Partition))
		dst = AppendLong(dst, p.Count)
	}
	dst = append(dst, 0)
	dst = AppendLong(dst, e.CommitMicros)
	return appendOptionalString(dst, e.Canary)
}

// appendBlock begins an array, which a zero ends; an empty one is its end alone.
func appendBlock(dst []byte, items int) []byte {
	if items == 0 {
		return dst
	}
	return AppendLong(dst, int64(items))
}

// EndReader reads END records. It keeps the names of tables, topics and
// regions, so that each is allocated once. It isn't safe for concurrent use.
type EndReader struct {
	names map[string]string
}

// maxNames bounds what an EndReader keeps.
const maxNames = 1 << 16

// Read reads an END record of schema EndSchema into e, whose slices it reuses.
// Stamp.Seen alone is allocated anew, since stamps share it.
func (r *EndReader) Read(data []byte, e *End) error {
	c := cursor{b: data}
	status := c.bytes()
	if c.err == nil && string(status) != "END" {
		return fmt.Errorf("reading END record: its status is %q", status)
	}
	e.ID = string(c.bytes())
	e.Events = c.optionalLong()
	e.Collections = e.Collections[:0]
	if c.present() {
		for c.items() {
			if c.present() {
				e.Collections = append(e.Collections, CollectionCount{r.name(c.bytes()), c.long()})
			}
		}
	}
	e.Millis = c.long()
	e.Stamp = change.Stamp{Origin: change.Region(r.name(c.bytes())), Seq: change.Seq(c.long()), HLC: change.HLC(c.long())}
	for c.items() {
		region := change.Region(r.name(c.bytes()))
		e.Stamp.Seen = append(e.Stamp.Seen, change.SeenSeq{Region: region, Seq: change.Seq(c.long())})
	}
	e.Partitions = e.Partitions[:0]
	for c.items() {
		e.Partitions = append(e.Partitions, PartitionCount{r.name(c.bytes()), int32(c.int()), c.long()})
	}
	e.CommitMicros = c.long()
	e.Canary = string(c.optionalBytes())
	if c.err == nil && c.at != len(data) {
		c.err = errTrailing
	}
	if c.err != nil {
		return fmt.Errorf("reading END record: %w", c.err)
	}
	return e.check()
}

// check refuses what no capture writes, before somebody relies on it.
func (e *End) check() error {
	for i := range e.Partitions {
		if p := &e.Partitions[i]; p.Partition < 0 || p.Count < 1 {
			return fmt.Errorf("reading END record: %d changes in partition %d of topic %s can't be", p.Count, p.Partition, p.Topic)
		}
	}
	for i := 1; i < len(e.Stamp.Seen); i++ {
		if e.Stamp.Seen[i-1].Region >= e.Stamp.Seen[i].Region {
			return errors.New("reading END record: the regions of seen aren't in order")
		}
	}
	return nil
}

// ReadEnd reads one END record. Who reads many keeps an EndReader.
func ReadEnd(data []byte, e *End) error { return new(EndReader).Read(data, e) }

// name returns b as a string, the same one for equal bytes.
func (r *EndReader) name(b []byte) string {
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	if r.names == nil || len(r.names) >= maxNames {
		r.names = make(map[string]string)
	}
	s := string(b)
	r.names[s] = s
	return s
}

// CheckEndSchema refuses a schema of END records other than EndSchema.
func CheckEndSchema(text string) error { return sameSchema("END records", text, EndSchema) }

// CheckEndKeySchema refuses a schema of their keys other than EndKeySchema.
func CheckEndKeySchema(text string) error {
	return sameSchema("keys of END records", text, EndKeySchema)
}

// sameSchema compares two schemas as JSON: a registry may space and order them
// its own way.
func sameSchema(what, got, want string) error {
	g, err := parseJSON(got)
	if err != nil {
		return fmt.Errorf("checking the schema of %s: %w", what, err)
	}
	w, err := parseJSON(want)
	if err != nil {
		return fmt.Errorf("checking the schema of %s: %w", what, err)
	}
	if !reflect.DeepEqual(g, w) {
		return fmt.Errorf("the schema of %s isn't the one this version writes: run the same version of duplex in all regions", what)
	}
	return nil
}
