package statement

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"duplex/schemas"
)

// appendJSON appends a JSON document as an SQL expression that gives exactly
// that document. MySQL 8.0 reads one in eight of the numbers of 17 digits in a
// JSON text to a neighbouring double, and refuses the very greatest; numbers in
// SQL it reads exactly, as every server does. So where the text has a number
// that isn't safe, or a value of a type that JSON lacks, 0 stands in its place,
// and JSON_REPLACE puts the value in.
//
// A document in the exact form has, before each value of such a type, the byte
// schemas.RawText and the type's number in the binlog, and of a DECIMAL its
// precision. Without them it is the text that the server shows.
func appendJSON(dst, doc []byte) ([]byte, error) {
	doc, types := schemas.UntypedJSON(doc)
	safe := len(types) == 0
	walkScalars(doc, func(from, to int, _ []level) { safe = safe && isSafe(doc[from:to]) })
	if safe || !json.Valid(doc) { // what is malformed the server refuses
		return appendQuoted(dst, doc), nil
	}
	var text, values []byte
	var failed error
	done := 0
	walkScalars(doc, func(from, to int, path []level) {
		scalar := doc[from:to]
		typ, typed := types[from]
		if failed != nil || !typed && isSafe(scalar) {
			return
		}
		text = append(append(text, doc[done:from]...), '0')
		done = to
		values = append(appendQuoted(append(values, ", "...), appendPath(nil, path)), ", "...)
		if typed {
			values, failed = appendTyped(values, typ, scalar)
			return
		}
		values = append(values, scalar...)
		if !bytes.ContainsAny(scalar, "eE") {
			values = append(values, "e0"...) // else it is a DECIMAL
		}
	})
	dst = appendQuoted(append(dst, "JSON_REPLACE("...), append(text, doc[done:]...))
	return append(append(dst, values...), ')'), failed
}

// The types that a document in the exact form may name, by their numbers in
// the binlog. BIGINT stands for every unsigned integer that a text would make
// a signed one.
const (
	typeTimestamp = 7
	typeBigInt    = 8
	typeDate      = 10
	typeTime      = 11
	typeDateTime  = 12
	typeVarBinary = 15
	typeBit       = 16
	typeDecimal   = 246
	typeBinary    = 254
)

// blobs are the column definitions of the types of BLOB.
var blobs = map[byte]string{249: "TINYBLOB", 250: "MEDIUMBLOB", 251: "LONGBLOB", 252: "BLOB"}

// appendTyped appends an expression of that type from what the server shows of
// a value.
func appendTyped(dst []byte, foreign schemas.JSONType, shown []byte) ([]byte, error) {
	typ := foreign.Number
	if number := shown[0] != '"'; number != (typ == typeBigInt || typ == typeDecimal) {
		return dst, fmt.Errorf("a value of type %d in JSON is malformed: %w", typ, schemas.ErrExact)
	}
	switch typ {
	case typeBigInt:
		return append(append(append(dst, "CAST("...), shown...), " AS UNSIGNED)"...), nil
	case typeDecimal:
		return appendJSONDecimal(dst, shown, foreign.Precision), nil
	}
	var content string
	if err := json.Unmarshal(shown, &content); err != nil {
		return dst, fmt.Errorf("a value of type %d in JSON is malformed: %w", typ, schemas.ErrExact)
	}
	casts := map[byte]string{typeDate: "DATE", typeTime: "TIME(6)", typeDateTime: "DATETIME(6)"}
	if cast, ok := casts[typ]; ok {
		dst = appendQuoted(append(dst, "CAST("...), []byte(content))
		return append(append(append(dst, " AS "...), cast...), ')'), nil
	}
	if typ == typeTimestamp {
		return appendOfColumn(dst, appendQuoted(nil, []byte(content)), "TIMESTAMP(6)"), nil
	}
	_, digits, _ := strings.Cut(strings.TrimPrefix(content, "base64:type"), ":")
	value, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(digits, "\n", ""))
	if err != nil {
		return dst, fmt.Errorf("bytes of type %d in JSON are malformed: %w", typ, schemas.ErrExact)
	}
	literal := appendHex(nil, value)
	definition, ok := blobs[typ]
	switch {
	case ok:
	case typ == typeVarBinary:
		definition = fmt.Sprintf("VARBINARY(%d)", max(1, len(value)))
	case typ == typeBinary:
		definition = fmt.Sprintf("BINARY(%d)", len(value))
	case typ == typeBit && 0 < len(value) && len(value) <= 8:
		definition = fmt.Sprintf("BIT(%d)", 8*len(value))
		literal = append(literal, "+0"...)
	default:
		return dst, fmt.Errorf("the document has a value of type %d, which no expression of SQL gives; mend: in the origin, write it as a text", typ)
	}
	return appendOfColumn(dst, literal, definition), nil
}

// appendJSONDecimal appends a DECIMAL of that precision: a literal has the
// precision of its digits, what is cast has that of its column, which is kept
// in groups of nine digits.
func appendJSONDecimal(dst, shown []byte, precision int) []byte {
	whole, fraction, _ := bytes.Cut(bytes.TrimPrefix(shown, []byte("-")), []byte("."))
	switch precision {
	case len(whole) + len(fraction):
		dst = append(dst, shown...)
		if len(fraction) == 0 {
			dst = append(dst, '.') // else it is an integer
		}
		return dst
	case len(fraction):
		if shown[0] == '-' {
			dst = append(dst, '-')
		}
		return append(append(dst, '.'), fraction...)
	}
	dst = append(append(dst, "CAST("...), shown...)
	return fmt.Appendf(dst, " AS DECIMAL(%d,%d))", min(65, max(precision, len(whole)+len(fraction))), len(fraction))
}

// appendOfColumn appends an expression that has the very type of a column. It
// is taken out of an array, since a subquery alone makes one type of all BLOBs.
func appendOfColumn(dst, value []byte, definition string) []byte {
	dst = append(append(dst, "JSON_EXTRACT((SELECT JSON_ARRAY(v) FROM JSON_TABLE(JSON_ARRAY("...), value...)
	dst = append(append(dst, "), '$[0]' COLUMNS (v "...), definition...)
	return append(dst, " PATH '$' ERROR ON EMPTY ERROR ON ERROR)) AS t), '$[0]')"...)
}

// level is where the walk stands in one of the arrays and objects around it.
type level struct {
	key   []byte // the member's name as in the text, quotes and all; nil in an array
	index int    // the element's, in an array
	named bool   // in an object: the member's name has been read
}

// walkScalars visits the numbers and strings of a valid JSON document: where
// they stand in the text, and in which arrays and objects.
func walkScalars(doc []byte, visit func(from, to int, path []level)) {
	var path []level
	for i := 0; i < len(doc); {
		end := i + 1
		switch c := doc[i]; {
		case c == '{':
			path = append(path, level{key: []byte{}})
		case c == '[':
			path = append(path, level{})
		case (c == '}' || c == ']') && len(path) > 0:
			path = path[:len(path)-1]
		case c == ',' && len(path) > 0:
			top := &path[len(path)-1]
			top.index, top.named = top.index+1, false
		case c == '"':
			end = stringEnd(doc, i)
			if len(path) > 0 && path[len(path)-1].key != nil && !path[len(path)-1].named {
				path[len(path)-1].key, path[len(path)-1].named = doc[i:end], true
			} else {
				visit(i, end, path)
			}
		case c == '-' || '0' <= c && c <= '9':
			for end < len(doc) && bytes.IndexByte([]byte("+-.eE0123456789"), doc[end]) >= 0 {
				end++
			}
			visit(i, end, path)
		}
		i = end
	}
}

// stringEnd returns the position after the string that begins at start.
func stringEnd(doc []byte, start int) int {
	for i := start + 1; i < len(doc); i++ {
		switch doc[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(doc)
}

// appendPath appends the path to a value as MySQL's JSON functions take it.
func appendPath(dst []byte, path []level) []byte {
	dst = append(dst, '$')
	for _, l := range path {
		if l.key != nil {
			dst = append(append(dst, '.'), l.key...)
		} else {
			dst = append(strconv.AppendInt(append(dst, '['), int64(l.index), 10), ']')
		}
	}
	return dst
}

// isSafe reports whether every server reads the scalar alike: a string, an integer, or
// one whose digits and power of ten are both exact as doubles, so that a single
// rounding is left.
func isSafe(number []byte) bool {
	if number[0] == '"' {
		return true
	}
	const maxDigits, maxPower = 15, 22
	mantissa, exponent := number, 0
	if e := bytes.IndexAny(number, "eE"); e >= 0 {
		var err error
		if exponent, err = strconv.Atoi(string(number[e+1:])); err != nil {
			return false
		}
		mantissa = number[:e]
	} else if bytes.IndexByte(number, '.') < 0 {
		return true
	}
	digits, point := 0, false
	for _, c := range mantissa {
		switch {
		case c == '.':
			point = true
			continue
		case c == '-':
			continue
		case c != '0' || digits > 0:
			digits++
		}
		if point {
			exponent--
		}
	}
	return digits <= maxDigits && -maxPower <= exponent && exponent <= maxPower
}
