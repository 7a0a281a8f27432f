package statement

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// appendJSON appends a JSON document as an SQL expression that gives exactly
// that document. MySQL 8.0 reads one in eight of the numbers of 17 digits in a
// JSON text to a neighbouring double, and refuses the very greatest; numbers in
// SQL it reads exactly, as every server does. So where the text has a number
// that isn't safe, 0 stands in its place, and JSON_REPLACE puts the number in.
func appendJSON(dst, doc []byte) []byte {
	safe := true
	walkNumbers(doc, func(from, to int, _ []level) { safe = safe && isSafe(doc[from:to]) })
	if safe || !json.Valid(doc) { // what is malformed the server refuses
		return appendQuoted(dst, doc)
	}
	var text, values []byte
	done := 0
	walkNumbers(doc, func(from, to int, path []level) {
		number := doc[from:to]
		if isSafe(number) {
			return
		}
		text = append(append(text, doc[done:from]...), '0')
		done = to
		values = appendQuoted(append(values, ", "...), appendPath(nil, path))
		values = append(append(values, ", "...), number...)
		if !bytes.ContainsAny(number, "eE") {
			values = append(values, "e0"...) // else it is a DECIMAL
		}
	})
	dst = appendQuoted(append(dst, "JSON_REPLACE("...), append(text, doc[done:]...))
	return append(append(dst, values...), ')')
}

// level is where the walk stands in one of the arrays and objects around it.
type level struct {
	key   []byte // the member's name as in the text, quotes and all; nil in an array
	index int    // the element's, in an array
	named bool   // in an object: the member's name has been read
}

// walkNumbers visits the numbers of a valid JSON document: where they stand in
// the text, and in which arrays and objects.
func walkNumbers(doc []byte, visit func(from, to int, path []level)) {
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

// isSafe reports whether every server reads the number alike: an integer, or
// one whose digits and power of ten are both exact as doubles, so that a single
// rounding is left.
func isSafe(number []byte) bool {
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
