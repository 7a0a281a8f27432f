package conflicts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"duplex/mysql"
)

// Guard says what Undo demands of the row.
type Guard uint8

const (
	// Unchanged: the row is still what the winner left.
	Unchanged Guard = iota
	// Forced: it may be anything.
	Forced
)

// RuleOf is what a conflict's record says of a rule: its policy, and whether some of the
// table's columns are counters.
func RuleOf(policy string, counters []string) string {
	if len(counters) > 0 {
		return policy + withCounters
	}
	return policy
}

const withCounters = " delta"

// OfParts reports whether by that rule a write may lose in part only.
func OfParts(rule string) bool {
	return rule == "merge-columns" || strings.HasSuffix(rule, withCounters)
}

// Undo writes back what was lost: the loser's image becomes, as a write of this
// region's own, the newest of the row in every region. It is one transaction, which
// locks the row. It returns the conflict as it was found.
func (b *Book) Undo(ctx context.Context, task, id string, guard Guard) (*Conflict, error) {
	c, err := b.Find(ctx, task, id)
	if err != nil {
		return nil, err
	}
	u, err := b.prepare(ctx, c)
	if err != nil {
		return c, fmt.Errorf("undoing conflict %s: %w", c.ID, err)
	}
	conn, err := b.db.Conn(ctx)
	if err != nil {
		return c, err // a *ConnectError says all
	}
	defer conn.Close()
	u.conn = conn
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return c, fmt.Errorf("undoing conflict %s: %w", c.ID, mysql.Classify(err))
	}
	if err = u.run(ctx, guard); err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		// Without cancellation: what an interrupted undo has locked must be freed. A
		// connection that is lost frees it too.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		var refused *refusal
		if !errors.As(err, &refused) {
			err = mysql.Classify(err)
		}
		return c, fmt.Errorf("undoing conflict %s: %w", c.ID, err)
	}
	return c, nil
}

// Mark marks a conflict as undone, where another region's record of it was.
func (b *Book) Mark(ctx context.Context, c *Conflict) error {
	_, err := b.db.ExecContext(ctx, "UPDATE duplex.conflicts SET undone = UTC_TIMESTAMP(6) WHERE task = ? AND id = ? AND undone IS NULL", c.Task, c.ID)
	if err != nil {
		return fmt.Errorf("marking conflict %s as undone in region %s: %w", c.ID, b.Region, mysql.Classify(err))
	}
	_, err = b.Accept(ctx, c.Task, c.ID)
	return err
}

// refusal is a reason not to undo.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

const forced = "; mend: look at the row, and if what was lost is to stand all the same, give --force"

// undo is the undoing of one conflict.
type undo struct {
	c             *Conflict
	conn          *sql.Conn
	winner, loser *bound // nil for what left no row, or isn't known
	key           []byte // of the row, by either's schema
	keyed         *bound
}

// prepare binds both images to the table.
func (b *Book) prepare(ctx context.Context, c *Conflict) (*undo, error) {
	u := &undo{c: c}
	if OfParts(c.Rule) {
		return nil, refuse("the table's rule is %s: only a part of what was lost is, and writing back its image would undo what both regions have added to the row's counters, or made of its other columns; change the row itself: loser.row in duplex conflicts show %s tells what it was", c.Rule, c.ID)
	}
	if c.Loser.Missing != "" {
		return nil, refuse("what was lost isn't known: %s", c.Loser.Missing)
	}
	if c.Loser.Row == nil && c.Winner.Row == nil {
		return nil, refuse("both writes left no row%s: there is nothing to bring back", unless(c.Winner.Missing))
	}
	var err error
	if c.Winner.Row != nil {
		if u.winner, err = b.bind(ctx, c, &c.Winner); err != nil {
			return nil, err
		}
		u.keyed = u.winner
		if u.key, err = u.winner.value.AppendKey(nil, u.winner.key, c.Winner.Row); err != nil {
			return nil, err
		}
	}
	if c.Loser.Row != nil {
		if u.loser, err = b.bind(ctx, c, &c.Loser); err != nil {
			return nil, err
		}
		u.keyed = u.loser
		if u.key, err = u.loser.value.AppendKey(nil, u.loser.key, c.Loser.Row); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func unless(missing string) string {
	if missing == "" {
		return ""
	}
	return ", or none that is known (" + missing + ")"
}

func (u *undo) run(ctx context.Context, guard Guard) error {
	if err := u.claim(ctx); err != nil {
		return err
	}
	present, err := u.lock(ctx)
	if err != nil {
		return err
	}
	if guard == Unchanged {
		if err := u.check(ctx, present); err != nil {
			return err
		}
	}
	if err := u.write(ctx, present, guard); err != nil {
		return err
	}
	_, err = u.conn.ExecContext(ctx, "UPDATE duplex.conflicts SET undone = UTC_TIMESTAMP(6) WHERE task = ? AND id = ?", u.c.Task, u.c.ID)
	if err == nil {
		_, err = u.conn.ExecContext(ctx, "DELETE FROM duplex.held WHERE task = ? AND id = ?", u.c.Task, u.c.ID)
	}
	return err
}

// claim locks the record, which nobody must have undone.
func (u *undo) claim(ctx context.Context) error {
	var undone sql.NullString
	err := u.conn.QueryRowContext(ctx, "SELECT undone FROM duplex.conflicts WHERE task = ? AND id = ? FOR UPDATE", u.c.Task, u.c.ID).Scan(&undone)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return refuse("it has just been deleted, as it is older than conflicts.retention")
	case err != nil:
		return err
	case undone.Valid:
		at, err := time.Parse(timeForm, undone.String)
		if err != nil {
			return err
		}
		return refuse("it was undone already, at %s; to undo that, change the row", at.Format(time.RFC3339))
	}
	return nil
}

// lock locks the row, if there is one.
func (u *undo) lock(ctx context.Context) (present bool, err error) {
	text, err := u.keyed.binder.AppendSelectKeys(nil, [][]byte{u.key})
	if err != nil {
		return false, err
	}
	rows, err := u.conn.QueryContext(ctx, string(text))
	if err != nil {
		return false, err
	}
	defer rows.Close()
	present = rows.Next()
	return present, rows.Err()
}

// check refuses a row that isn't what the winner left: writing that again, as apply
// does, must change nothing. The server compares every byte of the row.
func (u *undo) check(ctx context.Context, present bool) error {
	w := &u.c.Winner
	switch {
	case w.Missing != "":
		return refuse("what the winner left isn't known (%s), so nobody can tell whether the row was changed since%s", w.Missing, forced)
	case w.Row == nil && present:
		return refuse("the row is there again: it was written after the winner had deleted it%s", forced)
	case w.Row == nil:
		return nil
	case !present:
		return refuse("the row was deleted after the conflict%s", forced)
	}
	if _, err := u.conn.ExecContext(ctx, "SET @duplex_apply = 1"); err != nil {
		return err
	}
	changed, err := u.put(ctx, u.winner, w.Row)
	if err != nil {
		return err
	}
	if _, err := u.conn.ExecContext(ctx, "SET @duplex_apply = NULL"); err != nil {
		return err
	}
	if changed {
		return refuse("the row was changed after the conflict%s", forced)
	}
	return nil
}

// write writes what was lost.
func (u *undo) write(ctx context.Context, present bool, guard Guard) error {
	if u.loser == nil {
		text, err := u.keyed.binder.AppendDelete(nil, [][]byte{u.key})
		if err == nil {
			_, err = u.conn.ExecContext(ctx, string(text))
		}
		return err
	}
	if present || guard == Forced {
		_, err := u.put(ctx, u.loser, u.c.Loser.Row)
		return err
	}
	text, values, err := u.loser.binder.AppendWideInsert(nil, u.c.Loser.Row)
	if err != nil {
		return err
	}
	args := make([]any, len(values))
	for i := range values {
		args[i] = values[i].Value
	}
	_, err = u.conn.ExecContext(ctx, string(text), args...)
	return err
}

// put writes a row over what there is, and reports whether that was another one.
func (u *undo) put(ctx context.Context, table *bound, row []byte) (changed bool, err error) {
	text, values, err := table.binder.AppendWideUpsert(nil, row)
	if err != nil {
		return false, err
	}
	args := make([]any, len(values))
	for i := range values {
		args[i] = values[i].Value
	}
	result, err := u.conn.ExecContext(ctx, string(text), args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n != 0, err
}
