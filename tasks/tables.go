package tasks

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"duplex/config"
)

// Tables tells which tables a task covers, by patterns db.table.
//
// In both parts of a pattern * stands for any characters, none included, and ?
// for one. A backslash takes the special meaning from the character after it:
// shop\.eu.orders is table orders of database shop.eu. Case counts. A table is
// covered if a pattern of Include matches it and none of Exclude does. The
// server's own schemas and duplex's are never covered.
type Tables struct {
	Include []string `yaml:"include"`
	Exclude []string `yaml:"exclude"`

	include, exclude []pattern
}

// NewTables compiles the patterns.
func NewTables(include, exclude []string) (Tables, error) {
	t := Tables{Include: include, Exclude: exclude}
	return t, t.compile()
}

// Match reports whether the table is covered.
func (t Tables) Match(db, table string) bool {
	matches := func(p pattern) bool { return p.match(db, table) }
	return !isSystemSchema(db) && slices.ContainsFunc(t.include, matches) && !slices.ContainsFunc(t.exclude, matches)
}

// MatchIn reports whether some table of the database may be covered.
func (t Tables) MatchIn(db string) bool {
	in := func(p pattern) bool { return p.db.match(db) }
	all := func(p pattern) bool { return in(p) && slices.Equal(p.table, glob{{kind: anyRun}}) }
	return !isSystemSchema(db) && slices.ContainsFunc(t.include, in) && !slices.ContainsFunc(t.exclude, all)
}

func (t *Tables) compile() error {
	var problems []error
	if len(t.Include) == 0 {
		problems = append(problems, &config.Invalid{Setting: "tables.include", Reason: "no table is named", Mend: `name them, such as tables: {include: ["shop.*"]}`})
	}
	parse := func(setting string, sources []string) []pattern {
		compiled := make([]pattern, 0, len(sources))
		for i, source := range sources {
			p, err := parsePattern(source)
			if err != nil {
				problems = append(problems, &config.Invalid{Setting: fmt.Sprintf("%s[%d]", setting, i), Reason: err.Error(),
					Mend: `write db.table, such as "shop.*"; a dot inside a name is written \.`})
				continue
			}
			compiled = append(compiled, p)
		}
		return compiled
	}
	t.include, t.exclude = parse("tables.include", t.Include), parse("tables.exclude", t.Exclude)
	for i, source := range t.Include {
		if p, err := parsePattern(source); err == nil && p.db.isLiteral() && isSystemSchema(p.db.text()) {
			problems = append(problems, &config.Invalid{Setting: fmt.Sprintf("tables.include[%d]", i), Reason: fmt.Sprintf("%q names schema %s, which belongs to the server or to duplex itself", source, p.db.text()),
				Mend: "leave it out: such schemas differ between regions on purpose"})
		}
	}
	return errors.Join(problems...)
}

// isSystemSchema ignores case, as the servers do for their own schemas.
func isSystemSchema(db string) bool {
	switch strings.ToLower(db) {
	case "duplex", "mysql", "sys", "information_schema", "performance_schema":
		return true
	default:
		return false
	}
}

// pattern is one compiled db.table.
type pattern struct{ db, table glob }

func (p pattern) match(db, table string) bool { return p.db.match(db) && p.table.match(table) }
func (p pattern) literal() bool               { return p.db.isLiteral() && p.table.isLiteral() }

func parsePattern(source string) (pattern, error) {
	parts := []glob{{}}
	escaped := false
	for _, r := range source {
		last := &parts[len(parts)-1]
		switch {
		case escaped:
			*last, escaped = append(*last, element{char: r}), false
		case r == '\\':
			escaped = true
		case r == '.':
			parts = append(parts, glob{})
		case r == '*':
			*last = append(*last, element{kind: anyRun})
		case r == '?':
			*last = append(*last, element{kind: anyChar})
		default:
			*last = append(*last, element{char: r})
		}
	}
	switch {
	case escaped:
		return pattern{}, fmt.Errorf(`%q ends in a backslash that has nothing to escape`, source)
	case len(parts) != 2:
		return pattern{}, fmt.Errorf("%q has %d dots between names, not 1", source, len(parts)-1)
	case len(parts[0]) == 0 || len(parts[1]) == 0:
		return pattern{}, fmt.Errorf("%q has an empty name", source)
	}
	return pattern{parts[0], parts[1]}, nil
}

// glob is one part of a pattern.
type glob []element

type element struct {
	kind elementKind
	char rune // of an exact element
}

type elementKind uint8

const (
	exact elementKind = iota
	anyChar
	anyRun
)

func (g glob) isLiteral() bool {
	return !slices.ContainsFunc(g, func(e element) bool { return e.kind != exact })
}

func (g glob) text() string {
	var b strings.Builder
	for _, e := range g {
		b.WriteRune(e.char)
	}
	return b.String()
}

// match walks the name once; at a mismatch it goes back to the last * and lets
// it take one character more, which is enough: an earlier * need never grow.
func (g glob) match(name string) bool {
	runes := []rune(name)
	at, star, resume := 0, -1, 0
	for i := 0; i < len(runes); {
		switch {
		case at < len(g) && g[at].kind == anyRun:
			star, resume = at, i
			at++
		case at < len(g) && (g[at].kind == anyChar || g[at].char == runes[i]):
			at++
			i++
		case star >= 0:
			resume++
			at, i = star+1, resume
		default:
			return false
		}
	}
	for at < len(g) && g[at].kind == anyRun {
		at++
	}
	return at == len(g)
}
