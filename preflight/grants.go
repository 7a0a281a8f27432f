package preflight

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"duplex/mysql"
)

// grant is one line of SHOW GRANTS: privileges on everything ("*.*"), on the
// databases of a pattern, or on one table.
type grant struct {
	revoke     bool // a partial revoke takes away what a grant on *.* gave
	privileges []string
	db, table  string // "*" for all; db may be a pattern with _ and %
	withGrant  bool   // WITH GRANT OPTION
}

// grants is what an account may do, its active roles included.
type grants struct {
	lines    []grant
	patterns bool // _ and % in db are wildcards
	roles    bool // some come by a role
}

// readGrants reads the grants of the account and of the roles that are active
// right after log-in, which are those that duplex works with.
func readGrants(ctx context.Context, db *sql.DB, server *mysql.Server) (*grants, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err // a *mysql.ConnectError says all
	}
	defer conn.Close()
	var role sql.NullString
	if err := conn.QueryRowContext(ctx, "SELECT CURRENT_ROLE()").Scan(&role); err != nil {
		return nil, fmt.Errorf("reading the active roles: %w", mysql.Classify(err))
	}
	hasRole := role.Valid && role.String != "NONE"
	queries := []string{"SHOW GRANTS FOR CURRENT_USER()"}
	switch {
	case hasRole && server.Flavor == mysql.MariaDB:
		queries = append(queries, "SHOW GRANTS FOR CURRENT_ROLE()")
	case hasRole: // CURRENT_ROLE() gives a quoted list
		queries = []string{"SHOW GRANTS FOR CURRENT_USER() USING " + role.String}
	}
	g := &grants{patterns: !server.PartialRevokes, roles: hasRole}
	for _, query := range queries {
		lines, err := readLines(ctx, conn, query)
		if err != nil {
			return nil, fmt.Errorf("reading the account's grants: %w", mysql.Classify(err))
		}
		for _, line := range lines {
			if parsed, ok := parseGrant(line); ok {
				g.lines = append(g.lines, parsed)
			}
		}
	}
	return g, nil
}

func readLines(ctx context.Context, conn *sql.Conn, query string) ([]string, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, rows.Err()
}

// parseGrant reads GRANT … ON … TO … and REVOKE … ON … FROM …. It says no to
// what gives nothing on tables: roles, proxies, routines.
func parseGrant(line string) (grant, bool) {
	var g grant
	rest, isGrant := strings.CutPrefix(line, "GRANT ")
	if !isGrant {
		if rest, g.revoke = strings.CutPrefix(line, "REVOKE "); !g.revoke {
			return g, false
		}
	}
	words := splitOutside(rest, " ON ")
	if len(words) < 2 {
		return g, false // a role
	}
	for _, p := range splitOutside(words[0], ",") {
		p = strings.TrimSpace(p)
		if strings.ContainsRune(p, '(') {
			continue // on some columns only: never enough, as rows are written whole
		}
		g.privileges = append(g.privileges, canonical(p))
	}
	var ok bool
	g.db, g.table, ok = parseObject(strings.TrimPrefix(words[1], "TABLE "))
	g.withGrant = strings.HasSuffix(line, " WITH GRANT OPTION")
	return g, ok
}

// canonical gives privileges that MariaDB renamed their name in GRANT.
func canonical(privilege string) string {
	switch privilege {
	case "BINLOG MONITOR":
		return "REPLICATION CLIENT"
	case "ALL":
		return "ALL PRIVILEGES"
	}
	return privilege
}

// parseObject reads the object at the start of s: *.*, `db`.* or `db`.`table`.
func parseObject(s string) (db, table string, ok bool) {
	part := func() (string, bool) {
		if strings.HasPrefix(s, "*") {
			s = s[1:]
			return "*", true
		}
		if !strings.HasPrefix(s, "`") {
			return "", false
		}
		var b strings.Builder
		for i := 1; i < len(s); i++ {
			if s[i] != '`' {
				b.WriteByte(s[i])
			} else if i+1 < len(s) && s[i+1] == '`' {
				b.WriteByte('`')
				i++
			} else {
				s = s[i+1:]
				return b.String(), true
			}
		}
		return "", false
	}
	if db, ok = part(); !ok || !strings.HasPrefix(s, ".") {
		return "", "", false
	}
	s = s[1:]
	table, ok = part()
	return db, table, ok
}

// splitOutside splits s at sep where that isn't inside backticks or
// parentheses.
func splitOutside(s, sep string) []string {
	var parts []string
	quoted, depth, from := false, 0, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '`':
			quoted = !quoted
		case quoted:
		case s[i] == '(':
			depth++
		case s[i] == ')':
			depth--
		case depth == 0 && strings.HasPrefix(s[i:], sep):
			parts = append(parts, s[from:i])
			i += len(sep) - 1
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// allow reports whether the privilege is held on the table; "*" as table
// stands for all of the database's, "*" as db for everything.
func (g *grants) allow(privilege, db, table string) bool {
	held := false
	for _, line := range g.lines {
		if !slices.Contains(line.privileges, privilege) && !slices.Contains(line.privileges, "ALL PRIVILEGES") {
			continue
		}
		if line.covers(db, table, g.patterns) && !g.eclipsed(line, db) {
			if line.revoke {
				return false
			}
			held = true
		}
	}
	return held
}

// eclipsed reports whether a grant on a pattern of databases doesn't count for
// this one: of all the patterns that match a database the server looks at one
// only, that with the most characters before its first wildcard. With roles it
// adds them up. Which of two equals it takes differs between servers: here both
// count, as a refusal by mistake would be worse than an error later.
func (g *grants) eclipsed(line grant, db string) bool {
	if g.roles || line.revoke || line.db == "*" || line.table != "*" {
		return false
	}
	return slices.ContainsFunc(g.lines, func(other grant) bool {
		return !other.revoke && other.db != "*" && other.table == "*" && other.covers(db, "*", g.patterns) && g.literalLength(other.db) > g.literalLength(line.db)
	})
}

// literalLength is the number of bytes before the first wildcard, and more
// than any for a pattern without one.
func (g *grants) literalLength(pattern string) int {
	for i := 0; g.patterns && i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '_', '%':
			return i
		}
	}
	return math.MaxInt
}

// holdsGlobally reports whether the privilege is held on *.*; GRANT OPTION
// counts as one.
func (g *grants) holdsGlobally(privilege string) bool {
	return slices.ContainsFunc(g.lines, func(l grant) bool {
		return !l.revoke && l.db == "*" && (slices.Contains(l.privileges, privilege) ||
			privilege == "GRANT OPTION" && l.withGrant || privilege != "GRANT OPTION" && slices.Contains(l.privileges, "ALL PRIVILEGES"))
	})
}

func (l grant) covers(db, table string, patterns bool) bool {
	switch {
	case l.db == "*":
		return true
	case db == "*":
		return false
	case l.table != "*":
		return l.db == db && l.table == table
	}
	if patterns && !l.revoke {
		return likeMatch(l.db, db)
	}
	return l.db == db
}

// likeMatch reports whether s matches a pattern of LIKE: % any characters, _
// one, \ takes the meaning away.
func likeMatch(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	switch {
	case pattern[0] == '%':
		for i := 0; i <= len(s); i++ {
			if likeMatch(pattern[1:], s[i:]) {
				return true
			}
		}
		return false
	case s == "":
		return false
	case pattern[0] == '_':
		_, size := utf8.DecodeRuneInString(s)
		return likeMatch(pattern[1:], s[size:])
	case pattern[0] == '\\' && len(pattern) > 1:
		pattern = pattern[1:]
	}
	return pattern[0] == s[0] && likeMatch(pattern[1:], s[1:])
}
