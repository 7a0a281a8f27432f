package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// shape is a table made at random. Its values come from small domains, so that
// keys meet often, as they are and as their collations see them.
type shape struct {
	name    string // with its database
	columns []shaped
	key     []string
	// movable are the columns of the keys, primary and unique, whose values may
	// be given from row to row.
	movable []string
	refs    []reference
	create  string
}

// shaped is a column that statements give values to.
type shaped struct {
	name     string
	kind     *kind
	nullable bool
}

// reference is a foreign key to the primary key of a table.
type reference struct {
	columns []string
	parent  *shape
}

// kind is a type of columns.
type kind struct {
	sql    string
	domain []string // literals
	spare  string   // literal of a value outside the domain
	text   bool     // characters or bytes: may have a prefix as key
	number bool     // 1 can be added to it
	// prefix makes the literal of a value as the server prints it.
	prefix string
}

// literal writes a value that was read as it can be said again.
func (k *kind) literal(value string) string {
	switch {
	case k.number:
		return value
	case k.text:
		return fmt.Sprintf("%sX'%X'", k.prefix, value)
	}
	return "'" + value + "'"
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// kindsOf returns the types that both servers of a pair know.
func kindsOf(e engines) []*kind {
	accents, utf8 := "utf8mb4_0900_ai_ci", "_utf8mb4 "
	if e != mysqlPair {
		accents = "utf8mb4_unicode_ci"
	}
	texts := []string{"'a'", "'A'", "'á'", "'Á'", "'a '", "'A  '", "'b'", "'B'", "'ab'", "'Ab '", "'ß'", "'ss'", "'S'", "'e'", "'é'", "'æ'", "'ae'", "'ä'", "'å'", "'ü'", "'y'", "''", "' '", "'a\\\\'''"}
	character := func(charset, collation string) *kind {
		return &kind{sql: fmt.Sprintf("VARCHAR(12) CHARACTER SET %s COLLATE %s", charset, collation), domain: texts, spare: "'zz'", text: true, prefix: utf8}
	}
	return []*kind{
		{sql: "INT", domain: numbers(10), spare: "7777", number: true},
		{sql: "INT", domain: numbers(200), spare: "7777", number: true},
		{sql: "SMALLINT UNSIGNED", domain: numbers(30), spare: "7777", number: true},
		{sql: "DECIMAL(9,2)", domain: []string{"0", "1", "1.5", "-1.5", "2", "2.25", "-0.01", "10"}, spare: "7777.77", number: true},
		{sql: "DATETIME(6)", domain: []string{"'2024-02-29 00:00:00'", "'2024-02-29 00:00:00.000001'", "'2024-02-29 00:00:00.5'", "'1970-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'"}, spare: "'2001-01-01 01:01:01.01'"},
		{sql: "VARBINARY(12)", domain: []string{"X'61'", "X'41'", "X'6100'", "X'6120'", "X'00'", "X''", "X'FF'", "X'C3A1'", "X'6161'"}, spare: "X'7A7A'", text: true},
		character("utf8mb4", accents), character("utf8mb4", "utf8mb4_bin"), character("utf8mb4", "utf8mb4_general_ci"), character("latin1", "latin1_swedish_ci"),
		{sql: "CHAR(6) CHARACTER SET utf8mb4 COLLATE " + accents, domain: texts, spare: "'zz'", text: true, prefix: utf8},
	}
}

// newShapes makes up to four tables, which may refer to themselves and to each
// other, in circles too.
func newShapes(r *rand.Rand, e engines, seed uint64) []*shape {
	kinds := kindsOf(e)
	shapes := make([]*shape, 1+r.IntN(4))
	for i := range shapes {
		s := &shape{name: fmt.Sprintf("shop.h%d_%d", seed, i)}
		for k := range 1 + r.IntN(3) {
			s.columns = append(s.columns, shaped{fmt.Sprintf("k%d", k), kinds[r.IntN(len(kinds))], false})
			s.key = append(s.key, s.columns[k].name)
		}
		for u := range r.IntN(4) {
			s.columns = append(s.columns, shaped{fmt.Sprintf("u%d", u), kinds[r.IntN(len(kinds))], r.IntN(2) == 0})
		}
		s.columns = append(s.columns, shaped{"v", kinds[1], r.IntN(2) == 0})
		shapes[i] = s
	}
	for _, s := range shapes {
		for range r.IntN(3) {
			s.refer(shapes[r.IntN(len(shapes))], r)
		}
	}
	for _, s := range shapes {
		s.define(r, e)
	}
	return shapes
}

// refer gives the table a foreign key.
func (s *shape) refer(parent *shape, r *rand.Rand) {
	ref := reference{parent: parent}
	for _, name := range parent.key {
		c := shaped{fmt.Sprintf("f%d_%s", len(s.refs), name), parent.column(name).kind, true}
		s.columns, ref.columns = append(s.columns, c), append(ref.columns, c.name)
	}
	s.refs = append(s.refs, ref)
}

func (s *shape) column(name string) *shaped {
	i := slices.IndexFunc(s.columns, func(c shaped) bool { return c.name == name })
	return &s.columns[i]
}

// define makes the statement, and the unique keys with it.
func (s *shape) define(r *rand.Rand, e engines) {
	var parts []string
	for _, c := range s.columns {
		null := " NOT NULL"
		if c.nullable {
			null = ""
		}
		parts = append(parts, c.name+" "+c.kind.sql+null)
	}
	parts = append(parts, "op BIGINT NOT NULL", "PRIMARY KEY ("+strings.Join(s.key, ", ")+")")
	s.movable = slices.Clone(s.key)
	for range r.IntN(4) {
		parts = append(parts, "UNIQUE KEY ("+strings.Join(s.unique(r), ", ")+")")
	}
	if r.IntN(3) == 0 {
		parts = append(parts, s.generated(r, e)...)
	}
	if r.IntN(6) == 0 && e == mysqlPair {
		parts = append(parts, "UNIQUE KEY ((v + 1), "+s.key[0]+")")
	}
	for _, ref := range s.refs {
		parts = append(parts, fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s (%s)", strings.Join(ref.columns, ", "), ref.parent.name, strings.Join(ref.parent.key, ", ")))
	}
	s.create = "CREATE TABLE " + s.name + " (" + strings.Join(parts, ", ") + ") CHARACTER SET utf8mb4"
}

// unique returns the parts of a unique key.
func (s *shape) unique(r *rand.Rand) (parts []string) {
	order := r.Perm(len(s.columns))
	for _, i := range order[:1+r.IntN(min(2, len(order)))] {
		c := s.columns[i]
		s.movable = append(s.movable, c.name)
		if c.kind.text && r.IntN(4) == 0 {
			c.name += fmt.Sprintf("(%d)", 1+r.IntN(2))
		}
		parts = append(parts, c.name)
	}
	return parts
}

// generated returns a generated column and its unique key; MariaDB has none,
// since it leaves the column out of its binlog.
func (s *shape) generated(r *rand.Rand, e engines) []string {
	kind := []string{"STORED", "VIRTUAL"}[r.IntN(2)]
	if e != mysqlPair {
		return []string{fmt.Sprintf("g INT GENERATED ALWAYS AS (v DIV 2) %s", kind)}
	}
	for _, c := range s.columns {
		if strings.HasPrefix(c.name, "u") && c.kind.text {
			return []string{fmt.Sprintf("g %s GENERATED ALWAYS AS (LEFT(%s, 1)) %s", c.kind.sql, c.name, kind), "UNIQUE KEY (g, v)"}
		}
	}
	return []string{fmt.Sprintf("g INT GENERATED ALWAYS AS (v DIV 2) %s", kind), "UNIQUE KEY (g)"}
}
