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
		if rule.Policy != tasks.RegionPriority && rule.Policy != tasks.NewestColumn {
			continue
		}
		another := fmt.Sprintf("# in the task file:\nconflicts: {tables: {%q: {policy: last-write-wins}}}\n", escaped(t.DB)+"."+escaped(t.Name))
		if len(t.Unique) > 0 {
			found = append(found, Finding{Region: s.region(), Code: "conflict-rule", Severity: Refuse, Where: s.whereTable(t),
				What: fmt.Sprintf("its conflict policy is %s, and it has the unique key %s besides its primary key", rule.Policy, mysql.QuoteIdent(t.Unique[0].Name)),
				Why:  "a unique value belongs to the newest write, so such a policy can't be had", Fix: another})
		}
		if rule.Policy != tasks.NewestColumn {
			continue
		}
		at := slices.IndexFunc(t.Columns, func(c schemas.Column) bool { return c.Name == rule.Column })
		switch {
		case at < 0:
			found = append(found, Finding{Region: s.region(), Code: "conflict-rule", Severity: Refuse, Where: s.whereTable(t),
				What: fmt.Sprintf("its conflict policy is newest-column, and it has no column %s", mysql.QuoteIdent(rule.Column)),
				Why:  "the write with the greater value in that column is to stay", Fix: another})
		case !statement.Ranked(&t.Columns[at]):
			found = append(found, Finding{Region: s.region(), Code: "conflict-rule", Severity: Refuse, Where: s.whereTable(t) + ", column " + mysql.QuoteIdent(rule.Column),
				What: "its conflict policy is newest-column, and the column is " + t.Columns[at].Native,
				Why:  "what is newer is told by an integer, a DECIMAL of 18 digits at most, a DATE, DATETIME or TIMESTAMP", Fix: another})
		}
	}
	return found
}

// escaped is a name as a task file has it.
func escaped(name string) string { return strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(name) }
