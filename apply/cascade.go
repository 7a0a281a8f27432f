package apply

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strconv"

	"duplex/apply/statement"
)

// cascade is what the source's server changed by its foreign keys along with a
// row, and didn't log. Those rows are changed here as InnoDB does,
// statement by statement and with foreign keys unchecked: servers that log their
// cascades (MySQL 9.6 and later) don't all make what InnoDB makes of them.
type cascade struct {
	kin           *kin
	before, after values // after is nil for a delete
}

// steps writes changes in order.
func (w *writer) steps(ctx context.Context, steps []sequenceStep) error {
	for i := range steps {
		st := &steps[i]
		if err := w.tables(ctx, st.tables); err != nil {
			return err
		}
		if c := st.cascade; c != nil {
			if err := w.cascade(ctx, c.kin, c.before, c.after, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxCascade is how deep InnoDB goes (FK_MAX_CASCADE_DEL); it refuses what would
// go further.
const maxCascade = 15

// cascade changes the children of a row that became after of before, theirs, and
// so on.
func (w *writer) cascade(ctx context.Context, parent *kin, before, after values, depth int) error {
	if depth > maxCascade {
		return fmt.Errorf("table %s: a change goes on by foreign keys further than the source's server would: the regions differ", parent.table)
	}
	for i := range parent.children {
		key := &parent.children[i]
		rule, set := key.rule(before, after)
		if rule == refuse {
			continue
		}
		limit := manyChildren
		if rule == follow && set != nil {
			limit = math.MaxInt32 // what has its new key may still be found by the old one: a tag, Tag
		}
		for n := limit; n >= limit; {
			var err error
			if n, err = w.children(ctx, key, before, set, depth, limit); err != nil {
				return err
			}
		}
	}
	return nil
}

// manyChildren is how many children are changed at once: memory is bounded, and
// how long a statement takes.
const manyChildren = 5000

// children changes children of a row: all at once, or one by one, each with its
// own. It returns how many it found, up to limit.
func (w *writer) children(ctx context.Context, key *kinKey, parent values, set []string, depth, limit int) (int, error) {
	if len(key.child.children) == 0 {
		return w.change(ctx, key, key.statement(set, key.condition(parent, nil))+" LIMIT "+strconv.Itoa(limit))
	}
	rows, err := w.read(ctx, key.child, key.condition(parent, nil)+" LIMIT "+strconv.Itoa(limit))
	if err != nil {
		return 0, err
	}
	for _, row := range rows {
		// One that was changed on the way of another is no longer a child.
		n, err := w.change(ctx, key, key.statement(set, key.condition(parent, row)))
		if err != nil {
			return 0, err
		}
		if n == 0 {
			continue
		}
		var after values
		if set != nil {
			if after, err = w.childAfter(ctx, key, row, set); err != nil {
				return 0, err
			}
		}
		if err := w.cascade(ctx, key.child, row, after, depth+1); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

// change runs a statement and returns how many rows it changed.
func (w *writer) change(ctx context.Context, key *kinKey, text string) (int, error) {
	result, err := w.conn.ExecContext(ctx, text)
	if err != nil {
		return 0, key.child.failure(err)
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// childAfter reads what a child became that has got set in the key's columns. It
// may have had some of that before, which only reading both alike tells.
func (w *writer) childAfter(ctx context.Context, key *kinKey, row values, set []string) (values, error) {
	row = slices.Clone(row)
	for i, at := range key.columns {
		if set[i] != "" {
			row[at] = set[i]
		}
	}
	rows, err := w.read(ctx, key.child, key.child.one(row))
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("table %s: a row that was changed by a foreign key can't be found again", key.child.table)
	}
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

// read locks and reads the rows of a condition: their primary keys, and what
// foreign keys refer to.
func (w *writer) read(ctx context.Context, k *kin, condition string) (found []values, err error) {
	text, columns, err := k.selects(condition)
	if err != nil {
		return nil, err
	}
	rows, err := w.conn.QueryContext(ctx, text)
	if err != nil {
		return nil, k.failure(err)
	}
	defer rows.Close()
	cells, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range cells {
		into[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make(values, len(k.table.Columns))
		for i, cell := range cells {
			if row[columns[i]] = statement.Null; cell.Valid {
				row[columns[i]] = cell.String
			}
		}
		found = append(found, row)
	}
	return found, rows.Err()
}
