package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"duplex/mysql"

	"golang.org/x/sync/errgroup"
)

// shape is a backlog: so many transactions of so many rows.
type shape struct {
	rows         int // of each transaction
	transactions int
}

func (s shape) name() string { return fmt.Sprintf("txn%d", s.rows) }

// shapes are measured one after the other.
func shapes() []shape { return []shape{{1, 50_000}, {10, 20_000}, {100, 3_000}} }

// writers is how many clients write the backlog. Their commits are grouped in
// the binlog, which is what lets MySQL's replica apply in parallel.
const writers = 8

// createTable is sysbench's table, with a secondary index.
func (s shape) createTable() string {
	return "CREATE TABLE bench." + s.name() + " (id BIGINT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k))"
}

// write writes the backlog and returns how many rows it changed: of ten
// changes about six insert, three update and one deletes. Rows are chosen at
// random among all of a client's, so that few transactions touch the same.
func (s shape) write(ctx context.Context, db *sql.DB) (int64, error) {
	var changed atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for i := range writers {
		group.Go(func() error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return fmt.Errorf("connecting to east: %w", err)
			}
			defer conn.Close()
			w := &backlogWriter{shape: s, conn: conn, first: int64(i), random: rand.New(rand.NewPCG(uint64(s.rows), uint64(i)))}
			for range s.transactions / writers {
				n, err := w.transaction(ctx)
				if err != nil {
					return fmt.Errorf("writing the backlog %s: %w", s.name(), err)
				}
				changed.Add(n)
			}
			return nil
		})
	}
	err := group.Wait()
	return changed.Load(), err
}

// backlogWriter is one client. Its rows are those whose id leaves first when
// divided by writers.
type backlogWriter struct {
	shape  shape
	conn   *sql.Conn
	first  int64
	count  int64 // rows ever inserted
	random *rand.Rand
}

// transaction commits one transaction and returns the rows that it changed.
func (w *backlogWriter) transaction(ctx context.Context) (int64, error) {
	inserted := w.count
	for {
		n, err := w.try(ctx)
		if err == nil {
			return n, nil
		}
		if mysql.Classify(err).Class != mysql.Retry {
			return 0, err
		}
		w.count = inserted
		if _, err := w.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
			return 0, err
		}
	}
}

func (w *backlogWriter) try(ctx context.Context) (changed int64, err error) {
	exec := func(statement string) {
		if err != nil {
			return
		}
		var result sql.Result
		if result, err = w.conn.ExecContext(ctx, statement); err == nil {
			n, _ := result.RowsAffected() // MySQL always says
			changed += n
		}
	}
	statements := w.statements()
	if len(statements) == 1 {
		exec(statements[0])
		return changed, err
	}
	exec("BEGIN")
	for _, statement := range statements {
		exec(statement)
	}
	exec("COMMIT")
	return changed, err
}

// statements makes the changes of one transaction. A change of a row that was
// deleted before changes nothing and is not counted.
func (w *backlogWriter) statements() []string {
	table := "bench." + w.shape.name()
	var all, values []string
	used := map[int64]bool{}
	for range w.shape.rows {
		dice := w.random.IntN(10)
		old := w.first
		if w.count > 0 {
			old += writers * w.random.Int64N(w.count)
		}
		switch {
		case dice < 6 || w.count == 0 || used[old]:
			values = append(values, fmt.Sprintf("(%d, %d, '%s', '%s')", w.first+writers*w.count, w.random.IntN(1_000_000), w.digits(119), w.digits(59)))
			w.count++
		case dice < 9:
			all = append(all, fmt.Sprintf("UPDATE %s SET k = k + 1, c = '%s' WHERE id = %d", table, w.digits(119), old))
		default:
			all = append(all, fmt.Sprintf("DELETE FROM %s WHERE id = %d", table, old))
		}
		used[old] = true
	}
	if len(values) > 0 {
		all = append(all, "INSERT INTO "+table+" VALUES "+strings.Join(values, ", "))
	}
	return all
}

func (w *backlogWriter) digits(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = byte('0' + w.random.IntN(10))
	}
	return string(text)
}
