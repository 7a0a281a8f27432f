package binlog

import (
	"errors"

	"duplex/change"

	"github.com/go-mysql-org/go-mysql/replication"
)

const controlSchema = "duplex"

// recordTable is the one table of it whose rows are wide, and tell capture nothing.
const recordTable = "conflicts"

// isControl reports whether the table is one of schema duplex whose rows are
// decoded whole.
func (h *handler) isControl(table uint64) bool {
	version, ok := h.tables[table]
	return ok && version.control
}

// control reads rows of schema duplex. Only the transaction's first row event
// can be the marker: a row of duplex.progress further on proves nothing.
func (h *handler) control(typ replication.EventType, ev *replication.RowsEvent) error {
	first := !h.txn.anyRows
	h.txn.anyRows = true
	if len(ev.Rows) == 0 || h.txn.passed {
		return nil
	}
	kind := Kind(0)
	switch {
	case string(ev.Table.Table) == "progress" && first:
		kind = Marker
	case string(ev.Table.Table) == "canary":
		kind = Canary
	case string(ev.Table.Table) == "outbox":
		if op, err := opOf(typ); err != nil || op != Insert {
			return err // each row is deleted again
		}
		kind = Yield
	default:
		return nil
	}
	if h.txn.xa != nil {
		return refuse("XA transaction %s writes to duplex.%s, which only duplex does, and never so; mend: take the right to write to schema duplex from other accounts, and compare the regions", h.txn.gtid, ev.Table.Table)
	}
	if kind == Yield {
		return h.yield(ev)
	}
	mark, err := readMark(ev)
	if err != nil {
		return err
	}
	if err := h.beginOnce(); err != nil {
		return err
	}
	return h.emit(&Event{Kind: kind, Mark: &mark})
}

// yield reads rows of duplex.outbox.
func (h *handler) yield(ev *replication.RowsEvent) error {
	e := &Event{Kind: Yield}
	for _, row := range ev.Rows {
		y, err := readYields(ev, row)
		if err != nil {
			return err
		}
		e.Yields = append(e.Yields, y)
	}
	if err := h.beginOnce(); err != nil {
		return err
	}
	return h.emit(e)
}

func readYields(ev *replication.RowsEvent, row []any) (y Yields, err error) {
	for i, name := range ev.Table.ColumnName {
		if i >= len(row) {
			break
		}
		text, _ := row[i].(string)
		switch string(name) {
		case "origin":
			y.Version.Origin = change.Region(text)
		case "hlc":
			n, _ := row[i].(int64)
			y.Version.HLC = change.HLC(n)
		case "db":
			y.DB = text
		case "tbl":
			y.Table = text
		case "topic":
			y.Topic = text
		case "key_schema":
			n, _ := row[i].(int32)
			y.KeySchema = int(n)
		case "value_schema":
			n, _ := row[i].(int32)
			y.ValueSchema = int(n)
		case "row_key":
			y.Key, _ = row[i].([]byte)
		}
	}
	if y.Version.Origin == "" || y.Version.HLC <= 0 || y.DB == "" || y.Table == "" || y.Topic != "" && len(y.Key) == 0 {
		return y, refuse("reading a row of duplex.outbox: it lacks a value: the table is not as duplex made it, or another program wrote to it; mend: stop apply, DROP TABLE duplex.outbox, take the right to write to schema duplex from other accounts, and restart")
	}
	return y, nil
}

// decodeControl decodes the rows of a table of schema duplex, the only ones
// that the library decodes. It would read images without a single column for
// ever: they have no bytes, so that it never reaches the event's end.
func decodeControl(ev *replication.RowsEvent, body []byte) error {
	pos, err := ev.DecodeHeader(body)
	if err != nil {
		return err
	}
	for i := range int(ev.ColumnCount) {
		if ev.ColumnBitmap1[i/8]&(1<<(i%8)) != 0 {
			return ev.DecodeData(pos, body)
		}
	}
	return errors.New("a row event of schema duplex has no columns")
}

// readMark reads the last row image of the event: of an update, what the row
// became.
func readMark(ev *replication.RowsEvent) (Mark, error) {
	row := ev.Rows[len(ev.Rows)-1]
	var m Mark
	for i, name := range ev.Table.ColumnName {
		if i >= len(row) {
			break
		}
		switch string(name) {
		case "task":
			m.Task, _ = row[i].(string)
		case "origin":
			origin, _ := row[i].(string)
			m.Origin = change.Region(origin)
		case "seq":
			n, _ := row[i].(int64)
			m.Seq = change.Seq(n)
		case "hlc":
			n, _ := row[i].(int64)
			m.HLC = change.HLC(n)
		case "token":
			m.Token, _ = row[i].(string)
		}
	}
	if m.Origin == "" {
		return Mark{}, refuse("reading a row of duplex.%s: it has no origin: the table is not as duplex made it; mend: stop apply, DROP TABLE duplex.canary (progress must be kept), and restart", ev.Table.Table)
	}
	return m, nil
}
