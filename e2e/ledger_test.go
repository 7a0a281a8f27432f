package e2e_test

import (
	"math/rand/v2"
)

// entry is a row that the load has written: what its server has acknowledged,
// or, within the transaction being written, what it will hold.
type entry struct {
	table    *table
	key      []any
	op       int64
	unique   any // value of the table's unique column
	children map[*entry]bool
	parent   *entry
	place    int // in its shelf
}

// shelf holds the live rows of one table, for picking one at random.
type shelf struct{ live []*entry }

func (s *shelf) put(e *entry) {
	e.place = len(s.live)
	s.live = append(s.live, e)
}

func (s *shelf) remove(e *entry) {
	last := s.live[len(s.live)-1]
	s.live[e.place], last.place = last, e.place
	s.live = s.live[:len(s.live)-1]
}

// pick returns a live row, nil if there is none.
func (s *shelf) pick(r *rand.Rand) *entry {
	if len(s.live) == 0 {
		return nil
	}
	return s.live[r.IntN(len(s.live))]
}

// ledger is what one writer's rows must be. Each writer has keys of its own,
// so ledgers never overlap. A change enters the ledger as it is written; undo
// takes those of a transaction out again that was rolled back.
type ledger struct {
	shelves map[string]*shelf
	// Of the transaction being written:
	undos   []func()
	touched map[*entry][]any // rows changed: their key before, nil for those inserted
}

func newLedger(tables []*table) *ledger {
	l := &ledger{shelves: map[string]*shelf{}, touched: map[*entry][]any{}}
	for _, t := range tables {
		l.shelves[t.name] = &shelf{}
	}
	return l
}

func (l *ledger) of(t *table) *shelf { return l.shelves[t.name] }

func (l *ledger) insert(e *entry) {
	l.of(e.table).put(e)
	if e.parent != nil {
		e.parent.children[e] = true
	}
	l.touched[e] = nil
	l.undos = append(l.undos, func() { l.take(e) })
}

func (l *ledger) remove(e *entry) {
	l.take(e)
	l.touch(e)
	l.undos = append(l.undos, func() {
		l.of(e.table).put(e)
		if e.parent != nil {
			e.parent.children[e] = true
		}
	})
}

func (l *ledger) take(e *entry) {
	l.of(e.table).remove(e)
	if e.parent != nil {
		delete(e.parent.children, e)
	}
}

// update notes a row's new key, number and unique value.
func (l *ledger) update(e *entry, key []any, op int64, unique any) {
	l.touch(e)
	before := *e
	e.key, e.op, e.unique = key, op, unique
	l.undos = append(l.undos, func() { e.key, e.op, e.unique = before.key, before.op, before.unique })
}

// touch notes the key that a row has before the transaction changes it.
func (l *ledger) touch(e *entry) {
	if _, ok := l.touched[e]; !ok {
		l.touched[e] = e.key
	}
}

// isLive reports whether the row is there after the transaction being written.
func (l *ledger) isLive(e *entry) bool {
	live := l.of(e.table).live
	return e.place < len(live) && live[e.place] == e
}

func (l *ledger) commit() {
	l.undos = l.undos[:0]
	clear(l.touched)
}

func (l *ledger) rollback() {
	for i := len(l.undos) - 1; i >= 0; i-- {
		l.undos[i]()
	}
	l.commit()
}
