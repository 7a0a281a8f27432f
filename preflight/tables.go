package preflight

import (
	"fmt"
	"slices"
	"strings"

	"duplex/mysql"
	"duplex/schemas"
	"duplex/tasks"
	"duplex/topics"
)

// checkTables looks at each table of one region by itself.
func checkTables(s *side) []Finding {
	var found []Finding
	for _, t := range s.tables {
		found = append(found, checkKey(s, t)...)
		found = append(found, checkEngine(s, t)...)
		found = append(found, checkVersioned(s, t)...)
		found = append(found, checkGenerated(s, t)...)
		for i := range t.Columns {
			found = append(found, checkColumn(s, t, &t.Columns[i])...)
		}
		if _, err := topics.Table(s.region(), t.DB, t.Name); err != nil {
			found = append(found, Finding{Region: s.region(), Code: "topic-name", Severity: Refuse, Where: s.whereTable(t), What: err.Error(),
				Why: "each table has a topic of its own", Fix: "-- exclude the table from the task, or RENAME TABLE to a shorter name in every region\n"})
		}
		found = append(found, checkTriggers(s, t)...)
		found = append(found, checkCascades(s, t)...)
	}
	return append(found, checkSequences(s)...)
}

func checkSequences(s *side) []Finding {
	if len(s.definitions.sequences) == 0 {
		return nil
	}
	return []Finding{{Region: s.region(), Code: "sequence", Severity: Warn, Where: s.where(),
		What: "sequences match the task and are left out: " + strings.Join(s.definitions.sequences, ", "),
		Why:  "each region hands out numbers by itself: from sequences that are alike both would hand out the same",
		Fix:  "-- give each region's sequence its own numbers, as auto_increment_offset does: CREATE SEQUENCE … START WITH 1 INCREMENT BY 2 here, START WITH 2 INCREMENT BY 2 there\n"}}
}

func checkKey(s *side, t *schemas.Table) []Finding {
	f := Finding{Region: s.region(), Severity: Refuse, Where: s.whereTable(t)}
	if len(t.Key) == 0 {
		f.Code, f.What = "no-primary-key", "the table has no primary key"
		f.Why = "without one nothing tells which row of the other region is the same row"
		f.Fix = fixNoKey(t)
		return []Finding{f}
	}
	for _, u := range t.Unique {
		if u.Name == "PRIMARY" {
			names := columnNames(t, t.Key)
			f.Code, f.What = "prefix-primary-key", fmt.Sprintf("the primary key over (%s) takes only a prefix of a column", strings.Join(names, ", "))
			f.Why = "two values that share the prefix are one row to the server, and would be two in the topics"
			f.Fix = fmt.Sprintf("ALTER TABLE %s DROP PRIMARY KEY, ADD PRIMARY KEY (%s);\n", quoteTable(t.DB, t.Name), quoteList(names))
			return []Finding{f}
		}
	}
	return nil
}

// fixNoKey makes a unique key over columns without NULL the primary one; where
// there is none it adds an invisible number, which applications don't see.
func fixNoKey(t *schemas.Table) string {
	table := quoteTable(t.DB, t.Name)
	nullable := func(i int) bool { return t.Columns[i].Nullable }
	for _, u := range t.Unique {
		if !u.Partial && !slices.ContainsFunc(u.Columns, nullable) {
			return fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (%s);\n", table, quoteList(columnNames(t, u.Columns)))
		}
	}
	return "-- with columns that identify a row: ALTER TABLE " + table + " ADD PRIMARY KEY (<columns>);\n" +
		"-- else with a number, only while the table is empty or before the rows are copied, since two regions would number equal rows differently:\n" +
		fmt.Sprintf("ALTER TABLE %s ADD COLUMN `duplex_id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY;\n", table)
}

func columnNames(t *schemas.Table, positions []int) []string {
	names := make([]string, len(positions))
	for i, p := range positions {
		names[i] = t.Columns[p].Name
	}
	return names
}

func checkVersioned(s *side, t *schemas.Table) []Finding {
	if !t.Versioned {
		return nil
	}
	return []Finding{{Region: s.region(), Code: "system-versioned", Severity: Refuse, Where: s.whereTable(t),
		What: "the table keeps its history itself (WITH SYSTEM VERSIONING)",
		Why:  "its old rows are in the binlog as rows, and the other region can't be told their times: it would make another history of its own",
		Fix:  fmt.Sprintf("-- in every region; the history is lost\nALTER TABLE %s DROP SYSTEM VERSIONING;\n", quoteTable(t.DB, t.Name))}}
}

// checkGenerated looks for unique keys with columns that MariaDB leaves out of
// the binlog.
func checkGenerated(s *side, t *schemas.Table) (found []Finding) {
	if s.server.Flavor != mysql.MariaDB {
		return nil
	}
	for _, u := range t.Unique {
		for _, i := range u.Columns {
			if !t.Columns[i].Generated {
				continue
			}
			name, key := mysql.QuoteIdent(t.Columns[i].Name), mysql.QuoteIdent(u.Name)
			found = append(found, Finding{Region: s.region(), Code: "generated-unique", Severity: Warn, Where: s.whereTable(t) + ", column " + name,
				What: fmt.Sprintf("the generated column is in the unique key %s", key),
				Why:  "MariaDB 11.8.9 leaves generated columns out of the binlog of updates and deletes: capture stops at one of these, since rows that clash in this key could not be told",
				Fix:  fmt.Sprintf("-- exclude the table, or make the key a plain one in every region\nALTER TABLE %s DROP INDEX %s, ADD INDEX %s (%s);\n", quoteTable(t.DB, t.Name), key, key, quoteList(columnNames(t, u.Columns)))})
		}
	}
	return found
}

func checkEngine(s *side, t *schemas.Table) []Finding {
	if strings.EqualFold(t.Engine, "InnoDB") {
		return nil
	}
	return []Finding{{Region: s.region(), Code: "engine", Severity: Refuse, Where: s.whereTable(t),
		What: fmt.Sprintf("the table's engine is %s and must be InnoDB", t.Engine),
		Why:  "rows and the record of their being applied are written in one transaction; this engine has none",
		Fix:  fmt.Sprintf("ALTER TABLE %s ENGINE=InnoDB;\n", quoteTable(t.DB, t.Name))}}
}

func checkColumn(s *side, t *schemas.Table, c *schemas.Column) []Finding {
	f := Finding{Region: s.region(), Code: "column-type", Severity: Refuse, Where: s.whereTable(t) + ", column " + mysql.QuoteIdent(c.Name),
		Why: "its values couldn't be carried over exactly",
		Fix: fmt.Sprintf("-- exclude the table from the task (tables.exclude: [%q]), or give the column another type\n", t.DB+"."+t.Name)}
	switch {
	case c.Type == schemas.Unknown:
		f.What = fmt.Sprintf("the type %s isn't handled yet", c.Native)
	case strings.Contains(c.Native, "mariadb-5.3") && c.Scale > 0:
		f.What = fmt.Sprintf("the column has a fraction of a second in the format of MariaDB 5.3 (%s), of which the binlog doesn't tell the digits", c.Native)
		f.Fix = fmt.Sprintf("SET GLOBAL mysql56_temporal_format = ON;\nALTER TABLE %s FORCE;\n", quoteTable(t.DB, t.Name))
	case slices.ContainsFunc(c.Values, func(label string) bool { return strings.ContainsRune(label, '?') }):
		// The servers show labels in utf8mb3 only, SHOW CREATE TABLE too.
		f.Code, f.Severity, f.What = "enum-label", Warn, "a label has a question mark, which the server also shows for a character of four bytes, such as an emoji"
		f.Why = "whether the labels of the two sides are equal couldn't be told"
		f.Fix = "-- see to it that the labels are equal on both sides\n"
	default:
		return nil
	}
	return []Finding{f}
}

func checkTriggers(s *side, t *schemas.Table) []Finding {
	names := s.triggers[[2]string{t.DB, t.Name}]
	if len(names) == 0 {
		return nil
	}
	return []Finding{{Region: s.region(), Code: "trigger", Severity: Warn, Where: s.whereTable(t),
		What: "the table has triggers: " + strings.Join(names, ", "),
		Why:  "they fire for rows that duplex applies as well; what they write in the task's tables then comes twice, from there and from here",
		Fix:  "-- begin the body of each with IF @duplex_apply IS NULL THEN … END IF, unless it must act on every region's rows\n"}}
}

// triggerSight tells, where triggers can't be seen, how to look for them.
func triggerSight(s *side) []Finding {
	for _, t := range s.tables {
		if !s.grants.allow("TRIGGER", t.DB, t.Name) {
			return []Finding{{Region: s.region(), Code: "trigger", Severity: OK, Where: s.where(),
				What: "triggers weren't looked for: the account lacks TRIGGER, which it doesn't need otherwise; an administrator sees them with" +
					" SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS"}}
		}
	}
	return nil
}

// checkCascades looks for foreign keys over the border of the task by which the
// server changes child rows without telling. Within the task apply has the other
// region's server change the same rows.
func checkCascades(s *side, t *schemas.Table) []Finding {
	if s.server.LogsCascades {
		return nil
	}
	var found []Finding
	add := func(k mysql.ForeignKey, what, why string) {
		strict, child := k, quoteTable(k.DB, k.Table)
		strict.OnUpdate, strict.OnDelete = "", ""
		found = append(found, Finding{Region: s.region(), Code: "cascade", Severity: Refuse, Where: s.whereTable(t),
			What: fmt.Sprintf(what, mysql.QuoteIdent(k.Name), child, quoteTable(k.ParentDB, k.Parent), k.Definition()),
			Why:  fmt.Sprintf("%s %s doesn't write to its binlog what a foreign key changes by itself (MySQL 9.6 and later do); the other region's server does the same only where this task has both tables: %s", s.server.Flavor, s.server.Version, why),
			Fix: fmt.Sprintf("-- include %s and %s in this task; or let the application delete or change the child rows itself\nALTER TABLE %s DROP FOREIGN KEY %s;\nALTER TABLE %s ADD CONSTRAINT %s %s;\n",
				child, quoteTable(k.ParentDB, k.Parent), child, mysql.QuoteIdent(k.Name), child, mysql.QuoteIdent(k.Name), strict.Definition())})
	}
	for _, k := range s.foreignKeys[[2]string{t.DB, t.Name}] {
		if k.Cascades() && s.table(k.ParentDB, k.Parent) == nil {
			add(k, "foreign key %s changes rows of %s by itself, and its parent %s is not in the task (%s)", "the other region would keep the rows")
		}
	}
	for _, k := range s.outside[[2]string{t.DB, t.Name}] {
		add(k, "foreign key %s changes rows of %s, which is not in the task, along with those of %s (%s)", "the task stops at the first row of this table that is deleted or gets another key")
	}
	return found
}

// checkPatterns finds patterns of the task file that match nothing in any
// region. A table that an account may not see is told by checkPrivileges.
func checkPatterns(spec *tasks.Spec, sides []*side) []Finding {
	var found []Finding
	for _, include := range spec.Tables.Include {
		one, err := tasks.NewTables([]string{include}, nil)
		if err != nil {
			continue // package tasks refused the file for it before
		}
		matches := func(s *side) bool {
			return slices.ContainsFunc(s.tables, func(t *schemas.Table) bool { return one.Match(t.DB, t.Name) })
		}
		blind := func(s *side) bool {
			db, table := splitPattern(include)
			if isLiteral(table) {
				return isLiteral(db) && !s.sees(unescapePattern(db), unescapePattern(table))
			}
			return isLiteral(db) && !s.sees(unescapePattern(db), "*")
		}
		if slices.ContainsFunc(sides, matches) || slices.ContainsFunc(sides, blind) {
			continue
		}
		found = append(found, Finding{Code: "no-table", Severity: Refuse, Where: fmt.Sprintf("tables.include, pattern %q", include),
			What: "the pattern matches no table, or only excluded ones",
			Why:  "a pattern that matches nothing is most often a slip, and its tables wouldn't be kept equal",
			Fix:  "-- correct the pattern (case counts, * and ? are the wildcards), or create the tables first\n"})
	}
	return found
}
