package e2e_test

import (
	"fmt"
	"strings"

	"duplex/tasks"
)

// audit follows every change through one server's binlog. It proves promises
// 2, 3 and 5 by what the server did, not by what the program says it did.
type audit struct {
	side   string // of the server
	tables map[string]*table
	// last is for each key the number of the last change of the other side that
	// was applied to it.
	last map[string]int64
	// With ordering transaction:
	seq   int64 // of the last marked transaction with changes
	epoch int64

	ordering string
	audited
	violations []string
}

// audited counts what a binlog holds.
type audited struct {
	Local     int // transactions of the region's own load
	LocalRows int
	Marked    int // transactions of apply with changes
	Rows      int // changes in them
	Canaries  int
	Takeovers int
	// Empty counts transactions of apply without any change. They may only be
	// of source transactions that left nothing, such as an insert and its delete.
	Empty int
	// Published are the transactions that the topics must hold, in order.
	Published []published
}

// published is a transaction with changes of captured tables.
type published struct {
	gtid    string
	changes int64
}

// auditBinlog reads the whole binlog of a region and fails the test if it
// breaks a promise.
func auditBinlog(p *pair, s *side, l *load) audited {
	p.t.Helper()
	a := &audit{side: sideName(s), tables: map[string]*table{}, last: map[string]int64{}, ordering: l.ordering}
	for _, t := range l.tables {
		a.tables[t.name] = t
	}
	readBinlog(p.t, s.mysql, a.transaction)
	if n := len(a.violations); n > 0 {
		p.t.Errorf("the binlog of %s breaks promises %d times:\n%s", s.region, n, strings.Join(a.violations[:min(n, 10)], "\n"))
	}
	p.t.Logf("%s: %d local transactions of %d changes; %d applied of %d changes, %d empty, %d canaries, %d takeovers",
		s.region, a.Local, a.LocalRows, a.Marked, a.Rows, a.Empty, a.Canaries, a.Takeovers)
	return a.audited
}

func (a *audit) violation(txn *logged, format string, args ...any) {
	a.violations = append(a.violations, txn.gtid+": "+fmt.Sprintf(format, args...))
}

func (a *audit) transaction(txn *logged) {
	marked := txn.marked()
	var changes, canaries int
	pub := published{gtid: txn.gtid}
	for i := range txn.rows {
		row := &txn.rows[i]
		t := a.tables[row.table]
		switch {
		case row.schema == "duplex" && row.table == "canary":
			canaries++
		case row.schema == "duplex":
			if !marked && row.table != "offsets" {
				a.violation(txn, "a row of duplex.%s in a transaction whose first row isn't the marker", row.table)
			}
		case row.schema == "shop" && t != nil:
			changes++
			pub.changes += a.row(txn, t, row, marked)
		}
	}
	if marked {
		a.marker(txn, changes, canaries)
		a.Rows += changes
	} else if changes > 0 {
		a.Local++
		a.LocalRows += changes
	}
	if changes > 0 {
		a.Published = append(a.Published, pub)
	}
}

// row checks one change and returns as how many it is published.
func (a *audit) row(txn *logged, t *table, row *loggedRow, marked bool) int64 {
	local := true
	for _, image := range []map[string]any{row.before, row.after} {
		if image != nil {
			local = local && textOf(image["side"]) == a.side
		}
	}
	switch {
	case local && marked:
		a.violation(txn, "echo: a change that %s's own load made came back: %s", a.side, describe(t, row))
	case !local && !marked:
		a.violation(txn, "a change of the other side without a marker: %s", describe(t, row))
	case !local:
		a.applied(txn, t, row)
	}
	if row.before != nil && row.after != nil && keyBytes(t, row.before) != keyBytes(t, row.after) {
		return 2 // a delete and an insert
	}
	return 1
}

// applied checks a change that apply made: each version of a row comes once,
// and never an older one after a newer one.
func (a *audit) applied(txn *logged, t *table, row *loggedRow) {
	if row.after == nil {
		return // what a doubled delete would take, a doubled insert must have brought
	}
	key, op := t.name+"|"+keyOf(t, row.after), numberOf(row.after["op"])
	if last, ok := a.last[key]; ok && op <= last {
		a.violation(txn, "change %d was applied after change %d: %s", op, last, describe(t, row))
	}
	a.last[key] = op
}

// marker checks the marker of a transaction: transactions with changes come in
// the order of the source, each once, and none of an epoch that is over.
func (a *audit) marker(txn *logged, changes, canaries int) {
	mark := txn.rows[0].after
	seq, epoch := numberOf(mark["seq"]), numberOf(mark["epoch"])
	byKey := a.ordering == tasks.OrderingKey // then several write at once, each in its rows
	if epoch < a.epoch && !byKey {
		a.violation(txn, "written by the applier of epoch %d after that of epoch %d had taken over", epoch, a.epoch)
	}
	takeover := txn.rows[0].before == nil || numberOf(txn.rows[0].before["epoch"]) != epoch
	a.epoch = max(a.epoch, epoch)
	switch {
	case takeover, canaries > 0:
		if changes > 0 {
			a.violation(txn, "a takeover or canary changes rows of the task")
		}
		if takeover {
			a.Takeovers++
		} else {
			a.Canaries++
		}
		return
	case changes == 0:
		a.Empty++
	default:
		a.Marked++
	}
	if seq <= a.seq && !byKey {
		a.violation(txn, "transaction %d of the source was applied after %d", seq, a.seq)
	}
	a.seq = seq
}

func describe(t *table, row *loggedRow) string {
	image, what := row.after, "is"
	if image == nil {
		image, what = row.before, "was"
	}
	return fmt.Sprintf("%s[%s] %s change %v of side %s", t.name, keyOf(t, image), what, image["op"], textOf(image["side"]))
}

// keyOf names a row's key as the ledger does.
func keyOf(t *table, image map[string]any) string {
	key := make([]any, len(t.keys))
	for i, k := range t.keys {
		key[i] = textOf(image[k])
	}
	return t.text(key)
}

// keyBytes is the key as its bytes are, case and all.
func keyBytes(t *table, image map[string]any) string {
	parts := make([]string, len(t.keys))
	for i, k := range t.keys {
		parts[i] = textOf(image[k])
	}
	return strings.Join(parts, "|")
}

func textOf(v any) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}

func numberOf(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	default:
		panic(fmt.Sprintf("column of type %T instead of a number", v))
	}
}
