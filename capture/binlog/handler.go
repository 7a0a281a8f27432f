package binlog

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"
)

// handler turns the events that stream cuts out into ours. stream calls it from
// one goroutine.
type handler struct {
	cfg    Config
	emit   func(*Event) error
	tables map[uint64]*TableVersion // by the server's table id
	cache  map[string]*knownVersion // by the text of the TABLE_MAP event
	// statements counts those that may have changed a table.
	statements int
	txn        transaction
	xa         prepares
	limit      uint32 // maxEvent, but in tests

	// Of the event being handled: its place.
	file string
	at   uint64
	// These are not yet handed out. They are made many at once.
	spareEvents []Event
	spareRows   []RowsEvent
}

// transaction is what is known of the transaction being read.
type transaction struct {
	open         bool // BEGIN was read
	begun        bool // Begin was emitted
	anyRows      bool // a rows event was read, captured or not
	captured     bool // a captured one was
	gtid         GTID
	commitMicros int64
	serverID     uint32
	thread       uint32 // of the session that began it, 0 where the binlog doesn't tell

	xa *prepared // what an XA transaction has so far
	// passed is set for a transaction that was read before: only what it
	// prepares counts.
	passed bool
}

func newHandler(cfg Config, emit func(*Event) error) *handler {
	return &handler{cfg: cfg, emit: emit, tables: map[uint64]*TableVersion{}, cache: map[string]*knownVersion{}, xa: newPrepares(), limit: maxEvent}
}

// slabEvents is how many events are made at once. While one of them is in use
// none is freed, so that of large rows is made alone.
const slabEvents = 64

func (h *handler) newEvent() *Event {
	if len(h.spareEvents) == 0 {
		h.spareEvents = make([]Event, slabEvents)
	}
	e := &h.spareEvents[0]
	h.spareEvents = h.spareEvents[1:]
	return e
}

// newRows makes the event of row images of size bytes.
func (h *handler) newRows(size int) *Event {
	const large = slabBytes / 4
	if size > large {
		return &Event{Kind: Rows, Rows: new(RowsEvent)}
	}
	if len(h.spareRows) == 0 {
		h.spareRows = make([]RowsEvent, slabEvents)
	}
	e := h.newEvent()
	e.Kind, e.Rows = Rows, &h.spareRows[0]
	h.spareRows = h.spareRows[1:]
	return e
}

func (h *handler) handle(e *replication.BinlogEvent) error {
	switch ev := e.Event.(type) {
	case *replication.RotateEvent:
		if err := h.checkEnded("the binlog file ends"); err != nil {
			err.kind = errEndsWithin
			return err
		}
		// Table ids are a server's own count, begun anew when it restarts.
		clear(h.tables)
	case *replication.GTIDEvent:
		return h.begin(e.Header, ev)
	case *replication.GtidTaggedLogEvent:
		return h.begin(e.Header, &ev.GTIDEvent)
	case *replication.MariadbGTIDEvent:
		return h.beginMariaDB(e.Header, ev)
	case *replication.TableMapEvent:
		return h.tableMap(e, ev)
	case *replication.RowsEvent:
		if !h.isControl(ev.TableID) {
			return refuse("transaction %s: events of type %s are not known; mend: upgrade duplex", h.txn.gtid, e.Header.EventType)
		}
		return h.control(e.Header.EventType, ev)
	case *replication.XIDEvent:
		return h.commit()
	case *replication.QueryEvent:
		return h.query(ev)
	case *replication.ExecuteLoadQueryEvent:
		return h.loggedAsStatement("", "LOAD DATA")
	case *replication.GenericEvent:
		return h.other(e.Header, ev.Data)
	}
	return nil
}

// checkEnded refuses what comes instead of the end of a transaction whose rows
// were given already.
func (h *handler) checkEnded(what string) *RefusedError {
	if !h.txn.begun {
		return nil
	}
	return refused("%s within transaction %s: the server has crashed while it wrote it, or its binlog is damaged; mend: see its error log; %s", what, h.txn.gtid, beginAnew)
}

func (h *handler) begin(header *replication.EventHeader, ev *replication.GTIDEvent) error {
	if header.EventType == replication.ANONYMOUS_GTID_EVENT {
		return refuse("reading binlog: a transaction without a GTID: gtid_mode was switched off; mend: SET PERSIST gtid_mode = ON (by way of ON_PERMISSIVE)")
	}
	if len(ev.SID) != 16 {
		return refuse("a GTID event is corrupt: it has no server's uuid; mend: see the server's error log; %s", beginAnew)
	}
	return h.open(transaction{
		gtid:         GTID{sid: [16]byte(ev.SID), tag: ev.Tag, number: ev.GNO},
		commitMicros: int64(ev.ImmediateCommitTimestamp),
		serverID:     header.ServerID,
	})
}

// open begins a transaction.
func (h *handler) open(txn transaction) error {
	if err := h.checkEnded("another transaction begins"); err != nil {
		return err
	}
	h.txn = txn
	h.txn.passed = h.xa.isPassed(h.txn.gtid)
	return nil
}

func (h *handler) beginMariaDB(header *replication.EventHeader, ev *replication.MariadbGTIDEvent) error {
	if err := h.checkEnded("another transaction begins"); err != nil {
		return err
	}
	// MariaDB knows the second only. The wall clock, clamped into it, keeps
	// the order of versions close to that of the commits.
	second := time.Unix(int64(header.Timestamp), 0)
	commit := time.Now()
	if commit.Before(second) {
		commit = second
	} else if end := second.Add(time.Second - time.Microsecond); commit.After(end) {
		commit = end
	}
	h.txn = transaction{
		open:         ev.Flags&mariadbStandalone == 0,
		gtid:         GTID{number: int64(ev.GTID.SequenceNumber), domain: ev.GTID.DomainID, server: ev.GTID.ServerID},
		commitMicros: commit.UnixMicro(),
		serverID:     header.ServerID,
	}
	h.txn.passed = h.xa.isPassed(h.txn.gtid)
	if ev.Flags&mariadbPreparedXA != 0 {
		h.txn.xa = h.xa.begin(h.txn.gtid)
		h.txn.passed = h.txn.passed && h.txn.xa.outcome == nil
	}
	return nil
}

// Flags of MariaDB's GTID event.
const (
	mariadbStandalone = 1  // FL_STANDALONE: no COMMIT ends the group
	mariadbPreparedXA = 64 // FL_PREPARED_XA: the group ends with XA PREPARE
)

func (h *handler) tableMap(e *replication.BinlogEvent, ev *replication.TableMapEvent) error {
	// The text is the same for the same version but for the header, the table
	// id and flags (a parent's foreign key sets one).
	const flagsEnd = replication.EventHeaderSize + 6 + 2
	text := e.RawData[flagsEnd:]
	if err := readMeta(ev, e.RawData[replication.EventHeaderSize:]); err != nil {
		return fmt.Errorf("reading binlog %s: table map of %s.%s: %w", h.file, ev.Schema, ev.Table, err)
	}
	known, ok := h.cache[string(text)]
	switch {
	case !ok:
		known = &knownVersion{version: newTableVersion(h.cfg, ev), statements: h.statements}
		h.cache[string(text)] = known
	case known.statements != h.statements:
		// A statement since then may have changed a default, which the event
		// doesn't show.
		if now := newTableVersion(h.cfg, ev); !now.same(known.version) {
			known.version = now
		}
		known.statements = h.statements
	}
	h.tables[ev.TableID] = known.version
	return nil
}

// knownTableMap handles a TABLE_MAP event that came before, without reading it
// again, and reports whether it could: each statement has one.
func (h *handler) knownTableMap(raw []byte) bool {
	const idSize = 6
	const flagsEnd = replication.EventHeaderSize + idSize + 2
	if len(raw) < flagsEnd {
		return false
	}
	known, ok := h.cache[string(raw[flagsEnd:])]
	if !ok || known.statements != h.statements || known.version.control {
		return false
	}
	id := raw[replication.EventHeaderSize:]
	h.tables[uint64(binary.LittleEndian.Uint32(id))|uint64(binary.LittleEndian.Uint16(id[4:]))<<32] = known.version
	return true
}

// rows handles the rows of a table that isn't duplex's own.
func (h *handler) rows(ev rowsHeader) error {
	h.txn.anyRows = true
	version, ok := h.tables[ev.table]
	if !ok {
		return refuse("rows of transaction %s come without the description of their table, id %d: the binlog is damaged; mend: see the server's error log; %s", h.txn.gtid, ev.table, beginAnew)
	}
	if !version.Captured || h.txn.passed && h.txn.xa == nil {
		return nil
	}
	if version.err != nil {
		return version.err
	}
	op, err := opOf(ev.kind)
	if err != nil {
		return fmt.Errorf("table %s: %w", version.Table, err) // still a *RefusedError
	}
	lacks := version.Decoder.Lacks(ev.present)
	if lacks == nil && op == Update {
		lacks = version.Decoder.Lacks(ev.presentAfter)
	}
	if lacks != nil {
		return refuseLack(version.Table, h.txn.gtid, lacks)
	}
	if isCompressedRows(ev.kind) {
		if ev.images, err = inflate(ev.images, h.limit); err != nil {
			return refuse("table %s: the compressed rows of transaction %s can't be read: %v; mend: see the server's error log; %s", version.Table, h.txn.gtid, err, beginAnew)
		}
	}
	rows := h.newRows(len(ev.images))
	*rows.Rows = RowsEvent{
		Table: version, Op: op, Images: ev.images, Present: ev.present, PresentAfter: ev.presentAfter,
		Unchecked: ev.flags&noForeignKeyChecks != 0,
		File:      h.file, Pos: h.at,
	}
	h.txn.captured = true
	if h.txn.xa != nil && h.txn.xa.outcome == nil {
		h.xa.hold(h.txn.xa, rows)
		return nil
	}
	if err := h.beginOnce(); err != nil {
		return err
	}
	return h.emit(rows)
}

// opOf names the operation of a rows event. Formats that hold only part of a
// row are refused, never guessed at.
func opOf(t replication.EventType) (Op, error) {
	switch t {
	case replication.WRITE_ROWS_EVENTv1, replication.WRITE_ROWS_EVENTv2, replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1:
		return Insert, nil
	case replication.UPDATE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv2, replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1:
		return Update, nil
	case replication.DELETE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv2, replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		return Delete, nil
	case replication.PARTIAL_UPDATE_ROWS_EVENT:
		return 0, refuse("the binlog holds partial JSON updates, which don't tell the new value; mend: SET PERSIST binlog_row_value_options = '', end the sessions that set another one; " + beginAnew)
	default:
		return 0, refuse("row event of type %s is not handled", t)
	}
}

func (h *handler) beginOnce() error {
	if h.txn.begun {
		return nil
	}
	h.txn.begun = true
	return h.emit(h.event(Begin))
}

// event makes an event of the transaction being read. Of a prepared one whose
// outcome is known it is the outcome that counts.
func (h *handler) event(kind Kind) *Event {
	if h.txn.xa != nil && h.txn.xa.outcome != nil {
		return h.txn.xa.outcome.event(kind)
	}
	e := h.newEvent()
	e.Kind, e.GTID, e.CommitMicros, e.ServerID, e.Thread = kind, h.txn.gtid, h.txn.commitMicros, h.txn.serverID, h.txn.thread
	return e
}

func (h *handler) commit() error {
	if h.txn.gtid.IsZero() {
		return nil
	}
	ev, passed := h.event(Commit), h.txn.passed
	h.xa.read(h.txn.gtid)
	ev.undecided = h.xa.undecided()
	h.txn = transaction{}
	if passed {
		return nil
	}
	return h.emit(ev)
}

// query handles a statement in the binlog: the brackets of a transaction, and
// whatever the server doesn't log as rows.
func (h *handler) query(ev *replication.QueryEvent) error {
	schema, statement := string(ev.Schema), string(ev.Query)
	switch verb := verbOf(statement); {
	case verb == "BEGIN" && !h.txn.open:
		h.txn.open, h.txn.thread = true, ev.SlaveProxyID
		return nil
	case verb == "XA":
		h.txn.thread = ev.SlaveProxyID
		return h.xaStatement(statement)
	case verb == "COMMIT":
		return h.commit()
	case verb == "ROLLBACK" && !strings.Contains(strings.ToUpper(statement), " TO "):
		// Only what a non-transactional table can't take back is in the binlog
		// before a ROLLBACK; rows of InnoDB never are.
		if h.txn.captured {
			return refuse("transaction %s was rolled back after its rows were logged: it changed captured and non-transactional tables together; mend: ALTER TABLE … ENGINE = InnoDB", h.txn.gtid)
		}
		return h.commit()
	case verb == "ROLLBACK" && h.txn.captured:
		return refuse("transaction %s goes back to a savepoint after its rows were logged: it changed captured and non-transactional tables together; mend: ALTER TABLE … ENGINE = InnoDB", h.txn.gtid)
	case verb == "SAVEPOINT" || verb == "ROLLBACK" || verb == "RELEASE":
		return nil
	case isStatementChange(verb):
		return h.loggedAsStatement(schema, verb)
	default:
		return h.ddl(ev)
	}
}

func (h *handler) loggedAsStatement(schema, verb string) error {
	return refuse("transaction %s in schema %q was logged as a statement (%s …), not as rows; mend: SET GLOBAL binlog_format = 'ROW', also in the server's configuration file, and end the sessions that set another one", h.txn.gtid, schema, verb)
}

func (h *handler) ddl(statement *replication.QueryEvent) error {
	if !h.txn.passed {
		ev := h.event(DDL)
		ev.Logged = &Logged{
			Schema: string(statement.Schema), Statement: string(statement.Query), File: h.file, Pos: h.at,
			Escapes: escapesOf(statement.StatusVars),
		}
		if err := h.emit(ev); err != nil {
			return err
		}
	}
	h.statements++
	if h.txn.open {
		// CREATE TABLE … SELECT: rows and a commit follow.
		return nil
	}
	return h.commit()
}

// other handles events that go-mysql leaves undecoded.
func (h *handler) other(header *replication.EventHeader, data []byte) error {
	switch header.EventType {
	case replication.XA_PREPARE_LOG_EVENT:
		return h.xaPrepare(data)
	case replication.INCIDENT_EVENT:
		return refuse("the server logged an incident: changes may be missing from its binlog; mend: compare the regions, copy what differs, then restart from the present position")
	case replication.STOP_EVENT, replication.RAND_EVENT, replication.USER_VAR_EVENT, replication.IGNORABLE_EVENT,
		replication.APPEND_BLOCK_EVENT, replication.DELETE_FILE_EVENT, replication.TRANSACTION_CONTEXT_EVENT, replication.VIEW_CHANGE_EVENT, replication.MARIADB_START_ENCRYPTION_EVENT:
		// The server has decrypted what it sends. Variables and the file of a LOAD
		// DATA are for statements, which are refused themselves.
		return nil
	}
	if header.Flags&ignorable != 0 {
		return nil
	}
	return refuse("transaction %s: events of type %s (%d) are not known; mend: upgrade duplex, or turn off the feature of the server that writes them", h.txn.gtid, header.EventType, header.EventType)
}
