package schemas

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

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
	`{"name":"ts_us","type":"long"},{"name":"canary","type":["null","string"],"default":null}` + endOfTasks + `],` +
	`"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataValue"}`

const seenSchema = `{"type":"record","name":"Seen","namespace":"duplex","fields":[` +
	`{"name":"region","type":"string"},{"name":"seq","type":"long"}],"connect.version":1,"connect.name":"duplex.Seen"}`

// endOfTasks and seenByTask are the fields that records have since there is more than one task. Those written
// before end where they would begin.
const (
	endOfTasks = `,{"name":"task","type":["null","string"],"default":null}` + seenByTask
	seenByTask = `,{"name":"seen_by_task","type":{"type":"array","items":{"type":"record","name":"SeenByTask","namespace":"duplex","fields":[` +
		`{"name":"region","type":"string"},{"name":"task","type":"string"},{"name":"seq","type":"long"}],"connect.version":1,"connect.name":"duplex.SeenByTask"}},"default":[]}`
)

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
	dst = appendSeen(dst, e.Stamp.Seen)
	dst = appendBlock(dst, len(e.Partitions))
	for i := range e.Partitions {
		p := &e.Partitions[i]
		dst = AppendLong(AppendString(dst, p.Topic), int64(p.Partition))
		dst = AppendLong(dst, p.Count)
	}
	dst = append(dst, 0)
	dst = AppendLong(dst, e.CommitMicros)
	dst = appendOptionalString(dst, e.Canary)
	dst = appendOptionalString(dst, e.Stamp.Task)
	dst = appendBlock(dst, len(e.Stamp.Seen))
	for _, s := range e.Stamp.Seen {
		dst = AppendString(AppendString(dst, string(s.Region)), s.Task)
		dst = AppendLong(dst, int64(s.Seq))
	}
	return append(dst, 0)
}

// appendSeen appends the greatest number of each region, whichever task's it is.
func appendSeen(dst []byte, seen change.Seen) []byte {
	regions := 0
	for i := range seen {
		if i == 0 || seen[i].Region != seen[i-1].Region {
			regions++
		}
	}
	dst = appendBlock(dst, regions)
	for i, greatest := 0, change.Seq(0); i < len(seen); i++ {
		if i == 0 || seen[i].Region != seen[i-1].Region {
			greatest = seen[i].Seq
		}
		greatest = max(greatest, seen[i].Seq)
		if i+1 == len(seen) || seen[i+1].Region != seen[i].Region {
			dst = AppendLong(AppendString(dst, string(seen[i].Region)), int64(greatest))
		}
	}
	return append(dst, 0)
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
	if c.at < len(data) || c.err != nil {
		r.tasks(&c, &e.Stamp)
	}
	if c.err == nil && c.at != len(data) {
		c.err = errTrailing
	}
	if c.err != nil {
		return fmt.Errorf("reading END record: %w", c.err)
	}
	return e.check()
}

// tasks reads what records have since there is more than one task.
func (r *EndReader) tasks(c *cursor, s *change.Stamp) {
	if task := c.optionalBytes(); len(task) > 0 {
		s.Task = r.name(task)
	}
	s.Seen = s.Seen[:0] // by region it tells less
	for c.items() {
		region, task := change.Region(r.name(c.bytes())), r.name(c.bytes())
		s.Seen = append(s.Seen, change.SeenSeq{Region: region, Task: task, Seq: change.Seq(c.long())})
	}
}

// check refuses what no capture writes, before somebody relies on it.
func (e *End) check() error {
	for i := range e.Partitions {
		if p := &e.Partitions[i]; p.Partition < 0 || p.Count < 1 {
			return fmt.Errorf("reading END record: %d changes in partition %d of topic %s can't be", p.Count, p.Partition, p.Topic)
		}
	}
	if !e.Stamp.Seen.Sorted() {
		return errors.New("reading END record: what it has seen isn't in order")
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

// CheckEndSchema refuses a schema of END records other than EndSchema, or what that was
// when there was no more than one task.
func CheckEndSchema(text string) error {
	if sameSchema("", text, strings.Replace(EndSchema, endOfTasks, "", 1)) == nil {
		return nil
	}
	return sameSchema("END records", text, EndSchema)
}

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
