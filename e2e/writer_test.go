package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
)

// writer writes random transactions of 1 to 20 row changes over one
// connection, to keys that no other writer of either side touches.
type writer struct {
	*rand.Rand
	side    string // e or w
	number_ int    // of the writer within its side
	tables  []*table
	ops     *atomic.Int64 // of the side: the number of the last change
	ledger  *ledger
	serial  int // of this writer's keys

	conn *sql.Conn
	ctx  context.Context
	// reconnect gets the writer a new connection when its server has gone away;
	// nil where no server may.
	reconnect func(*writer) error
	changes   int    // in the open transaction
	xid       string // of it, if it is an XA transaction
	xids      int    // given so far
}

// number is a key that no other writer of any side has.
func (w *writer) number() int {
	w.serial++
	region := 0
	if w.side == "w" {
		region = 1
	}
	return w.serial*64 + w.number_*2 + region
}

// id is a text that no other writer of any side has.
func (w *writer) id(prefix string) string { return fmt.Sprintf("%s-%s-%d", prefix, w.side, w.number()) }

// transaction writes and commits one transaction and returns how many rows it
// changed. One that the server rolled back, or that is rolled back on purpose
// now and then, changed none.
func (w *writer) transaction() (changes int, err error) {
	committing, err := w.write()
	if err == nil && committing {
		w.ledger.commit()
		return w.changes, nil
	}
	var fault *mysql.MySQLError
	switch {
	case err == nil: // rolled back on purpose
	case errors.As(err, &fault) && slices.Contains([]uint16{1205, 1213, 1614}, fault.Number):
		// A lock wait or a deadlock; only the latter rolls everything back.
		if err := w.giveUp(); err != nil {
			return 0, err
		}
	case errors.As(err, &fault) && fault.Number != 1053: // that one is: server shutdown
		return 0, err
	default:
		if w.reconnect == nil {
			return 0, err
		}
		if err := w.reconnect(w); err != nil {
			return 0, err
		}
		if committing {
			if committing, err = w.resolve(); err != nil {
				return 0, err
			}
		}
		if committing {
			w.ledger.commit()
			return w.changes, nil
		}
	}
	w.ledger.rollback()
	return 0, nil
}

// write writes one transaction. committing tells whether COMMIT was sent.
func (w *writer) write() (committing bool, err error) {
	w.changes, w.xid = 0, ""
	begin := "BEGIN"
	if w.reconnect == nil && w.IntN(12) == 0 { // else it could be prepared and nobody know
		w.xids++
		w.xid = fmt.Sprintf("'%s%d-%d'", w.side, w.number_, w.xids)
		begin = "XA START " + w.xid
	}
	if _, err := w.conn.ExecContext(w.ctx, begin); err != nil {
		return false, err
	}
	want := 1 + w.IntN(20)
	if w.IntN(3) == 0 {
		want = 1
	}
	for w.changes < want {
		if err := w.change(); err != nil {
			return false, err
		}
	}
	if w.xid != "" {
		return w.decide()
	}
	if w.IntN(50) == 0 {
		_, err = w.conn.ExecContext(w.ctx, "ROLLBACK")
		return false, err
	}
	_, err = w.conn.ExecContext(w.ctx, "COMMIT")
	return true, err
}

// decide ends an XA transaction in one step or two, or rolls it back.
func (w *writer) decide() (committing bool, err error) {
	steps := []string{"XA END ", "XA PREPARE ", "XA COMMIT "}
	committing = true
	switch w.IntN(8) {
	case 0:
		steps, committing = []string{"XA END ", "XA PREPARE ", "XA ROLLBACK "}, false
	case 1:
		_, err := w.conn.ExecContext(w.ctx, "XA END "+w.xid)
		if err == nil {
			_, err = w.conn.ExecContext(w.ctx, "XA COMMIT "+w.xid+" ONE PHASE")
		}
		return true, err
	}
	for _, step := range steps {
		if _, err := w.conn.ExecContext(w.ctx, step+w.xid); err != nil {
			return false, err
		}
	}
	return committing, nil
}

// giveUp rolls the open transaction back after an error of the server.
func (w *writer) giveUp() error {
	if w.xid == "" {
		_, err := w.conn.ExecContext(w.ctx, "ROLLBACK")
		return err
	}
	// After a deadlock it has ended already.
	_, _ = w.conn.ExecContext(w.ctx, "XA END "+w.xid)
	_, err := w.conn.ExecContext(w.ctx, "XA ROLLBACK "+w.xid)
	return err
}

// resolve finds out whether the transaction was committed whose COMMIT got no
// answer: no other writer touches its keys, so any of them tells.
func (w *writer) resolve() (committed bool, err error) {
	for e, before := range w.ledger.touched {
		live, key := w.ledger.isLive(e), e.key
		if !live {
			key = before
		}
		if key == nil {
			continue // inserted and deleted again: it tells nothing
		}
		var op int64
		err := w.conn.QueryRowContext(w.ctx, "SELECT op FROM shop."+e.table.name+" WHERE "+strings.Join(e.table.keys, " = ? AND ")+" = ?", key...).Scan(&op)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return false, err
		}
		return live && err == nil && op == e.op || !live && err != nil, nil
	}
	return true, nil // nothing that shows was changed
}

// change makes one random change, of several rows where the tables demand it.
func (w *writer) change() error {
	t := w.tables[w.IntN(len(w.tables))]
	e := w.ledger.of(t).pick(w.Rand)
	dice := w.IntN(100)
	switch {
	case e == nil, dice < 40:
		return w.insert(t)
	case dice < 60:
		return w.update(e)
	case dice < 70 && t.rekey != nil:
		return w.rekey(e)
	case dice < 78 && t.unique != "":
		return w.swap(e)
	case dice < 83 && t.unique != "":
		return w.takeOver(e)
	case dice < 90:
		return w.update(e)
	default:
		return w.remove(e)
	}
}

func (w *writer) exec(statement string, args ...any) (sql.Result, error) {
	result, err := w.conn.ExecContext(w.ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", statement, err)
	}
	w.changes++
	return result, nil
}

func (w *writer) insert(t *table) error {
	e := &entry{table: t, children: map[*entry]bool{}, op: w.ops.Add(1)}
	if t.newKey != nil {
		e.key = t.newKey(w)
	}
	if t.parent != "" {
		e.parent = w.ledger.shelves[t.parent].pick(w.Rand)
		if e.parent == nil {
			return nil // there will be one soon
		}
		e.key[0] = e.parent.key[0]
	}
	columns, args := append([]string{"side", "op"}, t.columns...), append([]any{w.side, e.op}, t.values(w)...)
	if e.key != nil {
		columns, args = append(columns, t.keys...), append(args, e.key...)
	}
	if t.unique != "" {
		e.unique = maybe(w, w.id("code"))
		columns, args = append(columns, t.unique), append(args, e.unique)
	}
	result, err := w.exec("INSERT INTO shop."+t.name+" ("+strings.Join(columns, ", ")+") VALUES (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
	if err != nil {
		return err
	}
	if e.key == nil {
		id, err := result.LastInsertId()
		if err != nil {
			return err
		}
		e.key = []any{id}
	}
	w.ledger.insert(e)
	return nil
}

// set updates columns of one row; it also gives it the change's number.
func (w *writer) set(e *entry, columns []string, args []any) (op int64, err error) {
	op = w.ops.Add(1)
	columns, args = append([]string{"op"}, columns...), append([]any{op}, args...)
	_, err = w.exec("UPDATE shop."+e.table.name+" SET "+strings.Join(columns, " = ?, ")+" = ? WHERE "+strings.Join(e.table.keys, " = ? AND ")+" = ?", append(args, e.key...)...)
	return op, err
}

func (w *writer) update(e *entry) error {
	op, err := w.set(e, e.table.columns, e.table.values(w))
	if err == nil {
		w.ledger.update(e, e.key, op, e.unique)
	}
	return err
}

func (w *writer) rekey(e *entry) error {
	key := e.table.rekey(w, e.key)
	op, err := w.set(e, e.table.keys, key)
	if err == nil {
		w.ledger.update(e, key, op, e.unique)
	}
	return err
}

// swap exchanges the unique values of two rows, by way of NULL.
func (w *writer) swap(a *entry) error {
	b := w.ledger.of(a.table).pick(w.Rand)
	if a == b {
		return nil
	}
	was, gets := a.unique, b.unique
	for _, step := range []struct {
		e     *entry
		value any
	}{{a, nil}, {b, was}, {a, gets}} {
		op, err := w.set(step.e, []string{a.table.unique}, []any{step.value})
		if err != nil {
			return err
		}
		w.ledger.update(step.e, step.e.key, op, step.value)
	}
	return nil
}

// takeOver deletes a row and gives its unique value to another.
func (w *writer) takeOver(from *entry) error {
	to := w.ledger.of(from.table).pick(w.Rand)
	if from == to {
		return nil
	}
	if err := w.remove(from); err != nil {
		return err
	}
	op, err := w.set(to, []string{to.table.unique}, []any{from.unique})
	if err == nil {
		w.ledger.update(to, to.key, op, from.unique)
	}
	return err
}

// remove deletes a row, and those that refer to it before.
func (w *writer) remove(e *entry) error {
	for child := range e.children {
		if err := w.remove(child); err != nil {
			return err
		}
	}
	_, err := w.exec("DELETE FROM shop."+e.table.name+" WHERE "+strings.Join(e.table.keys, " = ? AND ")+" = ?", e.key...)
	if err == nil {
		w.ledger.remove(e)
	}
	return err
}
