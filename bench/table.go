package main

import (
	"context"
	"database/sql"
	"fmt"

	"duplex/internal/testbed"

	"golang.org/x/sync/errgroup"
)

// createTable is sysbench's table, with a secondary index.
const createTable = "CREATE TABLE bench.sbtest1 (id BIGINT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k))"

// existing is how many rows the table has before the first backlog.
const existing = 500_000

// fill makes the rows that are there before, the same in every server.
func (r *rig) fill(ctx context.Context, servers ...*testbed.MySQL) error {
	r.log.Info("filling the table", "rows", existing)
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range servers {
		group.Go(func() error { return fill(ctx, m.DB()) })
	}
	return group.Wait()
}

// fill keeps what it does out of the binlog.
func fill(ctx context.Context, db *sql.DB) error {
	session, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("filling the table: %w", err)
	}
	defer session.Close()
	for _, statement := range []string{
		"SET SESSION sql_log_bin = 0, cte_max_recursion_depth = 1000000",
		fmt.Sprintf("INSERT INTO bench.sbtest1 WITH RECURSIVE n (id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < %d) SELECT id, id * 7919 %% 1000000, REPEAT(LPAD(id, 10, '0'), 11), REPEAT('x', 59) FROM n", existing-1),
		"SET SESSION sql_log_bin = 1", // the pool keeps the connection
	} {
		if _, err := session.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("filling the table: %w", err)
		}
	}
	return nil
}

// equal compares the table of east with that of other servers.
func (r *rig) equal(ctx context.Context, others ...*testbed.MySQL) error {
	want, err := content(ctx, r.east.mysql)
	if err != nil {
		return err
	}
	for _, m := range others {
		got, err := content(ctx, m)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("comparing the table: %s has %s, east %s", m.Name(), got, want)
		}
	}
	return nil
}

func content(ctx context.Context, m *testbed.MySQL) (string, error) {
	var name, count, sum string
	err := m.DB().QueryRowContext(ctx, "CHECKSUM TABLE bench.sbtest1").Scan(&name, &sum)
	if err == nil {
		err = m.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM bench.sbtest1").Scan(&count)
	}
	if err != nil {
		return "", fmt.Errorf("reading the table of %s: %w", m.Name(), err)
	}
	return count + " rows with checksum " + sum, nil
}
