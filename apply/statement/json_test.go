package statement

import (
	"strings"
	"testing"
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
		if got := string(appendJSON(nil, []byte(doc))); got != want {
			t.Errorf("%s becomes\n%s, want\n%s", doc, got, want)
		}
	}
}

// Whatever the bytes, the statement stays one literal or one call: no text of
// a document gets out of its quotes.
func FuzzJSONLiteral(f *testing.F) {
	for _, doc := range []string{`{"a": [0.38235008560814987]}`, `}]0.38235008560814987"`, `{"\`, `"`, `[,{:1.23456789012345678`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		out := string(appendJSON(nil, doc))
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
		if quoted || strings.Trim(rest, ", +-.eE0123456789") != "" {
			t.Errorf("%q becomes %q", doc, out)
		}
	})
}
