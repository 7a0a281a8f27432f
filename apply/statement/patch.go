package statement

import (
	"fmt"
	"math/big"
	"strings"

	"duplex/schemas"
)

// Patch changes some columns of one row, if there is that row.
type Patch struct {
	Key   []byte // encoded by the writer's key schema
	Parts []Part
	Added []Addition
}

// Part has fields take the values that an image of the row has, encoded by the writer's schema.
type Part struct {
	Image  []byte
	Fields []int
}

// Addition adds to a field's column.
type Addition struct {
	Field int
	Delta *big.Int // of 10 to the power of -CounterScale
}

// CounterScale is how many digits after the point the amounts of counters have here: as many as a
// DECIMAL can have.
const CounterScale = 38

var counterOne = new(big.Int).Exp(big.NewInt(10), big.NewInt(CounterScale), nil)

// AppendPatch appends an UPDATE of one row. Large values go to the values returned, with a
// placeholder, ?, in their place, as with AppendWideInsert.
func (b *Binder) AppendPatch(dst []byte, p *Patch) (text []byte, values []WideValue, err error) {
	start := len(dst)
	dst = append(append(append(dst, "UPDATE "...), qualified(b.table)...), " SET "...)
	given := make([]bool, len(b.row))
	spans := make([]schemas.Span, len(b.row))
	n := 0
	assign := func(c *column) {
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, c.quoted...), '=')
	}
	for _, part := range p.Parts {
		if err := b.split(part.Image, spans); err != nil {
			return dst[:start], nil, err
		}
		for _, f := range part.Fields {
			if b.row[f].generated {
				continue
			}
			assign(&b.row[f])
			if dst, _, err = b.row[f].appendValue(dst, part.Image, spans[f].From, &values); err != nil {
				return dst[:start], nil, fmt.Errorf("writing a row of table %s: %w", b.table, b.unwritable(&b.row[f], err))
			}
			given[f] = true
		}
	}
	for _, a := range p.Added {
		c := &b.row[a.Field]
		assign(c)
		dst = append(appendCounter(append(append(dst, c.quoted...), "+("...), a.Delta), ')')
		given[a.Field] = true
	}
	for i := range b.table.Columns {
		c := &b.table.Columns[i]
		if (c.Type == schemas.Timestamp || c.Type == schemas.DateTime) && !c.Generated && !b.gives(c.Name, given) {
			// Or ON UPDATE CURRENT_TIMESTAMP would set it.
			if n++; n > 1 {
				dst = append(dst, ',')
			}
			dst = append(append(append(dst, quote(c.Name)...), '='), quote(c.Name)...)
		}
	}
	if n == 0 {
		return dst[:start], nil, fmt.Errorf("writing a row of table %s: it has no columns to be changed", b.table)
	}
	dst, err = b.appendKeys(dst, [][]byte{p.Key}, b.texts.where, "")
	return dst, values, err
}

func (b *Binder) split(row []byte, spans []schemas.Span) error {
	at := 0
	for i := range b.row {
		from := at
		null, value, err := b.row[i].field.ReadNull(row, at)
		if err == nil && null {
			at = value
		} else if err == nil {
			at, err = b.row[i].field.SkipValue(row, value)
		}
		if err != nil {
			return fmt.Errorf("reading column %s: %w", b.row[i].quoted, err)
		}
		spans[i] = schemas.Span{From: from, Value: value, To: at}
	}
	if at != len(row) {
		return errTrailing
	}
	return nil
}

// gives reports whether a column is among the fields given.
func (b *Binder) gives(name string, given []bool) bool {
	for i := range b.row {
		if given[i] && b.row[i].name == name {
			return true
		}
	}
	return false
}

// appendCounter appends an amount as a decimal number with a point: with it the server counts
// exactly, whatever integer the column is.
func appendCounter(dst []byte, amount *big.Int) []byte {
	whole, rest := new(big.Int).QuoRem(new(big.Int).Abs(amount), counterOne, new(big.Int))
	if amount.Sign() < 0 {
		dst = append(dst, '-')
	}
	dst = append(whole.Append(dst, 10), '.')
	digits := strings.TrimRight(fmt.Sprintf("%0*s", CounterScale, rest.String()), "0")
	if digits == "" {
		digits = "0"
	}
	return append(dst, digits...)
}

// Counter reads a field of a row, from its value on, as an amount.
func (b *Binder) Counter(field int, row []byte, span schemas.Span) (*big.Int, error) {
	f := b.row[field].field
	scale, amount := 0, new(big.Int)
	switch f.Kind {
	case schemas.KindInt:
		v, _, err := schemas.ReadInt(row, span.Value)
		if err != nil {
			return nil, err
		}
		amount.SetInt64(v)
	case schemas.KindLong:
		v, _, err := schemas.ReadLong(row, span.Value)
		if err != nil {
			return nil, err
		}
		amount.SetInt64(v)
	case schemas.KindDecimal:
		v, _, err := schemas.ReadBytes(row, span.Value)
		if err != nil {
			return nil, err
		}
		if amount.SetBytes(v); len(v) > 0 && v[0]&0x80 != 0 {
			amount.Sub(amount, new(big.Int).Lsh(big.NewInt(1), uint(len(v))*8))
		}
		scale = f.Scale
	default:
		return nil, fmt.Errorf("column %s is no number that can be added to exactly", b.row[field].quoted)
	}
	return amount.Mul(amount, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(CounterScale-scale)), nil)), nil
}

// Generated reports whether the server makes a field's values itself.
func (b *Binder) Generated(field int) bool { return b.row[field].generated }

// RefuseCounter tells why a column of the target can't be a counter, nil if it can.
func (b *Binder) RefuseCounter(name string) error { return RefuseCounter(b.table, name) }

// RefuseCounter tells why a column of a table can't be a counter, nil if it can.
func RefuseCounter(t *schemas.Table, name string) error {
	at := t.Column(name)
	if at < 0 {
		return fmt.Errorf("there is no such column")
	}
	c := &t.Columns[at]
	integer := c.Type >= schemas.TinyInt && c.Type <= schemas.BigInt
	switch {
	case !integer && c.Type != schemas.Decimal:
		return fmt.Errorf("it is %s, and only an integer or DECIMAL can be added to exactly", nativeName(c))
	case c.Generated:
		return fmt.Errorf("the server generates it")
	case c.Nullable:
		return fmt.Errorf("it may be NULL, to which nothing can be added; mend: ALTER TABLE %s MODIFY COLUMN %s %s NOT NULL DEFAULT 0", qualified(t), quote(c.Name), nativeName(c))
	}
	for _, k := range t.Key {
		if k == at {
			return fmt.Errorf("it is part of the primary key")
		}
	}
	return nil
}
