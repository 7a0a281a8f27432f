package statement

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"

	"duplex/schemas"
)

// Text that UTF-8 can't hold, and values of ENUM and SET that their labels
// don't tell, come in the exact form: schemas.RawText, the name of a character
// set, a zero byte and the text in it; or no name, and the number of the value.

// isRaw reports whether v is text in the exact form.
func (c *column) isRaw(v []byte) bool {
	return c.form == text && len(v) > 0 && v[0] == schemas.RawText
}

// appendRaw appends a text in the exact form as a literal.
func (c *column) appendRaw(dst, v []byte) ([]byte, error) {
	if c.kind == schemas.KindJSON && c.typ == schemas.JSON {
		return appendJSON(dst, v[1:])
	}
	if c.kind == schemas.KindJSON {
		doc, _ := schemas.UntypedJSON(v[1:])
		return appendQuoted(dst, doc), nil
	}
	charset, value, ok := bytes.Cut(v[1:], []byte{0})
	switch {
	case !ok:
		return dst, fmt.Errorf("the text is malformed: %w", schemas.ErrExact)
	case len(charset) == 0:
		return c.appendNumber(dst, value)
	case sameCharset(string(charset), c.charset):
		return appendHex(append(append(append(dst, '_'), c.charset...), ' '), value), nil
	}
	return dst, fmt.Errorf("the text has bytes of character set %s that no other has, and the column is in %s here; "+
		"mend: give it the origin's character set, or correct the text in the origin", charset, c.charset)
}

// appendNumber appends the number of a value of ENUM or SET.
func (c *column) appendNumber(dst, digits []byte) ([]byte, error) {
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || c.kind != schemas.KindEnum && c.kind != schemas.KindEnumSet {
		return dst, fmt.Errorf("the number of a label is malformed: %w", schemas.ErrExact)
	}
	if c.kind == schemas.KindEnum && n == 0 {
		return append(append(append(dst, '\''), c.zero...), '\''), nil
	}
	return strconv.AppendUint(dst, n, 10), nil
}

func sameCharset(a, b string) bool {
	const old, now = "utf8", "utf8mb3"
	return a == b || a == old && b == now || a == now && b == old
}

// wholly reports whether all text of a character set is shown as it is to a
// session in utf8mb4. MariaDB keeps surrogates and bytes that aren't ASCII.
func wholly(charset string, dialect Dialect) bool {
	switch charset {
	case "latin1":
		return true
	case "utf8mb3", "utf8", "ascii":
		return dialect != MariaDB
	}
	return false
}

// appendHex appends bytes as a hexadecimal literal.
func appendHex(dst, v []byte) []byte {
	return append(hex.AppendEncode(append(dst, "x'"...), v), '\'')
}
