package conflicts

import (
	"context"
	"database/sql"
	"fmt"

	"duplex/mysql"
)

// Held is a conflict of policy stop that nobody has looked at yet: table duplex.held has it
// until it is accepted or undone.
type Held struct {
	Task, ID  string
	DB, Table string
	Others    int // of the same task
}

// FirstHeld returns the first such conflict of a task, nil if there is none.
func FirstHeld(ctx context.Context, db *sql.DB, task string) (*Held, error) {
	h := &Held{Task: task}
	found, err := read(ctx, db, "SELECT "+columns()+" FROM duplex.conflicts JOIN (SELECT task AS held_task, id AS held_id FROM duplex.held WHERE task = ? ORDER BY found, id LIMIT 1) AS h ON task = held_task AND id = held_id", task)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	h.ID, h.DB, h.Table = found[0].ID, found[0].DB, found[0].Table
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) - 1 FROM duplex.held WHERE task = ?", task).Scan(&h.Others); err != nil {
		return nil, fmt.Errorf("reading duplex.held: %w", mysql.Classify(err))
	}
	return h, nil
}

// hold notes, in the transaction that records conflicts, those that hold their task up.
func hold(ctx context.Context, tx *sql.Tx, all []Conflict) error {
	for i := range all {
		if c := &all[i]; c.Holds {
			if _, err := tx.ExecContext(ctx, "INSERT INTO duplex.held (task, id, found) VALUES (?, ?, UTC_TIMESTAMP(6))", c.Task, c.ID); err != nil {
				return fmt.Errorf("writing duplex.held: %w", mysql.Classify(err))
			}
		}
	}
	return nil
}

// Accept lets a task go on after a conflict of policy stop: the write that won stays. It reports
// whether the conflict held the task up in this region.
func (b *Book) Accept(ctx context.Context, task, id string) (bool, error) {
	n, err := b.release(ctx, "DELETE FROM duplex.held WHERE task = ? AND id = ?", task, id)
	return n > 0, err
}

// AcceptAll does so for all such conflicts of a task, or of all tasks if it is "", and returns how many they were.
func (b *Book) AcceptAll(ctx context.Context, task string) (int64, error) {
	if task == "" {
		return b.release(ctx, "DELETE FROM duplex.held")
	}
	return b.release(ctx, "DELETE FROM duplex.held WHERE task = ?", task)
}

func (b *Book) release(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := b.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, fmt.Errorf("region %s: deleting from duplex.held: %w", b.Region, mysql.Classify(err))
	}
	return result.RowsAffected()
}
