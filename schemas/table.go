// Package schemas holds the table model and its three faces: the native type
// of a column, its Avro type in Debezium's form, and the schema registry.
//
// A table is known twice. Capture builds it from the binlog's TABLE_MAP event
// (binlog_row_metadata=FULL), so that a row is always decoded with the shape
// it had when it was written; apply and check build it from
// information_schema. Columns are matched by name.
package schemas

import (
	"slices"
	"strings"
)

// Type is the native type of a column.
type Type uint8

// The native types. Those of one family that differ only in their limit are
// one: TEXT stands for TINYTEXT to LONGTEXT, BLOB for TINYBLOB to LONGBLOB.
const (
	Unknown Type = iota
	TinyInt
	SmallInt
	MediumInt
	Int
	BigInt
	Decimal
	Float
	Double
	Bit
	Year
	Date
	Time
	DateTime
	Timestamp
	Char
	VarChar
	Text
	Binary
	VarBinary
	Blob
	Enum
	Set
	JSON
	Geometry // any but POINT
	Vector
	Point
	UUID
	INET4
	INET6
)

var typeNames = [...]string{"unknown", "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "bit", "year", "date", "time", "datetime", "timestamp", "char", "varchar", "text", "binary", "varbinary", "blob", "enum", "set", "json", "geometry", "vector", "point", "uuid", "inet4", "inet6"}

// String returns the name of the type in lower case, as information_schema
// writes DATA_TYPE (of its family, see Type).
func (t Type) String() string { return typeNames[t] }

// Column is one column of a table.
type Column struct {
	Name     string
	Type     Type
	Unsigned bool
	Nullable bool
	// Length is the declared length: bytes for BINARY and VARBINARY and, since
	// TABLE_MAP knows only these, for CHAR and VARCHAR too; bits for BIT.
	Length int
	// Precision and Scale are those of DECIMAL, and the M and D of FLOAT(M,D),
	// which only information_schema tells; Scale is also the number of
	// fractional digits of seconds of TIME, DATETIME and TIMESTAMP.
	Precision, Scale int
	// Charset is the character set of CHAR, VARCHAR, TEXT, ENUM and SET;
	// empty for all others. Collation likewise.
	Charset, Collation string
	// Values are the labels of ENUM and SET, in the order of definition, UTF-8.
	Values []string
	// Generated columns are captured, compared, and never written.
	Generated bool
	// Derived is a generated column that no unique key has: what applies a row
	// can do without it, and MariaDB leaves it out of its binlog.
	Derived bool
	// Default is set where the server fills in a value if a statement leaves
	// the column out: DEFAULT, AUTO_INCREMENT. Only information_schema tells.
	Default bool
	// Literal is the value of DEFAULT as the server writes it, without quotes:
	// a number, a text, hexadecimal digits after 0x for BINARY, binary ones in
	// b'' for BIT, CURRENT_TIMESTAMP. It is nil where there is no default, it is
	// NULL, or it is an expression. Only information_schema tells.
	Literal *string
	// Invisible columns take part like any other.
	Invisible bool
	// Native is the type as the server writes it, such as "bigint unsigned";
	// from TABLE_MAP it is rebuilt and may lack what the binlog doesn't tell.
	Native string
}

// Index is a unique key other than the primary key.
type Index struct {
	Name string
	// Columns are positions in Table.Columns. A unique key over an expression
	// or a prefix has only those of its columns that are plain.
	Columns []int
	// Partial is set where Columns doesn't say all of the key: it has an
	// expression or a prefix.
	Partial bool
}

// Table is one version of one table.
type Table struct {
	DB, Name string
	Columns  []Column
	// Key holds the positions in Columns of the primary key, in key order.
	Key []int
	// Unique holds the other unique keys; nil in a table built from TABLE_MAP,
	// which doesn't tell them.
	Unique []Index
	// Versioned tables of MariaDB keep their history themselves. Only
	// information_schema tells.
	Versioned bool
	// Engine, such as "InnoDB"; empty in a table built from TABLE_MAP.
	Engine string
	// Cascades is set in a table built from TABLE_MAP where the server changes
	// rows of other tables along with its rows and logs only these.
	Cascades *Cascades
}

// Cascades says what makes a server change other rows by itself, by ON DELETE and
// ON UPDATE of foreign keys.
type Cascades struct {
	Delete  bool  // of a row does
	Columns []int // a change of one of these does
	// Keys are the foreign keys by which it does, also those of the changed rows in
	// their turn, as header cascade has them.
	Keys []byte
}

// Column returns the position of the column of that name, or -1. Column names
// are compared without case, as MySQL does.
func (t *Table) Column(name string) int {
	for i := range t.Columns {
		if strings.EqualFold(t.Columns[i].Name, name) {
			return i
		}
	}
	return -1
}

// String returns `db.table`.
func (t *Table) String() string { return t.DB + "." + t.Name }

// Complete adds to a table built from TABLE_MAP what only information_schema
// tells: defaults, FLOAT(M,D), the types that MariaDB logs as BINARY, and which
// columns can be done without. The definition may be newer than the table, or nil if there is none now. A column that isn't in
// it with the same type stays as it is.
func (t *Table) Complete(newer *Table) {
	if newer == nil {
		return
	}
	for i := range t.Columns {
		c := &t.Columns[i]
		at := newer.Column(c.Name)
		if at < 0 {
			continue
		}
		c.Generated = newer.Columns[at].Generated
		c.Derived = c.Generated && !newer.keyed(at)
		if now := newer.Columns[at].Type; now >= UUID && c.Type == Binary && c.Length == now.size() {
			c.Type, c.Native, c.Length = now, newer.Columns[at].Native, 0
		}
		if newer.Columns[at].Type != c.Type {
			continue
		}
		c.Literal = newer.Columns[at].Literal
		if c.Type == Float {
			c.Precision, c.Scale = newer.Columns[at].Precision, newer.Columns[at].Scale
		}
	}
}

// keyed reports whether the primary key or a unique one has the column, or may
// have it: an index doesn't say all of its columns where it is Partial.
func (t *Table) keyed(column int) bool {
	for _, u := range t.Unique {
		if u.Partial || slices.Contains(u.Columns, column) {
			return true
		}
	}
	return slices.Contains(t.Key, column)
}

// size is the number of bytes of UUID, INET4 or INET6.
func (t Type) size() int {
	if t == INET4 {
		return 4
	}
	return 16
}
