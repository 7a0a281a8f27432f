// Package snapshot reads the rows that a table has when it is first copied: in chunks
// by primary key, without locks, while the table is written to, and so that each chunk
// has one place in the stream of changes.
//
// A chunk's SELECT sees the table as of some moment that lies between two marks: all that
// the stream had passed when the window was opened, and all that the server has executed
// once the SELECT is done. Of the rows that the stream changes between the opening and the place where
// the chunk is put, at or behind the second mark, the stream itself tells what became of
// them. They are left out, and what remains is what the table holds at that place.
//
// The first mark is what is visible, never what is in the binlog: that runs ahead (Mark).
package snapshot

// Windows notes which rows change while chunks are read. It is pure, and used by the one
// goroutine that passes all changes on.
type Windows struct {
	tables map[string]*changes
	// now counts what was passed; limit bounds the bytes of the keys kept.
	now   int64
	limit int64
	bytes int64
}

// Window is the time between two marks.
type Window struct {
	of     *changes
	opened int64
	spoilt bool
}

// changes are the rows of one table that changed since its oldest window was opened.
type changes struct {
	last map[string]int64 // by key: when last
	// log has them in that order; of a key that changed again only the last entry counts.
	log  []keyChange
	open []*Window // oldest first
}

type keyChange struct {
	key string
	at  int64
}

// maxKeys bounds the keys kept, in bytes. With more, what was read is read again.
const maxKeys = 16 << 20

const keyOverhead = 120

// NewWindows makes one without a window.
func NewWindows() *Windows { return &Windows{tables: map[string]*changes{}, limit: maxKeys} }

// Open opens a window on a table: its SELECT must see all that was passed before.
func (w *Windows) Open(table string) *Window {
	c := w.tables[table]
	if c == nil {
		c = &changes{last: map[string]int64{}}
		w.tables[table] = c
	}
	win := &Window{of: c, opened: w.now}
	c.open = append(c.open, win)
	return win
}

// Watches reports whether a window is open on the table.
func (w *Windows) Watches(table string) bool { return w.tables[table] != nil }

// Changed notes that a row of the table was changed.
func (w *Windows) Changed(table string, key []byte) {
	c := w.tables[table]
	if c == nil {
		return
	}
	w.now++
	text := string(key)
	c.last[text] = w.now
	c.log = append(c.log, keyChange{text, w.now})
	if w.bytes += int64(len(key)) + keyOverhead; w.bytes > w.limit {
		w.Spoil()
	}
}

// Spoil makes all open windows useless: rows were changed of which the stream doesn't tell, or
// more than can be kept.
func (w *Windows) Spoil() {
	for table := range w.tables {
		w.SpoilTable(table)
	}
}

// SpoilTable makes the windows on a table useless.
func (w *Windows) SpoilTable(table string) {
	c := w.tables[table]
	if c == nil {
		return
	}
	for _, win := range c.open {
		win.spoilt = true
	}
	for _, k := range c.log {
		w.bytes -= int64(len(k.key)) + keyOverhead
	}
	c.last, c.log = map[string]int64{}, nil
}

// Close closes a window. What no other needs is forgotten.
func (w *Windows) Close(win *Window) {
	for table, c := range w.tables {
		if c != win.of {
			continue
		}
		n := 0
		for _, other := range c.open {
			if other != win {
				c.open[n] = other
				n++
			}
		}
		c.open = c.open[:n]
		if n == 0 {
			for _, k := range c.log {
				w.bytes -= int64(len(k.key)) + keyOverhead
			}
			delete(w.tables, table)
			return
		}
		w.forget(c)
	}
}

// forget drops what changed before the oldest window.
func (w *Windows) forget(c *changes) {
	oldest := c.open[0].opened
	for _, win := range c.open {
		oldest = min(oldest, win.opened)
	}
	n := 0
	for n < len(c.log) && c.log[n].at <= oldest {
		k := c.log[n]
		if c.last[k.key] == k.at {
			delete(c.last, k.key)
		}
		w.bytes -= int64(len(k.key)) + keyOverhead
		n++
	}
	clear(c.log[:n])
	c.log = c.log[n:]
}

// Spoilt reports whether the chunk must be read again.
func (win *Window) Spoilt() bool { return win.spoilt }

// Changed reports whether the row of that key was changed since the window was opened.
func (win *Window) Changed(key []byte) bool {
	at, ok := win.of.last[string(key)]
	return ok && at > win.opened
}
