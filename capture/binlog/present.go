package binlog

import (
	"strings"

	"duplex/schemas"
)

// MariaDB leaves generated columns out of the images of updates and deletes
// since 11.8.9, whatever binlog_row_image says, and puts them into those of
// inserts. What isn't there counts as NULL: apply never writes such a column.
// Only a unique key makes it needed, to tell which rows must be written one
// after the other.

// Lacks returns the names of the columns that rows with this bitmap lack and
// can't do without: nil of a full image, and of one without derived columns.
func (d *RowDecoder) Lacks(present []byte) (names []string) {
	if len(present) >= d.bitmap && d.isFull(present) {
		return nil
	}
	for i := range d.columns {
		if (i/8 >= len(present) || present[i/8]&(1<<(i%8)) == 0) && !d.columns[i].derived {
			names = append(names, d.table.Columns[i].Name)
		}
	}
	return names
}

// isFull reports whether a bitmap has a bit for each of the columns. The bits
// after the last column's may have any value.
func (d *RowDecoder) isFull(present []byte) bool {
	last := d.bitmap - 1
	for _, b := range present[:last] {
		if b != 0xff {
			return false
		}
	}
	want := byte(0xff) >> (8*d.bitmap - len(d.columns))
	return present[last]&want == want
}

// decodePartial decodes an image that lacks columns. Its bitmap of NULLs has no
// bits for those; the one that decode gets has.
func (d *RowDecoder) decodePartial(dst, src, present []byte, key []Span, exact *schemas.Exact) (out, rest []byte, err error) {
	if names := d.Lacks(present); names != nil {
		return nil, nil, d.fail(names[0], ErrPartialImage)
	}
	var nulls [maxColumns / 8]byte
	next := 0
	for i := range d.columns {
		null := true
		if present[i/8]&(1<<(i%8)) != 0 {
			if next/8 >= len(src) {
				return nil, nil, d.fail("", ErrTruncated)
			}
			null = src[next/8]&(1<<(next%8)) != 0
			next++
		}
		if null {
			nulls[i/8] |= 1 << (i % 8)
		}
	}
	return d.decode(dst, nulls[:d.bitmap], src[(next+7)/8:], key, exact)
}

// refuseLack says why rows without these columns can't be captured.
func refuseLack(t *schemas.Table, gtid GTID, names []string) error {
	for i := range t.Columns {
		if c := &t.Columns[i]; c.Name == names[0] && c.Generated {
			return refuse("table %s, column %s: transaction %s doesn't tell its value: MariaDB leaves generated columns out of the binlog, and this one is in a unique key, which tells what rows must be written one after the other; mend: exclude the table, or make that key a plain one: ALTER TABLE %s DROP INDEX …, ADD INDEX … (%s); then %s", t, c.Name, gtid, t, c.Name, beginAnew)
		}
	}
	return refuse("table %s: transaction %s holds only a part of its rows, not column %s: a session has set binlog_row_image; mend: SET GLOBAL binlog_row_image = 'FULL', end the sessions that set another one, and keep their accounts from setting it; the rest of these rows is not in the binlog: %s", t, gtid, strings.Join(names, ", "), beginAnew)
}
