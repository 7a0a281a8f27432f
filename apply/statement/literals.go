package statement

import (
	"fmt"
	"slices"
)

// Literals returns, as SQL literals, what a row has in some of the target's
// columns. It is an error if the writer's row lacks one, or the server makes it
// itself.
func (b *Binder) Literals(row []byte, columns []string) ([]string, error) {
	literals := make([]string, len(columns))
	at := 0
	for i := range b.row {
		c := &b.row[i]
		null, next, err := c.field.ReadNull(row, at)
		want := slices.Index(columns, c.name)
		switch {
		case err != nil:
		case want >= 0 && c.generated:
			err = fmt.Errorf("it is a generated column, which not every server logs")
		case want >= 0 && null:
			literals[want] = Null
		case want >= 0:
			var text []byte
			text, next, err = c.appendLiteral(nil, row, next)
			literals[want] = string(text)
		case !null:
			next, err = c.field.SkipValue(row, next)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a row of table %s: column %s: %w", b.table, c.quoted, err)
		}
		at = next
	}
	if i := slices.Index(literals, ""); i >= 0 {
		return nil, fmt.Errorf("reading a row of table %s: the origin's table lacks column %s", b.table, quote(columns[i]))
	}
	return literals, nil
}

// Null is the literal of NULL.
const Null = "NULL"
