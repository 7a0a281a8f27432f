package statement

import (
	"fmt"
	"math"
	"time"

	"duplex/schemas"
)

// Rank reads of rows the value of a column, as a number that grows with it.
type Rank struct {
	columns []column // up to that one, the last
}

// Rank returns what reads the values of a column: of an integer, of a DECIMAL of 18 digits at most, or of
// a date and time. The error tells why another can't be compared so.
func (b *Binder) Rank(name string) (*Rank, error) {
	for i := range b.row {
		c := &b.row[i]
		if c.name != name {
			continue
		}
		switch c.kind {
		case schemas.KindInt, schemas.KindLong, schemas.KindYear, schemas.KindDate, schemas.KindTimestamp, schemas.KindMicroTimestamp, schemas.KindZonedTimestamp:
			return &Rank{b.row[:i+1]}, nil
		case schemas.KindDecimal:
			if c.field.Precision <= 18 || c.typ == schemas.BigInt {
				return &Rank{b.row[:i+1]}, nil
			}
		}
		return nil, fmt.Errorf("column %s is %s: what is newer is told by a column that holds an integer, a DECIMAL of 18 digits at most, a DATE, DATETIME or TIMESTAMP", c.quoted, describe(c.field))
	}
	return nil, fmt.Errorf("the table has no column %s", quote(name))
}

// Ranked reports whether a column is of a type that Rank reads.
func Ranked(c *schemas.Column) bool {
	switch c.Type {
	case schemas.Decimal:
		return c.Precision <= 18
	case schemas.Year, schemas.Date, schemas.DateTime, schemas.Timestamp:
		return true
	}
	return c.Type >= schemas.TinyInt && c.Type <= schemas.BigInt
}

// Of returns the number of a row, an Avro record. NULL has the smallest.
func (r *Rank) Of(row []byte) (int64, error) {
	at := 0
	for i := range r.columns {
		c := &r.columns[i]
		null, next, err := c.field.ReadNull(row, at)
		if err != nil {
			return 0, err
		}
		last := i == len(r.columns)-1
		switch {
		case last && null:
			return math.MinInt64, nil
		case last:
			return c.rank(row, next)
		case !null:
			if next, err = c.field.SkipValue(row, next); err != nil {
				return 0, err
			}
		}
		at = next
	}
	return 0, nil
}

func (c *column) rank(b []byte, at int) (int64, error) {
	switch c.kind {
	case schemas.KindZonedTimestamp:
		v, _, err := schemas.ReadBytes(b, at)
		t, bad := time.Parse(time.RFC3339Nano, string(v))
		if bad != nil {
			return math.MinInt64, err // the zero timestamp, in the exact form
		}
		return t.UnixMicro(), err
	case schemas.KindDecimal:
		v, _, err := schemas.ReadBytes(b, at)
		n := integer(v)
		if c.typ == schemas.BigInt {
			n ^= math.MinInt64 // unsigned, of 64 bits
		}
		return n, err
	}
	v, _, err := schemas.ReadLong(b, at)
	if c.kind == schemas.KindTimestamp && v >= exactBelow {
		v *= 1000 // as those below are in microseconds
	}
	return v, err
}

// integer reads the low 64 bits of a big-endian two's complement.
func integer(v []byte) (n int64) {
	if len(v) > 0 && v[0] >= 0x80 {
		n = -1
	}
	for _, x := range v {
		n = n<<8 | int64(x)
	}
	return n
}
