package schemas

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// golden returns the schemas that Debezium and the Confluent converter gave,
// by name.
func golden(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile("testdata/debezium.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), "\t")
		out[name] = text
	}
	return out
}

type rawRecord struct {
	Fields []json.RawMessage `json:"fields"`
}

// goldenTable has the columns of the golden table whose types are carried as
// Debezium carries them, defaults left out.
func goldenTable() *Table {
	labels := []string{"a", "b", "c"}
	return &Table{DB: "inv", Name: "t", Key: []int{0}, Columns: []Column{
		{Name: "pk_bigint", Type: BigInt},
		{Name: "c_bool_bit1_nn", Type: Bit, Length: 1},
		{Name: "c_bit8", Type: Bit, Length: 8, Nullable: true},
		{Name: "c_tinyint_36_nn", Type: TinyInt},
		{Name: "c_int", Type: Int, Nullable: true},
		{Name: "c_uint", Type: Int, Unsigned: true, Nullable: true},
		{Name: "c_ubigint_precise", Type: BigInt, Unsigned: true, Nullable: true},
		{Name: "c_float", Type: Float, Nullable: true},
		{Name: "c_double", Type: Double, Nullable: true},
		{Name: "c_decimal_10_2_nn", Type: Decimal, Precision: 10, Scale: 2},
		{Name: "c_decimal_10_2_null", Type: Decimal, Precision: 10, Scale: 2, Nullable: true},
		{Name: "c_decimal_65_30", Type: Decimal, Precision: 65, Scale: 30, Nullable: true},
		{Name: "c_blob", Type: Blob, Nullable: true},
		{Name: "c_json", Type: JSON, Nullable: true},
		{Name: "c_enum_nn", Type: Enum, Values: labels},
		{Name: "c_set", Type: Set, Values: labels, Nullable: true},
		{Name: "c_year", Type: Year, Nullable: true},
		{Name: "c_date", Type: Date, Nullable: true},
		{Name: "c_time", Type: Time, Scale: 6, Nullable: true},
		{Name: "c_datetime3", Type: DateTime, Scale: 3, Nullable: true},
		{Name: "c_datetime6", Type: DateTime, Scale: 6, Nullable: true},
	}}
}

// The text must be the converter's own, byte for byte: then a registry gives
// one id to both, and readers made for Debezium see no difference.
func TestTextIsDebeziums(t *testing.T) {
	files := golden(t)
	table := goldenTable()
	key, err := KeySchema(table, "srv1")
	if err != nil {
		t.Fatal(err)
	}
	if key != files["key"] {
		t.Errorf("key schema:\n got %s\nwant %s", key, files["key"])
	}

	var envelope rawRecord
	var before struct {
		Type []json.RawMessage `json:"type"`
	}
	var value rawRecord
	mustUnmarshal(t, files["envelope"], &envelope)
	mustUnmarshal(t, string(envelope.Fields[0]), &before)
	mustUnmarshal(t, string(before.Type[1]), &value)
	// Take from the golden text the columns that the table doesn't have.
	want := files["envelope"]
	kept := 0
	for _, f := range value.Fields {
		var column struct{ Name string }
		mustUnmarshal(t, string(f), &column)
		if table.Column(column.Name) >= 0 {
			kept++
			continue
		}
		shorter := strings.Replace(want, ","+string(f), "", 1)
		if shorter == want {
			t.Fatalf("column %s isn't in the golden text", column.Name)
		}
		want = shorter
	}
	if kept != len(table.Columns) {
		t.Fatalf("%d of %d columns are in the golden text", kept, len(table.Columns))
	}
	const last = `{"name":"query","type":["null","string"],"default":null}`
	want = strings.Replace(want, last, last+`,{"name":"origin","type":["null","string"],"default":null},`+
		`{"name":"seq","type":["null","long"],"default":null},{"name":"hlc","type":["null","long"],"default":null}`, 1)

	got, err := EnvelopeSchema(table, "srv1", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("envelope schema:\n got %s\nwant %s", got, want)
	}
}

func TestMariaDBSource(t *testing.T) {
	want := golden(t)["source-mariadb"]
	got := sourceSchema("mariadb")
	at := strings.Index(got, `,{"name":"origin"`)
	end := strings.Index(got, `],"connect.version":1,"connect.name":"io.debezium.connector.mariadb.Source"`)
	if at < 0 || end < at {
		t.Fatalf("source schema has no stamp: %s", got)
	}
	if without := got[:at] + got[end:]; without != want {
		t.Errorf("\n got %s\nwant %s", without, want)
	}
}

// END records are Debezium's with more fields at the end.
func TestEndSchemaExtendsDebeziums(t *testing.T) {
	files := golden(t)
	if EndKeySchema != files["transaction-key"] {
		t.Errorf("key:\n got %s\nwant %s", EndKeySchema, files["transaction-key"])
	}
	head := strings.TrimSuffix(files["transaction-value"], `],"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataValue"}`)
	if !strings.HasPrefix(EndSchema, head+`,{"name":"origin"`) {
		t.Errorf("value:\n got  %s\nwant %s...", EndSchema, head)
	}
}

func TestOddNames(t *testing.T) {
	table := &Table{DB: "my-shop", Name: "order lines", Key: []int{0}, Columns: []Column{
		{Name: "id", Type: Int},
		{Name: "preis_€", Type: Decimal, Precision: 5, Scale: 1},
		{Name: "1st", Type: VarChar},
		{Name: `a"b\`, Type: Enum, Values: []string{"x,y", `z"`}, Nullable: true},
	}}
	text, err := EnvelopeSchema(table, "eu-west", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"namespace":"eu_u002dwest.my_u002dshop.order_u0020lines"`,
		`{"name":"preis_u005f_u20ac","type":{"type":"bytes","scale":1,"precision":5,"connect.version":1,"connect.parameters":{"scale":"1","connect.decimal.precision":"5","__debezium.source.column.name":"preis_€"}`,
		`{"name":"_u0031st","type":{"type":"string","connect.parameters":{"__debezium.source.column.name":"1st"}}}`,
		`"allowed":"x\\,y,z\""`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("schema lacks %s:\n%s", want, text)
		}
	}
	r, err := ParseEnvelope(text)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range table.Columns {
		if r.Value.Fields[i].Name != c.Name {
			t.Errorf("column %d is read as %q, want %q", i, r.Value.Fields[i].Name, c.Name)
		}
	}
}

func TestAvroNameIsLegalAndInjective(t *testing.T) {
	names := rapid.OneOf(rapid.StringMatching(`[a_u0-9\-.é]{1,12}`), rapid.StringMatching(`(_|_u|_u00|_u005f|_u002d|-|a){1,4}`), rapid.StringN(1, 8, -1))
	rapid.Check(t, func(t *rapid.T) {
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		if !legalAvroName(AvroName(a)) {
			t.Fatalf("%q becomes %q", a, AvroName(a))
		}
		if a != b && AvroName(a) == AvroName(b) {
			t.Fatalf("%q and %q both become %q", a, b, AvroName(a))
		}
	})
	if got := AvroName("plain_name1"); got != "plain_name1" {
		t.Errorf("a legal name becomes %q", got)
	}
	if AvroName("a-b") == AvroName("a_u002db") {
		t.Error("an escaped and an escaped-looking name are one")
	}
}

func TestRefusedTables(t *testing.T) {
	for _, tt := range []struct {
		table *Table
		want  string
	}{
		{&Table{DB: "d", Name: "t", Columns: []Column{{Name: "a", Type: Int}}}, "no primary key"},
		{&Table{DB: "d", Name: "t", Key: []int{0}, Columns: []Column{{Name: "p", Type: Decimal}}}, "decimal(0,0)"},
		{&Table{DB: "d", Name: "t", Key: []int{0}, Columns: []Column{{Name: "p"}}}, "type unknown"},
	} {
		_, err := KeySchema(tt.table, "east")
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

func mustUnmarshal(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}
