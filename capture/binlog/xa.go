package binlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The rows of a prepared XA transaction stand in the binlog before anyone knows
// whether they will count. They are held back until XA COMMIT, which may come
// from another session, after a restart of the server, or of ours; then they
// go on as an ordinary transaction with the GTID of the XA COMMIT. Until then
// the position leaves the prepare out, so that a restart reads it again.
//
// What is held has a limit. Rows beyond it are forgotten, and read again when
// their outcome is known: Read then begins anew at that prepare. So no disk is
// needed, and each path by which rows are read again is that of a restart.

// xaBytes bounds the rows held of all prepared transactions together.
const xaBytes = 16 << 20

// prepared is an XA transaction that isn't decided.
type prepared struct {
	gtid   GTID
	before GTID // of its domain; MariaDB
	xid    string
	rows   []*Event
	bytes  int64
	large  bool // rows were forgotten
	// outcome is set if it was read before and was committed: its rows go on
	// at once.
	outcome *outcome
}

// outcome is the XA COMMIT of a prepared transaction.
type outcome struct {
	gtid         GTID
	commitMicros int64
	serverID     uint32
	thread       uint32
}

func (o *outcome) event(kind Kind) *Event {
	return &Event{Kind: kind, GTID: o.gtid, CommitMicros: o.commitMicros, ServerID: o.serverID, Thread: o.thread}
}

// againError asks to read a prepared transaction again, whose outcome is known
// by now.
type againError struct {
	prepare GTID
	outcome outcome
}

func (e *againError) Error() string {
	return "reading prepared transaction " + e.prepare.String() + " again"
}

// prepares are the XA transactions that aren't decided, and what was read
// before.
type prepares struct {
	held  map[string]*prepared // by xid
	order []*prepared
	bytes int64
	limit int64

	// again are those that were held before reading began anew and haven't come
	// again yet (MySQL).
	again []GTID
	// from says where domains are read again from, until which transaction was
	// read before; last is the last transaction of each domain (all MariaDB).
	from, until, last map[uint32]GTID
	outcomes          map[GTID]outcome // of those that are read again for it, by prepare
	decided           map[GTID]bool    // XA COMMITs whose rows have gone on

	changed bool // what the position says of them, since now was made
	now     *undecided
}

func newPrepares() prepares {
	return prepares{limit: xaBytes, held: map[string]*prepared{}, from: map[uint32]GTID{}, until: map[uint32]GTID{}, last: map[uint32]GTID{},
		decided: map[GTID]bool{}}
}

// resume sets where reading begins, and the outcomes that are known of
// prepared transactions that will come again.
func (x *prepares) resume(at *Position, outcomes map[GTID]outcome) {
	x.outcomes, x.again, x.changed = outcomes, at.prepared, true
	for domain := range at.domains() {
		x.last[domain] = at.last(domain)
	}
	for _, g := range at.from {
		x.from[g.domain], x.until[g.domain], x.last[g.domain] = g, at.last(g.domain), g
	}
}

// isPassed reports whether a transaction was read before.
func (x *prepares) isPassed(g GTID) bool {
	if _, again := x.until[g.domain]; again && g.isMariaDB() {
		return true
	}
	return x.decided[g]
}

// begin begins to hold the rows of a transaction.
func (x *prepares) begin(g GTID) *prepared {
	p := &prepared{gtid: g, before: GTID{domain: g.domain}}
	if before, ok := x.last[g.domain]; ok {
		p.before = before
	}
	if o, ok := x.outcomes[g]; ok {
		p.outcome = &o
	}
	return p
}

// hold keeps rows until the outcome, unless there are too many.
func (x *prepares) hold(p *prepared, rows *Event) {
	size := rows.Size()
	if p.large || x.bytes+size > x.limit {
		x.bytes -= p.bytes
		p.rows, p.bytes, p.large = nil, 0, true
		return
	}
	// The bytes are part of larger ones, which would all be kept.
	r := *rows.Rows
	r.Images, r.Present, r.PresentAfter = bytes.Clone(r.Images), bytes.Clone(r.Present), bytes.Clone(r.PresentAfter)
	p.rows = append(p.rows, &Event{Kind: Rows, Rows: &r})
	p.bytes += size
	x.bytes += size
}

// prepare notes that the transaction is prepared.
func (x *prepares) prepare(p *prepared, xid string) {
	x.drop(x.held[xid])
	p.xid = xid
	x.held[xid] = p
	x.order = append(x.order, p)
	x.again = slices.DeleteFunc(slices.Clone(x.again), func(g GTID) bool { return g == p.gtid })
	x.changed = true
}

// drop forgets a prepared transaction, which may be nil: it is decided.
func (x *prepares) drop(p *prepared) {
	if p == nil {
		return
	}
	delete(x.held, p.xid)
	x.order = slices.DeleteFunc(x.order, func(other *prepared) bool { return other == p })
	x.bytes -= p.bytes
	x.changed = true
}

// goneOn notes that the rows of a prepared transaction have gone on when they
// were read again, so that its XA COMMIT, which comes later, brings nothing.
func (x *prepares) goneOn(p *prepared) {
	x.decided[p.outcome.gtid] = true
	x.again = slices.DeleteFunc(slices.Clone(x.again), func(g GTID) bool { return g == p.gtid })
	x.changed = true
}

// read notes that a transaction was read to its end.
func (x *prepares) read(g GTID) {
	if !g.isMariaDB() {
		return
	}
	x.last[g.domain] = g
	if until, again := x.until[g.domain]; again && until == g {
		delete(x.until, g.domain)
		delete(x.from, g.domain)
		x.changed = true
	}
}

// undecided is what the position says at present.
func (x *prepares) undecided() *undecided {
	if !x.changed {
		return x.now
	}
	x.changed, x.now = false, &undecided{prepared: slices.Clone(x.again)}
	domains := map[uint32]GTID{}
	maps.Copy(domains, x.from)
	for _, p := range x.order {
		if !p.gtid.isMariaDB() {
			x.now.prepared = append(x.now.prepared, p.gtid)
		} else if _, earlier := domains[p.gtid.domain]; !earlier {
			domains[p.gtid.domain] = p.before
		}
	}
	for _, domain := range slices.Sorted(maps.Keys(domains)) {
		x.now.from = append(x.now.from, domains[domain])
	}
	return x.now
}

// xaStatement handles the statements around a prepared transaction. MariaDB
// has no XA START: its GTID event says what comes.
func (h *handler) xaStatement(statement string) error {
	words := strings.Fields(statement)
	verb, xid := "", ""
	if len(words) > 1 {
		verb, xid = strings.ToUpper(words[1]), strings.Join(words[2:], " ")
	}
	switch verb {
	case "START", "BEGIN":
		h.txn.open, h.txn.xa = true, h.xa.begin(h.txn.gtid)
		return nil
	case "END":
		return nil
	case "COMMIT":
		return h.xaCommit(statement, h.xa.held[xid])
	case "ROLLBACK":
		h.xa.drop(h.xa.held[xid])
		return h.commit()
	default:
		return refuse("transaction %s: the statement %q is not known; mend: upgrade duplex", h.txn.gtid, "XA "+verb)
	}
}

// xaCommit lets a prepared transaction go on; nil is one prepared before
// reading began.
func (h *handler) xaCommit(statement string, p *prepared) error {
	switch {
	case h.txn.passed:
	case p == nil:
		ev := h.event(Unread)
		ev.Logged = &Logged{Statement: statement}
		if err := h.emit(ev); err != nil {
			return err
		}
	case p.large:
		return &againError{p.gtid, outcome{h.txn.gtid, h.txn.commitMicros, h.txn.serverID, h.txn.thread}}
	default:
		if err := h.release(p.rows); err != nil {
			return err
		}
	}
	h.xa.drop(p)
	return h.commit()
}

// release emits rows that were held.
func (h *handler) release(rows []*Event) error {
	for _, ev := range rows {
		if err := h.beginOnce(); err != nil {
			return err
		}
		if err := h.emit(ev); err != nil {
			return err
		}
	}
	return nil
}

// xaPrepare ends the rows of an XA transaction (the server's
// XA_prepare_log_event): whether it is committed at once; format, lengths of
// both parts of the xid, and these.
func (h *handler) xaPrepare(data []byte) error {
	const fixed = 1 + 4 + 4 + 4
	p := h.txn.xa
	if p == nil || len(data) < fixed {
		return refuse("transaction %s is prepared without having begun as XA transaction: the binlog is damaged; mend: %s", h.txn.gtid, beginAnew)
	}
	format, global, branch := binary.LittleEndian.Uint32(data[1:]), binary.LittleEndian.Uint32(data[5:]), binary.LittleEndian.Uint32(data[9:])
	if id := data[fixed:]; uint64(len(id)) != uint64(global)+uint64(branch) {
		return refuse("transaction %s is prepared under an xid that is malformed: the binlog is damaged; mend: %s", h.txn.gtid, beginAnew)
	}
	onePhase := data[0] != 0
	switch {
	case p.outcome != nil:
		h.xa.goneOn(p)
	case onePhase && p.large:
		return &againError{p.gtid, outcome{h.txn.gtid, h.txn.commitMicros, h.txn.serverID, h.txn.thread}}
	case onePhase:
		h.txn.xa = nil
		h.xa.bytes -= p.bytes
		if err := h.release(p.rows); err != nil {
			return err
		}
	default:
		// As the servers write it in XA COMMIT.
		id := data[fixed:]
		h.xa.prepare(p, fmt.Sprintf("X'%x',X'%x',%d", id[:global], id[global:], format))
	}
	return h.commit()
}
