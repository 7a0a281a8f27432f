package preflight

import (
	"fmt"

	"duplex/apply/statement"
	"duplex/mysql"
	"duplex/tasks"
)

// checkKeyOrder looks for what has no order by key alone, if the task asks for that
// ordering.
func checkKeyOrder(s *side, spec *tasks.Spec) (found []Finding) {
	if spec.Apply.Ordering != tasks.OrderingKey {
		return nil
	}
	const fix = "-- set apply: {ordering: transaction} in the task file of every region, or exclude the table\n"
	for _, t := range s.tables {
		for _, u := range statement.KeyOrder(t) {
			found = append(found, Finding{Region: s.region(), Code: "key-order", Severity: Refuse, Where: s.whereTable(t), What: u.What + ", and the task has ordering key", Why: u.Why, Fix: fix})
		}
		for _, k := range s.foreignKeys[[2]string{t.DB, t.Name}] {
			if k.Cascades() && !s.server.LogsCascades {
				found = append(found, Finding{Region: s.region(), Code: "key-order", Severity: Refuse, Where: s.whereTable(t),
					What: fmt.Sprintf("foreign key %s changes rows of the table by itself (%s), and the task has ordering key", mysql.QuoteIdent(k.Name), k.Definition()),
					Why:  fmt.Sprintf("%s %s doesn't write that to its binlog, so apply would have to change them together with the parent, in the order of the source", s.server.Flavor, s.server.Version), Fix: fix})
			}
		}
	}
	return found
}
