package apply

import (
	"context"
	"errors"
	"fmt"

	"duplex/apply/statement"
	"duplex/converge"
	"duplex/mysql"
)

// parts writes rows that are made of parts: those that were inserted or deleted whole, then of others, or on
// top of that, some columns. An update finds its row or changes nothing: it never
// brings one back.
func (w *writer) parts(ctx context.Context, t *tableRows) error {
	w.keys, w.images = w.keys[:0], w.images[:0]
	for i := range t.rows {
		r := &t.rows[i]
		switch {
		case r.lost || !r.parts.plan.Exist:
		case r.parts.merged.Exist.Kind == converge.Deleted:
			w.keys = append(w.keys, r.key)
		default:
			w.images = append(w.images, r.parts.merged.Exist.Image)
		}
	}
	if err := w.chunks(ctx, t.table, w.keys, t.table.binder.AppendDelete); err != nil {
		return err
	}
	if err := w.store(ctx, t.table, w.images, upsert()); err != nil {
		return err
	}
	for i := range t.rows {
		r := &t.rows[i]
		if r.lost {
			continue
		}
		if p := r.patch(t.table); p != nil {
			if err := w.patch(ctx, t.table, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// patch changes some columns of a row.
func (w *writer) patch(ctx context.Context, t *boundTable, p *statement.Patch) error {
	text, values, err := t.binder.AppendPatch(w.text[:0], p)
	if err != nil {
		return t.failure(err)
	}
	w.text = text
	args, err := w.arguments(values)
	if err != nil {
		return t.failure(err)
	}
	if _, err := w.conn.ExecContext(ctx, string(text), args...); err != nil {
		if len(p.Added) > 0 && isOutOfRange(err) {
			err = &sumError{t, err}
		}
		return t.failure(err)
	}
	return nil
}

// isOutOfRange reports whether the server says that a value is more than its column, or the type of a sum, holds.
func isOutOfRange(err error) bool {
	const outOfRange, outOfRangeOfType = 1264, 1690
	n := mysql.Classify(err).Number
	return n == outOfRange || n == outOfRangeOfType
}

// sumError says that what regions have added to a counter is more than it holds.
type sumError struct {
	table *boundTable
	err   error
}

func (e *sumError) Error() string {
	return fmt.Sprintf("what the regions have added to a delta column (%v) is together more, or less, than it holds: %s; mend: give the column a type that holds it (a signed one, if the sum is below zero), in every region, or change the row in one of them so that the sum fits, then duplex resume",
		e.table.rule.Delta, mysql.Classify(e.err).Error())
}

func (e *sumError) Unwrap() error { return e.err }

func sumFailure(err error) (text string, is bool) {
	if sum := new(sumError); errors.As(err, &sum) {
		return sum.Error(), true
	}
	return "", false
}
