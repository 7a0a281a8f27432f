package statement

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"duplex/schemas"
)

// AppendKeyJSON appends a key as a JSON object, for people: the key's columns by
// name, integers as numbers, all else as the server prints it.
func (b *Binder) AppendKeyJSON(dst, key []byte) ([]byte, error) {
	at, comma := 0, byte('{')
	for i := range b.key {
		c := &b.key[i]
		name, err := json.Marshal(c.name)
		if err != nil {
			return dst, err
		}
		dst = append(append(append(dst, comma), name...), ':')
		comma = ','
		var text []byte
		if text, at, err = c.appendShown(nil, key, at); err != nil {
			return dst, fmt.Errorf("reading a key of table %s: column %s: %w", b.table, c.quoted, err)
		}
		if c.kind == schemas.KindInt || c.kind == schemas.KindLong {
			dst = append(dst, text...)
			continue
		}
		quoted, err := json.Marshal(string(text))
		if err != nil {
			return dst, err
		}
		dst = append(dst, quoted...)
	}
	return append(dst, '}'), nil
}

// Shown is a column of a row, for people.
type Shown struct {
	Column string
	Text   string // as the server prints it; bytes that aren't text as 0x and hexadecimal digits
	Null   bool
}

// Show returns all columns of a row.
func (b *Binder) Show(row []byte) ([]Shown, error) {
	shown := make([]Shown, len(b.row))
	at := 0
	for i := range b.row {
		c := &b.row[i]
		null, next, err := c.field.ReadNull(row, at)
		shown[i] = Shown{Column: c.name, Null: null}
		if err == nil && !null {
			var text []byte
			text, next, err = c.appendShown(nil, row, next)
			shown[i].Text = string(text)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a row of table %s: column %s: %w", b.table, c.quoted, err)
		}
		at = next
	}
	if at != len(row) {
		return nil, fmt.Errorf("reading a row of table %s: %w", b.table, errTrailing)
	}
	return shown, nil
}

func (c *column) appendShown(dst, b []byte, at int) ([]byte, int, error) {
	text, at, err := c.appendText(nil, b, at)
	if err == nil && (c.form == binar && c.kind == schemas.KindBytes || !utf8.Valid(text)) {
		return append(append(dst, "0x"...), hex.EncodeToString(text)...), at, nil
	}
	return append(dst, text...), at, err
}
