package binlog

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"duplex/schemas"
)

// A JSON column stands in a row image in the server's own binary form. It is
// turned into the very text that SELECT gives of it: members in the order
// stored, ", " and ": " between them, doubles that stay doubles.
//
// An object or array is a count and a size, an entry for each key (offset and
// length), an entry for each value (type, and offset or the value itself if it
// is short), and then what the offsets point to. They count from the start of
// the object or array, in two bytes each, or in four if it is large.

// The types of values.
const (
	jsonSmallObject = 0x00
	jsonLargeObject = 0x01
	jsonSmallArray  = 0x02
	jsonLargeArray  = 0x03
	jsonLiteral     = 0x04
	jsonInt16       = 0x05
	jsonUint16      = 0x06
	jsonInt32       = 0x07
	jsonUint32      = 0x08
	jsonInt64       = 0x09
	jsonUint64      = 0x0a
	jsonDouble      = 0x0b
	jsonString      = 0x0c
	jsonOpaque      = 0x0f
)

// maxJSONDepth is the server's own limit.
const maxJSONDepth = 100

// compileJSON picks the step of JSON.
func compileJSON(meta uint16) (column, error) {
	size, err := lengthBytes(gomysql.MYSQL_TYPE_BLOB, meta)
	return column{step: stepJSON, rough: roughJSON, size: size}, err
}

// stepJSON writes the text with its length before it.
func stepJSON(c *column, dst, src []byte) ([]byte, int, error) {
	document, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, 0, err
	}
	start, guess := reserve(&dst, len(document))
	r := jsonReader{budget: len(document)}
	if dst, err = r.document(dst, document); err != nil {
		return nil, 0, err
	}
	if r.foreign {
		return nil, 0, errInexact
	}
	return settle(dst, start, guess), n, nil
}

// roughJSON: the text doesn't tell the types of values that JSON doesn't have.
// The exact form has them before these values.
func roughJSON(c *column, dst, exact, src []byte) (out, exactOut []byte, n int, err error) {
	document, n, err := prefixed(src, c.size)
	if err != nil {
		return nil, nil, 0, err
	}
	plain, typed := jsonReader{budget: len(document)}, jsonReader{budget: len(document), typed: true}
	dst = c.some(dst)
	start, guess := reserve(&dst, len(document))
	if dst, err = plain.document(dst, document); err != nil {
		return nil, nil, 0, err
	}
	exactStart, exactGuess := reserve(&exact, len(document))
	if exact, err = typed.document(append(exact, schemas.RawText), document); err != nil {
		return nil, nil, 0, err
	}
	return settle(dst, start, guess), settle(exact, exactStart, exactGuess), n, nil
}

// document appends the text of a document.
func (r *jsonReader) document(dst, document []byte) ([]byte, error) {
	if len(document) == 0 {
		// Left by INSERT IGNORE of NULL into a NOT NULL column; the server
		// reads it as null.
		return append(dst, "null"...), nil
	}
	return r.value(dst, document[0], document[1:], 1)
}

// jsonReader walks one document.
type jsonReader struct {
	// budget is what is left of the document's bytes. Every byte belongs to
	// one value, so a document that uses more than it has isn't one of the
	// server's: its offsets lead to the same bytes again and again, and a
	// small one could be made to print without end.
	budget int
	// foreign is set once there was a value of a type that JSON doesn't have;
	// typed tells to write the type before each.
	foreign, typed bool
}

// mark notes that a value of a type that JSON doesn't have follows.
func (r *jsonReader) mark(dst []byte, typ byte) []byte {
	r.foreign = true
	if r.typed {
		return append(dst, schemas.RawText, typ)
	}
	return dst
}

// unsigned appends an unsigned integer. Read from a text it would be a signed
// one, unless it is too great for that.
func (r *jsonReader) unsigned(dst []byte, v uint64) []byte {
	if v <= math.MaxInt64 {
		dst = r.mark(dst, gomysql.MYSQL_TYPE_LONGLONG)
	}
	return strconv.AppendUint(dst, v, 10)
}

// take accounts for n bytes at the start of data.
func (r *jsonReader) take(data []byte, n int) error {
	r.budget -= n
	switch {
	case n > len(data):
		return ErrTruncated
	case r.budget < 0:
		return ErrMalformed
	}
	return nil
}

// value appends the text of the value of that type at the start of data.
func (r *jsonReader) value(dst []byte, typ byte, data []byte, depth int) ([]byte, error) {
	switch typ {
	case jsonSmallObject, jsonLargeObject, jsonSmallArray, jsonLargeArray:
		if depth > maxJSONDepth {
			return nil, ErrJSONDepth
		}
		return r.container(dst, typ, data, depth)
	case jsonString:
		text, err := r.variable(data)
		if err != nil {
			return nil, err
		}
		return appendJSONString(dst, text), nil
	case jsonOpaque:
		return r.opaque(dst, data)
	}
	return r.scalar(dst, typ, data)
}

// scalar appends a value of fixed size.
func (r *jsonReader) scalar(dst []byte, typ byte, data []byte) ([]byte, error) {
	size := 0
	switch typ {
	case jsonLiteral:
		size = 1
	case jsonInt16, jsonUint16:
		size = 2
	case jsonInt32, jsonUint32:
		size = 4
	case jsonInt64, jsonUint64, jsonDouble:
		size = 8
	default:
		return nil, ErrMalformed
	}
	if err := r.take(data, size); err != nil {
		return nil, err
	}
	switch typ {
	case jsonLiteral:
		return appendLiteral(dst, data[0])
	case jsonInt16:
		return strconv.AppendInt(dst, int64(int16(binary.LittleEndian.Uint16(data))), 10), nil
	case jsonUint16:
		return r.unsigned(dst, uint64(binary.LittleEndian.Uint16(data))), nil
	case jsonInt32:
		return strconv.AppendInt(dst, int64(int32(binary.LittleEndian.Uint32(data))), 10), nil
	case jsonUint32:
		return r.unsigned(dst, uint64(binary.LittleEndian.Uint32(data))), nil
	case jsonInt64:
		return strconv.AppendInt(dst, int64(binary.LittleEndian.Uint64(data)), 10), nil
	case jsonUint64:
		return r.unsigned(dst, binary.LittleEndian.Uint64(data)), nil
	}
	return appendJSONDouble(dst, math.Float64frombits(binary.LittleEndian.Uint64(data)))
}

func appendLiteral(dst []byte, which byte) ([]byte, error) {
	switch which {
	case 0:
		return append(dst, "null"...), nil
	case 1:
		return append(dst, "true"...), nil
	case 2:
		return append(dst, "false"...), nil
	}
	return nil, ErrMalformed
}

// container appends an object or array.
func (r *jsonReader) container(dst []byte, typ byte, data []byte, depth int) ([]byte, error) {
	word := 2 // bytes of a count, size or offset
	if typ == jsonLargeObject || typ == jsonLargeArray {
		word = 4
	}
	if len(data) < 2*word {
		return nil, ErrTruncated
	}
	count, size := jsonWord(data, word), jsonWord(data[word:], word)
	if size > len(data) {
		return nil, ErrTruncated
	}
	data = data[:size]

	isObject := typ == jsonSmallObject || typ == jsonLargeObject
	keys, values, opening, closing := 2*word, 2*word, byte('['), byte(']')
	if isObject {
		values += count * (word + 2)
		opening, closing = '{', '}'
	}
	header := values + count*(1+word)
	if err := r.take(data, header); err != nil {
		return nil, err
	}

	dst = append(dst, opening)
	for i := range count {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		var err error
		if isObject {
			if dst, err = r.key(dst, data, data[keys+i*(word+2):], word); err != nil {
				return nil, err
			}
		}
		if dst, err = r.entry(dst, data, data[values+i*(1+word):], word, depth); err != nil {
			return nil, err
		}
	}
	return append(dst, closing), nil
}

// key appends a member's name and the colon.
func (r *jsonReader) key(dst, data, entry []byte, word int) ([]byte, error) {
	offset, length := jsonWord(entry, word), jsonWord(entry[word:], 2)
	if offset > len(data) {
		return nil, ErrTruncated
	}
	if err := r.take(data[offset:], length); err != nil {
		return nil, err
	}
	dst = appendJSONString(dst, data[offset:offset+length])
	return append(dst, ": "...), nil
}

// entry appends the value that an entry holds or points to.
func (r *jsonReader) entry(dst, data, entry []byte, word, depth int) ([]byte, error) {
	typ := entry[0]
	switch typ {
	case jsonLiteral, jsonInt16, jsonUint16:
		return r.inline(dst, typ, entry[1:1+word])
	case jsonInt32, jsonUint32:
		if word == 4 {
			return r.inline(dst, typ, entry[1:1+word])
		}
	}
	offset := jsonWord(entry[1:], word)
	if offset > len(data) {
		return nil, ErrTruncated
	}
	return r.value(dst, typ, data[offset:], depth+1)
}

// inline appends a value that stands in its entry, which is paid for already.
func (r *jsonReader) inline(dst []byte, typ byte, data []byte) ([]byte, error) {
	r.budget += len(data)
	return r.scalar(dst, typ, data)
}

func jsonWord(data []byte, word int) int {
	if word == 2 {
		return int(binary.LittleEndian.Uint16(data))
	}
	return int(binary.LittleEndian.Uint32(data))
}

// variable takes the bytes of a string, whose length stands before them, seven
// bits to the byte.
func (r *jsonReader) variable(data []byte) ([]byte, error) {
	length, n := binary.Uvarint(data[:min(len(data), 5)])
	if n <= 0 || length > math.MaxUint32 {
		return nil, ErrMalformed
	}
	if err := r.take(data, n+int(length)); err != nil {
		return nil, err
	}
	return data[n : n+int(length)], nil
}

// opaque appends a value of one of the SQL types that JSON doesn't have.
func (r *jsonReader) opaque(dst, data []byte) ([]byte, error) {
	if err := r.take(data, 1); err != nil {
		return nil, err
	}
	typ := data[0]
	value, err := r.variable(data[1:])
	if err != nil {
		return nil, err
	}
	dst = r.mark(dst, typ)
	switch typ {
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		if r.typed && len(value) > 0 {
			dst = append(dst, value[0]) // the precision
		}
		return appendJSONDecimal(dst, value)
	case gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_TIMESTAMP, gomysql.MYSQL_TYPE_TIME:
		return appendJSONTime(dst, typ, value)
	}
	dst = append(dst, `"base64:type`...)
	dst = strconv.AppendUint(dst, uint64(typ), 10)
	dst = append(dst, ':')
	return append(appendBase64(dst, value), '"'), nil
}

// appendBase64 appends value in lines of 76 characters, as the server does,
// with the ends of line escaped.
func appendBase64(dst, value []byte) []byte {
	const line = 76 / 4 * 3
	for len(value) > line {
		dst = base64.StdEncoding.AppendEncode(dst, value[:line])
		dst = append(dst, `\n`...)
		value = value[line:]
	}
	return base64.StdEncoding.AppendEncode(dst, value)
}

// appendJSONDecimal appends a DECIMAL, which has its precision and scale
// before it.
func appendJSONDecimal(dst, value []byte) ([]byte, error) {
	if len(value) < 2 {
		return nil, ErrTruncated
	}
	p, ok := newPacking(int(value[0]), int(value[1]))
	if !ok {
		return nil, ErrMalformed
	}
	return p.appendText(dst, value[2:])
}

// appendJSONString appends text in quotes.
func appendJSONString(dst, text []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i, b := range text {
		if b >= 0x20 && b != '"' && b != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, `\u00`...)
			dst = append(dst, digits[b>>4], digits[b&15])
		}
	}
	dst = append(dst, text[from:]...)
	return append(dst, '"')
}
