package capture

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"duplex/capture/binlog"
	"duplex/schemas"
	"duplex/supervise"
)

// ddl looks at a statement in the binlog. Rows describe themselves, so most
// statements need nothing. One that makes rows vanish without a row event
// (TRUNCATE, DROP, RENAME) would let the regions drift apart: capture stops at
// exactly that statement, until the operator has run it in the other regions
// and accepts it by its GTID.
func (s *publishing) ddl(ctx context.Context, ev *binlog.Event) error {
	c, statement := s.c, parseDDL(ev.Schema, ev.Statement, ev.Escapes)
	if !s.touched(statement) {
		return nil
	}
	if s.placing != nil {
		s.placing.windows.Spoil() // rows may be others now, and the stream doesn't tell which
	}
	gtid := ev.GTID.String()
	c.noteDDL(gtid, ev.Statement)
	if !statement.removesRows || slices.Contains(c.cfg.AcceptDDL, gtid) {
		c.cfg.Log.Warn("statement on a captured table", "gtid", gtid, "statement", ev.Statement)
		s.urgent = true
		return s.publisher.produce(ctx, s.schema.record(ev, statement, s.numbers))
	}
	return supervise.Permanent(fmt.Errorf("statement on a captured table that removes rows without saying which: %s; mend: run it in the other regions too, then restart with --accept-ddl %s", ev.Statement, gtid))
}

// unread looks at the commit of a transaction that was prepared before capture
// began: its rows were never read.
func (c *Capture) unread(ev *binlog.Event) error {
	gtid := ev.GTID.String()
	if slices.Contains(c.cfg.AcceptDDL, gtid) {
		c.cfg.Log.Warn("commit of a transaction that was prepared before capture began", "gtid", gtid, "statement", ev.Statement)
		return nil
	}
	return supervise.Permanent(fmt.Errorf("%s commits a transaction that was prepared before capture began, so its rows were not read; mend: if it changed captured tables, make the same changes in the other regions; then restart with --accept-ddl %s", ev.Statement, gtid))
}

// ddlStatement is what a conservative look at a statement tells.
type ddlStatement struct {
	removesRows bool
	change      schemas.ChangeType // what it does to the tables; empty: none of these
	tables      []tableName        // those it names; of a database, table is empty
}

type tableName struct{ db, table string }

// touches reports whether a named table is captured, or a named database may
// hold one.
func (d *ddlStatement) touches(captured func(db, table string) bool, capturedIn func(db string) bool) bool {
	return slices.ContainsFunc(d.tables, func(n tableName) bool {
		if n.table == "" {
			return capturedIn(n.db)
		}
		return captured(n.db, n.table)
	})
}

// parseDDL finds verb and table names by tokens, not by grammar: a grammar
// that fails on one statement would have to skip it.
func parseDDL(schema, text string, escapes binlog.Escapes) *ddlStatement {
	t := tokens(text, escapes)
	t.skipSetStatement()
	d := &ddlStatement{}
	switch {
	case t.skip("TRUNCATE"):
		t.skip("TABLE")
		d.removesRows = true
		d.tables = t.names(schema)
	case t.skip("DROP"):
		switch {
		case t.skip("TABLE") || t.skip("TABLES"):
			t.skip("IF", "EXISTS")
			d.removesRows, d.change = true, schemas.DropTable
			d.tables = t.names(schema)
		case t.skip("INDEX"):
			d.change = schemas.AlterTable
			d.tables = t.indexed(schema)
		case t.skip("DATABASE") || t.skip("SCHEMA"):
			t.skip("IF", "EXISTS")
			d.removesRows = true
			if len(t) > 0 {
				d.tables = []tableName{{db: t[0].text}}
			}
		}
	case t.skip("RENAME"):
		if t.skip("TABLE") || t.skip("TABLES") {
			t.skip("IF", "EXISTS")
			d.removesRows, d.change = true, schemas.AlterTable
			d.tables = t.names(schema)
		}
	case t.skip("ALTER"):
		t.skip("ONLINE")
		t.skip("IGNORE")
		if t.skip("TABLE") {
			t.skip("IF", "EXISTS")
			d.change = schemas.AlterTable
			d.tables = t.name(schema)
			d.removesRows = t.alterRemovesRows()
			d.tables = append(d.tables, t.otherTables(schema)...)
		}
	case t.skip("CREATE"):
		d.create(t, schema)
	}
	return d
}

// create looks at what follows CREATE. Of what isn't a table or an index
// nothing needs to be known.
func (d *ddlStatement) create(t tokenList, schema string) {
	replace := t.skip("OR", "REPLACE")
	for t.skip("ONLINE") || t.skip("OFFLINE") || t.skip("UNIQUE") || t.skip("FULLTEXT") || t.skip("SPATIAL") {
	}
	switch {
	case t.skip("TABLE"):
		t.skip("IF", "NOT", "EXISTS")
		d.removesRows, d.change = replace, schemas.CreateTable
		d.tables = t.name(schema)
	case t.skip("INDEX"):
		d.change = schemas.AlterTable
		d.tables = t.indexed(schema)
	}
}

// indexed returns the table of CREATE INDEX … ON table or DROP INDEX … ON table.
func (l tokenList) indexed(schema string) []tableName {
	for i, t := range l {
		if rest := l[i+1:]; t.is("ON") {
			return rest.name(schema)
		}
	}
	return nil
}

// token is a word, a quoted name, or one character of punctuation.
type token struct {
	text   string
	quoted bool
}

type tokenList []token

// is reports whether the token is that keyword.
func (t token) is(word string) bool { return !t.quoted && strings.EqualFold(t.text, word) }

// skip removes the words from the front if they are all there.
func (l *tokenList) skip(words ...string) bool {
	if len(*l) < len(words) {
		return false
	}
	for i, w := range words {
		if !(*l)[i].is(w) {
			return false
		}
	}
	*l = (*l)[len(words):]
	return true
}

// skipSetStatement removes MariaDB's SET STATEMENT … FOR, which sets variables
// for the statement after it.
func (l *tokenList) skipSetStatement() {
	if !l.skip("SET", "STATEMENT") {
		return
	}
	for i, t := range *l {
		if t.is("FOR") {
			*l = (*l)[i+1:]
			return
		}
	}
}

// name reads one table name from the front.
func (l *tokenList) name(schema string) []tableName {
	t := *l
	switch {
	case len(t) >= 3 && t[1].is("."):
		*l = t[3:]
		return []tableName{{t[0].text, t[2].text}}
	case len(t) >= 1:
		*l = t[1:]
		return []tableName{{schema, t[0].text}}
	default:
		return nil
	}
}

// names reads a list of table names, parted by a comma or by TO. MariaDB allows
// how long to wait between them.
func (l *tokenList) names(schema string) []tableName {
	names := l.name(schema)
	for l.skipWait(); l.skip(",") || l.skip("TO"); l.skipWait() {
		names = append(names, l.name(schema)...)
	}
	return names
}

func (l *tokenList) skipWait() {
	if !l.skip("NOWAIT") && len(*l) > 1 && l.skip("WAIT") {
		*l = (*l)[1:]
	}
}

// otherTables returns the tables that what follows ALTER TABLE name names
// besides: the name that it gets, or the table that it exchanges rows with.
func (l tokenList) otherTables(schema string) (names []tableName) {
	for i, t := range l {
		rest := l[i+1:]
		switch {
		case t.is("RENAME") && !rest.begins("COLUMN", "INDEX", "KEY"):
			if !rest.skip("TO") && !rest.skip("AS") {
				rest.skip("=")
			}
		case t.is("WITH") && rest.skip("TABLE"), t.is("TO") && rest.skip("TABLE"), t.is("CONVERT") && rest.skip("TABLE"):
		default:
			continue
		}
		names = append(names, rest.name(schema)...)
	}
	return names
}

// begins reports whether the list begins with one of the words.
func (l tokenList) begins(words ...string) bool {
	return len(l) > 0 && slices.ContainsFunc(words, l[0].is)
}

// alterRemovesRows reports whether what follows ALTER TABLE name changes the
// table's name or which rows it holds.
func (l tokenList) alterRemovesRows() bool {
	for i, t := range l {
		next := l[i+1:]
		switch {
		case t.is("RENAME") && !next.begins("COLUMN", "INDEX", "KEY"),
			(t.is("TRUNCATE") || t.is("DROP") || t.is("EXCHANGE")) && next.begins("PARTITION"),
			t.is("CONVERT") && next.begins("PARTITION", "TABLE"), // MariaDB: from and to a table of its own
			(t.is("DISCARD") || t.is("IMPORT")) && next.begins("TABLESPACE", "PARTITION"):
			return true
		}
	}
	return false
}

// tokens splits a statement. Comments are left out, but what stands in an
// executable comment counts.
func tokens(s string, escapes binlog.Escapes) tokenList {
	var list tokenList
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case strings.HasPrefix(s[i:], "/*!"), strings.HasPrefix(s[i:], "/*M!"):
			i += strings.IndexByte(s[i:], '!') + 1
			for i < len(s) && '0' <= s[i] && s[i] <= '9' {
				i++
			}
		case strings.HasPrefix(s[i:], "/*"):
			i = after(s, i+2, "*/")
		case strings.HasPrefix(s[i:], "*/"):
			i += 2
		case c == '#', isDashes(s[i:]):
			i = after(s, i, "\n")
		case c == '`', c == '\'', c == '"':
			text, next := quoted(s, i, escapes)
			list = append(list, token{text, true})
			i = next
		case isWord(c):
			start := i
			for i < len(s) && isWord(s[i]) {
				i++
			}
			list = append(list, token{s[start:i], false})
		case c <= ' ':
			i++
		default:
			list = append(list, token{s[i : i+1], false})
			i++
		}
	}
	return list
}

// isDashes reports whether s begins with a comment of two dashes, which needs
// white space after it: 1--1 is 2.
func isDashes(s string) bool {
	return strings.HasPrefix(s, "--") && (len(s) == 2 || s[2] <= ' ')
}

// after returns the index after the next end, or the length of s.
func after(s string, from int, end string) int {
	if n := strings.Index(s[from:], end); n >= 0 {
		return from + n + len(end)
	}
	return len(s)
}

// quoted reads a quoted name or string at i and returns its text, with doubled
// quotes undone, and the index after it.
func quoted(s string, i int, escapes binlog.Escapes) (string, int) {
	quote := s[i]
	var b strings.Builder
	for i++; i < len(s); i++ {
		switch {
		case s[i] == '\\' && escapes == binlog.Backslash && quote != '`' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
			b.WriteByte(quote)
		case s[i] == quote:
			return b.String(), i + 1
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), len(s)
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
