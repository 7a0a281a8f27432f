package e2e_test

import (
	"context"
	little "encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/google/uuid"

	"duplex/internal/testbed"
)

// logged is one transaction of a binlog.
type logged struct {
	gtid string
	rows []loggedRow
}

// loggedRow is one row that a transaction changed; before is nil for an
// insert, after for a delete.
type loggedRow struct {
	schema, table string
	before, after map[string]any // by column
}

// marked reports whether apply wrote the transaction: its first row is the
// marker.
func (l *logged) marked() bool {
	return len(l.rows) > 0 && l.rows[0].schema == "duplex" && l.rows[0].table == "progress"
}

// openBinlog reads the server's binlog from a position with go-mysql, not with
// our own reader, until closed. decode, if not nil, takes the place of
// its decoding of rows.
func openBinlog(t *testing.T, m *testbed.MySQL, from gomysql.Position, decode func(*replication.RowsEvent, []byte) error) (stream *replication.BinlogStreamer, closed func()) {
	t.Helper()
	host, port, err := net.SplitHostPort(m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	flavor := gomysql.MySQLFlavor
	if m.IsMariaDB() {
		flavor = gomysql.MariaDBFlavor
	}
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 4_000_000_001, Flavor: flavor, FillZeroLogPos: m.IsMariaDB(), Host: host, Port: uint16(number), User: "root",
		DisableRetrySync: true, Logger: slog.New(slog.DiscardHandler), RowsEventDecodeFunc: decode,
	})
	if stream, err = syncer.StartSync(from); err != nil {
		syncer.Close()
		t.Fatalf("reading the binlog of %s: %v", m.Name(), err)
	}
	return stream, syncer.Close
}

// readBinlog calls each with every transaction of the server's binlog that has
// rows, in order, up to what is committed now.
func readBinlog(t *testing.T, m *testbed.MySQL, each func(*logged)) {
	t.Helper()
	first, end := binlogRange(t, m)
	stream, closed := openBinlog(t, m, first, nil)
	defer closed()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	xa := map[string][]loggedRow{} // of prepared transactions, by xid
	for at, txn := first, (&logged{}); at.Compare(end) < 0; {
		ev, err := stream.GetEvent(ctx)
		if err != nil {
			t.Fatalf("reading the binlog of %s at %s: %v", m.Name(), at, err)
		}
		if rotate, ok := ev.Event.(*replication.RotateEvent); ok {
			at = gomysql.Position{Name: string(rotate.NextLogName), Pos: uint32(rotate.Position)}
			continue
		}
		if ev.Header.LogPos > 0 {
			at.Pos = ev.Header.LogPos
		}
		if txn.add(t, ev, xa) {
			if len(txn.rows) > 0 {
				each(txn)
			}
			txn = &logged{}
		}
	}
}

// binlogRange returns the first position of the oldest binlog, and the last of
// the newest.
func binlogRange(t *testing.T, m *testbed.MySQL) (first, end gomysql.Position) {
	t.Helper()
	rows, err := m.DB().Query("SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name string
		var size uint32
		values := []any{&name, &size, new(any)} // MariaDB doesn't tell whether it is encrypted
		if err := rows.Scan(values[:len(columns)]...); err != nil {
			t.Fatal(err)
		}
		if first.Name == "" {
			first = gomysql.Position{Name: name, Pos: 4}
		}
		end = gomysql.Position{Name: name, Pos: size}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return first, end
}

// add takes an event and reports whether it ends the transaction. Rows of a
// prepared one wait in xa for its outcome.
func (l *logged) add(t *testing.T, ev *replication.BinlogEvent, xa map[string][]loggedRow) (ended bool) {
	t.Helper()
	switch e := ev.Event.(type) {
	case *replication.GTIDEvent:
		id, err := uuid.FromBytes(e.SID)
		if err != nil {
			t.Fatal(err)
		}
		l.gtid = fmt.Sprintf("%s:%d", id, e.GNO)
	case *replication.MariadbGTIDEvent:
		l.gtid = e.GTID.String()
	case *replication.RowsEvent:
		l.addRows(t, ev.Header.EventType, e)
	case *replication.XIDEvent:
		return true
	case *replication.QueryEvent:
		words := strings.Fields(string(e.Query))
		switch {
		case len(words) == 3 && words[0] == "XA" && (words[1] == "COMMIT" || words[1] == "ROLLBACK"):
			if words[1] == "COMMIT" {
				l.rows = xa[words[2]]
			}
			delete(xa, words[2])
			return true
		default:
			return words[0] != "BEGIN" && words[0] != "SAVEPOINT" && words[0] != "XA"
		}
	case *replication.GenericEvent:
		if ev.Header.EventType != replication.XA_PREPARE_LOG_EVENT {
			return false
		}
		if onePhase := e.Data[0] != 0; !onePhase {
			const fixed = 13
			global := fixed + little.LittleEndian.Uint32(e.Data[5:])
			xa[fmt.Sprintf("X'%x',X'%x',%d", e.Data[fixed:global], e.Data[global:], little.LittleEndian.Uint32(e.Data[1:]))] = l.rows
			l.rows = nil
		}
		return true
	}
	return false
}

func (l *logged) addRows(t *testing.T, kind replication.EventType, e *replication.RowsEvent) {
	t.Helper()
	names := e.Table.ColumnNameString()
	image := func(cells []any) map[string]any {
		row := make(map[string]any, len(cells))
		for i, c := range cells {
			row[names[i]] = c
		}
		return row
	}
	row := func(before, after map[string]any) {
		l.rows = append(l.rows, loggedRow{string(e.Table.Schema), string(e.Table.Table), before, after})
	}
	switch kind {
	case replication.WRITE_ROWS_EVENTv1, replication.WRITE_ROWS_EVENTv2:
		for _, r := range e.Rows {
			row(nil, image(r))
		}
	case replication.DELETE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv2:
		for _, r := range e.Rows {
			row(image(r), nil)
		}
	case replication.UPDATE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv2:
		for i := 0; i < len(e.Rows); i += 2 {
			row(image(e.Rows[i]), image(e.Rows[i+1]))
		}
	default:
		t.Fatalf("the binlog has a row event of type %s, which the audit doesn't know", kind)
	}
}
