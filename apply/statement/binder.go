// Package statement writes the SQL text that applies changes to a table.
//
// The text is made straight from Avro encoded rows: a Binder is compiled from
// the row type that the writer used and the table as it stands in the target,
// matched by column name, and then only appends bytes. Every value becomes a
// literal that the server reads back to exactly the value that the origin had;
// a value that the target's column can't hold exactly is an error, never a
// rounded or clipped value.
//
// The text assumes a session with character set utf8mb4, time zone +00:00, a
// strict sql_mode with NO_AUTO_VALUE_ON_ZERO and without NO_BACKSLASH_ESCAPES
// and ANSI_QUOTES.
package statement

import (
	"errors"
	"fmt"
	"strings"

	"duplex/schemas"
)

// Dialect is the flavour of SQL that the target understands.
type Dialect uint8

// The dialects. MySQLBefore8019 has no row alias in INSERT.
const (
	MySQL Dialect = iota
	MySQLBefore8019
	MariaDB
)

// DialectOf returns what a server of that flavour and version understands.
func DialectOf(flavor string, major, minor, patch int) Dialect {
	switch {
	case flavor == "mariadb":
		return MariaDB
	case major < 8, major == 8 && minor == 0 && patch < 19:
		return MySQLBefore8019
	}
	return MySQL
}

// Binder appends statements for one table, from rows of one writer's schema.
// It is never changed after Compile and Weigh: many may use it at once.
type Binder struct {
	table *schemas.Table
	row   []column // one for each field of the writer's row
	key   []column // one for each field of the writer's key
	// exact tells that the server takes two keys for equal only if their key
	// texts are.
	exact bool
	// padded is set where the collation of a key column ignores spaces at the end.
	padded bool
	unique []UniqueKey
	texts  texts
	// pairs is set where keys are compared column by column instead of by row
	// constructor: MariaDB then misses rows whose column isn't utf8mb4, but
	// the time that it takes for this longer form grows with its square.
	pairs bool
	// twice is set where a list of one key must name it twice: for one row
	// constructor alone MariaDB makes no look-up, but reads, and locks, the whole
	// table.
	twice bool
}

// texts are the constant parts of the statements.
type texts struct {
	insert, upsertTail string
	delete, selectKeys string
	selectHead         string // up to the table's name
	where              string // from WHERE up to the keys
}

// UniqueKey is a unique key of the target, other than the primary key.
type UniqueKey struct {
	Name string
	// Fields are the positions, in the writer's row, of the key's plain
	// columns. Columns that the writer's row lacks, prefixes and expressions
	// are missing: what remains is compared more coarsely than the key.
	Fields []int
	// Whole is set if all parts of the key are there.
	Whole bool
}

// Compile binds the writer's row and key type to a table of the target by
// column name. The error names every column that doesn't fit, and how to mend
// it.
func Compile(value, key *schemas.Record, target *schemas.Table, dialect Dialect) (*Binder, error) {
	b := &Binder{table: target, exact: true}
	var problems []error
	bind := func(r *schemas.Record) []column {
		cols := make([]column, len(r.Fields))
		for i := range r.Fields {
			var err error
			if cols[i], err = bindColumn(&r.Fields[i], target, dialect); err != nil {
				problems = append(problems, err)
			}
		}
		return cols
	}
	if target.Versioned {
		problems = append(problems, fmt.Errorf("it is system-versioned here, and what the origin keeps of the history can't be written; mend: ALTER TABLE %s DROP SYSTEM VERSIONING, in every region", qualified(target)))
	}
	b.row = bind(value)
	problems = append(problems, b.checkMissing(value)...)
	for _, u := range target.Unique {
		if u.Name == "PRIMARY" { // so a primary key over a prefix is told
			problems = append(problems, fmt.Errorf("the primary key has a prefix of a column, so two rows may be one to it; mend: ALTER TABLE %s DROP PRIMARY KEY, ADD PRIMARY KEY (...) over whole columns", qualified(target)))
		}
	}
	if err := checkKey(value, key, target); err != nil {
		problems = append(problems, err)
	} else if len(problems) == 0 {
		b.key = bind(key)
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("mapping rows to table %s: %w", target, errors.Join(problems...))
	}
	for i := range b.key {
		b.exact = b.exact && b.key[i].exactEquality()
		b.padded = b.padded || b.key[i].paddedKey()
		b.pairs = b.pairs || dialect == MariaDB && len(b.key) > 1 && b.key[i].foreign
	}
	b.bindUnique(value)
	b.twice = dialect == MariaDB && len(b.key) > 1 && !b.pairs
	return b, b.compileTexts(dialect)
}

// checkMissing finds columns of the target that no field gives a value for.
func (b *Binder) checkMissing(value *schemas.Record) (problems []error) {
	for i := range b.table.Columns {
		c := &b.table.Columns[i]
		if value.Field(c.Name) < 0 && !c.Nullable && !c.Generated && !c.Default {
			problems = append(problems, fmt.Errorf("column %s is NOT NULL without default and the origin's table lacks it; "+
				"mend: ALTER TABLE %s ALTER COLUMN %s SET DEFAULT ..., or add the column in the origin", quote(c.Name), qualified(b.table), quote(c.Name)))
		}
	}
	return problems
}

// checkKey compares the two primary keys: the same columns, in any order.
func checkKey(value, key *schemas.Record, target *schemas.Table) error {
	names := func(n int, name func(int) string) string {
		out := make([]string, n)
		for i := range out {
			out[i] = quote(name(i))
		}
		return strings.Join(out, ", ")
	}
	same := len(key.Fields) == len(target.Key)
	for _, at := range target.Key {
		same = same && key.Field(target.Columns[at].Name) >= 0
	}
	for _, f := range key.Fields {
		same = same && value.Field(f.Name) >= 0
	}
	if same && len(key.Fields) > 0 {
		return nil
	}
	theirs := names(len(key.Fields), func(i int) string { return key.Fields[i].Name })
	ours := names(len(target.Key), func(i int) string { return target.Columns[target.Key[i]].Name })
	return fmt.Errorf("the origin's primary key is (%s), here it is (%s); mend: ALTER TABLE %s DROP PRIMARY KEY, ADD PRIMARY KEY (%s)",
		theirs, ours, qualified(target), theirs)
}

func (b *Binder) bindUnique(value *schemas.Record) {
	for _, index := range b.table.Unique {
		u := UniqueKey{Name: index.Name}
		for _, at := range index.Columns {
			if f := value.Field(b.table.Columns[at].Name); f >= 0 {
				u.Fields = append(u.Fields, f)
			}
		}
		u.Whole = !index.Partial && len(u.Fields) == len(index.Columns)
		b.unique = append(b.unique, u)
	}
}

func (b *Binder) compileTexts(dialect Dialect) error {
	table := qualified(b.table)
	isKey := make(map[string]bool)
	for i := range b.key {
		isKey[b.key[i].name] = true
	}
	var names, set []string
	alias := "duplex_row"
	if strings.EqualFold(b.table.Name, alias) {
		alias = "duplex_new_row"
	}
	assign := func(name string) {
		if dialect == MySQL {
			set = append(set, name+"="+alias+"."+name)
		} else {
			set = append(set, name+"=VALUES("+name+")")
		}
	}
	for i := range b.row {
		c := &b.row[i]
		if c.generated {
			continue
		}
		names = append(names, quote(c.name))
		// Keys that differ only in what their collation ignores are one key:
		// then the key's own text is to be written too.
		if !isKey[c.name] || !b.exact {
			assign(quote(c.name))
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("mapping rows to table %s: all columns that the origin's table has are generated ones here", b.table)
	}
	if len(set) == 0 {
		assign(names[0])
	}
	t := &b.texts
	t.insert = "INSERT INTO " + table + " (" + strings.Join(names, ",") + ") VALUES "
	if dialect == MySQL {
		t.upsertTail = " AS " + alias
	}
	t.upsertTail += " ON DUPLICATE KEY UPDATE " + strings.Join(set, ",")
	b.compileKeyTexts(table, dialect)
	return nil
}

func (b *Binder) compileKeyTexts(table string, dialect Dialect) {
	var names, shown []string
	for i := range b.key {
		name := quote(b.key[i].name)
		names = append(names, name)
		if b.key[i].typ == schemas.Float || b.key[i].kind == schemas.KindFloat {
			// As text the server rounds FLOAT to six digits; a double it prints
			// exactly.
			name += "+0e0"
		}
		shown = append(shown, name)
	}
	// A list of keys is looked up by ranges only as long as the optimizer's
	// memory for them suffices, which MySQL 8.0 has used up at a thousand keys
	// of two columns; then it would read, and lock, the whole table.
	hint := "/*+ SET_VAR(range_optimizer_max_mem_size=0) */ "
	if dialect == MariaDB {
		hint = ""
	}
	where := " WHERE "
	switch {
	case b.pairs:
	case len(names) == 1:
		where += names[0] + " IN ("
	default:
		where += "(" + strings.Join(names, ",") + ") IN ("
	}
	b.texts.where = where
	b.texts.delete = "DELETE " + hint + "FROM " + table + where
	b.texts.selectHead = "SELECT " + strings.Join(shown, ",") + " FROM " + table
	b.texts.selectKeys = "SELECT " + hint + strings.Join(shown, ",") + " FROM " + table + where
}

// Unique returns the unique keys of the target other than the primary key.
func (b *Binder) Unique() []UniqueKey { return b.unique }

// Weigh makes AppendConflictKey tell keys apart exactly as the server does:
// weights returns those of a collation of the target. It is for keys that are
// compared for long; without it, more of them are taken for the same.
func (b *Binder) Weigh(weights func(charset, collation string) (*Weights, error)) error {
	for i := range b.key {
		c := &b.key[i]
		if c.fold != foldAll {
			continue
		}
		var err error
		if c.weights, err = weights(c.charset, c.collation); err != nil {
			return fmt.Errorf("collation %s of column %s: %w", c.collation, c.quoted, err)
		}
	}
	return nil
}

// Identity reports whether AppendConflictKey tells keys apart exactly as the server
// does: it doesn't before Weigh, where a collation ignores more than trailing
// spaces. That a SELECT may show less than a column holds doesn't matter: these
// keys come from the topics.
func (b *Binder) Identity() bool {
	for i := range b.key {
		if c := &b.key[i]; c.fold == foldAll && c.weights == nil {
			return false
		}
	}
	return true
}

// Shown reports whether a SELECT shows the whole key: AppendConflictKeyFromResult
// then tells rows apart as AppendConflictKey does.
func (b *Binder) Shown() bool {
	for i := range b.key {
		if b.key[i].vague {
			return false
		}
	}
	return true
}

// ExactKey reports whether two keys are equal to the server only if their key
// texts are equal. It is false for collations that ignore something, such as
// case or trailing spaces, and for floating point keys: there a row that
// AppendSelectKeys finds may have another text than the key asked for.
func (b *Binder) ExactKey() bool { return b.exact }

// AppendInsert appends one INSERT of all rows, encoded by the writer's schema.
func (b *Binder) AppendInsert(dst []byte, rows [][]byte) ([]byte, error) {
	return b.appendRows(dst, rows, "")
}

// AppendUpsert appends one INSERT of all rows that updates those that exist.
func (b *Binder) AppendUpsert(dst []byte, rows [][]byte) ([]byte, error) {
	return b.appendRows(dst, rows, b.texts.upsertTail)
}

// AppendWideInsert appends an INSERT of one row with a placeholder, ?, for each
// large value, and gives those values, parts of row, in their order. A server
// takes each of them by itself, up to max_allowed_packet: the statement with
// all of them in it would be larger than that, and two more copies in memory.
func (b *Binder) AppendWideInsert(dst, row []byte) (text []byte, values []WideValue, err error) {
	return b.appendWide(dst, row, "")
}

// AppendWideUpsert is AppendWideInsert that updates the row if it exists.
func (b *Binder) AppendWideUpsert(dst, row []byte) (text []byte, values []WideValue, err error) {
	return b.appendWide(dst, row, b.texts.upsertTail)
}

// WideValue is a value that a placeholder stands for.
type WideValue struct {
	Column string // quoted
	Value  []byte
}

func (b *Binder) appendWide(dst, row []byte, tail string) (text []byte, values []WideValue, err error) {
	start := len(dst)
	if dst, err = b.appendRow(append(dst, b.texts.insert...), row, &values); err != nil {
		return dst[:start], nil, fmt.Errorf("writing a row of table %s: %w", b.table, err)
	}
	return append(dst, tail...), values, nil
}

func (b *Binder) appendRows(dst []byte, rows [][]byte, tail string) ([]byte, error) {
	if len(rows) == 0 {
		return dst, errors.New("writing a statement: it has no rows")
	}
	start := len(dst)
	dst = append(dst, b.texts.insert...)
	var err error
	for i, row := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = b.appendRow(dst, row, nil); err != nil {
			return dst[:start], fmt.Errorf("writing a row of table %s: %w", b.table, err)
		}
	}
	return append(dst, tail...), nil
}

// appendRow appends `(value,value)`. Large values go to wide, unless it is nil,
// with a placeholder in their place.
func (b *Binder) appendRow(dst, row []byte, wide *[]WideValue) ([]byte, error) {
	at, comma := 0, byte('(')
	for i := range b.row {
		c := &b.row[i]
		if !c.generated {
			dst, comma = append(dst, comma), ','
		}
		var err error
		if dst, at, err = c.appendValue(dst, row, at, wide); err != nil {
			return dst, b.unwritable(c, err)
		}
	}
	if at != len(row) {
		return dst, errTrailing
	}
	return append(dst, ')'), nil
}

// unwritable says which column can't take its value.
func (b *Binder) unwritable(c *column, err error) error {
	if errors.Is(err, errNull) {
		t := &b.table.Columns[b.table.Column(c.name)]
		err = fmt.Errorf("%w; mend: ALTER TABLE %s MODIFY COLUMN %s %s NULL", err, qualified(b.table), c.quoted, nativeName(t))
	}
	return fmt.Errorf("column %s: %w", c.quoted, err)
}

var errTrailing = errors.New("bytes are left after the last column")

// AppendDelete appends one DELETE of the rows that have the given primary
// keys, encoded by the writer's key schema.
func (b *Binder) AppendDelete(dst []byte, keys [][]byte) ([]byte, error) {
	return b.appendKeys(dst, keys, b.texts.delete, "")
}

// AppendSelectKeys appends a SELECT ... FOR UPDATE that locks the rows of the
// given primary keys and returns their key columns, in the order of the
// writer's key schema; see AppendKeyTextFromResult.
func (b *Binder) AppendSelectKeys(dst []byte, keys [][]byte) ([]byte, error) {
	return b.appendKeys(dst, keys, b.texts.selectKeys, " FOR UPDATE")
}

func (b *Binder) appendKeys(dst []byte, keys [][]byte, head, tail string) ([]byte, error) {
	if len(keys) == 0 {
		return dst, errors.New("writing a statement: it has no keys")
	}
	if len(keys) == 1 && b.twice {
		keys = [][]byte{keys[0], keys[0]}
	}
	start := len(dst)
	dst = append(dst, head...)
	var err error
	for i, key := range keys {
		switch {
		case i > 0 && b.pairs:
			dst = append(dst, " OR "...)
		case i > 0:
			dst = append(dst, ',')
		}
		if dst, err = b.appendKey(dst, key); err != nil {
			return dst[:start], fmt.Errorf("writing a key of table %s: %w", b.table, err)
		}
	}
	if !b.pairs {
		dst = append(dst, ')')
	}
	return append(dst, tail...), nil
}
