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

// scribe writes random transactions to shapes, over one connection. What the
// server refuses, a key that is taken or a parent that is missing, it leaves.
type scribe struct {
	*rand.Rand
	conn   *sql.Conn
	shapes []*shape
	ops    *atomic.Int64 // every image of a row has a number of its own
	said   []string
}

// errEnded says that the server has ended the transaction.
var errEnded = errors.New("the transaction was rolled back")

// say executes a statement. A refusal is nil.
func (s *scribe) say(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	_, err := s.conn.ExecContext(context.Background(), text)
	return s.heard(text, err)
}

func (s *scribe) heard(text string, err error) error {
	var fault *mysql.MySQLError
	switch {
	case err == nil:
		s.said = append(s.said, text)
		return nil
	case errors.As(err, &fault) && slices.Contains([]uint16{1020, 1205, 1213}, fault.Number):
		return errEnded
	case errors.As(err, &fault) && slices.Contains([]uint16{
		1062, 1586, 1761, 1762, // duplicate key
		1451, 1452, // foreign key
		1048, 1264, 1690, // NULL, or out of range
	}, fault.Number):
		return nil
	}
	return fmt.Errorf("%.2000s: %w", text, err)
}

// transaction writes one transaction.
func (s *scribe) transaction() error {
	err := s.say("BEGIN")
	for range 1 + s.IntN(6) {
		if err == nil {
			err = s.step()
		}
	}
	if err == nil && s.IntN(15) > 0 {
		return s.say("COMMIT")
	}
	if err != nil && !errors.Is(err, errEnded) {
		return err
	}
	return s.say("ROLLBACK")
}

// step does one thing to one table.
func (s *scribe) step() error {
	t := s.shapes[s.IntN(len(s.shapes))]
	switch s.IntN(14) {
	case 0, 1, 2:
		return s.insert("INSERT", t, 1, "")
	case 3:
		return s.insert("INSERT IGNORE", t, 2+s.IntN(30), "")
	case 4:
		return s.insert("REPLACE", t, 1+s.IntN(3), "")
	case 5:
		c := t.columns[len(t.key)+s.IntN(len(t.columns)-len(t.key))].name
		return s.insert("INSERT", t, 1+s.IntN(4), fmt.Sprintf(" ON DUPLICATE KEY UPDATE op = VALUES(op), %s = VALUES(%s)", c, c))
	case 6, 7:
		c := &t.columns[s.IntN(len(t.columns))]
		return s.say("UPDATE %s SET op = %d, %s = %s WHERE %s LIMIT %d", t.name, s.ops.Add(1), c.name, s.value(t, c), s.condition(t), 1+s.IntN(3))
	case 8:
		return s.say("DELETE FROM %s WHERE %s LIMIT %d", t.name, s.condition(t), 1+s.IntN(4))
	case 9:
		return s.reinsert(t)
	case 10:
		return s.rotate(t, 2)
	case 11:
		return s.rotate(t, 3+s.IntN(4))
	case 12:
		return s.shift(t)
	default:
		return s.savepoint()
	}
}

// value returns a literal for a column, or the key of a row that is there.
func (s *scribe) value(t *shape, c *shaped) string {
	if c.nullable && s.IntN(5) == 0 {
		return "NULL"
	}
	return c.kind.domain[s.IntN(len(c.kind.domain))]
}

// condition is true for a few rows.
func (s *scribe) condition(t *shape) string {
	c := &t.columns[s.IntN(len(t.columns))]
	return c.name + []string{" = ", " >= "}[s.IntN(2)] + c.kind.domain[s.IntN(len(c.kind.domain))]
}

// insert writes new rows. Their foreign keys are NULL, or of rows that are there.
func (s *scribe) insert(verb string, t *shape, n int, tail string) error {
	names := []string{"op"}
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	rows := make([]string, n)
	for i := range rows {
		values := []string{fmt.Sprint(s.ops.Add(1))}
		for j := range t.columns {
			values = append(values, s.value(t, &t.columns[j]))
		}
		for _, ref := range t.refs {
			if err := s.adopt(t, ref, values); err != nil {
				return err
			}
		}
		rows[i] = "(" + strings.Join(values, ", ") + ")"
	}
	return s.say("%s INTO %s (%s) VALUES %s%s", verb, t.name, strings.Join(names, ", "), strings.Join(rows, ", "), tail)
}

// adopt gives a row, whose values follow its op, a parent.
func (s *scribe) adopt(t *shape, ref reference, values []string) error {
	var parent []record
	if s.IntN(3) > 0 {
		var err error
		if parent, err = s.pick(ref.parent, 1); err != nil {
			return err
		}
	}
	for i, name := range ref.columns {
		at := 1 + slices.IndexFunc(t.columns, func(c shaped) bool { return c.name == name })
		values[at] = "NULL"
		if len(parent) > 0 {
			values[at] = parent[0][ref.parent.key[i]]
		}
	}
	return nil
}

// record is a row that was read: the literal of each column.
type record map[string]string

// is is the condition that gives the row by its primary key.
func (r record) is(t *shape) string {
	var parts []string
	for _, name := range t.key {
		parts = append(parts, name+" = "+r[name])
	}
	return strings.Join(parts, " AND ")
}

// pick reads up to n neighbouring rows.
func (s *scribe) pick(t *shape, n int) (found []record, err error) {
	var names []string
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	text := fmt.Sprintf("SELECT %s FROM %s ORDER BY %s LIMIT %d OFFSET %d", strings.Join(names, ", "), t.name, strings.Join(t.key, ", "), n, s.IntN(8))
	rows, err := s.conn.QueryContext(context.Background(), text)
	if err != nil {
		return nil, s.heard(text, err)
	}
	defer rows.Close()
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		r := record{}
		for i, c := range t.columns {
			r[c.name] = "NULL"
			if values[i].Valid {
				r[c.name] = c.kind.literal(values[i].String)
			}
		}
		found = append(found, r)
	}
	return found, s.heard(text, rows.Err())
}

// reinsert deletes rows and writes them anew, as they were but for one value.
func (s *scribe) reinsert(t *shape) error {
	found, err := s.pick(t, 1+s.IntN(3))
	if err != nil {
		return err
	}
	for _, r := range found {
		if err := s.say("DELETE FROM %s WHERE %s", t.name, r.is(t)); err != nil {
			return err
		}
	}
	for _, r := range found {
		c := &t.columns[s.IntN(len(t.columns))]
		r[c.name] = s.value(t, c)
		names, values := []string{"op"}, []string{fmt.Sprint(s.ops.Add(1))}
		for _, c := range t.columns {
			names, values = append(names, c.name), append(values, r[c.name])
		}
		if err := s.say("INSERT INTO %s (%s) VALUES (%s)", t.name, strings.Join(names, ", "), strings.Join(values, ", ")); err != nil {
			return err
		}
	}
	return nil
}

// rotate gives n rows each other's value of a column of a key, by way of a
// value that none has.
func (s *scribe) rotate(t *shape, n int) error {
	found, err := s.pick(t, n)
	if err != nil || len(found) < 2 {
		return err
	}
	c := t.column(t.movable[s.IntN(len(t.movable))])
	set := func(r record, value string) error {
		is := r.is(t)
		r[c.name] = value
		return s.say("UPDATE %s SET op = %d, %s = %s WHERE %s", t.name, s.ops.Add(1), c.name, value, is)
	}
	last := found[len(found)-1][c.name]
	if err := set(found[len(found)-1], c.kind.spare); err != nil {
		return err
	}
	for i := len(found) - 2; i >= 0; i-- {
		next := found[i][c.name]
		if err := set(found[i], last); err != nil {
			return err
		}
		last = next
	}
	return set(found[len(found)-1], last)
}

// shift moves a whole column of numbers, up or down.
func (s *scribe) shift(t *shape) error {
	var numbers []string
	for _, name := range t.movable {
		if t.column(name).kind.number {
			numbers = append(numbers, name)
		}
	}
	if len(numbers) == 0 {
		return s.rotate(t, 2)
	}
	c := numbers[s.IntN(len(numbers))]
	if s.IntN(2) == 0 {
		return s.say("UPDATE %s SET op = %d, %s = %s + 1 WHERE %s >= %d ORDER BY %s DESC", t.name, s.ops.Add(1), c, c, c, s.IntN(6), c)
	}
	return s.say("UPDATE %s SET op = %d, %s = %s - 1 WHERE %s >= %d ORDER BY %s", t.name, s.ops.Add(1), c, c, c, 1+s.IntN(6), c)
}

// savepoint does some steps and takes them back.
func (s *scribe) savepoint() error {
	err := s.say("SAVEPOINT here")
	for range 1 + s.IntN(3) {
		if err == nil {
			err = s.step()
		}
	}
	if err != nil {
		return err
	}
	return s.say("ROLLBACK TO SAVEPOINT here")
}
