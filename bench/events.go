package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"duplex/internal/testbed"

	"golang.org/x/sync/errgroup"
)

// events is a backlog for capture alone: what counts is how its changes lie in
// the binlog.
type events struct {
	name string
	rows int64
	call string // of the procedure that writes %d rows, the first being number %d
}

// eventShapes are those that peers were measured on before: single-row
// statements, an event for each row, 100 to a transaction; statements of 1000
// rows; and transactions of one row.
func eventShapes() []events {
	return []events{
		{"inserts", 1_000_000, "CALL bench.inserts(%d, %d, 100)"},
		{"updates", 1_000_000, "CALL bench.updates(%d, %d, 100)"},
		{"multirow", 1_000_000, "CALL bench.multirow(%d, %d)"},
		{"txn1", 200_000, "CALL bench.updates(%d, %d, 1)"},
	}
}

// eventSchema is sysbench's table and the procedures that write to it. They
// run inside the server: a client's round trips would be most of the time.
func eventSchema() []string {
	const groups = `CONCAT(LPAD(FLOOR(RAND() * 1e11), 11, '0'), '-', LPAD(FLOOR(RAND() * 1e11), 11, '0'), '-', ` +
		`LPAD(FLOOR(RAND() * 1e11), 11, '0'), '-', LPAD(FLOOR(RAND() * 1e11), 11, '0'), '-', LPAD(FLOOR(RAND() * 1e11), 11, '0'))`
	const text = `CONCAT(` + groups + `, '-', ` + groups + `)`
	loop := func(name, parameters, body string) string {
		return `CREATE PROCEDURE bench.` + name + `(first INT, n INT` + parameters + `) BEGIN DECLARE i INT DEFAULT 0;
			WHILE i < n DO ` + body + ` END WHILE; END`
	}
	perTransaction := func(statement string) string {
		return `START TRANSACTION; BEGIN DECLARE j INT DEFAULT 0; WHILE j < per DO ` + statement + ` SET i = i + 1, j = j + 1; END WHILE; END; COMMIT;`
	}
	return []string{
		"CREATE DATABASE bench",
		"CREATE TABLE bench.sbtest1 (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k))",
		loop("inserts", ", per INT", perTransaction(`INSERT INTO bench.sbtest1 VALUES (first + i, FLOOR(RAND() * 1e6), `+text+`, `+groups+`);`)),
		loop("updates", ", per INT", perTransaction(`UPDATE bench.sbtest1 SET k = k + 1, c = `+text+` WHERE id = first + i;`)),
		loop("multirow", "", `UPDATE bench.sbtest1 SET k = k + 1, c = `+text+` WHERE id BETWEEN first + i AND first + i + 999; SET i = i + 1000;`),
	}
}

// write writes the backlog with two callers and returns the file and the place
// of the binlog at which it ends. It has the file to itself.
func (e events) write(ctx context.Context, m *testbed.MySQL) (end binlogEnd, err error) {
	if err := errors.Join(relaxed.set(ctx, m), run(ctx, m, "FLUSH BINARY LOGS")); err != nil {
		return end, err
	}
	const callers = 2
	group, running := errgroup.WithContext(ctx)
	for i := range int64(callers) {
		group.Go(func() error { return run(running, m, fmt.Sprintf(e.call, i*e.rows/callers, e.rows/callers)) })
	}
	if err := group.Wait(); err != nil {
		return end, err
	}
	// What the server still writes behind isn't the measurement's.
	if err := strict.set(ctx, m); err != nil {
		return end, err
	}
	if err := flushed(ctx, m); err != nil {
		return end, err
	}
	return end, end.read(ctx, m.DB())
}

// binlogEnd is a place in the binlog.
type binlogEnd struct {
	file string
	pos  uint32
}

func (b *binlogEnd) read(ctx context.Context, db *sql.DB) error {
	var ignored [3]sql.RawBytes
	rows, err := db.QueryContext(ctx, "SHOW BINARY LOG STATUS")
	if err != nil {
		return fmt.Errorf("asking where the binlog ends: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&b.file, &b.pos, &ignored[0], &ignored[1], &ignored[2]); err != nil {
			return fmt.Errorf("asking where the binlog ends: %w", err)
		}
	}
	return rows.Err()
}
