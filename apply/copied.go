package apply

import (
	"context"
	"errors"
	"fmt"

	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/tasks"
	"duplex/topics"
)

// Rows of an initial copy (op r) tell what a row was before anyone wrote it: they have no version, and
// lose to any write that is known. A write that isn't known any more had been seen by the source, so
// the row has it. As ever, what the tail has not read yet may be written over, and is put back when the
// tail comes by: nobody needs to remember the copied row for that.

// existing is what becomes of a row that is there already.
type existing uint8

const (
	notCopied existing = iota
	overwrite
	keepExisting
	stopAtExisting
)

// copied is m for a row of an initial copy.
func (s *session) copied(m made) made {
	m.hlc, m.place = 0, 0
	switch s.st.cfg.Spec.Existing(s.st.cfg.Process.Region) {
	case tasks.ExistingOverwrite:
		m.existing = overwrite
	case tasks.ExistingStop:
		m.existing = stopAtExisting
	default:
		m.existing = keepExisting
	}
	return m
}

func isCopied(c *schemas.Decoded) bool { return c.Op == 'r' }

// isCopy reports whether a transaction is a chunk of an initial copy.
func isCopy(end *spine.Ending) bool { return topics.IsCopy(end.ID) }

// addCopied adds a row of an initial copy, unless the batch has a write of it.
func (b *batch) addCopied(t *boundTable, key, after []byte, m made) error {
	b.place(t)
	hash := keyHashOf(0, key).hash
	for i, tr := range b.tables {
		if tr.table.name != t.name {
			continue
		}
		if r := b.find(keyHash{i, hash}, key); r != nil && !r.void && r.made.existing == notCopied {
			return nil
		}
	}
	return b.add(t, key, nil, after, m)
}

// existsError says that the table has a row that is copied, with other content.
type existsError struct{ rows int64 }

func (e *existsError) Error() string {
	return "rows of the initial copy are there already, with other content, and initial_copy.existing is stop; mend: make them equal or delete them, or set initial_copy: {existing: keep} or {existing: overwrite} and restart"
}

// copies writes rows of an initial copy, but not over those that are there.
func (w *writer) copies(ctx context.Context, t *boundTable, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	if !w.occupied[t] {
		// Mostly the table is empty, and looking each row up would cost as much as writing it. Of a statement that
		// is refused nothing stays; what those before it wrote is there, and the same.
		var all [][]byte
		for _, r := range rows {
			all = append(all, r.after)
		}
		err := w.store(ctx, t, all, insert())
		if err == nil || !isDuplicate(err) {
			return err
		}
		if w.occupied == nil {
			w.occupied = map[*boundTable]bool{}
		}
		w.occupied[t] = true
	}
	there, err := w.whichAreThere(ctx, t, rows)
	if err != nil {
		return err
	}
	var absent, same [][]byte
	for i, r := range rows {
		switch {
		case !there[i]:
			absent = append(absent, r.after)
		case r.made.existing == stopAtExisting:
			same = append(same, r.after)
		}
	}
	if err := w.expectSame(ctx, t, same); err != nil {
		return err
	}
	return w.store(ctx, t, absent, insert())
}

// whichAreThere locks rows and tells of each whether it exists.
func (w *writer) whichAreThere(ctx context.Context, t *boundTable, rows []row) ([]bool, error) {
	keys := make([][]byte, len(rows))
	for i, r := range rows {
		keys[i] = r.key
	}
	present, err := w.lookUpAll(ctx, t, keys)
	if err != nil {
		return nil, err
	}
	there, found := make([]bool, len(rows)), 0
	for i, r := range rows {
		if w.keyText, err = t.binder.AppendKeyText(w.keyText[:0], r.key); err != nil {
			return nil, err
		}
		if there[i] = present[string(w.keyText)]; there[i] {
			found++
		}
	}
	// Where the server takes other texts for the same, some may be there in another spelling.
	for i := range rows {
		if found == len(present) {
			break
		}
		if there[i] {
			continue
		}
		one := map[string]bool{}
		if err := w.lookUp(ctx, t, keys[i:i+1], one); err != nil {
			return nil, err
		}
		if there[i] = len(one) > 0; there[i] {
			found++
		}
	}
	return there, nil
}

// expectSame refuses rows that are there with other content: the server compares, as an upsert that
// changes nothing affects no row.
func (w *writer) expectSame(ctx context.Context, t *boundTable, images [][]byte) error {
	return w.split(images, func(images [][]byte) error {
		var err error
		if w.text, err = t.binder.AppendUpsert(w.text[:0], images); err != nil {
			return t.failure(err)
		}
		result, err := w.conn.ExecContext(ctx, string(w.text))
		if err != nil {
			return t.failure(err)
		}
		if n, err := result.RowsAffected(); err != nil || n != 0 {
			return t.failure(&existsError{n})
		}
		return nil
	})
}

// differed is told that a row that is copied was there with other content: it may have been written here lately, and is
// then no row that the task began with. It has the batch tried again, by itself, with those rows held.
func (s *session) differed(ctx context.Context, w *writer, b *batch, cause error) error {
	const tries = 5 // a row that is absent can't be held
	err := errYielded
	for errors.Is(err, errYielded) {
		err = w.awaitTurn(ctx, b)
	}
	if err != nil {
		return err
	}
	if b.differed++; b.differed > tries {
		return cause
	}
	return nil
}

// holdCopied locks the rows that a batch copies and has the tail read all that was written to them before. Those before
// the batch are committed.
func (s *session) holdCopied(ctx context.Context, w *writer, b *batch) error {
	for _, tables := range [2][]*tableRows{b.tables, b.late} {
		for _, t := range tables {
			var keys [][]byte
			for i := range t.rows {
				if t.rows[i].made.existing != notCopied {
					keys = append(keys, t.rows[i].key)
				}
			}
			if len(keys) == 0 {
				continue
			}
			if _, err := w.lookUpAll(ctx, t.table, keys); err != nil {
				return err
			}
		}
	}
	err := s.pulse(ctx)
	if errors.Is(err, errTailLate) {
		return mysql.Fault{Class: mysql.Retry, Waiting: true, Why: fmt.Sprintf("rows of the initial copy are there already, and it isn't known yet since when: %v", err)}
	}
	return err
}
