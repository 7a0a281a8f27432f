package apply

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"duplex/change"
	"duplex/internal/failpoint"
	"duplex/schemas"
)

// writer writes rows over one connection of the target. The first statement
// of each of its transactions is the marker.
type writer struct {
	conn      *sql.Conn
	worker    int
	progress  *progress
	maxPacket int64
	text      []byte
	keyText   []byte
	keys      [][]byte
	images    [][]byte
	// occupied are tables into which rows are copied and that had some already.
	occupied map[*boundTable]bool

	spansBefore, spansAfter []schemas.Span

	// beat is when the connection must show that it lives; set by the pool.
	beat *time.Ticker
}

// newWriter opens a connection whose transaction the server rolls back after
// leaseSilence without a word: that of a frozen process would otherwise hold
// its locks, and the one who takes over would wait for them for ever.
func newWriter(ctx context.Context, db *sql.DB, progress *progress, worker int, maxPacket int64) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, classify(err)
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("SET SESSION wait_timeout = %d", int(leaseSilence.Seconds()))); err != nil {
		conn.Close()
		return nil, classify(err)
	}
	return &writer{conn: conn, worker: worker, progress: progress, maxPacket: maxPacket}, nil
}

// ping shows the server that the connection lives. It must be called at least
// every leaseSilence while nothing else is sent.
func (w *writer) ping(ctx context.Context) error {
	if _, err := w.conn.ExecContext(ctx, "DO 1"); err != nil {
		return fmt.Errorf("keeping an idle connection: %w", classify(err))
	}
	return nil
}

// begin opens a database transaction and writes the marker: row changes up to
// seq, the greatest hlc among them.
func (w *writer) begin(ctx context.Context, seq change.Seq, hlc change.HLC) error {
	if _, err := w.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	w.text = w.progress.appendMarker(w.text[:0], w.worker, seq, hlc)
	result, err := w.conn.ExecContext(ctx, string(w.text))
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errFenced
	}
	failpoint.Hit("apply.marked")
	return nil
}

func (w *writer) commit(ctx context.Context) error {
	failpoint.Hit("apply.before-commit")
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return err
	}
	failpoint.Hit("apply.after-commit")
	return nil
}

// rollback gives up the open transaction. If that fails the connection is
// gone, and the transaction with it.
func (w *writer) rollback(ctx context.Context) {
	_, _ = w.conn.ExecContext(ctx, "ROLLBACK")
}

// tables writes what each key of each table became.
func (w *writer) tables(ctx context.Context, tables []*tableRows) error {
	defer func() { clear(w.images[:cap(w.images)]) }() // or they would keep what they are parts of
	for _, t := range tables {
		if err := w.rows(ctx, t); err != nil {
			return t.table.failure(err)
		}
		if w := t.table.watched; w != nil {
			w.wrote.Store(true)
		}
	}
	return nil
}

// rows writes what each key became. All deletes of a table come before its
// inserts, so a unique value may move from row to row within the batch.
func (w *writer) rows(ctx context.Context, t *tableRows) error {
	if t.table.parts != nil {
		return w.parts(ctx, t)
	}
	unique := len(t.table.binder.Unique()) > 0
	w.keys, w.images = w.keys[:0], w.images[:0]
	var gone [][]byte
	var kept, copies []row
	for _, r := range t.rows {
		switch {
		case r.void, r.lost:
		case r.made.existing > overwrite:
			copies = append(copies, r)
		case r.after == nil && t.late && !t.table.binder.ExactKey() && !t.table.tracked:
			gone = append(gone, r.key)
		case r.after == nil:
			w.keys = append(w.keys, r.key)
		case !unique:
			w.images = append(w.images, r.after)
		default:
			moved, err := w.movesUnique(t.table, r)
			if err != nil {
				return err
			}
			if moved || !t.table.binder.ExactKey() {
				w.keys = append(w.keys, r.key)
				w.images = append(w.images, r.after)
			} else {
				kept = append(kept, r)
			}
		}
	}
	if err := w.deleteExactly(ctx, t.table, gone); err != nil {
		return err
	}
	if err := w.chunks(ctx, t.table, w.keys, t.table.binder.AppendDelete); err != nil {
		return err
	}
	if !unique {
		if err := w.store(ctx, t.table, w.images, upsert()); err != nil {
			return err
		}
		return w.copies(ctx, t.table, copies)
	}
	// By primary key only: where a secondary unique key exists, an upsert of a
	// row that is absent could change another row that has its unique value.
	if err := w.store(ctx, t.table, w.images, insert()); err != nil {
		return err
	}
	if err := w.keep(ctx, t.table, kept); err != nil {
		return err
	}
	return w.copies(ctx, t.table, copies)
}

// movesUnique reports whether the row may have another unique value than it
// had. It compares bytes, not by collation: taking a value for moved that
// isn't costs a delete and an insert, the opposite could clash.
func (w *writer) movesUnique(t *boundTable, r row) (bool, error) {
	if t.looseUnique || r.mixed {
		return true, nil
	}
	if r.before == nil {
		return false, nil
	}
	n := len(t.envelope.Value.Fields)
	w.spansBefore, w.spansAfter = slices.Grow(w.spansBefore[:0], n)[:n], slices.Grow(w.spansAfter[:0], n)[:n]
	if err := t.envelope.Value.Split(r.before, w.spansBefore); err != nil {
		return false, err
	}
	if err := t.envelope.Value.Split(r.after, w.spansAfter); err != nil {
		return false, err
	}
	for _, unique := range t.binder.Unique() {
		for _, f := range unique.Fields {
			b, a := w.spansBefore[f], w.spansAfter[f]
			if !bytes.Equal(r.before[b.From:b.To], r.after[a.From:a.To]) {
				return true, nil
			}
		}
	}
	return false, nil
}

// keep writes rows whose unique values stay: upserts where the row exists,
// inserts where it doesn't.
func (w *writer) keep(ctx context.Context, t *boundTable, rows []row) error {
	if len(rows) == 0 {
		return nil
	}
	w.keys = w.keys[:0]
	for _, r := range rows {
		w.keys = append(w.keys, r.key)
	}
	present, err := w.lookUpAll(ctx, t, w.keys)
	if err != nil {
		return err
	}
	var absent, existing [][]byte
	for _, r := range rows {
		if w.keyText, err = t.binder.AppendKeyText(w.keyText[:0], r.key); err != nil {
			return err
		}
		if present[string(w.keyText)] {
			existing = append(existing, r.after)
		} else {
			absent = append(absent, r.after)
		}
	}
	if err := w.store(ctx, t, existing, upsert()); err != nil {
		return err
	}
	return w.store(ctx, t, absent, insert())
}

// deleteExactly deletes the rows of keys, but none whose key only equals one of
// them. The server takes 'a' for 'A', and the fold misses pairs of some
// collations (not where rows are tracked): then the row that took the place of the deleted one may have been
// written before, by the same batch.
func (w *writer) deleteExactly(ctx context.Context, t *boundTable, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	present, err := w.lookUpAll(ctx, t, keys)
	if err != nil {
		return err
	}
	there := keys[:0]
	for _, key := range keys {
		if w.keyText, err = t.binder.AppendKeyText(w.keyText[:0], key); err != nil {
			return err
		}
		if present[string(w.keyText)] {
			there = append(there, key)
		}
	}
	return w.chunks(ctx, t, there, t.binder.AppendDelete)
}

// lookUpAll locks the rows of keys and returns which of them exist, by the text
// of their key.
func (w *writer) lookUpAll(ctx context.Context, t *boundTable, keys [][]byte) (present map[string]bool, err error) {
	present = make(map[string]bool, len(keys))
	err = w.split(keys, func(keys [][]byte) error { return w.lookUp(ctx, t, keys, present) })
	return present, err
}

// lookUp locks the rows of keys and notes which of them exist.
func (w *writer) lookUp(ctx context.Context, t *boundTable, keys [][]byte, present map[string]bool) error {
	var err error
	if w.text, err = t.binder.AppendSelectKeys(w.text[:0], keys); err != nil {
		return err
	}
	rows, err := w.conn.QueryContext(ctx, string(w.text))
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	raw := make([]sql.RawBytes, len(columns))
	into, cells := make([]any, len(columns)), make([][]byte, len(columns))
	for i := range raw {
		into[i] = &raw[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i := range raw {
			cells[i] = raw[i]
		}
		if w.keyText, err = t.binder.AppendKeyTextFromResult(w.keyText[:0], cells); err != nil {
			return err
		}
		present[string(w.keyText)] = true
	}
	return rows.Err()
}

// chunks runs the statement that build writes for all items, in as many pieces
// as the server's max_allowed_packet asks for.
func (w *writer) chunks(ctx context.Context, t *boundTable, items [][]byte, build func(dst []byte, items [][]byte) ([]byte, error)) error {
	return w.split(items, func(items [][]byte) error {
		var err error
		if w.text, err = build(w.text[:0], items); err != nil {
			return t.failure(err)
		}
		if _, err = w.conn.ExecContext(ctx, string(w.text)); err != nil {
			return t.failure(err)
		}
		return nil
	})
}

// split calls do with runs of items that make a statement of moderate size.
func (w *writer) split(items [][]byte, do func([][]byte) error) error {
	// A literal takes at most about three times the bytes of its Avro form,
	// short integers aside, which perItem makes up for.
	// Servers give range look-ups up for a scan, which would lock the table,
	// when a statement has very many keys.
	const perItem, growth, maxItems = 64, 3, 1000
	limit := min(w.maxPacket/2, 4<<20)
	for len(items) > 0 {
		n, size := 0, int64(0)
		for n < min(len(items), maxItems) && (n == 0 || size < limit) {
			size += int64(len(items[n]))*growth + perItem
			n++
		}
		if n > 1 && size > limit {
			n--
		}
		if err := do(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}
