package schemas

import (
	"strings"
	"unicode/utf16"

	"duplex/change"
)

// AvroName returns a legal Avro name for a database, table or column name.
//
// A legal name is kept. In any other each illegal UTF-16 unit, and each
// underscore, becomes _uXXXX, as in Debezium's avro_unicode. A legal name that
// already looks escaped is escaped too: so no two names ever map to one.
func AvroName(name string) string {
	if legalAvroName(name) && !looksEscaped(name) {
		return name
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i, u := range utf16.Encode([]rune(name)) {
		if u < 0x80 && u != '_' && legalAvroByte(byte(u), i) {
			b.WriteByte(byte(u))
			continue
		}
		b.WriteString("_u")
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(hex[u>>shift&15])
		}
	}
	return b.String()
}

func legalAvroName(name string) bool {
	for i := 0; i < len(name); i++ {
		if !legalAvroByte(name[i], i) {
			return false
		}
	}
	return name != ""
}

func legalAvroByte(c byte, at int) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || at > 0 && '0' <= c && c <= '9'
}

// looksEscaped reports whether _uXXXX occurs in name.
func looksEscaped(name string) bool {
	for rest := name; ; {
		i := strings.Index(rest, "_u")
		if i < 0 || len(rest) < i+6 {
			return false
		}
		if strings.Trim(rest[i+2:i+6], "0123456789abcdef") == "" {
			return true
		}
		rest = rest[i+1:]
	}
}

// Namespace returns the Avro namespace of the records of a table,
// `<region>.<db>.<table>` with each part made legal.
func Namespace(region change.Region, db, table string) string {
	return AvroName(string(region)) + "." + AvroName(db) + "." + AvroName(table)
}
