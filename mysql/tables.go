package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"duplex/schemas"
)

// A loader gathers tables from the views of information_schema, one query a
// view whatever the number of tables.
type loader struct {
	tables []*schemas.Table
	byName map[[2]string]*schemas.Table
}

// systemSchemas never take part; filtering them in the server keeps
// information_schema queries from opening their tables.
const systemSchemas = "('mysql', 'sys', 'information_schema', 'performance_schema')"

// LoadTables returns the definitions of the base tables that match accepts,
// ordered by database and name. The server shows only tables that the account
// has a privilege on, so a missing table may be a missing GRANT. A primary key
// over a prefix of a column, PRIMARY KEY (c(10)), is in Key and, as Partial,
// in Unique under the name PRIMARY.
func LoadTables(ctx context.Context, db *sql.DB, match func(db, table string) bool) ([]*schemas.Table, error) {
	return load(ctx, db, match, "")
}

// LoadTable returns one table with its columns and keys, nil if the server
// doesn't show it.
func LoadTable(ctx context.Context, db *sql.DB, schema, table string) (*schemas.Table, error) {
	// The server may compare names regardless of case.
	exactly := func(d, t string) bool { return d == schema && t == table }
	found, err := load(ctx, db, exactly, " AND TABLE_SCHEMA = ? AND TABLE_NAME = ?", schema, table)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// load returns the tables that match, all or those of a condition.
func load(ctx context.Context, db *sql.DB, match func(db, table string) bool, condition string, args ...any) ([]*schemas.Table, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err // a *ConnectError says all
	}
	defer conn.Close()
	l := &loader{byName: make(map[[2]string]*schemas.Table)}
	if err := l.readTables(ctx, conn, match, condition, args...); err != nil {
		return nil, fmt.Errorf("reading table list: %w", err)
	}
	if len(l.tables) == 0 {
		return nil, nil
	}
	if err := l.readColumns(ctx, conn, condition, args...); err != nil {
		return nil, fmt.Errorf("reading columns: %w", err)
	}
	if err := l.readKeys(ctx, conn, condition, args...); err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	for _, t := range l.tables {
		if len(t.Columns) == 0 {
			return nil, fmt.Errorf("reading columns: table %s was dropped or altered meanwhile, or the account may not see its columns: try again, or run duplex check", t)
		}
	}
	return l.tables, nil
}

// readTables reads the tables that match, all or those of a condition.
func (l *loader) readTables(ctx context.Context, conn *sql.Conn, match func(db, table string) bool, condition string, args ...any) error {
	return each(ctx, conn, "SELECT TABLE_SCHEMA, TABLE_NAME, COALESCE(ENGINE, ''), TABLE_TYPE = 'SYSTEM VERSIONED' FROM information_schema.TABLES"+
		" WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND TABLE_SCHEMA NOT IN "+systemSchemas+condition+
		" ORDER BY TABLE_SCHEMA, TABLE_NAME", func(rows *sql.Rows) error {
		t := new(schemas.Table)
		if err := rows.Scan(&t.DB, &t.Name, &t.Engine, &t.Versioned); err != nil {
			return err
		}
		if match(t.DB, t.Name) {
			l.tables = append(l.tables, t)
			l.byName[[2]string{t.DB, t.Name}] = t
		}
		return nil
	}, args...)
}

// readColumns reads the columns of all tables, or of those of a condition.
func (l *loader) readColumns(ctx context.Context, conn *sql.Conn, condition string, args ...any) error {
	return each(ctx, conn, "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE,"+
		" CHARACTER_OCTET_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION,"+
		" COALESCE(CHARACTER_SET_NAME, ''), COALESCE(COLLATION_NAME, ''), EXTRA, COALESCE(GENERATION_EXPRESSION, ''), COLUMN_DEFAULT, VERSION() LIKE '%MariaDB%'"+
		" FROM information_schema.COLUMNS WHERE TABLE_SCHEMA NOT IN "+systemSchemas+condition+
		" ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION", func(rows *sql.Rows) error {
		var db, table string
		var c columnRow
		if err := rows.Scan(&db, &table, &c.name, &c.dataType, &c.columnType, &c.nullable, &c.octets,
			&c.precision, &c.scale, &c.fraction, &c.charset, &c.collation, &c.extra, &c.generation, &c.preset, &c.maria); err != nil {
			return err
		}
		t := l.byName[[2]string{db, table}]
		if t == nil {
			return nil
		}
		column, err := c.column()
		if err != nil {
			return fmt.Errorf("table %s, column %s: %w", t, c.name, err)
		}
		t.Columns = append(t.Columns, column)
		return nil
	}, args...)
}

// readKeys reads the primary and the unique keys of all tables, or of those of
// a condition. A part without a column is
// an expression, one with SUB_PART a prefix.
func (l *loader) readKeys(ctx context.Context, conn *sql.Conn, condition string, args ...any) error {
	return each(ctx, conn, "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART IS NOT NULL"+
		" FROM information_schema.STATISTICS WHERE NON_UNIQUE=0 AND TABLE_SCHEMA NOT IN "+systemSchemas+condition+
		" ORDER BY TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX", func(rows *sql.Rows) error {
		var db, table, index string
		var column sql.NullString
		var prefix bool
		if err := rows.Scan(&db, &table, &index, &column, &prefix); err != nil {
			return err
		}
		t := l.byName[[2]string{db, table}]
		if t == nil {
			return nil
		}
		return addKeyPart(t, index, column, prefix)
	}, args...)
}

func addKeyPart(t *schemas.Table, index string, column sql.NullString, prefix bool) error {
	position := -1
	if column.Valid {
		if position = t.Column(column.String); position < 0 {
			return fmt.Errorf("table %s was altered while its definition was read: try again", t)
		}
	}
	if index == "PRIMARY" {
		t.Key = append(t.Key, position)
		if !prefix {
			return nil
		} // a primary key over a prefix stands under Unique too, as Partial
	}
	if n := len(t.Unique); n == 0 || t.Unique[n-1].Name != index {
		t.Unique = append(t.Unique, schemas.Index{Name: index})
	}
	key := &t.Unique[len(t.Unique)-1]
	if position < 0 || prefix {
		key.Partial = true
	}
	if position >= 0 && !prefix {
		key.Columns = append(key.Columns, position)
	}
	return nil
}

// each runs the query and hands every row to f.
func each(ctx context.Context, conn *sql.Conn, query string, f func(*sql.Rows) error, args ...any) error {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
