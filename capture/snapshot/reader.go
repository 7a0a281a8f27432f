package snapshot

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"duplex/mysql"
	"duplex/schemas"
)

// Reader reads chunks over one connection, which it opens anew when it is lost. It writes nothing and
// locks nothing but the table's definition while a SELECT runs.
type Reader struct {
	db     *sql.DB
	engine string
	conn   *sql.Conn
}

// NewReader makes a reader of a server of that engine, mysql or mariadb. db is of mysql.Reading.
func NewReader(db *sql.DB, engine string) *Reader { return &Reader{db: db, engine: engine} }

// Close closes its connection.
func (r *Reader) Close() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// ErrAltered says that the table is no longer as it was loaded.
var ErrAltered = errors.New("the table was altered")

// ErrGone says that there is no such table.
var ErrGone = errors.New("the table doesn't exist")

// Chunk is a part of a table as one SELECT saw it.
type Chunk struct {
	Table *Table
	// Images are runs of row images, some rows each, as in an insert's event; Present is the bitmap
	// of their columns.
	Images  [][]byte
	Present []byte
	Rows    int64
	// Last is the key of the last row, nil if there is none.
	Last Key
	// Whole is set if it has all of the range: else it ends with Last.
	Whole bool
	// High is what the server has executed, after the SELECT: the second mark, a GTID set.
	High string
}

// wideBytes is from how many bytes on a row, or a run of them, is wide.
const wideBytes = 4 << 20

// Wide reports whether the chunk has a row so wide that memory has no room for many.
func (c *Chunk) Wide() bool {
	return slices.ContainsFunc(c.Images, func(images []byte) bool { return len(images) >= wideBytes })
}

// Limits bound a chunk: one ends with the row that reaches either.
type Limits struct {
	Rows  int
	Bytes int64
}

// runBytes is from how many bytes on images begin another run.
const runBytes = 64 << 10

func (r *Reader) connect(ctx context.Context) error {
	if r.conn != nil {
		return nil
	}
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return err
	}
	// Texts come as they are stored, and one snapshot serves all statements of a transaction.
	for _, s := range []string{"SET character_set_results = NULL", "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			conn.Close()
			return err
		}
	}
	r.conn = conn
	return nil
}

// drop gives up the connection: what it is in the middle of isn't waited for.
func (r *Reader) drop() {
	if r.conn == nil {
		return
	}
	_ = r.conn.Raw(func(any) error { return driver.ErrBadConn }) // database/sql closes it then
	r.Close()
}

// Read reads the first rows of a range. seen is the first mark: what the SELECT must see, as the
// stream's position was when the window was opened.
func (r *Reader) Read(ctx context.Context, t *Table, seen string, of Range, limits Limits) (c *Chunk, err error) {
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.drop()
		}
	}()
	if err := r.begin(ctx, seen); err != nil {
		return nil, err
	}
	shape, err := r.shape(ctx, t.def.DB, t.def.Name)
	if err != nil {
		return nil, err
	}
	if shape != t.shape {
		return nil, fmt.Errorf("table %s: %w", t.def, ErrAltered)
	}
	c, full, err := r.rows(ctx, t, of, limits)
	if err != nil {
		return nil, err
	}
	if full || c.Wide() {
		r.drop() // the rest of what was asked for isn't wanted, or the driver would keep the room of a wide row
	} else if _, err := r.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return nil, err
	}
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	c.High, err = r.executed(ctx)
	return c, err
}

// shape returns the definition, as of now. The transaction keeps it so until its end, as it has
// opened the table.
func (r *Reader) shape(ctx context.Context, db, table string) (string, error) {
	name := quoted(db) + "." + quoted(table)
	var one int
	err := r.conn.QueryRowContext(ctx, "SELECT 1 FROM "+name+" LIMIT 1").Scan(&one)
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		var ignored, text string
		err = r.conn.QueryRowContext(ctx, "SHOW CREATE TABLE "+name).Scan(&ignored, &text)
		return counter.ReplaceAllString(text, ""), err
	}
	if mysql.Classify(err).Number == 1146 {
		return "", fmt.Errorf("table %s.%s: %w", db, table, ErrGone)
	}
	return "", err
}

// counter is the one part of a definition that changes with the rows.
var counter = regexp.MustCompile(` AUTO_INCREMENT=\d+`)

// rows reads rows until a limit. full is set if the server may still be sending.
func (r *Reader) rows(ctx context.Context, t *Table, of Range, limits Limits) (c *Chunk, full bool, err error) {
	query, err := t.chunk(of, limits.Rows)
	if err != nil {
		return nil, false, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	rows, err := r.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, false, err
	}
	n := len(t.def.Columns)
	raw, into, texts := make([]sql.RawBytes, n), make([]any, n), make([][]byte, n)
	for i := range raw {
		into[i] = &raw[i]
	}
	c = &Chunk{Table: t, Present: t.selected.Present()}
	var run []byte
	size := int64(0)
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			rows.Close()
			return nil, false, err
		}
		for i := range raw {
			texts[i] = raw[i]
		}
		from := len(run)
		if run, err = t.selected.AppendImage(run, texts); err != nil {
			rows.Close()
			return nil, false, err
		}
		c.Rows++
		size += int64(len(run) - from)
		if len(run) >= runBytes {
			c.Images, run = append(c.Images, run), make([]byte, 0, min(len(run)+runBytes/4, 2*runBytes))
		}
		c.Last = t.keyOf(texts)
		if size >= limits.Bytes && c.Rows < int64(limits.Rows) {
			full = true
			break
		}
	}
	if len(run) > 0 {
		c.Images = append(c.Images, run)
	}
	c.Whole = !full && c.Rows < int64(limits.Rows) || of.UpTo != nil && slices.EqualFunc(of.UpTo, c.Last, bytes.Equal)
	if full {
		stop() // or Close would read all the rest
		rows.Close()
		return c, true, nil
	}
	err = rows.Err()
	if closed := rows.Close(); err == nil {
		err = closed
	}
	return c, false, err
}

func (t *Table) keyOf(texts [][]byte) Key {
	key := make(Key, len(t.def.Key))
	for i, column := range t.def.Key {
		key[i] = append([]byte{}, texts[column]...)
	}
	return key
}

// Boundary returns the key of the row with that number after a key, nil if there are fewer.
func (r *Reader) Boundary(ctx context.Context, t *Table, after Key, number int) (key Key, err error) {
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.drop()
		}
	}()
	query, err := t.boundary(after, number)
	if err != nil {
		return nil, err
	}
	key = make(Key, len(t.key))
	into := make([]any, len(key))
	for i := range key {
		into[i] = &key[i]
	}
	err = r.conn.QueryRowContext(ctx, query).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return key, err
}

// Load reads a table's definition.
func (r *Reader) Load(ctx context.Context, db, table string) (t *Table, err error) {
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	shape, err := r.shape(ctx, db, table)
	if err != nil {
		r.drop()
		return nil, err
	}
	def, err := mysql.LoadTable(ctx, r.db, db, table)
	if err != nil {
		return nil, err
	}
	if def == nil {
		return nil, fmt.Errorf("table %s.%s: %w", db, table, ErrGone)
	}
	return newTable(def, r.engine, shape)
}

// Size is what the server believes of a table: from its statistics, which may be far off.
type Size struct{ Rows, RowBytes int64 }

// Sizes returns those of the tables that match accepts, by database and name.
func (r *Reader) Sizes(ctx context.Context, match func(db, table string) bool) (map[[2]string]Size, error) {
	rows, err := r.db.QueryContext(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, COALESCE(TABLE_ROWS, 0), COALESCE(AVG_ROW_LENGTH, 0) FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	sizes := map[[2]string]Size{}
	for rows.Next() {
		var db, table string
		var s Size
		if err := rows.Scan(&db, &table, &s.Rows, &s.RowBytes); err != nil {
			return nil, err
		}
		if match(db, table) {
			sizes[[2]string{db, table}] = s
		}
	}
	return sizes, rows.Err()
}

// IsSequence tells MariaDB's sequences, which are tables without a key, from the others.
func IsSequence(t *schemas.Table) bool {
	return len(t.Key) == 0 && len(t.Columns) == 8 && strings.EqualFold(t.Columns[0].Name, "next_not_cached_value")
}

// pause is how long the server is left alone before a mark is looked at again.
const pause = 2 * time.Millisecond
