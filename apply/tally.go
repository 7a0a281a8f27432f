package apply

import (
	"cmp"
	"slices"
	"sync"

	"duplex/conflicts"
)

// tally counts the conflicts that were recorded, by table, rule and winner.
type tally struct {
	mu     sync.Mutex
	counts map[tallyKey]int64
	tables map[string]bool
}

type tallyKey struct {
	table, rule string
	won         conflicts.Side
}

// maxTallied is how many tables are told apart. The others share the name
// otherTables, which no table has.
const (
	maxTallied  = 100
	otherTables = "*"
)

func (t *tally) add(c *conflicts.Conflict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts, t.tables = map[tallyKey]int64{}, map[string]bool{}
	}
	table := c.DB + "." + c.Table
	if len(t.tables) < maxTallied {
		t.tables[table] = true
	}
	if !t.tables[table] {
		table = otherTables
	}
	t.counts[tallyKey{table, c.Rule, c.Won}]++
}

// Conflicts counts conflicts of a table that were recorded.
type Conflicts struct {
	Table string `json:"table"` // db.table; "*" for tables beyond the first hundred
	Rule  string `json:"rule"`
	// Won tells whose write stayed: local, that of the region in which the conflict
	// was recorded, or remote.
	Won   conflicts.Side `json:"won"`
	Count int64          `json:"count"`
}

// list returns the counts, sorted.
func (t *tally) list() (all []Conflicts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, n := range t.counts {
		all = append(all, Conflicts{k.table, k.rule, k.won, n})
	}
	slices.SortFunc(all, func(a, b Conflicts) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Won, b.Won))
	})
	return all
}

func (t *tally) won(side conflicts.Side) (n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, count := range t.counts {
		if k.won == side {
			n += count
		}
	}
	return n
}
