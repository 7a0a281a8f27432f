package capture

import (
	"sync"

	"duplex/capture/snapshot"
)

// copyTable is a table being copied.
type copyTable struct {
	copied // as far as it was at the start
	key    string
	// A range has so many rows; so many are read in a second at most, if it isn't 0.
	rows, perSecond int

	mu  sync.Mutex
	now *snapshot.Table // as it is defined now
}

func (t *copyTable) table() *snapshot.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

func (t *copyTable) redefine(now *snapshot.Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = now
}
