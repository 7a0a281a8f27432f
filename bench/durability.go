package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"duplex/internal/testbed"
)

// durability is when a server flushes.
type durability string

const (
	strict  durability = "sync_binlog = 1, innodb_flush_log_at_trx_commit = 1"
	relaxed durability = "sync_binlog = 0, innodb_flush_log_at_trx_commit = 2"
)

func (d durability) set(ctx context.Context, m *testbed.MySQL) error {
	return run(ctx, m, "SET GLOBAL "+string(d))
}

// settingsThatCount are those that decide how fast a server can apply.
const settingsThatCount = "SELECT CONCAT_WS(', ', VERSION(), CONCAT('sync_binlog=', @@sync_binlog), CONCAT('innodb_flush_log_at_trx_commit=', @@innodb_flush_log_at_trx_commit), " +
	"CONCAT('log_bin=', @@log_bin), CONCAT('log_replica_updates=', @@log_replica_updates), CONCAT('replica_parallel_workers=', @@replica_parallel_workers), " +
	"CONCAT('replica_preserve_commit_order=', @@replica_preserve_commit_order), CONCAT('innodb_buffer_pool_size=', @@innodb_buffer_pool_size), CONCAT('innodb_redo_log_capacity=', @@innodb_redo_log_capacity))"

// settings returns a server's settings, for the reader of the figures.
func settings(ctx context.Context, m *testbed.MySQL) (s string, err error) {
	if err := m.DB().QueryRowContext(ctx, settingsThatCount).Scan(&s); err != nil {
		return "", fmt.Errorf("asking %s for its settings: %w", m.Name(), err)
	}
	return s, nil
}

// flushed waits until servers have written their changed pages, and leaves
// their settings as the server's defaults are.
func flushed(ctx context.Context, servers ...*testbed.MySQL) error {
	const names = "innodb_max_dirty_pages_pct_lwm = %[1]s, innodb_max_dirty_pages_pct = %[1]s"
	for _, m := range servers {
		if err := run(ctx, m, fmt.Sprintf("SET GLOBAL "+names, "0")); err != nil {
			return err
		}
	}
	for _, m := range servers {
		if err := noDirtyPages(ctx, m.DB()); err != nil {
			return err
		}
		if err := run(ctx, m, fmt.Sprintf("SET GLOBAL "+names, "DEFAULT")); err != nil {
			return err
		}
	}
	return nil
}

func noDirtyPages(ctx context.Context, db *sql.DB) error {
	for {
		var name string
		var dirty int
		if err := db.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'").Scan(&name, &dirty); err != nil {
			return fmt.Errorf("asking for changed pages: %w", err)
		}
		if dirty < 100 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
