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

// InexactKey returns the columns of the table's primary key because of which Binder.ExactKey is false: values of other
// bytes may be of one row to the server.
func InexactKey(t *schemas.Table, dialect Dialect) (columns []*schemas.Column) {
	for _, at := range t.Key {
		c := &t.Columns[at]
		text := c.Type == schemas.Char || c.Type == schemas.VarChar
		bound := column{typ: c.Type, fold: foldOf(c.Collation), vague: c.Charset != "utf8mb4" && !wholly(c.Charset, dialect)}
		switch {
		case c.Type == schemas.Float:
			bound.kind = schemas.KindFloat
		case c.Type == schemas.Double:
			bound.kind = schemas.KindDouble
		case text:
			bound.kind = schemas.KindString
		}
		if !bound.exactEquality() {
			columns = append(columns, c)
		}
	}
	return columns
}
