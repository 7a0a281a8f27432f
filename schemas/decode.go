package schemas

import (
	"errors"
	"fmt"
	"strings"
)

// EnvelopeReader reads the change envelopes written with one schema.
type EnvelopeReader struct {
	// Value is the type of the rows.
	Value *Record
	// stamped is set if the source block carries origin, seq and hlc, which
	// Debezium's own doesn't.
	stamped bool
}

// Decoded is one change. Its slices are parts of the value it was read from.
type Decoded struct {
	// Op is c, u, d or r.
	Op byte
	// Before and After are Avro encoded rows, nil where absent.
	Before, After []byte
	// DB and Table name the table in its region.
	DB, Table []byte
	// TsMicros is the commit time, Unix microseconds; milliseconds are all that
	// Debezium before 2.6 tells.
	TsMicros int64
	// Snapshot is "false" but for snapshot rows.
	Snapshot []byte
	GTID     []byte
	// Origin is empty, Seq and HLC are 0, where the writer stamps nothing.
	Origin   []byte
	Seq, HLC int64
	// TxID is the id of the transaction, empty where the writer tells none.
	TxID                        []byte
	TotalOrder, CollectionOrder int64
}

// What an envelope's records consist of, as field:type. A leading ? is a union
// of null and the type.
var (
	envelopeFields = []string{"before", "after", "source", "transaction", "op", "ts_ms", "ts_us", "ts_ns"}
	sourceFields   = []string{"version:string", "connector:string", "name:string", "ts_ms:long", "snapshot:string?", "db:string", "sequence:?string",
		"ts_us:?long", "ts_ns:?long", "table:?string", "server_id:long", "gtid:?string", "file:string", "pos:long", "row:int", "thread:?long", "query:?string"}
	stampFields       = []string{"origin:?string", "seq:?long", "hlc:?long"}
	transactionFields = []string{"id:string", "total_order:long", "data_collection_order:long"}
	timeFields        = []string{"op:string", "ts_ms:?long", "ts_us:?long", "ts_ns:?long"}
)

// ParseEnvelope parses the schema of a change. Only the envelope that
// EnvelopeSchema and Debezium (2.7 and later) write is accepted: a schema from
// a registry is somebody else's input.
func ParseEnvelope(schema string) (*EnvelopeReader, error) {
	root, err := parseJSON(schema)
	if err != nil {
		return nil, err
	}
	r, err := parseEnvelope(root)
	if err != nil {
		return nil, fmt.Errorf("parsing envelope schema: %w", err)
	}
	return r, nil
}

func parseEnvelope(root *node) (*EnvelopeReader, error) {
	fields, err := recordFields(root, "Envelope")
	if err != nil {
		return nil, err
	}
	types := make([]*node, len(fields))
	for i, f := range fields {
		if i >= len(envelopeFields) || f.text("name") != envelopeFields[i] {
			return nil, fmt.Errorf("field %d of the envelope is %q: the fields are %s, in this order", i+1, f.text("name"), strings.Join(envelopeFields, ", "))
		}
		if types[i] = f.object["type"]; types[i] == nil {
			return nil, fmt.Errorf("field %q of the envelope has no type", envelopeFields[i])
		}
	}
	if len(types) != len(envelopeFields) {
		return nil, fmt.Errorf("the envelope has %d fields: %s are expected", len(types), strings.Join(envelopeFields, ", "))
	}
	before, err := optional("before", types[0])
	if err != nil {
		return nil, err
	}
	r := &EnvelopeReader{}
	if r.Value, err = parseRow(before, "Value"); err != nil {
		return nil, fmt.Errorf("field \"before\": %w", err)
	}
	r.Value.Namespace = root.text("namespace")
	after, err := optional("after", types[1])
	if err != nil {
		return nil, err
	}
	if after.scalar != "Value" && after.scalar != r.Value.Namespace+".Value" {
		return nil, errors.New(`field "after" isn't of the type "Value" of field "before"`)
	}
	if r.stamped, err = parseSource(types[2]); err != nil {
		return nil, err
	}
	return r, parseRest(types, fields)
}

func parseSource(n *node) (stamped bool, err error) {
	fields, err := recordFields(n, "Source")
	if err != nil {
		return false, err
	}
	want := sourceFields
	if len(fields) > len(want) {
		want, stamped = append(want[:len(want):len(want)], stampFields...), true
	}
	return stamped, sameFields("source", fields, want)
}

// parseRest checks everything after the source block.
func parseRest(types, fields []*node) error {
	tx, err := optional("transaction", types[3])
	if err != nil {
		return err
	}
	block, err := recordFields(tx, "block")
	if err != nil {
		return err
	}
	if err := sameFields("transaction", block, transactionFields); err != nil {
		return err
	}
	return sameFields("envelope", fields[4:], timeFields)
}

// optional returns the second type of a union with null.
func optional(name string, n *node) (*node, error) {
	if len(n.array) != 2 || !isNull(n.array[0]) || isNull(n.array[1]) {
		return nil, fmt.Errorf("field %q isn't a union of null and one type", name)
	}
	return n.array[1], nil
}

// sameFields compares fields with what is wanted, each written as in
// sourceFields.
func sameFields(where string, fields []*node, want []string) error {
	for i, f := range fields {
		got := f.text("name") + ":" + shape(f.object["type"])
		if i >= len(want) || got != want[i] {
			return fmt.Errorf("field %d of %s is %q: expected are %s", i+1, where, got, strings.Join(want, ", "))
		}
	}
	if len(fields) != len(want) {
		return fmt.Errorf("%s has %d fields: expected are %s", where, len(fields), strings.Join(want, ", "))
	}
	return nil
}

func shape(n *node) string {
	if n == nil {
		return "none"
	}
	if len(n.array) == 2 && isNull(n.array[0]) {
		return "?" + shape(n.array[1])
	}
	if len(n.array) == 2 && isNull(n.array[1]) {
		return shape(n.array[0]) + "?"
	}
	if s, ok := n.scalar.(string); ok {
		return s
	}
	if t := n.object["type"]; t != nil && t.scalar != nil {
		return n.text("type")
	}
	return "something else"
}

// Decode reads one change. It doesn't allocate unless it fails, reads nothing
// outside of value, and takes nothing but exactly one envelope.
func (r *EnvelopeReader) Decode(value []byte, into *Decoded) error {
	*into = Decoded{}
	c := cursor{b: value}
	var err error
	if into.Before, err = r.row(&c); err != nil {
		return fmt.Errorf("decoding the row before the change: %w", err)
	}
	if into.After, err = r.row(&c); err != nil {
		return fmt.Errorf("decoding the row after the change: %w", err)
	}
	r.source(&c, into)
	if c.present() {
		into.TxID = c.bytes()
		into.TotalOrder = c.long()
		into.CollectionOrder = c.long()
	}
	op := c.bytes()
	c.optionalLong() // ts_ms, ts_us, ts_ns: when the writer worked
	c.optionalLong()
	c.optionalLong()
	if c.err != nil {
		return fmt.Errorf("decoding envelope: %w", c.err)
	}
	if c.at != len(value) {
		return fmt.Errorf("decoding envelope: %w", errTrailing)
	}
	return into.checkOp(op)
}

// row reads ["null", Value].
func (r *EnvelopeReader) row(c *cursor) ([]byte, error) {
	if !c.present() {
		return nil, c.err
	}
	end, err := r.Value.skip(c.b, c.at)
	if err != nil {
		return nil, err
	}
	row := c.b[c.at:end:end]
	c.at = end
	return row, nil
}

func (r *EnvelopeReader) source(c *cursor, into *Decoded) {
	c.bytes() // version
	c.bytes() // connector
	c.bytes() // name
	into.TsMicros = c.long() * 1000
	if !c.present() { // snapshot is a union of string and null, in this order
		into.Snapshot = c.bytes()
	}
	into.DB = c.bytes()
	c.optionalBytes() // sequence
	if us := c.optionalLong(); us != 0 {
		into.TsMicros = us
	}
	c.optionalLong() // ts_ns
	into.Table = c.optionalBytes()
	c.long() // server_id
	into.GTID = c.optionalBytes()
	c.bytes()         // file
	c.long()          // pos
	c.int()           // row
	c.optionalLong()  // thread
	c.optionalBytes() // query
	if r.stamped {
		into.Origin = c.optionalBytes()
		into.Seq = c.optionalLong()
		into.HLC = c.optionalLong()
	}
}

// checkOp sets Op if the images go with it.
func (d *Decoded) checkOp(op []byte) error {
	if len(op) != 1 {
		return fmt.Errorf("decoding envelope: op has %d letters: one of c, u, d, r is expected", len(op))
	}
	d.Op = op[0]
	before, after := d.Before != nil, d.After != nil
	var ok bool
	switch d.Op {
	case 'c', 'r':
		ok = !before && after
	case 'u':
		ok = before && after
	case 'd':
		ok = before && !after
	default:
		return fmt.Errorf("decoding envelope: op is %q: one of c, u, d, r is expected", op)
	}
	if !ok {
		return fmt.Errorf("decoding envelope: op %q with before=%t, after=%t: the server must log full row images (SET PERSIST binlog_row_image='FULL')", op, before, after)
	}
	return nil
}

// cursor reads one value after another and keeps the first error.
type cursor struct {
	b   []byte
	at  int
	err error
	// left is the number of items that are left of an array's block.
	left int64
}

func (c *cursor) long() (v int64) {
	if c.err == nil {
		v, c.at, c.err = ReadLong(c.b, c.at)
	}
	return v
}

func (c *cursor) int() (v int64) {
	if c.err == nil {
		v, c.at, c.err = ReadInt(c.b, c.at)
	}
	return v
}

func (c *cursor) bytes() (v []byte) {
	if c.err == nil {
		v, c.at, c.err = ReadBytes(c.b, c.at)
	}
	return v
}

// present reads a union index and reports whether it is 1.
func (c *cursor) present() bool {
	i := c.long()
	if c.err == nil && i != 0 && i != 1 {
		c.err = errUnion
	}
	return c.err == nil && i == 1
}

// items reports whether an array has one more item, and steps to it. A count
// that isn't true does no harm: no item is empty, so the bytes end first.
func (c *cursor) items() bool {
	if c.err == nil && c.left == 0 {
		if c.left = c.long(); c.left < 0 { // the form with the block's size in bytes
			c.left = -c.left
			c.long()
		}
	}
	if c.err != nil || c.left <= 0 {
		c.left = 0
		return false
	}
	c.left--
	return true
}

func (c *cursor) optionalLong() int64 {
	if c.present() {
		return c.long()
	}
	return 0
}

func (c *cursor) optionalBytes() []byte {
	if c.present() {
		return c.bytes()
	}
	return nil
}
