package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Schema is the database that duplex keeps on each server. Its rows travel
// through the binlog like any other but are never published.
const Schema = "duplex"

// ownTable is a table of Schema.
type ownTable struct {
	name    string
	columns []string // in order
	create  string
}

// ownTables are the tables of Schema; never written. Names are ASCII compared
// by bytes, whatever the server's defaults, so that the ids of tasks and
// regions mean the same everywhere.
var ownTables = []ownTable{
	{
		// The marker and checkpoint in one: a row for each apply worker. n
		// counts the writes, since an UPDATE that changes nothing isn't logged.
		name:    "progress",
		columns: []string{"task", "origin", "worker", "epoch", "n", "seq", "hlc"},
		create: "CREATE TABLE IF NOT EXISTS duplex.progress (task VARCHAR(64) NOT NULL, origin VARCHAR(32) NOT NULL, worker INT NOT NULL," +
			" epoch BIGINT NOT NULL, n BIGINT NOT NULL, seq BIGINT NOT NULL, hlc BIGINT NOT NULL," +
			" PRIMARY KEY (task, origin, worker)) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin",
	},
	{
		// How far each partition of a task with ordering key is applied: the row
		// moves in the transaction that writes what lies between. That of the
		// spine says that the task is applied so, and what was applied before.
		name:    "offsets",
		columns: []string{"task", "origin", "topic", "part", "topic_id", "next_offset", "seq", "hlc", "key_schema"},
		create: "CREATE TABLE IF NOT EXISTS duplex.offsets (task VARCHAR(64) NOT NULL, origin VARCHAR(32) NOT NULL, topic VARCHAR(249) NOT NULL, part INT NOT NULL," +
			" topic_id CHAR(32) NOT NULL, next_offset BIGINT NOT NULL, seq BIGINT NOT NULL, hlc BIGINT NOT NULL, key_schema INT NOT NULL," +
			" PRIMARY KEY (task, origin, topic, part)) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin",
	},
	{
		// Transactions that were left out for good, as an operator confirmed. The
		// row is written along with the marker that passes over them.
		name:    "skipped",
		columns: []string{"task", "origin", "first_seq", "last_seq", "transactions", "at_ms"},
		create: "CREATE TABLE IF NOT EXISTS duplex.skipped (task VARCHAR(64) NOT NULL, origin VARCHAR(32) NOT NULL, first_seq BIGINT NOT NULL, last_seq BIGINT NOT NULL," +
			" transactions BIGINT NOT NULL, at_ms BIGINT NOT NULL, PRIMARY KEY (task, origin, first_seq)) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin",
	},
	{
		// The row whose write must come back through the own capture before a
		// task starts.
		name:    "canary",
		columns: []string{"task", "origin", "token"},
		create: "CREATE TABLE IF NOT EXISTS duplex.canary (task VARCHAR(64) NOT NULL, origin VARCHAR(32) NOT NULL, token VARCHAR(64) NOT NULL," +
			" PRIMARY KEY (task, origin)) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin",
	},
	{
		// What apply tells capture of a transaction that makes room for a unique
		// value: the version of the deletions in table db.tbl that follow, or, with a
		// topic, of a row that isn't there. Each row is deleted at once: the table stays empty.
		name:    "outbox",
		columns: []string{"id", "origin", "hlc", "db", "tbl", "topic", "key_schema", "value_schema", "row_key"},
		create: "CREATE TABLE IF NOT EXISTS duplex.outbox (id BIGINT NOT NULL AUTO_INCREMENT, origin VARCHAR(32) NOT NULL, hlc BIGINT NOT NULL," +
			" db VARBINARY(256) NOT NULL, tbl VARBINARY(256) NOT NULL, topic VARCHAR(249) NOT NULL, key_schema INT NOT NULL, value_schema INT NOT NULL, row_key BLOB NOT NULL," +
			" PRIMARY KEY (id)) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin",
	},
	{
		// The record of conflicts: of two regions' writes of one row, which stayed
		// and which was lost. An image is NULL if there is none, and if it isn't known,
		// for a reason that is in missing.
		name: "conflicts",
		columns: []string{"task", "id", "found", "db", "tbl", "row_key", "rule", "won",
			"winner_origin", "winner_seq", "winner_hlc", "winner_op", "winner_schema_id", "winner_image", "winner_missing",
			"loser_origin", "loser_seq", "loser_hlc", "loser_op", "loser_schema_id", "loser_image", "loser_missing", "undone"},
		create: "CREATE TABLE IF NOT EXISTS duplex.conflicts (task VARCHAR(64) NOT NULL, id CHAR(32) NOT NULL, found DATETIME(6) NOT NULL," +
			" db VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, tbl VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL," +
			" row_key LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, rule VARCHAR(32) NOT NULL, won VARCHAR(8) NOT NULL," +
			writeColumns("winner_") + writeColumns("loser_") +
			" undone DATETIME(6) NULL, PRIMARY KEY (task, id), KEY by_time (task, found)) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin",
	},
	{
		// The conflicts of policy stop that nobody has looked at yet.
		name:    "held",
		columns: []string{"task", "id", "found"},
		create:  "CREATE TABLE IF NOT EXISTS duplex.held (task VARCHAR(64) NOT NULL, id CHAR(32) NOT NULL, found DATETIME(6) NOT NULL, PRIMARY KEY (task, id)) ENGINE=InnoDB CHARACTER SET ascii COLLATE ascii_bin",
	},
}

func writeColumns(of string) string {
	text := ""
	for _, c := range []string{"origin VARCHAR(32) NOT NULL", "seq BIGINT NOT NULL", "hlc BIGINT NOT NULL", "op VARCHAR(8) NOT NULL", "schema_id INT NOT NULL",
		"image LONGBLOB NULL", "missing VARCHAR(1000) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"} {
		text += " " + of + c + ","
	}
	return text
}

// SchemaStatements returns the statements that make schema duplex, for an
// administrator to run where the account may not.
func SchemaStatements() []string {
	statements := []string{"CREATE DATABASE IF NOT EXISTS duplex"}
	for _, t := range ownTables {
		statements = append(statements, t.create)
	}
	return statements
}

// EnsureSchema creates what is missing of schema duplex and refuses tables of
// another shape. Where nothing is missing it writes nothing. If the account
// may not create, the error holds the statements to run.
func EnsureSchema(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err // a *ConnectError says all
	}
	defer conn.Close()
	found, err := ownColumns(ctx, conn)
	if err != nil {
		return err
	}
	if missingTable(found) {
		for _, statement := range SchemaStatements() {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return creationError(err)
			}
		}
		if found, err = ownColumns(ctx, conn); err != nil {
			return err
		}
	}
	return checkShape(found)
}

// SchemaMissing reports whether EnsureSchema would have to create something,
// as far as the account can see.
func SchemaMissing(ctx context.Context, db *sql.DB) (bool, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, err // a *ConnectError says all
	}
	defer conn.Close()
	found, err := ownColumns(ctx, conn)
	return missingTable(found), err
}

// ownColumns returns the columns of each table of Schema that exists.
func ownColumns(ctx context.Context, conn *sql.Conn) (map[string][]string, error) {
	found := make(map[string][]string)
	err := each(ctx, conn, "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA='duplex' ORDER BY TABLE_NAME, ORDINAL_POSITION",
		func(rows *sql.Rows) error {
			var table, column string
			if err := rows.Scan(&table, &column); err != nil {
				return err
			}
			found[table] = append(found[table], column)
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("reading the tables of schema duplex: %w", err)
	}
	return found, nil
}

func missingTable(found map[string][]string) bool {
	return slices.ContainsFunc(ownTables, func(t ownTable) bool { return found[t.name] == nil })
}

func checkShape(found map[string][]string) error {
	for _, t := range ownTables {
		if columns := found[t.name]; !slices.Equal(columns, t.columns) {
			return fmt.Errorf("checking table duplex.%s: it has the columns (%s) instead of (%s): stop every task, then RENAME TABLE duplex.%s TO duplex.%s_old; the table is made anew at the next start, which replays from the topics",
				t.name, strings.Join(columns, ", "), strings.Join(t.columns, ", "), t.name, t.name)
		}
	}
	return nil
}

func creationError(err error) error {
	fault := Classify(err)
	if slices.Contains([]uint16{1044, 1142, 1227}, fault.Number) {
		fault.Hint = "as an administrator: GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON `duplex`.* TO <the account that SELECT CURRENT_USER() shows>, or run there: " +
			strings.Join(SchemaStatements(), "; ")
	}
	return fmt.Errorf("creating schema duplex: %w", fault)
}
