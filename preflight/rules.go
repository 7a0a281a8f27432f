package preflight

import (
	"fmt"
	"slices"
	"strings"

	"duplex/apply/statement"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/tasks"
)

// checkRules names the tables that their conflict rule isn't for.
func checkRules(s *side, spec *tasks.Spec) (found []Finding) {
	for _, t := range s.tables {
		rule := spec.Rule(t.DB, t.Name)
		if rule.Policy == tasks.RegionPriority || rule.Policy == tasks.NewestColumn {
			found = append(found, checkRanked(s, t, rule)...)
		}
		if rule.Policy == tasks.MergeColumns || len(rule.Delta) > 0 {
			found = append(found, checkParted(s, t, rule)...)
		}
	}
	return found
}

// anotherRule is the setting that gives a table the rule that every table can have.
func anotherRule(t *schemas.Table) string {
	return fmt.Sprintf("# in the task file:\nconflicts: {tables: {%q: {policy: last-write-wins}}}\n", escaped(t.DB)+"."+escaped(t.Name))
}

func refusedRule(s *side, t *schemas.Table, what, why, fix string) Finding {
	return Finding{Region: s.region(), Code: "conflict-rule", Severity: Refuse, Where: s.whereTable(t), What: what, Why: why, Fix: fix}
}

// checkRanked tells why the rows of a table can't be chosen among by a rank.
func checkRanked(s *side, t *schemas.Table, rule tasks.Rule) (found []Finding) {
	another := anotherRule(t)
	if len(t.Unique) > 0 {
		found = append(found, refusedRule(s, t, fmt.Sprintf("its conflict policy is %s, and it has the unique key %s besides its primary key", rule.Policy, mysql.QuoteIdent(t.Unique[0].Name)),
			"a unique value belongs to the newest write, so such a policy can't be had", another))
	}
	if rule.Policy != tasks.NewestColumn {
		return found
	}
	at := slices.IndexFunc(t.Columns, func(c schemas.Column) bool { return c.Name == rule.Column })
	switch {
	case at < 0:
		found = append(found, refusedRule(s, t, fmt.Sprintf("its conflict policy is newest-column, and it has no column %s", mysql.QuoteIdent(rule.Column)),
			"the write with the greater value in that column is to stay", another))
	case !statement.Ranked(&t.Columns[at]):
		found = append(found, refusedRule(s, t, fmt.Sprintf("its conflict policy is newest-column, and the column %s is %s", mysql.QuoteIdent(rule.Column), t.Columns[at].Native),
			"what is newer is told by an integer, a DECIMAL of 18 digits at most, a DATE, DATETIME or TIMESTAMP", another))
	}
	return found
}

// checkParted tells why the rows of a table can't be made of parts.
func checkParted(s *side, t *schemas.Table, rule tasks.Rule) (found []Finding) {
	const its = "its conflict rule is merge-columns, or has delta columns, and "
	another := anotherRule(t)
	if len(t.Unique) > 0 {
		found = append(found, refusedRule(s, t, its+fmt.Sprintf("it has the unique key %s besides its primary key", mysql.QuoteIdent(t.Unique[0].Name)),
			"two rows that both have a value can't both keep what was merged into them", another))
	}
	for _, c := range statement.InexactKey(t, statement.DialectOf(string(s.server.Flavor), s.server.Version.Major, s.server.Version.Minor, s.server.Version.Patch)) {
		exact := map[mysql.Flavor]string{mysql.MariaDB: "nopad_bin"}[s.server.Flavor]
		if exact == "" {
			exact = "0900_bin"
		}
		fix := another
		if c.Collation != "" {
			fix = fmt.Sprintf("-- in every region, with the column's other attributes as SHOW CREATE TABLE shows them; or set policy: last-write-wins for the table:\nALTER TABLE %s MODIFY COLUMN %s %s CHARACTER SET utf8mb4 COLLATE utf8mb4_%s NOT NULL;\n",
				quoteTable(t.DB, t.Name), mysql.QuoteIdent(c.Name), c.Native, exact)
		}
		found = append(found, refusedRule(s, t, its+fmt.Sprintf("column %s of its primary key is %s %s", mysql.QuoteIdent(c.Name), c.Native, c.Collation), "the server takes values of other bytes in it for the same", fix))
	}
	for _, name := range rule.Delta {
		if err := statement.RefuseCounter(t, name); err != nil {
			found = append(found, refusedRule(s, t, fmt.Sprintf("its delta column %s can't be one: %v", mysql.QuoteIdent(name), err), "what each region adds to it must be added in the others, exactly", another))
		}
	}
	for _, k := range s.foreignKeys[[2]string{t.DB, t.Name}] {
		if k.Cascades() {
			found = append(found, refusedRule(s, t, its+fmt.Sprintf("foreign key %s changes its rows by itself (%s)", mysql.QuoteIdent(k.Name), k.Definition()),
				"of what the server changes along with another row it isn't known which parts were changed", another))
		}
	}
	return found
}

// escaped is a name as a task file has it.
func escaped(name string) string { return strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(name) }
