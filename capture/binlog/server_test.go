package binlog

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"duplex/internal/testbed"
)

// source is a server whose binlog a test reads.
type source struct {
	*testbed.MySQL
	bed  *testbed.Bed
	conn *sql.Conn
}

func startSource(t testing.TB, version testbed.Part) *source {
	t.Helper()
	bed := testbed.New(t)
	s := &source{MySQL: bed.MySQL(t, version), bed: bed}
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.conn = conn
	t.Cleanup(func() { conn.Close() })
	s.exec(t, "SET time_zone='+00:00', sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO', NAMES utf8mb4")
	s.exec(t, "CREATE DATABASE d CHARACTER SET utf8mb4")
	return s
}

func (s *source) exec(t testing.TB, statement string) {
	t.Helper()
	if _, err := s.conn.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%.200s: %v", statement, err)
	}
}

// position is where the binlog ends now.
func (s *source) position(t testing.TB) mysql.Position {
	t.Helper()
	var last mysql.Position
	rows, err := s.conn.QueryContext(t.Context(), "SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values := []any{&last.Name, &last.Pos, new(any)}
		if err := rows.Scan(values[:len(columns)]...); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return last
}

// collations asks the server for its collation ids.
func (s *source) collations(t testing.TB) map[uint64]Collation {
	t.Helper()
	query := "SELECT ID, COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS"
	if s.IsMariaDB() {
		// COLLATIONS leaves out those that fit several character sets.
		query = "SELECT ID, FULL_COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
	}
	rows, err := s.conn.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[uint64]Collation{}
	for rows.Next() {
		var id uint64
		var c Collation
		if err := rows.Scan(&id, &c.Name, &c.Charset); err != nil {
			t.Fatal(err)
		}
		out[id] = c
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// rowsEvent is a rows event with go-mysql's reading of it, and the bytes of
// its row images.
type rowsEvent struct {
	*replication.RowsEvent
	images []byte
}

// binlog returns the rows events between two positions of one binlog file.
func (s *source) binlog(t testing.TB, from, to mysql.Position) []rowsEvent {
	t.Helper()
	return s.binlogWith(t, from, to, (*replication.RowsEvent).DecodeData)
}

// headers does the same without go-mysql's reading of the rows, for tables
// that it can't read.
func (s *source) headers(t testing.TB, from, to mysql.Position) []rowsEvent {
	t.Helper()
	return s.binlogWith(t, from, to, func(*replication.RowsEvent, int, []byte) error { return nil })
}

func (s *source) binlogWith(t testing.TB, from, to mysql.Position, decode func(*replication.RowsEvent, int, []byte) error) (events []rowsEvent) {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	flavor := mysql.MySQLFlavor
	if s.IsMariaDB() {
		flavor = mysql.MariaDBFlavor
	}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 4242, Flavor: flavor, Host: host, Port: uint16(number), User: "root", DisableRetrySync: true,
		TimestampStringLocation: time.UTC, FillZeroLogPos: true, Logger: slog.New(slog.DiscardHandler),
		RowsEventDecodeFunc: func(e *replication.RowsEvent, data []byte) error {
			pos, err := e.DecodeHeader(data)
			if err != nil {
				return fmt.Errorf("decoding header: %w", err)
			}
			events = append(events, rowsEvent{e, data[pos:]})
			return decode(e, pos, data)
		},
	})
	defer syncer.Close()
	stream, err := syncer.StartSync(from)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		ev, err := stream.GetEvent(ctx)
		if err != nil {
			t.Fatalf("reading binlog: %v", err)
		}
		if tm, ok := ev.Event.(*replication.TableMapEvent); ok {
			if err := readMeta(tm, ev.RawData[replication.EventHeaderSize:]); err != nil {
				t.Fatal(err)
			}
		}
		if ev.Header.LogPos >= to.Pos && ev.Header.EventType != replication.FORMAT_DESCRIPTION_EVENT && ev.Header.EventType != replication.ROTATE_EVENT {
			return events
		}
	}
}
