package schemas

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/linkedin/goavro/v2"

	"duplex/change"
)

// MaxFields is the greatest number of columns of a row schema, MySQL's own
// limit.
const MaxFields = 4096

// OriginalName is the connect parameter that carries the name of a column that
// is no legal Avro name.
const OriginalName = "__debezium.source.column.name"

// KeySchema returns the schema of a table's primary key, as text.
func KeySchema(t *Table, region change.Region) (string, error) {
	if len(t.Key) == 0 {
		return "", fmt.Errorf("table %s has no primary key: add one (ALTER TABLE %s ADD PRIMARY KEY ...) or exclude the table", t, quoted(t))
	}
	ns := Namespace(region, t.DB, t.Name)
	cols := make([]Column, len(t.Key))
	for i, at := range t.Key {
		cols[i] = t.Columns[at]
		cols[i].Nullable = false // a key column can't be NULL, whatever TABLE_MAP says of it
	}
	b := append([]byte(nil), `{"type":"record","name":"Key","namespace":`...)
	b = appendJSON(b, ns)
	b, err := appendColumns(b, t, cols)
	if err != nil {
		return "", err
	}
	b = appendConnectName(b, ns+".Key")
	return checked(b, t)
}

// ValueSchema returns the schema of a table's row by itself, as text. On the
// wire it stands inside of the envelope only.
func ValueSchema(t *Table, region change.Region) (string, error) {
	b, err := appendValue(nil, t, region, `"namespace":`+string(appendJSON(nil, Namespace(region, t.DB, t.Name)))+`,`)
	if err != nil {
		return "", err
	}
	return checked(b, t)
}

// EnvelopeSchema returns the schema of a table's change, as text. Engine is
// "mysql" or "mariadb".
func EnvelopeSchema(t *Table, region change.Region, engine string) (string, error) {
	ns := Namespace(region, t.DB, t.Name)
	b := append([]byte(nil), `{"type":"record","name":"Envelope","namespace":`...)
	b = appendJSON(b, ns)
	b = append(b, `,"fields":[{"name":"before","type":["null",`...)
	b, err := appendValue(b, t, region, "")
	if err != nil {
		return "", err
	}
	b = append(b, `],"default":null},{"name":"after","type":["null","Value"],"default":null},{"name":"source","type":`...)
	b = append(b, sourceSchema(engine)...)
	b = append(b, `},`+transactionField+`,{"name":"op","type":"string"},`+
		`{"name":"ts_ms","type":["null","long"],"default":null},`+
		`{"name":"ts_us","type":["null","long"],"default":null},`+
		`{"name":"ts_ns","type":["null","long"],"default":null}],"connect.version":2`...)
	b = appendConnectName(b, ns+".Envelope")
	return checked(b, t)
}

const transactionField = `{"name":"transaction","type":["null",{"type":"record","name":"block","namespace":"event","fields":[` +
	`{"name":"id","type":"string"},{"name":"total_order","type":"long"},{"name":"data_collection_order","type":"long"}],` +
	`"connect.version":1,"connect.name":"event.block"}],"default":null}`

// sourceSchema is Debezium's source block and the stamp: origin, seq, hlc.
func sourceSchema(engine string) string {
	return `{"type":"record","name":"Source","namespace":"io.debezium.connector.` + engine + `","fields":[` +
		`{"name":"version","type":"string"},{"name":"connector","type":"string"},{"name":"name","type":"string"},{"name":"ts_ms","type":"long"},` +
		`{"name":"snapshot","type":[{"type":"string","connect.version":1,"connect.parameters":{"allowed":` +
		`"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},` +
		`"connect.default":"false","connect.name":"io.debezium.data.Enum"},"null"],"default":"false"},` +
		`{"name":"db","type":"string"},{"name":"sequence","type":["null","string"],"default":null},` +
		`{"name":"ts_us","type":["null","long"],"default":null},{"name":"ts_ns","type":["null","long"],"default":null},` +
		`{"name":"table","type":["null","string"],"default":null},{"name":"server_id","type":"long"},` +
		`{"name":"gtid","type":["null","string"],"default":null},{"name":"file","type":"string"},{"name":"pos","type":"long"},` +
		`{"name":"row","type":"int"},{"name":"thread","type":["null","long"],"default":null},{"name":"query","type":["null","string"],"default":null},` +
		`{"name":"origin","type":["null","string"],"default":null},{"name":"seq","type":["null","long"],"default":null},` +
		`{"name":"hlc","type":["null","long"],"default":null}],` +
		`"connect.version":1,"connect.name":"io.debezium.connector.` + engine + `.Source"}`
}

func appendValue(b []byte, t *Table, region change.Region, namespace string) ([]byte, error) {
	b = append(b, `{"type":"record","name":"Value",`+namespace...)
	b = b[:len(b)-1] // appendColumns begins with the comma
	b, err := appendColumns(b, t, t.Columns)
	if err != nil {
		return nil, err
	}
	return appendConnectName(b, Namespace(region, t.DB, t.Name)+".Value"), nil
}

// appendColumns appends the property "fields".
func appendColumns(b []byte, t *Table, cols []Column) ([]byte, error) {
	if len(cols) == 0 || len(cols) > MaxFields {
		return nil, fmt.Errorf("table %s has %d columns: between 1 and %d can be carried", t, len(cols), MaxFields)
	}
	b = append(b, `,"fields":[`...)
	defined := make(map[string]bool)
	for i := range cols {
		c := &cols[i]
		typ, err := avroTypeOf(t, c)
		if err != nil {
			return nil, err
		}
		name := AvroName(c.Name)
		if name != c.Name {
			typ.params = append(typ.params, [2]string{OriginalName, c.Name})
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSON(append(b, `{"name":`...), name)
		typ.preset, typ.defined = preset(c), defined[typ.name]
		defined[typ.name] = true
		b = appendField(append(b, `,"type":`...), typ, c.Optional())
	}
	return append(b, ']'), nil
}

// appendField appends the type of a column, and its default. A reader that
// resolves schemas takes a default for one of the union's first type, so a
// column that may be NULL has null last if its default isn't NULL.
func appendField(b []byte, typ *avroType, nullable bool) []byte {
	switch {
	case nullable && typ.preset == "":
		b = typ.append(append(b, `["null",`...))
		return append(b, `],"default":null}`...)
	case nullable:
		b = append(typ.append(append(b, '[')), `,"null"]`...)
	default:
		b = typ.append(b)
	}
	if typ.preset != "" {
		b = append(append(b, `,"default":`...), typ.preset...)
	}
	return append(b, '}')
}

func appendConnectName(b []byte, name string) []byte {
	return append(appendJSON(append(b, `,"connect.name":`...), name), '}')
}

// avroType is the Avro form of a column, in the converter's terms.
type avroType struct {
	base        string
	params      [][2]string // connect.parameters, in order
	name        string      // connect.name: given, its connect.version is 1
	connectType string
	precision   int // of a decimal, else 0
	scale       int
	preset      string // the default as JSON, empty without one
	defined     bool   // a record that the schema has already defined
}

// append appends the type; the order of its properties is the converter's.
func (a *avroType) append(b []byte) []byte {
	switch {
	case a.base == "array":
		return append(b, vectorType...)
	case a.base == "record" && a.defined:
		return appendJSON(b, a.name)
	case a.base == "record":
		return append(b, definitions[a.name]...)
	}
	if a.name == "" && a.connectType == "" && len(a.params) == 0 && a.preset == "" {
		return appendJSON(b, a.base)
	}
	b = appendJSON(append(b, `{"type":`...), a.base)
	if a.precision > 0 {
		b = strconv.AppendInt(append(b, `,"scale":`...), int64(a.scale), 10)
		b = strconv.AppendInt(append(b, `,"precision":`...), int64(a.precision), 10)
	}
	if a.name != "" {
		b = append(b, `,"connect.version":1`...)
	}
	for i, p := range a.params {
		if i == 0 {
			b = append(b, `,"connect.parameters":{`...)
		} else {
			b = append(b, ',')
		}
		b = appendJSON(append(appendJSON(b, p[0]), ':'), p[1])
	}
	if len(a.params) > 0 {
		b = append(b, '}')
	}
	if a.preset != "" {
		b = append(append(b, `,"connect.default":`...), a.preset...)
	}
	if a.name != "" {
		b = appendJSON(append(b, `,"connect.name":`...), a.name)
	}
	if a.connectType != "" {
		b = appendJSON(append(b, `,"connect.type":`...), a.connectType)
	}
	if a.precision > 0 {
		b = append(b, `,"logicalType":"decimal"`...)
	}
	return append(b, '}')
}

const (
	connectDecimal        = "org.apache.kafka.connect.data.Decimal"
	connectBits           = "io.debezium.data.Bits"
	connectEnum           = "io.debezium.data.Enum"
	connectEnumSet        = "io.debezium.data.EnumSet"
	connectJSON           = "io.debezium.data.Json"
	connectYear           = "io.debezium.time.Year"
	connectDate           = "io.debezium.time.Date"
	connectMicroTime      = "io.debezium.time.MicroTime"
	connectTimestamp      = "io.debezium.time.Timestamp"
	connectMicroTimestamp = "io.debezium.time.MicroTimestamp"
	connectZonedTimestamp = "io.debezium.time.ZonedTimestamp"
	connectUUID           = "io.debezium.data.Uuid"
)

func avroTypeOf(t *Table, c *Column) (*avroType, error) {
	switch c.Type {
	case TinyInt, SmallInt:
		if c.Type == SmallInt && c.Unsigned {
			return &avroType{base: "int"}, nil
		}
		return &avroType{base: "int", connectType: "int16"}, nil
	case MediumInt:
		return &avroType{base: "int"}, nil
	case Int:
		if c.Unsigned {
			return &avroType{base: "long"}, nil
		}
		return &avroType{base: "int"}, nil
	case BigInt:
		if c.Unsigned {
			return decimalType(20, 0), nil
		}
		return &avroType{base: "long"}, nil
	case Float:
		if c.Precision > 0 {
			return &avroType{base: "double"}, nil
		}
	case Decimal:
		if c.Precision < 1 || c.Precision > 65 || c.Scale < 0 || c.Scale > 30 || c.Scale > c.Precision {
			return nil, fmt.Errorf("table %s, column %q: decimal(%d,%d) is no type of MySQL", t, c.Name, c.Precision, c.Scale)
		}
		return decimalType(c.Precision, c.Scale), nil
	case Bit:
		if c.Length == 1 {
			return &avroType{base: "boolean"}, nil
		}
		return &avroType{base: "bytes", name: connectBits, params: [][2]string{{"length", strconv.Itoa(c.Length)}}}, nil
	case DateTime:
		if c.Scale <= 3 {
			return &avroType{base: "long", name: connectTimestamp}, nil
		}
		return &avroType{base: "long", name: connectMicroTimestamp}, nil
	case Enum:
		return &avroType{base: "string", name: connectEnum, params: [][2]string{{"allowed", allowed(c.Values)}}}, nil
	case Set:
		return &avroType{base: "string", name: connectEnumSet, params: [][2]string{{"allowed", allowed(c.Values)}}}, nil
	}
	if typ, ok := plainType(c.Type); ok {
		return &typ, nil
	}
	return nil, fmt.Errorf("table %s, column %q: type %s can't be carried yet: exclude the table from the task", t, c.Name, c.Type)
}

// plainType returns the Avro form of the types that have no attributes there.
func plainType(t Type) (avroType, bool) {
	switch t {
	case Float:
		return avroType{base: "float"}, true
	case Double:
		return avroType{base: "double"}, true
	case Char, VarChar, Text:
		return avroType{base: "string"}, true
	case Binary, VarBinary, Blob:
		return avroType{base: "bytes"}, true
	case JSON:
		return avroType{base: "string", name: connectJSON}, true
	case Year:
		return avroType{base: "int", name: connectYear}, true
	case Date:
		return avroType{base: "int", name: connectDate}, true
	case Time:
		return avroType{base: "long", name: connectMicroTime}, true
	case Timestamp:
		return avroType{base: "string", name: connectZonedTimestamp}, true
	case Geometry:
		return avroType{base: "record", name: connectGeometry}, true
	case Point:
		return avroType{base: "record", name: connectPoint}, true
	case Vector:
		return avroType{base: "array", name: connectVector}, true
	case UUID:
		return avroType{base: "string", name: connectUUID}, true
	case INET4, INET6:
		return avroType{base: "string"}, true
	}
	return avroType{}, false
}

func decimalType(precision, scale int) *avroType {
	return &avroType{base: "bytes", name: connectDecimal, precision: precision, scale: scale,
		params: [][2]string{{"scale", strconv.Itoa(scale)}, {"connect.decimal.precision", strconv.Itoa(precision)}}}
}

// allowed joins the labels of ENUM or SET. A comma or backslash in an ENUM's
// label is escaped, so that a reader can split them.
func allowed(labels []string) string {
	esc := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = esc.Replace(l)
	}
	return strings.Join(out, ",")
}

// checked has goavro, the codec of record, and our own parser read the schema.
// goavro gets it without attributes: its reading of logical types has defects,
// and the bytes on the wire don't depend on them.
func checked(schema []byte, t *Table) (string, error) {
	root, err := parseJSON(string(schema))
	if err != nil {
		return "", fmt.Errorf("checking the schema made for table %s: %w", t, err)
	}
	if _, err := goavro.NewCodec(string(root.appendBare(nil))); err != nil {
		return "", fmt.Errorf("checking the schema made for table %s: %w", t, err)
	}
	return string(schema), nil
}

// appendJSON appends s as a JSON string, without escapes that are needed in
// HTML only.
func appendJSON(b []byte, s string) []byte {
	var buf strings.Builder
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return append(b, strings.TrimSuffix(buf.String(), "\n")...)
}

func quoted(t *Table) string {
	return "`" + strings.ReplaceAll(t.DB, "`", "``") + "`.`" + strings.ReplaceAll(t.Name, "`", "``") + "`"
}
