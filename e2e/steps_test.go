package e2e_test

import (
	"fmt"
	"strings"
)

// steps are the images that rows had, one after the other, as the binlogs of
// both regions show them.
type steps struct {
	keys map[string][]string // columns of the primary key, by table
}

// taken are the steps of one region's binlog: what was written there, and what
// apply wrote. Each is by table and key the numbers (op) of the images in turn.
type taken struct {
	local, applied map[string][]int64
	seq            int64
	violations     []string
}

// check proves that in each region apply has written no image that the other
// didn't have, none twice, and none after a later one; that transactions came
// in order, each once; and that none came back (promises 2, 3 and 5).
func (s *steps) check(p *pair) {
	p.t.Helper()
	found := map[*side]*taken{}
	for _, side := range p.sides() {
		found[side] = &taken{local: map[string][]int64{}, applied: map[string][]int64{}}
		readBinlog(p.t, side.mysql, func(txn *logged) { s.transaction(found[side], txn) })
	}
	for _, side := range p.sides() {
		here, there := found[side], found[p.other(side)]
		images := 0
		for key, ops := range here.applied {
			images += len(ops)
			if !within(ops, there.local[key]) {
				here.violations = append(here.violations, fmt.Sprintf("the row %s had the images %v in turn, applied were %v", key, there.local[key], ops))
			}
		}
		if n := len(here.violations); n > 0 {
			p.t.Errorf("the binlog of %s breaks promises %d times:\n%s", side.region, n, strings.Join(here.violations[:min(n, 10)], "\n"))
		}
		p.t.Logf("%s: apply wrote %d images of %d rows", side.region, images, len(here.applied))
	}
}

// transaction notes one transaction of a binlog.
func (s *steps) transaction(into *taken, txn *logged) {
	by, rows := into.local, 0
	if txn.marked() {
		by = into.applied
	}
	for i := range txn.rows {
		row := &txn.rows[i]
		name := row.schema + "." + row.table
		columns, ok := s.keys[name]
		if !ok {
			continue
		}
		rows++
		if row.after == nil {
			continue // whether it stays away, the tables tell
		}
		key := name
		for _, c := range columns {
			key += fmt.Sprintf("|%q", textOf(row.after[c]))
		}
		by[key] = append(by[key], numberOf(row.after["op"]))
	}
	if !txn.marked() || rows == 0 {
		return
	}
	if seq := numberOf(txn.rows[0].after["seq"]); seq <= into.seq {
		into.violations = append(into.violations, fmt.Sprintf("%s: transaction %d of the source was applied after %d", txn.gtid, seq, into.seq))
	} else {
		into.seq = seq
	}
}

// within reports whether some is what is left of all if numbers are taken out.
func within(some, all []int64) bool {
	for _, n := range all {
		if len(some) > 0 && some[0] == n {
			some = some[1:]
		}
	}
	return len(some) == 0
}
