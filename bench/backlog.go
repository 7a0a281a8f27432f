package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"

	"duplex/internal/testbed"
	"duplex/mysql"

	"golang.org/x/sync/errgroup"
)

// write writes the backlog of a workload and returns how many rows it changed.
// New rows come so many numbers after the last. How fast it is written isn't measured: the server doesn't flush meanwhile.
func (w *workload) write(ctx context.Context, m *testbed.MySQL, after int64) (int64, error) {
	if err := relaxed.set(ctx, m); err != nil {
		return 0, err
	}
	var last int64
	if err := m.DB().QueryRowContext(ctx, "SELECT MAX(id) FROM bench.sbtest1").Scan(&last); err != nil {
		return 0, fmt.Errorf("asking for the last row: %w", err)
	}
	var changed atomic.Int64
	group, running := errgroup.WithContext(ctx)
	for i := range int64(clients) {
		group.Go(func() error {
			n, err := w.writeAs(running, newClient(i, w, last+after), m.DB())
			changed.Add(n)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, fmt.Errorf("writing the backlog: %w", err)
	}
	return changed.Load(), strict.set(ctx, m)
}

// writeAs writes the share of one client.
func (w *workload) writeAs(ctx context.Context, c *client, db *sql.DB) (changed int64, err error) {
	session, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	// As the transactions' own rows are disjoint, only gaps could make them wait.
	if _, err := session.ExecContext(ctx, "SET SESSION transaction_isolation = 'READ-COMMITTED'"); err != nil {
		return 0, err
	}
	for range w.transactions / clients {
		statements, n := w.statements(c)
		if err := commit(ctx, session, statements); err != nil {
			return changed, err
		}
		changed += int64(n)
	}
	return changed, nil
}

// commit runs statements as one transaction, again after a deadlock.
func commit(ctx context.Context, session *sql.Conn, statements []string) error {
	text := statements[0]
	if len(statements) > 1 {
		text = "BEGIN; " + strings.Join(statements, "; ") + "; COMMIT"
	}
	for {
		_, err := session.ExecContext(ctx, text)
		if err == nil || mysql.Classify(err).Class != mysql.Retry {
			return err
		}
		if _, err := session.ExecContext(ctx, "ROLLBACK"); err != nil {
			return err
		}
	}
}
