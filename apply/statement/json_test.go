package statement

import (
	"bytes"
	"strings"
	"testing"

	"duplex/schemas"
)

func TestJSONNumbersThatServersReadDifferently(t *testing.T) {
	for doc, want := range map[string]string{
		`{"a": [1, 0.1, "0.38235008560814987"]}`:           `'{\"a\": [1, 0.1, \"0.38235008560814987\"]}'`,
		`0.38235008560814987`:                              `JSON_REPLACE('0', '$', 0.38235008560814987e0)`,
		`[[], {"k": 1}, -1.5e-30, 123456789012345678]`:     `JSON_REPLACE('[[], {\"k\": 1}, 0, 123456789012345678]', '$[2]', -1.5e-30)`,
		`{"a": 1, "b\"'": {"": [2, 0.38235008560814987]}}`: `JSON_REPLACE('{\"a\": 1, \"b\\\"\'\": {\"\": [2, 0]}}', '$.\"b\\\"\'\".\"\"[1]', 0.38235008560814987e0)`,
		`[1.23456789012345678-1]`:                          `'[1.23456789012345678-1]'`,
		`1e22`:                                             `'1e22'`,
		`1e23`:                                             `JSON_REPLACE('0', '$', 1e23)`,
	} {
		if got, err := appendJSON(nil, []byte(doc)); string(got) != want || err != nil {
			t.Errorf("%s becomes\n%s, want\n%s, %v", doc, got, want, err)
		}
	}
}

func TestJSONOfForeignTypes(t *testing.T) {
	for doc, want := range map[string]string{
		"[\xff\x085, 5]":             `JSON_REPLACE('[0, 5]', '$[0]', CAST(5 AS UNSIGNED))`,
		"{\"a\": \xff\xf6\x03-1.50}": `JSON_REPLACE('{\"a\": 0}', '$.\"a\"', -1.50)`,
		"[\xff\xf6\x0b12.50, \xff\xf6\x02-0.05, \xff\xf6\x017]": `JSON_REPLACE('[0, 0, 0]', '$[0]', CAST(12.50 AS DECIMAL(11,2)), '$[1]', -.05, '$[2]', 7.)`,
		"\xff\x0a\"2024-01-02\"":                                `JSON_REPLACE('0', '$', CAST('2024-01-02' AS DATE))`,
		"\xff\x0b\"-01:02:03.500000\"":                          `JSON_REPLACE('0', '$', CAST('-01:02:03.500000' AS TIME(6)))`,
		"\xff\x0f\"base64:type15:AP8=\"":                        `JSON_REPLACE('0', '$', JSON_EXTRACT((SELECT JSON_ARRAY(v) FROM JSON_TABLE(JSON_ARRAY(x'00ff'), '$[0]' COLUMNS (v VARBINARY(2) PATH '$' ERROR ON EMPTY ERROR ON ERROR)) AS t), '$[0]'))`,
		"[0, \xff\x10\"base64:type16:AgE=\"]":                   `JSON_REPLACE('[0, 0]', '$[1]', JSON_EXTRACT((SELECT JSON_ARRAY(v) FROM JSON_TABLE(JSON_ARRAY(x'0201'+0), '$[0]' COLUMNS (v BIT(16) PATH '$' ERROR ON EMPTY ERROR ON ERROR)) AS t), '$[0]'))`,
		"\xff\x08\"1) OR (1=1\"":                                "",
		"\xff\xf6\x01\"1\"":                                     "",
		"\xff\xff\"base64:type255:AP8=\"":                       "",
		"\xff\x0f\"base64:type15:A?\"":                          "",
		"\xff\x0a5":                                             "",
		"[\xff\xfc\"base64:type252:\", 0.38235008560814987]":    `JSON_REPLACE('[0, 0]', '$[0]', JSON_EXTRACT((SELECT JSON_ARRAY(v) FROM JSON_TABLE(JSON_ARRAY(x''), '$[0]' COLUMNS (v BLOB PATH '$' ERROR ON EMPTY ERROR ON ERROR)) AS t), '$[0]'), '$[1]', 0.38235008560814987e0)`,
	} {
		got, err := appendJSON(nil, []byte(doc))
		if want == "" && err == nil || want != "" && (err != nil || string(got) != want) {
			t.Errorf("%q becomes\n%s, want\n%s, %v", doc, got, want, err)
		}
	}
}

// Whatever the bytes, the statement stays one literal or one call: no text of
// a document gets out of its quotes.
func FuzzJSONLiteral(f *testing.F) {
	for _, doc := range []string{`{"a": [0.38235008560814987]}`, `}]0.38235008560814987"`, `{"\`, `"`, `[,{:1.23456789012345678`, "[\xff\x085, \xff\x0f\"base64:type15:AP8=\"]", "\xff\x0a\"2024'\\\"-01\""} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		text, err := appendJSON(nil, doc)
		if err != nil {
			return
		}
		out := string(text)
		var outside strings.Builder
		quoted := false
		for i := 0; i < len(out); i++ {
			switch {
			case quoted && out[i] == '\\':
				i++
			case out[i] == '\'':
				quoted = !quoted
			case !quoted:
				outside.WriteByte(out[i])
			}
		}
		rest := strings.TrimSuffix(strings.TrimPrefix(outside.String(), "JSON_REPLACE("), ")")
		allowed := ", +-.eE0123456789"
		if bytes.IndexByte(doc, schemas.RawText) >= 0 { // CAST(… AS …) and the like
			allowed += "()_xABCDEFGHIJKLMNOPQRSTUVWXYZvt$[]"
		}
		if quoted || strings.Trim(rest, allowed) != "" {
			t.Errorf("%q becomes %q", doc, out)
		}
	})
}
