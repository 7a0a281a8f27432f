package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"duplex/mysql"
	"duplex/tasks"
)

// need is what the account needs on one object; "*" as in grants.allow.
type need struct {
	privileges []string
	db, table  string
	why        string
}

var (
	dataPrivileges  = []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	excessive       = []string{"SUPER", "FILE", "SHUTDOWN", "CREATE USER", "GRANT OPTION"}
	readerPrivilege = need{privileges: []string{"REPLICATION SLAVE", "REPLICATION CLIENT"}, db: "*", table: "*",
		why: "the first lets duplex read the binlog, the second ask for its position"}
)

// checkPrivileges prints for each object the one GRANT that is missing.
func checkPrivileges(ctx context.Context, s *side, spec *tasks.Spec, sides []*side) ([]Finding, error) {
	own := need{privileges: dataPrivileges, db: mysql.Schema, table: "*", why: "duplex keeps there how far it has applied, in the same transaction as the rows"}
	missing, err := mysql.SchemaMissing(ctx, s.db)
	if err != nil {
		return nil, fmt.Errorf("looking for schema %s: %w", mysql.Schema, err)
	}
	if missing {
		own.privileges = append([]string{"CREATE"}, own.privileges...)
	}
	needs := []need{readerPrivilege, own}
	if spec != nil {
		needs = append(needs, tableNeeds(spec, sides)...)
	}
	var found []Finding
	for _, n := range needs {
		var lacking []string
		for _, p := range n.privileges {
			if !s.grants.allow(p, n.db, n.table) {
				lacking = append(lacking, p)
			}
		}
		if len(lacking) == 0 {
			continue
		}
		found = append(found, Finding{Region: s.region(), Code: "privileges", Severity: Refuse, Where: s.where(), Why: n.why,
			What: fmt.Sprintf("the account %s lacks %s on %s", s.account(), strings.Join(lacking, ", "), n.object(s.server)),
			Fix:  fmt.Sprintf("GRANT %s ON %s TO %s;\n", strings.Join(n.toGrant(lacking), ", "), n.object(s.server), s.account())})
	}
	return found, nil
}

// toGrant is what a GRANT must name: on a database all that is needed, since a
// grant on its very name eclipses one that the account may have on a pattern.
func (n need) toGrant(lacking []string) []string {
	if n.db != "*" && n.table == "*" {
		return n.privileges
	}
	return lacking
}

// object is what to put after ON. In the name of a database _ and % are
// wildcards there, unless partial_revokes is on.
func (n need) object(server *mysql.Server) string {
	if n.db == "*" {
		return "*.*"
	}
	if n.table != "*" {
		return quoteTable(n.db, n.table)
	}
	db := n.db
	if !server.PartialRevokes {
		db = strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(db)
	}
	return mysql.QuoteIdent(db) + ".*"
}

// tableNeeds asks for a whole database where a pattern names one and covers
// more than one of its tables, else for single tables. Tables are taken from
// every region: those that an account may not see aren't listed in its own.
func tableNeeds(spec *tasks.Spec, sides []*side) []need {
	const why = "duplex reads and writes the rows of the task's tables"
	var needs []need
	whole := func(db string) bool {
		return slices.ContainsFunc(needs, func(n need) bool { return n.db == db && n.table == "*" })
	}
	for _, include := range spec.Tables.Include {
		db, table := splitPattern(include)
		if !isLiteral(db) || isLiteral(table) {
			continue
		}
		if db = unescapePattern(db); !whole(db) {
			needs = append(needs, need{privileges: dataPrivileges, db: db, table: "*", why: why})
		}
	}
	seen := make(map[[2]string]bool)
	one := func(db, table string) {
		if !whole(db) && !seen[[2]string{db, table}] {
			seen[[2]string{db, table}] = true
			needs = append(needs, need{privileges: dataPrivileges, db: db, table: table, why: why})
		}
	}
	for _, include := range spec.Tables.Include {
		if db, table := splitPattern(include); isLiteral(db) && isLiteral(table) {
			one(unescapePattern(db), unescapePattern(table))
		}
	}
	for _, s := range sides {
		for _, t := range s.tables {
			one(t.DB, t.Name)
		}
	}
	return needs
}

// splitPattern cuts a pattern of the task file at the dot between database and
// table; package tasks has checked that there is one.
func splitPattern(pattern string) (db, table string) {
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '.':
			return pattern[:i], pattern[i+1:]
		}
	}
	return pattern, ""
}

func isLiteral(pattern string) bool {
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '*', '?':
			return false
		}
	}
	return true
}

func unescapePattern(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		if pattern[i] == '\\' && i+1 < len(pattern) {
			i++
		}
		b.WriteByte(pattern[i])
	}
	return b.String()
}

// checkExcess warns of privileges that would let a stolen password do more
// than duplex does.
func checkExcess(s *side) []Finding {
	var held []string
	for _, p := range excessive {
		if s.grants.holdsGlobally(p) {
			held = append(held, p)
		}
	}
	if len(held) == 0 {
		return nil
	}
	return []Finding{{Region: s.region(), Code: "excess-privileges", Severity: Warn, Where: s.where(),
		What: fmt.Sprintf("the account %s has %s, which duplex never uses", s.account(), strings.Join(held, ", ")),
		Why:  "whoever gets hold of its password can do more than duplex does",
		Fix:  fmt.Sprintf("-- give duplex an account of its own, or take them away:\nREVOKE %s ON *.* FROM %s;\n", strings.Join(held, ", "), s.account())}}
}
