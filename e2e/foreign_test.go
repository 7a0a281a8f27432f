package e2e_test

import (
	"context"
	wire "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestForeignConsumer: a reader that knows nothing of Duplex but what any
// reader of Debezium's topics knows – Confluent's wire format, a registry over
// HTTP, Avro by goavro – rebuilds every table of both regions from the topics
// alone, each value of it (promises 1 and 8).
func TestForeignConsumer(t *testing.T) {
	p := newPair(t, "foreign", nil)
	l := newLoad(p, 4)
	processes := p.start("run")
	l.begin(int64(scaled(1_500, 20_000)))
	l.wait()
	waitEqual(p, l)
	for _, s := range p.sides() {
		eventually(t, stallLimit, func() error { return compareForeign(p, s, l) })
	}
	stop(processes)
}

// compareForeign rebuilds a region's tables and compares them with SELECT. The
// capture may still be publishing the last of what apply wrote.
func compareForeign(p *pair, s *side, l *load) error {
	_, registry := services.get(p.t)
	reader := &foreignReader{registry: registry.URL(), codecs: map[uint32]*foreignSchema{}, tables: map[string]map[string]foreignRow{}}
	if err := reader.read(p.t.Context(), p.kafka.Brokers(), s.region+".shop."); err != nil {
		return final(err)
	}
	var wrong []error
	values := 0
	for _, t := range l.tables {
		rebuilt := map[string]foreignRow{}
		for _, row := range reader.tables[s.region+".shop."+t.name] {
			key := make([]any, len(t.keys))
			for i, k := range t.keys {
				key[i] = row.text(k)
			}
			rebuilt[t.text(key)] = row
		}
		want := contents(p.t, s.mysql.DB(), t)
		if len(rebuilt) != len(want) {
			wrong = append(wrong, fmt.Errorf("%s: %d rows rebuilt, %d there", t.name, len(rebuilt), len(want)))
		}
		for key, row := range want {
			for _, cell := range row {
				values++
				if err := rebuilt[key].compare(cell); err != nil {
					wrong = append(wrong, fmt.Errorf("%s[%s]: %w", t.name, key, err))
				}
			}
		}
	}
	if len(wrong) == 0 {
		p.t.Logf("%s: %d values rebuilt from %d records, by %d schemas", s.region, values, reader.records, len(reader.codecs))
	}
	return errors.Join(wrong[:min(10, len(wrong))]...)
}

// foreignReader keeps the last image of each key of each topic.
type foreignReader struct {
	registry string
	codecs   map[uint32]*foreignSchema
	tables   map[string]map[string]foreignRow // by topic and the key's bytes
	records  int
}

// foreignSchema is a schema as the registry gives it.
type foreignSchema struct {
	codec *goavro.Codec
	// fields are the columns' types, of the record that before and after have.
	fields map[string]map[string]any
}

// foreignRow is one image: what goavro makes of it, and the columns' types.
type foreignRow struct {
	values map[string]any
	schema *foreignSchema
}

func (f *foreignReader) read(ctx context.Context, brokers []string, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer client.Close()
	left, err := ends(ctx, client, prefix)
	if err != nil {
		return err
	}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for r := range fetches.RecordsAll() {
			at := topicPartition{r.Topic, r.Partition}
			if !r.Attrs.IsControl() {
				if err := f.add(ctx, r); err != nil {
					return fmt.Errorf("%s[%d]@%d: %w", r.Topic, r.Partition, r.Offset, err)
				}
			}
			if r.Offset >= left[at]-1 {
				delete(left, at)
			}
		}
	}
	return nil
}

// add plays one record.
func (f *foreignReader) add(ctx context.Context, r *kgo.Record) error {
	f.records++
	table := f.tables[r.Topic]
	if table == nil {
		table = map[string]foreignRow{}
		f.tables[r.Topic] = table
	}
	if r.Value == nil {
		delete(table, string(r.Key)) // a tombstone
		return nil
	}
	if _, _, err := f.decode(ctx, r.Key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	native, schema, err := f.decode(ctx, r.Value)
	if err != nil {
		return fmt.Errorf("value: %w", err)
	}
	after, _ := unwrap(native["after"]).(map[string]any)
	op, _ := native["op"].(string)
	_, existed := table[string(r.Key)]
	switch {
	case (op == "d") != (after == nil):
		return fmt.Errorf("operation %q with after %v", op, after != nil)
	case existed != (unwrap(native["before"]) != nil):
		return fmt.Errorf("operation %q with before %v, and the row was there %v", op, !existed, existed)
	case after == nil:
		delete(table, string(r.Key))
	default:
		table[string(r.Key)] = foreignRow{after, schema}
	}
	return nil
}

// decode reads Confluent's wire format: a zero, the schema's id, Avro.
func (f *foreignReader) decode(ctx context.Context, data []byte) (map[string]any, *foreignSchema, error) {
	if len(data) < 5 || data[0] != 0 {
		return nil, nil, errors.New("not Confluent's wire format")
	}
	id := wire.BigEndian.Uint32(data[1:])
	schema, ok := f.codecs[id]
	if !ok {
		var err error
		if schema, err = f.fetch(ctx, id); err != nil {
			return nil, nil, fmt.Errorf("schema %d: %w", id, err)
		}
		f.codecs[id] = schema
	}
	native, rest, err := schema.codec.NativeFromBinary(data[5:])
	if err != nil {
		return nil, nil, err
	}
	if len(rest) > 0 {
		return nil, nil, fmt.Errorf("%d bytes are left over", len(rest))
	}
	record, ok := native.(map[string]any)
	if !ok {
		return nil, nil, fmt.Errorf("a %T, not a record", native)
	}
	return record, schema, nil
}

// fetch asks the registry for a schema.
func (f *foreignReader) fetch(ctx context.Context, id uint32) (*foreignSchema, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/schemas/ids/%d", f.registry, id), nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	var found struct{ Schema string }
	if err := json.Unmarshal(text, &found); err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", answer.Status, text)
	}
	var tree any
	if err := json.Unmarshal([]byte(found.Schema), &tree); err != nil {
		return nil, err
	}
	s := &foreignSchema{fields: map[string]map[string]any{}}
	s.collect(tree)
	// goavro would make numbers of its own of the logical types.
	plain, err := json.Marshal(withoutLogicalTypes(tree))
	if err != nil {
		return nil, err
	}
	s.codec, err = goavro.NewCodec(string(plain))
	return s, err
}

func withoutLogicalTypes(node any) any {
	switch n := node.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range n {
			if k != "logicalType" {
				out[k] = withoutLogicalTypes(v)
			}
		}
		return out
	case []any:
		out := make([]any, len(n))
		for i, v := range n {
			out[i] = withoutLogicalTypes(v)
		}
		return out
	}
	return node
}

// collect finds the record of a row, whose name is Value, and notes the types
// of its fields.
func (s *foreignSchema) collect(node any) {
	switch n := node.(type) {
	case map[string]any:
		fields, _ := n["fields"].([]any)
		if name, _ := n["name"].(string); name == "Value" {
			for _, f := range fields {
				field := f.(map[string]any)
				s.fields[field["name"].(string)] = typeOf(field["type"])
			}
			return
		}
		for _, f := range fields {
			s.collect(f.(map[string]any)["type"])
		}
	case []any:
		for _, branch := range n {
			s.collect(branch)
		}
	}
}

// typeOf returns a field's type as an object; of a union, the part that isn't
// null.
func typeOf(t any) map[string]any {
	switch n := t.(type) {
	case map[string]any:
		return n
	case []any:
		for _, branch := range n {
			if branch != "null" {
				return typeOf(branch)
			}
		}
	}
	return map[string]any{"type": t}
}

// unwrap takes what goavro gives for a union: nil, or a map of the one branch.
func unwrap(v any) any {
	if union, ok := v.(map[string]any); ok && len(union) == 1 {
		for _, inner := range union {
			return inner
		}
	}
	return v
}

func (r foreignRow) text(column string) string {
	text, err := render(r.schema.fields[column], unwrap(r.values[column]))
	if err != nil {
		return err.Error()
	}
	return text
}

// compare tells whether a column has the value that SELECT shows.
func (r foreignRow) compare(want cell) error {
	if r.values == nil {
		return errors.New("the row was not rebuilt")
	}
	value, there := r.values[want.column]
	if !there {
		return fmt.Errorf("column %s is not in the schema", want.column)
	}
	value = unwrap(value)
	if value == nil || !want.Valid {
		if value == nil && !want.Valid {
			return nil
		}
		return fmt.Errorf("column %s: %v, SELECT shows %+v", want.column, value, want.NullString)
	}
	kind := r.schema.fields[want.column]
	got, err := render(kind, value)
	if err != nil {
		return fmt.Errorf("column %s: %w", want.column, err)
	}
	if !equalText(kind, value, got, want.String) {
		return fmt.Errorf("column %s: %q, SELECT shows %q", want.column, got, want.String)
	}
	return nil
}

// equalText compares as the type allows: SELECT shows a FLOAT by six digits
// only, and spaces and keys of JSON in an order of its own.
func equalText(kind map[string]any, value any, got, want string) bool {
	switch v := value.(type) {
	case float32:
		shown, err := strconv.ParseFloat(want, 64)
		return err == nil && math.Abs(shown-float64(v)) <= 1e-5*math.Abs(shown)
	case float64:
		shown, err := strconv.ParseFloat(want, 64)
		return err == nil && shown == v
	}
	if kind["connect.name"] == "io.debezium.data.Json" {
		var a, b any
		return json.Unmarshal([]byte(got), &a) == nil && json.Unmarshal([]byte(want), &b) == nil && reflect.DeepEqual(a, b)
	}
	return got == want
}

// render writes a value as SELECT shows it, by Debezium's name of its type.
func render(kind map[string]any, value any) (string, error) {
	name, _ := kind["connect.name"].(string)
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		if name == "io.debezium.time.ZonedTimestamp" {
			return strings.TrimSuffix(strings.Replace(v, "T", " ", 1), "Z"), nil
		}
		return v, nil
	case []byte:
		return renderBytes(kind, name, v)
	case float32, float64:
		return fmt.Sprint(v), nil
	case int32:
		if name == "io.debezium.time.Date" {
			return time.Unix(int64(v)*86400, 0).UTC().Format(time.DateOnly), nil
		}
		return strconv.Itoa(int(v)), nil
	case int64:
		switch name {
		case "io.debezium.time.Timestamp":
			return time.UnixMilli(v).UTC().Format("2006-01-02 15:04:05.000"), nil
		case "io.debezium.time.MicroTimestamp":
			return time.UnixMicro(v).UTC().Format("2006-01-02 15:04:05.000000"), nil
		case "io.debezium.time.MicroTime":
			sign, d := "", time.Duration(v)*time.Microsecond
			if d < 0 {
				sign, d = "-", -d
			}
			return fmt.Sprintf("%s%02d:%02d:%02d.%06d", sign, int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, d.Microseconds()%1e6), nil
		}
		return strconv.FormatInt(v, 10), nil
	}
	return "", fmt.Errorf("a value of type %T, named %q", value, name)
}

func renderBytes(kind map[string]any, name string, v []byte) (string, error) {
	switch name {
	case "org.apache.kafka.connect.data.Decimal":
		scale, ok := kind["scale"].(float64)
		if !ok {
			return "", fmt.Errorf("a decimal without a scale: %v", kind)
		}
		n := new(big.Int).SetBytes(v)
		if len(v) > 0 && v[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
		}
		return new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(int(scale)), nil
	case "io.debezium.data.Bits": // little endian
		out := make([]byte, len(v))
		for i, b := range v {
			out[len(v)-1-i] = b
		}
		return string(out), nil
	}
	return string(v), nil
}
