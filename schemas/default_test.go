package schemas

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What Debezium shows of a default; package compat proves it on servers.
func TestPreset(t *testing.T) {
	for _, tt := range []struct {
		column  Column
		literal string
		want    string
	}{
		{Column{Type: Int}, "-7", `-7`},
		{Column{Type: Int}, "000042", `42`},
		{Column{Type: BigInt, Unsigned: true}, "18446744073709551615", "\"\\u0000ÿÿÿÿÿÿÿÿ\""},
		{Column{Type: Decimal, Precision: 10, Scale: 2}, "0.00", "\"\\u0000\""},
		{Column{Type: Decimal, Precision: 10, Scale: 2}, "-1.29", "\"ÿ\u007f\""},
		{Column{Type: Decimal, Precision: 10, Scale: 2}, "1.28", "\"\\u0000\\u0080\""},
		{Column{Type: Bit, Length: 1}, "b'1'", `true`},
		{Column{Type: Bit, Length: 10}, "b'1000000001'", "\"\\u0001\\u0002\""},
		{Column{Type: Binary, Length: 3}, "0x6162", "\"ab\\u0000\""},
		{Column{Type: VarChar}, `it's "so"`, `"it's \"so\""`},
		{Column{Type: Date}, "1969-12-31", `-1`},
		{Column{Type: Date}, "0000-00-00", `0`},
		{Column{Type: Date, Nullable: true}, "0000-00-00", ``},
		{Column{Type: Time}, "-00:00:00.000001", `-1`},
		{Column{Type: Time}, "-838:59:59", `-3020399000000`},
		{Column{Type: DateTime, Scale: 3}, "2020-02-29 01:02:03.456", `1582938123456`},
		{Column{Type: DateTime, Scale: 6}, "1969-12-31 23:59:59.999999", `-1`},
		{Column{Type: DateTime, Nullable: true}, "CURRENT_TIMESTAMP", `0`},
		{Column{Type: Timestamp, Nullable: true}, "CURRENT_TIMESTAMP", ``},
		{Column{Type: Timestamp, Scale: 6}, "CURRENT_TIMESTAMP", `"1970-01-01T00:00:00Z"`},
		{Column{Type: Timestamp, Scale: 3}, "2020-02-29 01:02:03.120", `"2020-02-29T01:02:03.120Z"`},
		{Column{Type: Int, Generated: true}, "7", ``},
		{Column{Type: Int}, "seven", ``},
		{Column{Type: JSON}, "{}", ``},
	} {
		tt.column.Literal = &tt.literal
		want := tt.want
		if strings.HasPrefix(want, `"`) { // the same string, however it is escaped
			want = quoteAgain(t, want)
		}
		if got := preset(&tt.column); got != want && (got == "" || quoteAgain(t, got) != want) {
			t.Errorf("%s default %s: got %s, want %s", tt.column.Type, tt.literal, got, want)
		}
		if last := tt.column.NullLast(); last != (tt.column.Nullable && tt.want != "") {
			t.Errorf("%s default %s: null last is %t", tt.column.Type, tt.literal, last)
		}
	}
	if preset(&Column{Type: Int}) != "" {
		t.Error("no default has a preset")
	}
}

func quoteAgain(t *testing.T, text string) string {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s is no JSON: %v", text, err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A decimal's default is its unscaled value, in as few bytes as hold it.
func TestTwosComplement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := big.NewInt(rapid.Int64().Draw(t, "n"))
		b := twosComplement(n)
		back := new(big.Int).SetBytes(b)
		if b[0]&0x80 != 0 {
			back.Sub(back, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		if back.Cmp(n) != 0 || len(b) > 1 && (b[0] == 0 && b[1] < 0x80 || b[0] == 0xff && b[1] >= 0x80) {
			t.Fatalf("%s is % x", n, b)
		}
	})
}

// A default moves null to the end of the union, in the schema and in what
// reads it.
func TestDefaultInSchema(t *testing.T) {
	seven := "7"
	table := &Table{DB: "d", Name: "t", Key: []int{0}, Columns: []Column{
		{Name: "id", Type: Int}, {Name: "a", Type: Int, Nullable: true, Literal: &seven}, {Name: "b", Type: SmallInt, Literal: &seven}, {Name: "c", Type: Int, Nullable: true},
	}}
	schema, err := EnvelopeSchema(table, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"name":"a","type":[{"type":"int","connect.default":7},"null"],"default":7}`,
		`{"name":"b","type":{"type":"int","connect.default":7,"connect.type":"int16"},"default":7}`,
		`{"name":"c","type":["null","int"],"default":null}`,
	} {
		if !strings.Contains(schema, want) {
			t.Errorf("the schema lacks %s: %s", want, schema)
		}
	}
	reader, err := ParseEnvelope(schema)
	if err != nil {
		t.Fatal(err)
	}
	if f := reader.Value.Fields; f[1].NullFirst || !f[1].Nullable || f[2].Nullable || !f[3].NullFirst {
		t.Errorf("read back as %+v", f)
	}
}

// Numbers in a header are as Java prints them.
func TestAppendStruct(t *testing.T) {
	r := &Record{Fields: []Field{{Name: "a b", Kind: KindDouble}, {Name: "s", Kind: KindString}, {Name: "d", Kind: KindDecimal, Scale: 8}, {Name: "z", Kind: KindBytes}}}
	for _, tt := range []struct {
		double  float64
		decimal int64
		want    string
	}{
		{1, 100000000, `{"a_u0020b":1.0,"s":"q\"\\","d":1.00000000,"z":"AP8="}`},
		{1e7, 1, `{"a_u0020b":1.0E7,"s":"q\"\\","d":1E-8,"z":"AP8="}`},
		{-1.25e-10, -12, `{"a_u0020b":-1.25E-10,"s":"q\"\\","d":-1.2E-7,"z":"AP8="}`},
		{123456.5, 0, `{"a_u0020b":123456.5,"s":"q\"\\","d":0E-8,"z":"AP8="}`},
	} {
		b := AppendDouble(nil, tt.double)
		b = AppendString(b, `q"\`)
		b = AppendBytes(b, twosComplement(big.NewInt(tt.decimal)))
		b = AppendBytes(b, []byte{0, 0xff})
		got, err := r.AppendStruct(nil, b)
		if err != nil || string(got) != tt.want {
			t.Errorf("got %s, %v, want %s", got, err, tt.want)
		}
	}
	if _, err := r.AppendStruct(nil, nil); err == nil {
		t.Error("an empty record was written")
	}
}
