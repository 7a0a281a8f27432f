package conflicts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"duplex/mysql"
)

// writeColumns are those of one write, with a prefix that tells which.
func writeColumns(prefix string) string {
	return prefix + strings.Join([]string{"origin", "seq", "hlc", "op", "schema_id", "image", "missing"}, ", "+prefix)
}

// columns are those of duplex.conflicts that Conflict has, in its order.
func columns() string {
	return "task, id, found, db, tbl, row_key, rule, won, " + writeColumns("winner_") + ", " + writeColumns("loser_") + ", undone"
}

// oneRow is the place of one conflict in an INSERT: found is now, undone is NULL.
func oneRow() string { return "(?, ?, UTC_TIMESTAMP(6)" + strings.Repeat(", ?", 5+2*7) + ", NULL)" }

// Known returns those of ids that are recorded already.
func Known(ctx context.Context, db *sql.DB, task string, ids []string) (map[string]bool, error) {
	known := map[string]bool{}
	if len(ids) == 0 {
		return known, nil
	}
	args := []any{task}
	for _, id := range ids {
		args = append(args, id)
	}
	rows, err := db.QueryContext(ctx, "SELECT id FROM duplex.conflicts WHERE task = ? AND id IN (?"+strings.Repeat(", ?", len(ids)-1)+")", args...)
	if err != nil {
		return nil, fmt.Errorf("reading duplex.conflicts: %w", mysql.Classify(err))
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("reading duplex.conflicts: %w", mysql.Classify(err))
		}
		known[id] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading duplex.conflicts: %w", mysql.Classify(err))
	}
	return known, nil
}

// Add records conflicts that aren't recorded yet, in one transaction. It writes to
// schema duplex alone, so that nothing of it is published.
func Add(ctx context.Context, db *sql.DB, all []Conflict) error {
	if len(all) == 0 {
		return nil
	}
	row, args := oneRow(), []any(nil)
	for i := range all {
		c := &all[i]
		args = append(args, c.Task, c.ID, c.DB, c.Table, c.Key, c.Rule, string(c.Won))
		for _, w := range [2]*Write{&c.Winner, &c.Loser} {
			args = append(args, string(w.Origin), int64(w.Seq), int64(w.HLC), string(w.Op), w.Schema, nullable(w.Row), w.Missing)
		}
	}
	insert := "INSERT INTO duplex.conflicts (" + columns() + ") VALUES " + row + strings.Repeat(", "+row, len(all)-1)
	if !slices.ContainsFunc(all, func(c Conflict) bool { return c.Holds }) {
		if _, err := db.ExecContext(ctx, insert, args...); err != nil {
			return fmt.Errorf("writing duplex.conflicts: %w", mysql.Classify(err))
		}
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing duplex.conflicts: %w", mysql.Classify(err))
	}
	if _, err = tx.ExecContext(ctx, insert, args...); err != nil {
		err = fmt.Errorf("writing duplex.conflicts: %w", mysql.Classify(err))
	} else if err = hold(ctx, tx, all); err == nil {
		return tx.Commit()
	}
	return errors.Join(err, tx.Rollback())
}

// nullable gives nil for no row: an empty one is none either.
func nullable(row []byte) any {
	if row == nil {
		return nil
	}
	return row
}

// Purge deletes at most limit conflicts of a task that were found longer ago and don't hold it
// up, and returns how many it deleted.
func Purge(ctx context.Context, db *sql.DB, task string, age time.Duration, limit int) (int64, error) {
	result, err := db.ExecContext(ctx, "DELETE FROM duplex.conflicts WHERE task = ? AND found < UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND AND id NOT IN (SELECT id FROM duplex.held WHERE task = ?) ORDER BY found LIMIT ?", task, age.Microseconds(), task, limit)
	if err != nil {
		return 0, fmt.Errorf("deleting old rows of duplex.conflicts: %w", mysql.Classify(err))
	}
	return result.RowsAffected()
}

// Filter says which conflicts to list.
type Filter struct {
	Task, DB, Table string        // "" for all
	Since           time.Duration // found no longer ago, 0 for all
	Limit           int
}

// List returns conflicts without their images, the newest first.
func List(ctx context.Context, db *sql.DB, f Filter) ([]Conflict, error) {
	where, args := []string{"TRUE"}, []any{}
	add := func(condition string, value any) {
		where, args = append(where, condition), append(args, value)
	}
	if f.Task != "" {
		add("task = ?", f.Task)
	}
	if f.Table != "" {
		add("db = ?", f.DB)
		add("tbl = ?", f.Table)
	}
	if f.Since > 0 {
		add("found >= UTC_TIMESTAMP(6) - INTERVAL ? MICROSECOND", f.Since.Microseconds())
	}
	noImages := strings.NewReplacer("winner_image", "NULL", "loser_image", "NULL").Replace(columns())
	return read(ctx, db, "SELECT "+noImages+" FROM duplex.conflicts WHERE "+strings.Join(where, " AND ")+" ORDER BY found DESC, id LIMIT ?", append(args, f.Limit)...)
}

// querier is a pool of connections, or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// find returns the conflicts of which the id begins so: two at most.
func find(ctx context.Context, q querier, task, id, tail string) ([]Conflict, error) {
	pattern := strings.NewReplacer("%", "", "_", "").Replace(id) + "%"
	if task == "" {
		return read(ctx, q, "SELECT "+columns()+" FROM duplex.conflicts WHERE id LIKE ? LIMIT 2"+tail, pattern)
	}
	return read(ctx, q, "SELECT "+columns()+" FROM duplex.conflicts WHERE task = ? AND id LIKE ? LIMIT 2"+tail, task, pattern)
}

func read(ctx context.Context, q querier, query string, args ...any) ([]Conflict, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, readError(err)
	}
	defer rows.Close()
	all := []Conflict{}
	for rows.Next() {
		c, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		return nil, readError(err)
	}
	return all, nil
}

// readError tells what to do about a table that isn't there.
func readError(err error) error {
	fault := mysql.Classify(err)
	const noSuchTable, noSuchDatabase = 1146, 1049
	if fault.Number == noSuchTable || fault.Number == noSuchDatabase {
		fault.Hint = "it is made when this region's apply starts"
	}
	return fmt.Errorf("reading duplex.conflicts: %w", fault)
}

// timeForm is how the server writes DATETIME(6).
const timeForm = "2006-01-02 15:04:05.000000"

func scan(rows *sql.Rows) (c Conflict, err error) {
	var found string
	var undone sql.NullString
	into := []any{&c.Task, &c.ID, &found, &c.DB, &c.Table, &c.Key, &c.Rule, &c.Won}
	for _, w := range [2]*Write{&c.Winner, &c.Loser} {
		into = append(into, &w.Origin, &w.Seq, &w.HLC, &w.Op, &w.Schema, &w.Row, &w.Missing)
	}
	if err := rows.Scan(append(into, &undone)...); err != nil {
		return c, readError(err)
	}
	if c.Found, err = time.Parse(timeForm, found); err == nil && undone.Valid {
		c.Undone, err = time.Parse(timeForm, undone.String)
	}
	if err != nil {
		return c, fmt.Errorf("reading duplex.conflicts: %w", err)
	}
	return c, nil
}
