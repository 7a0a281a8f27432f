package statement

import "duplex/schemas"

// VagueKey returns the columns of the table's primary key because of which
// Binder.Identity is false: keys with different values in them may be of one row to
// the server, and nothing but the server can tell.
func VagueKey(t *schemas.Table) (columns []*schemas.Column) {
	for _, at := range t.Key {
		c := &t.Columns[at]
		text := c.Type == schemas.Char || c.Type == schemas.VarChar
		if c.Type >= schemas.UUID || text && foldOf(c.Collation) == foldAll {
			columns = append(columns, c)
		}
	}
	return columns
}
