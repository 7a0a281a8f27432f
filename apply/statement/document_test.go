package statement

import (
	"strings"
	"testing"
)

// A text of MariaDB's goes into a JSON column of MySQL only if nothing of it
// is lost there (promise 8).
func TestCheckDocument(t *testing.T) {
	for doc, want := range map[string]string{
		`{"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}], "c": "a"}`: "",
		`[0, -0, -0.0, 0e999, 18446744073709551615, -9223372036854775808, 0.1, 1.50, 1e22, 100000000000000000000, 5e-324, 1.7976931348623157e308]`: "",
		`["", "18446744073709551616"]`:        "",
		`18446744073709551616`:                "digits",
		`[0.1000000000000000055511151231257]`: "digits",
		`123456789012345678901234567890.5`:    "digits",
		`1e400`:                               "digits",
		`1e-400`:                              "digits",
		`1e-99999999999999999999`:             "digits",
		`{"a": 1, "b": {}, "a": 2}`:           "two members",
		`[{"x": {"\u0061": 1, "a": 2}}]`:      "two members",
		`{"a": 1`:                             "not JSON",
		``:                                    "not JSON",
	} {
		err := checkDocument([]byte(doc))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}
