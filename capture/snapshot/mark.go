package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// begin opens a transaction that sees all that the stream had passed.
//
// What the stream has passed is in the binlog, and a server writes that before it commits:
// on MySQL 1,868 of 4,000 rows that were read right after the binlog's position were older than it. Two things do
// tell what is visible. MySQL adds a transaction to gtid_executed when others see it. MariaDB's gtid_binlog_pos
// runs ahead too, but START TRANSACTION WITH CONSISTENT SNAPSHOT says of which place in the binlog
// its snapshot is, exactly.
func (r *Reader) begin(ctx context.Context, seen string) error {
	if r.engine == "mariadb" {
		return r.beginMariaDB(ctx)
	}
	for {
		var late int
		if err := r.conn.QueryRowContext(ctx, "SELECT WAIT_FOR_EXECUTED_GTID_SET('"+plain(seen)+"', 10)").Scan(&late); err != nil {
			return err
		}
		if late == 0 {
			break
		}
	}
	_, err := r.conn.ExecContext(ctx, "START TRANSACTION READ ONLY")
	return err
}

// plain drops what no GTID set has.
func plain(set string) string {
	return strings.Map(func(c rune) rune {
		if c == '-' || c == ':' || c == ',' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			return c
		}
		return -1
	}, set)
}

// beginMariaDB waits until a snapshot is of a place behind all that is in the binlog now: the stream
// can't have passed more.
func (r *Reader) beginMariaDB(ctx context.Context) error {
	written, err := r.written(ctx)
	if err != nil {
		return err
	}
	for {
		if _, err := r.conn.ExecContext(ctx, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"); err != nil {
			return err
		}
		at, err := r.snapshotAt(ctx)
		if err != nil {
			return err
		}
		if !at.before(written) {
			return nil
		}
		if _, err := r.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// place is one in the binlog.
type place struct {
	file string
	pos  uint64
}

// before compares two places. The number at the end of a file's name grows, and may get another digit.
func (p place) before(o place) bool {
	return cmp.Or(cmp.Compare(len(p.file), len(o.file)), cmp.Compare(p.file, o.file), cmp.Compare(p.pos, o.pos)) < 0
}

// written returns the end of the binlog.
func (r *Reader) written(ctx context.Context) (p place, err error) {
	rows, err := r.conn.QueryContext(ctx, "SHOW MASTER STATUS")
	if err != nil {
		return p, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return p, err
	}
	into := make([]any, len(columns))
	for i := range into {
		into[i] = new([]byte)
	}
	if len(columns) < 2 || !rows.Next() {
		return p, fmt.Errorf("reading the end of the binlog: the server has none")
	}
	into[0], into[1] = &p.file, &p.pos
	if err := rows.Scan(into...); err != nil {
		return p, err
	}
	return p, rows.Close()
}

// snapshotAt returns the place of which the transaction's snapshot is.
func (r *Reader) snapshotAt(ctx context.Context) (p place, err error) {
	rows, err := r.conn.QueryContext(ctx, "SHOW STATUS LIKE 'binlog_snapshot_%'")
	if err != nil {
		return p, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return p, err
		}
		switch strings.ToLower(name) {
		case "binlog_snapshot_file":
			p.file = value
		case "binlog_snapshot_position":
			if p.pos, err = strconv.ParseUint(value, 10, 64); err != nil {
				return p, err
			}
		}
	}
	if p.file == "" {
		return p, fmt.Errorf("the server doesn't tell the place of a snapshot in its binlog")
	}
	return p, rows.Err()
}

// executed returns what the server has executed and has in its binlog: the stream passes it, however idle the
// server is. On MySQL some may never have been there, as with SET GLOBAL gtid_purged, or on a replica that doesn't log.
func (r *Reader) executed(ctx context.Context) (set string, err error) {
	variable := "GTID_SUBTRACT(@@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged)"
	if r.engine == "mariadb" {
		variable = "@@GLOBAL.gtid_binlog_pos"
	}
	err = r.conn.QueryRowContext(ctx, "SELECT "+variable).Scan(&set)
	return set, err
}
