package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"duplex/mysql"
	"duplex/schemas"
)

// A comparison tells how a table of two regions differs. Which side is right
// only people know: fixes change the second to be like the first, or add to
// whichever lacks something.
type comparison struct {
	from, to     *side
	a, b         *schemas.Table // in from and in to
	aText, bText created
	found        []Finding
}

// compareTables tells how the task's tables of two regions differ.
func compareTables(ctx context.Context, from, to *side) []Finding {
	found := append(missingTables(ctx, from, to), missingTables(ctx, to, from)...)
	for _, a := range from.tables {
		b := to.table(a.DB, a.Name)
		if b == nil {
			continue
		}
		c := &comparison{from: from, to: to, a: a, b: b}
		if c.differ() {
			c.aText, c.bText = from.showCreate(ctx, a.DB, a.Name), to.showCreate(ctx, b.DB, b.Name)
		}
		c.columns()
		c.primaryKey()
		c.uniqueKeys()
		c.foreignKeys()
		found = append(found, c.found...)
	}
	return found
}

// missingTables finds the tables of the one side that the other lacks.
func missingTables(ctx context.Context, has, lacks *side) []Finding {
	var found []Finding
	for _, t := range has.tables {
		if lacks.table(t.DB, t.Name) == nil && lacks.sees(t.DB, t.Name) {
			found = append(found, missingTable(ctx, has, lacks, t))
		}
	}
	return found
}

func missingTable(ctx context.Context, has, lacks *side, t *schemas.Table) Finding {
	fix := fmt.Sprintf("-- create it as SHOW CREATE TABLE %s in %s says\n", quoteTable(t.DB, t.Name), has.region())
	if text := has.showCreate(ctx, t.DB, t.Name); text != "" {
		fix = fmt.Sprintf("CREATE DATABASE IF NOT EXISTS %s;\n%s;\n", mysql.QuoteIdent(t.DB), text.statement(t.DB, t.Name))
	}
	return Finding{Region: lacks.region(), Code: "table-missing", Severity: Refuse, Where: lacks.whereTable(t),
		What: fmt.Sprintf("the table is in %s and not here", has.region()), Why: "its rows would have nowhere to go", Fix: fix}
}

func (c *comparison) add(s *side, severity Severity, code, what, why, fix string) {
	t := c.a
	if s == c.to {
		t = c.b
	}
	c.found = append(c.found, Finding{Region: s.region(), Code: code, Severity: severity, Where: s.whereTable(t), What: what, Why: why, Fix: fix})
}

// alter is an ALTER TABLE of this table, or where the definition couldn't be
// read a remark in its place.
func (c *comparison) alter(verb, definition string) string {
	if definition == "" {
		return fmt.Sprintf("-- make the table as SHOW CREATE TABLE says on the other side: ALTER TABLE %s %s …\n", quoteTable(c.a.DB, c.a.Name), verb)
	}
	return fmt.Sprintf("ALTER TABLE %s %s %s;\n", quoteTable(c.a.DB, c.a.Name), verb, definition)
}

// differ reports whether the two definitions need to be looked at closely.
func (c *comparison) differ() bool {
	return slices.ContainsFunc(slices.Concat(c.a.Unique, c.b.Unique), func(u schemas.Index) bool { return u.Partial }) ||
		!slices.Equal(plainKeys(c.a), plainKeys(c.b)) || len(c.a.Columns) != len(c.b.Columns) ||
		slices.ContainsFunc(c.a.Columns, func(x schemas.Column) bool {
			i := c.b.Column(x.Name)
			return i < 0 || len(columnDifference(&x, &c.b.Columns[i])) > 0
		})
}

func plainKeys(t *schemas.Table) []string {
	var keys []string
	for _, u := range t.Unique {
		keys = append(keys, strings.ToLower(strings.Join(columnNames(t, u.Columns), ",")))
	}
	slices.Sort(keys)
	return keys
}

func (c *comparison) columns() {
	const missing = "the values that the other region writes to it would have nowhere to go"
	for i := range c.a.Columns {
		x := &c.a.Columns[i]
		j := c.b.Column(x.Name)
		if j < 0 {
			c.add(c.to, Refuse, "column-missing", fmt.Sprintf("column %s is in %s and not here", mysql.QuoteIdent(x.Name), c.from.region()), missing,
				c.alter("ADD COLUMN", c.aText.column(x)))
			continue
		}
		c.column(x, &c.b.Columns[j], slices.Contains(c.a.Key, i) || slices.ContainsFunc(c.a.Unique, func(u schemas.Index) bool { return slices.Contains(u.Columns, i) }))
	}
	for i := range c.b.Columns {
		if y := &c.b.Columns[i]; c.a.Column(y.Name) < 0 {
			c.add(c.from, Refuse, "column-missing", fmt.Sprintf("column %s is in %s and not here", mysql.QuoteIdent(y.Name), c.to.region()), missing,
				c.alter("ADD COLUMN", c.bText.column(y)))
		}
	}
}

func (c *comparison) column(x, y *schemas.Column, inKey bool) {
	differences := columnDifference(x, y)
	if c.isDocument(x, y) {
		c.document(x)
		differences = slices.DeleteFunc(differences, func(d difference) bool { return d.aspect == "type" || d.aspect == "character set" })
	}
	if len(differences) == 0 {
		return
	}
	severity, why := Refuse, "a value that one side takes may not fit the other"
	if len(differences) == 1 && differences[0].aspect == "collation" {
		if why = "keys that are equal under one collation differ under the other: the regions would disagree about which row is meant"; !inKey {
			severity, why = Warn, "the two regions sort and compare its values differently"
		}
	}
	var parts []string
	for _, d := range differences {
		parts = append(parts, fmt.Sprintf("%s is %s in %s and %s here", d.aspect, d.a, c.from.region(), d.b))
	}
	c.add(c.to, severity, "column-differs", fmt.Sprintf("column %s: %s", mysql.QuoteIdent(x.Name), strings.Join(parts, ", ")), why,
		fmt.Sprintf("-- or in %s the other way round\n", c.from.region())+c.alter("MODIFY COLUMN", c.aText.column(x)))
}

// isDocument reports whether a column is JSON in MySQL and a text for JSON in
// MariaDB, which has no other way to keep a document.
func (c *comparison) isDocument(x, y *schemas.Column) bool {
	text := func(s *side, column *schemas.Column) bool {
		return s.server.Flavor == mysql.MariaDB && strings.EqualFold(column.Native, "longtext") && column.Charset == "utf8mb4"
	}
	return x.Type == schemas.JSON && text(c.to, y) || y.Type == schemas.JSON && text(c.from, x)
}

// document tells what becomes of a document between MySQL and MariaDB. Where
// MariaDB's column takes any text, it must not.
func (c *comparison) document(column *schemas.Column) {
	maria, text := c.to, c.bText
	if c.from.server.Flavor == mysql.MariaDB {
		maria, text = c.from, c.aText
	}
	name := mysql.QuoteIdent(column.Name)
	if definition := text.column(&schemas.Column{Name: column.Name, Native: "longtext"}); !strings.Contains(strings.ToLower(definition), "json_valid("+strings.ToLower(name)+")") {
		c.add(maria, Refuse, "json-text", fmt.Sprintf("column %s is JSON in the other region and takes any text here", name),
			"a text that isn't JSON would stop the task", c.alter("MODIFY COLUMN", definition+" CHECK (json_valid("+name+"))"))
		return
	}
	c.add(maria, Warn, "json-text", fmt.Sprintf("column %s is JSON in the other region and a text here", name),
		"MySQL keeps the document, MariaDB its spelling: spaces, the order of members and the form of numbers may differ; two members of one name, or a number of more than 64 bits or 17 digits, stop the task",
		fmt.Sprintf("-- nothing, if the applications read it as JSON; else make it LONGTEXT in both regions: ALTER TABLE %s MODIFY COLUMN %s LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin\n", quoteTable(c.a.DB, c.a.Name), name))
}

type difference struct{ aspect, a, b string }

// columnDifference tells in what two columns of one name differ, as far as it
// matters for values. Display widths and defaults don't.
func columnDifference(x, y *schemas.Column) []difference {
	var found []difference
	compare := func(aspect, a, b string) {
		if a != b {
			found = append(found, difference{aspect, a, b})
		}
	}
	compare("type", nativeType(x), nativeType(y))
	compare("nullability", choose(x.Nullable, "NULL", "NOT NULL"), choose(y.Nullable, "NULL", "NOT NULL"))
	compare("character set", utf8mb3(x.Charset), utf8mb3(y.Charset))
	if len(found) == 0 {
		compare("collation", utf8mb3(x.Collation), utf8mb3(y.Collation))
	}
	compare("generated", choose(x.Generated, "yes", "no"), choose(y.Generated, "yes", "no"))
	return found
}

func choose(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

// utf8mb3 gives the old name of that character set, and of its collations, as
// the new one.
func utf8mb3(name string) string {
	if name == "utf8" || strings.HasPrefix(name, "utf8_") {
		return "utf8mb3" + name[len("utf8"):]
	}
	return name
}

// nativeType writes a type so that equal text means equal values: without the
// display widths that MariaDB and MySQL before 8.0.19 show.
func nativeType(c *schemas.Column) string {
	unsigned := choose(c.Unsigned, " unsigned", "")
	switch c.Type {
	case schemas.Decimal:
		return fmt.Sprintf("decimal(%d,%d)%s", c.Precision, c.Scale, unsigned)
	case schemas.Bit:
		return fmt.Sprintf("bit(%d)", c.Length)
	case schemas.Time, schemas.DateTime, schemas.Timestamp:
		return fmt.Sprintf("%s(%d)", c.Type, c.Scale)
	case schemas.TinyInt, schemas.SmallInt, schemas.MediumInt, schemas.Int, schemas.BigInt, schemas.Year, schemas.Date, schemas.JSON:
		return c.Type.String() + unsigned
	}
	return strings.ToLower(c.Native[:typeEnd(c.Native)]) + c.Native[typeEnd(c.Native):]
}

// typeEnd is where the word of a type ends and its length or labels begin.
func typeEnd(native string) int {
	if i := strings.IndexAny(native, "( "); i >= 0 {
		return i
	}
	return len(native)
}

func (c *comparison) primaryKey() {
	a, b := columnNames(c.a, c.a.Key), columnNames(c.b, c.b.Key)
	if slices.EqualFunc(a, b, strings.EqualFold) || len(a) == 0 || len(b) == 0 { // no key at all is told by checkKey
		return
	}
	c.add(c.to, Refuse, "primary-key-differs", fmt.Sprintf("the primary key is (%s) in %s and (%s) here", strings.Join(a, ", "), c.from.region(), strings.Join(b, ", ")),
		"the primary key tells which rows of the two regions are the same row",
		fmt.Sprintf("-- or in %s the other way round\n", c.from.region())+c.alter("DROP PRIMARY KEY, ADD PRIMARY KEY", "("+quoteList(a)+")"))
}

func (c *comparison) uniqueKeys() {
	const why = "rows that one region takes would be refused by the other"
	a, b := uniqueKeys(c.a, c.aText), uniqueKeys(c.b, c.bText)
	for _, k := range a {
		what := fmt.Sprintf("unique key %s over (%s) is in %s and not here", mysql.QuoteIdent(k.name), k.demand, c.from.region())
		switch other := named(b, k.name); {
		case slices.ContainsFunc(b, k.equal):
		case other != nil:
			c.add(c.to, Refuse, "unique-key-differs", fmt.Sprintf("%s, where it is over (%s)", what, other.demand), why,
				fmt.Sprintf("-- or in %s the other way round\n", c.from.region())+c.alter("DROP KEY "+mysql.QuoteIdent(k.name)+", ADD", c.aText.unique(k.name)))
		default:
			c.add(c.to, Refuse, "unique-key-differs", what, why, c.alter("ADD", c.aText.unique(k.name)))
		}
	}
	for _, k := range b {
		if !slices.ContainsFunc(a, k.equal) && named(a, k.name) == nil {
			c.add(c.from, Refuse, "unique-key-differs", fmt.Sprintf("unique key %s over (%s) is in %s and not here", mysql.QuoteIdent(k.name), k.demand, c.to.region()),
				why, c.alter("ADD", c.bText.unique(k.name)))
		}
	}
}

// uniqueKey is a unique key by what it demands: its columns or, where it has an
// expression or a prefix, its definition.
type uniqueKey struct{ name, demand string }

func (k uniqueKey) equal(other uniqueKey) bool { return strings.EqualFold(k.demand, other.demand) }

func named(keys []uniqueKey, name string) *uniqueKey {
	i := slices.IndexFunc(keys, func(k uniqueKey) bool { return strings.EqualFold(k.name, name) })
	if i < 0 {
		return nil
	}
	return &keys[i]
}

func uniqueKeys(t *schemas.Table, text created) []uniqueKey {
	var keys []uniqueKey
	for _, u := range t.Unique {
		demand := strings.Join(columnNames(t, u.Columns), ", ")
		if u.Partial {
			_, demand, _ = strings.Cut(text.unique(u.Name), "` (")
			demand = strings.TrimSuffix(demand, ")")
		}
		if u.Name != "PRIMARY" { // that is told by checkKey
			keys = append(keys, uniqueKey{u.Name, demand})
		}
	}
	return keys
}

func (c *comparison) foreignKeys() {
	const why = "applications in one region may write rows that the other would refuse; duplex itself writes without checking foreign keys"
	key := [2]string{c.a.DB, c.a.Name}
	a, b := c.from.definitions.foreignKeys[key], c.to.definitions.foreignKeys[key]
	lacking := func(lacks, has *side, k mysql.ForeignKey, before string) {
		c.add(lacks, Warn, "foreign-key-differs", fmt.Sprintf("foreign key %s, %s, is in %s and not here", mysql.QuoteIdent(k.Name), k.Definition(), has.region()),
			why, before+c.alter("ADD CONSTRAINT "+mysql.QuoteIdent(k.Name), k.Definition()))
	}
	for _, k := range a {
		switch {
		case slices.ContainsFunc(b, equalTo(k)):
		case slices.ContainsFunc(b, sameName(k)):
			// The index that came with the old one stays, under the same name: the
			// new one needs its own.
			lacking(c.to, c.from, k, fmt.Sprintf("-- or in %s the other way round\n", c.from.region())+
				c.alter("DROP FOREIGN KEY", mysql.QuoteIdent(k.Name))+c.alter("ADD INDEX", "("+quoteList(k.Columns)+")"))
		default:
			lacking(c.to, c.from, k, "")
		}
	}
	for _, k := range b {
		if !slices.ContainsFunc(a, equalTo(k)) && !slices.ContainsFunc(a, sameName(k)) {
			lacking(c.from, c.to, k, "")
		}
	}
}
