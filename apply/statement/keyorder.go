package statement

import (
	"fmt"
	"strings"

	"duplex/schemas"
)

// Unordered is why a table's changes can't be applied in the order of each key
// alone (apply: {ordering: key}): a row's changes would lie in several
// partitions, between which there is no order.
type Unordered struct {
	Table string
	// What is so, and Why that matters.
	What, Why string
}

// Error gives both and the mend.
func (u *Unordered) Error() string {
	return fmt.Sprintf("table %s can't be applied with ordering key: %s: %s; mend: set apply: {ordering: transaction} in every region's task file, or exclude the table", u.Table, u.What, u.Why)
}

// KeyOrder returns why changes of the table can't be applied in the order of each
// key alone; nothing if they can.
func KeyOrder(t *schemas.Table) (found []*Unordered) {
	add := func(what, why string) { found = append(found, &Unordered{t.String(), what, why}) }
	for _, u := range t.Unique {
		if u.Name != "PRIMARY" { // a prefix: refused by Compile
			add(fmt.Sprintf("it has the unique key %s", quote(u.Name)), "a value may move from one row to another, and they may be in two partitions")
		}
	}
	for _, at := range t.Key {
		switch c := &t.Columns[at]; {
		case c.Type == schemas.Float || c.Type == schemas.Double:
			add(fmt.Sprintf("column %s of its primary key is a %s", quote(c.Name), strings.ToUpper(c.Native)), "0 and -0 are one key to the server and may be in two partitions")
		case (c.Type == schemas.Char || c.Type == schemas.VarChar) && foldOf(c.Collation) == foldAll:
			add(fmt.Sprintf("column %s of its primary key has the collation %s", quote(c.Name), c.Collation), "texts that it takes for equal, such as 'a' and 'A', are one key to the server and may be in two partitions (with a collation that ends in _bin they aren't)")
		}
	}
	return found
}

// paddedKey reports whether the column's collation ignores spaces at its end.
func (c *column) paddedKey() bool {
	return c.typ == schemas.VarChar && c.fold == foldSpaces
}

// CheckKeyOrder refuses a key that the server may take for another one that has
// other bytes, and so may be in another partition.
func (b *Binder) CheckKeyOrder(key, scratch []byte) error {
	if !b.padded {
		return nil
	}
	at := 0
	for i := range b.key {
		c := &b.key[i]
		var err error
		if scratch, at, err = c.appendText(scratch[:0], key, at); err != nil {
			return fmt.Errorf("reading a key of table %s: column %s: %w", b.table, c.quoted, err)
		}
		if c.paddedKey() && len(scratch) > 0 && scratch[len(scratch)-1] == ' ' {
			return &Unordered{b.table.String(), fmt.Sprintf("a value of column %s of its primary key ends in a space, which %s ignores", c.quoted, c.collation),
				"with and without it a row has one key to the server and may be in two partitions"}
		}
	}
	return nil
}
