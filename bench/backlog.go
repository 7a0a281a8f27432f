package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strconv"
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

// existing is how many rows the table has before the backlog. In a small one
// every batch of Duplex would touch rows of the one before and have to wait.
const existing = 500_000

// createTable is sysbench's table, with a secondary index.
const createTable = "CREATE TABLE bench.rows (id BIGINT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k))"

// fill makes the rows that are there before, the same in every server. They
// stay out of the binlog.
func fill(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("filling the table: %w", err)
	}
	defer conn.Close()
	for _, statement := range []string{
		"SET SESSION sql_log_bin = 0, cte_max_recursion_depth = 1000000",
		fmt.Sprintf("INSERT INTO bench.rows WITH RECURSIVE n (id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < %d) SELECT id, id * 7919 %% 1000000, REPEAT(LPAD(id, 10, '0'), 11), REPEAT('x', 59) FROM n", existing-1),
		"SET SESSION sql_log_bin = 1", // the pool keeps the connection
	} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("filling the table: %w", err)
		}
	}
	return nil
}

// write writes the backlog and returns how many rows it changed: about half
// of the changes are updates and a quarter each inserts and deletes, as with
// sysbench. The rows are chosen at random.
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
			if err := w.findEnd(ctx); err != nil {
				return fmt.Errorf("writing the backlog %s: %w", s.name(), err)
			}
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
// divided by writers, so that clients don't wait for each other.
type backlogWriter struct {
	shape  shape
	conn   *sql.Conn
	first  int64
	count  int64 // its next new row is the count'th
	random *rand.Rand
}

// findEnd finds where the client's new rows begin.
func (w *backlogWriter) findEnd(ctx context.Context) error {
	var last int64
	err := w.conn.QueryRowContext(ctx, "SELECT MAX(id) FROM bench.rows").Scan(&last)
	w.count = last/writers + 1
	return err
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

// statements makes the changes of one transaction, one statement of each kind.
// What was deleted before changes nothing and is not counted.
func (w *backlogWriter) statements() (all []string) {
	var inserts, updates, deletes []string
	for range w.shape.rows {
		old := strconv.FormatInt(w.first+writers*w.random.Int64N(w.count), 10)
		switch w.random.IntN(4) {
		case 0:
			inserts = append(inserts, fmt.Sprintf("(%d, %d, '%s', '%s')", w.first+writers*w.count, w.random.IntN(1_000_000), w.digits(119), w.digits(59)))
			w.count++
		case 1:
			deletes = append(deletes, old)
		default:
			updates = append(updates, old)
		}
	}
	if len(updates) > 0 {
		all = append(all, fmt.Sprintf("UPDATE bench.rows SET k = k + 1, c = '%s' WHERE id IN (%s)", w.digits(119), strings.Join(updates, ",")))
	}
	if len(deletes) > 0 {
		all = append(all, "DELETE FROM bench.rows WHERE id IN ("+strings.Join(deletes, ",")+")")
	}
	if len(inserts) > 0 {
		all = append(all, "INSERT INTO bench.rows VALUES "+strings.Join(inserts, ", "))
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
