package preflight

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"duplex/mysql"
	"duplex/schemas"
)

// definitions is what belongs to the task's tables and isn't in the table
// model, since only checks look at it. The keys are db and table.
type definitions struct {
	foreignKeys   map[[2]string][]mysql.ForeignKey
	outside       map[[2]string][]mysql.ForeignKey // by parent: of tables that aren't the task's
	triggers      map[[2]string][]string           // names; only where the account may see them
	sequences     []string                         // of MariaDB, db.name, quoted
	autoIncrement int                              // tables that number their rows
}

// equalTo tells the foreign keys of a table that do the same as k, sameName
// those that are called so.
func equalTo(k mysql.ForeignKey) func(mysql.ForeignKey) bool {
	return func(other mysql.ForeignKey) bool { return strings.EqualFold(k.Definition(), other.Definition()) }
}

func sameName(k mysql.ForeignKey) func(mysql.ForeignKey) bool {
	return func(other mysql.ForeignKey) bool { return strings.EqualFold(k.Name, other.Name) }
}

func quoteList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = mysql.QuoteIdent(name)
	}
	return strings.Join(quoted, ", ")
}

func readDefinitions(ctx context.Context, db *sql.DB, match func(db, table string) bool) (definitions, error) {
	d := definitions{foreignKeys: make(map[[2]string][]mysql.ForeignKey), outside: make(map[[2]string][]mysql.ForeignKey),
		triggers: make(map[[2]string][]string)}
	if err := d.readForeignKeys(ctx, db, match); err != nil {
		return d, err
	}
	if err := d.readTriggers(ctx, db, match); err != nil {
		return d, fmt.Errorf("reading triggers: %w", mysql.Classify(err))
	}
	if err := d.countAutoIncrement(ctx, db, match); err != nil {
		return d, fmt.Errorf("reading auto_increment columns: %w", mysql.Classify(err))
	}
	if err := d.readSequences(ctx, db, match); err != nil {
		return d, fmt.Errorf("reading sequences: %w", mysql.Classify(err))
	}
	return d, nil
}

func (d *definitions) readSequences(ctx context.Context, db *sql.DB, match func(db, table string) bool) error {
	rows, err := db.QueryContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'SEQUENCE' ORDER BY 1, 2")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var schema, name string
		if err := rows.Scan(&schema, &name); err != nil {
			return err
		}
		if match(schema, name) {
			d.sequences = append(d.sequences, quoteTable(schema, name))
		}
	}
	return rows.Err()
}

// readForeignKeys reads those of the task's tables, and those of others that
// change rows of theirs along with one of the task's.
func (d *definitions) readForeignKeys(ctx context.Context, db *sql.DB, match func(db, table string) bool) error {
	all, err := mysql.LoadForeignKeys(ctx, db)
	for _, k := range all {
		switch table := [2]string{k.DB, k.Table}; {
		case match(k.DB, k.Table):
			d.foreignKeys[table] = append(d.foreignKeys[table], k)
		case k.Cascades() && match(k.ParentDB, k.Parent):
			parent := [2]string{k.ParentDB, k.Parent}
			d.outside[parent] = append(d.outside[parent], k)
		}
	}
	return err
}

func (d *definitions) readTriggers(ctx context.Context, db *sql.DB, match func(db, table string) bool) error {
	rows, err := db.QueryContext(ctx, "SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS ORDER BY 1, 2, 3")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var table [2]string
		var name string
		if err := rows.Scan(&table[0], &table[1], &name); err != nil {
			return err
		}
		if match(table[0], table[1]) {
			d.triggers[table] = append(d.triggers[table], name)
		}
	}
	return rows.Err()
}

func (d *definitions) countAutoIncrement(ctx context.Context, db *sql.DB, match func(db, table string) bool) error {
	rows, err := db.QueryContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.COLUMNS WHERE EXTRA LIKE '%auto_increment%'")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var schema, table string
		if err := rows.Scan(&schema, &table); err != nil {
			return err
		}
		if match(schema, table) {
			d.autoIncrement++
		}
	}
	return rows.Err()
}

// created is the text of SHOW CREATE TABLE: a line for each column and key.
type created string

// showCreate returns the statement that makes the table; empty if the account
// may not see it.
func (s *side) showCreate(ctx context.Context, db, table string) created {
	var name, text string
	if err := s.db.QueryRowContext(ctx, "SHOW CREATE TABLE "+quoteTable(db, table)).Scan(&name, &text); err != nil {
		return "" // the finding then says what to do without the statement
	}
	return created(text)
}

// statement is the text with the database put before the table's name.
func (c created) statement(db, table string) string {
	return strings.Replace(string(c), "CREATE TABLE "+mysql.QuoteIdent(table), "CREATE TABLE "+quoteTable(db, table), 1)
}

// column returns the definition of a column, name included. Where it leaves
// the collation to the table's default, which may be another on the other side,
// it is put in; the character set follows from it.
func (c created) column(column *schemas.Column) string {
	line := c.line(mysql.QuoteIdent(column.Name) + " ")
	head := mysql.QuoteIdent(column.Name) + " " + column.Native
	rest, ok := strings.CutPrefix(line, head)
	if !ok || column.Collation == "" || strings.Contains(rest, " COLLATE ") {
		return line
	}
	if set := " CHARACTER SET " + column.Charset; strings.HasPrefix(rest, set) { // COLLATE comes after it
		head, rest = head+set, rest[len(set):]
	}
	return head + " COLLATE " + column.Collation + rest
}

// unique returns the definition of a unique key, name included.
func (c created) unique(name string) string {
	return c.line("UNIQUE KEY " + mysql.QuoteIdent(name) + " ")
}

func (c created) line(prefix string) string {
	for line := range strings.Lines(string(c)) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ",")
		if len(line) >= len(prefix) && strings.EqualFold(line[:len(prefix)], prefix) {
			return line
		}
	}
	return ""
}
