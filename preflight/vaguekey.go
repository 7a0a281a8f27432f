package preflight

import (
	"fmt"

	"duplex/apply/statement"
	"duplex/mysql"
	"duplex/tasks"
)

// checkVagueKeys names the tables in which conflicts aren't looked for, where the task
// wants them to be.
func checkVagueKeys(s *side, spec *tasks.Spec) (found []Finding) {
	if !spec.Resolves() || spec.Apply.Ordering == tasks.OrderingKey {
		return nil
	}
	for _, t := range s.tables {
		if spec.Rule(t.DB, t.Name).Policy == tasks.NoPolicy {
			continue
		}
		for _, c := range statement.VagueKey(t) {
			found = append(found, Finding{Region: s.region(), Code: "conflict-key", Severity: Warn, Where: s.whereTable(t) + ", column " + mysql.QuoteIdent(c.Name),
				What: fmt.Sprintf("the primary key has a column with the collation %s, of which the server doesn't tell which texts it takes for the same", c.Collation),
				Why:  "which of two regions' writes of one of its rows stays isn't decided for this table: if both write a row before they have seen each other's write, each ends with the other's image",
				Fix: "-- let one region write each row of the table; or, in every region, with the column's other attributes as SHOW CREATE TABLE shows them, and another collation if applications need one:\n" +
					fmt.Sprintf("ALTER TABLE %s MODIFY COLUMN %s %s CHARACTER SET %s COLLATE %[4]s_bin NOT NULL;\n", quoteTable(t.DB, t.Name), mysql.QuoteIdent(c.Name), c.Native, c.Charset)})
		}
	}
	return found
}
