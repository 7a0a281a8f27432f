package statement

import "duplex/schemas"

// VagueKey returns the columns of the table's primary key because of which
// Binder.Weigh fails with ErrWeightless: keys with different values in them may be of
// one row to the server, and nothing but the server can tell.
func VagueKey(t *schemas.Table) (columns []*schemas.Column) {
	for _, at := range t.Key {
		if c := &t.Columns[at]; weightless(c.Collation) {
			columns = append(columns, c)
		}
	}
	return columns
}
