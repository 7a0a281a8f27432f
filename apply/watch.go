package apply

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"duplex/mysql"
)

const (
	// watchEvery is how often the definitions of the target's tables are looked at,
	// and more rarely where that takes more than one part in watchShare of the time.
	watchEvery = time.Second
	watchShare = 20
	// watchMost is how many tables that nothing was written to are looked at at once;
	// the others get their turn.
	watchMost = 100
)

// watch looks at the definitions of the target's tables that a session has bound:
// what its binders know of them must stay true. A column that has lost digits rounds
// without an error; past a unique key that the writer doesn't know an upsert may
// change another row.
type watch struct {
	db *sql.DB

	mu     sync.Mutex // of what follows
	tables map[mysql.TableName]*watched
	order  []mysql.TableName
	turn   int // of order, whose turn it is
	at     time.Time
}

// watched is one table as it was when it was bound.
type watched struct {
	name   mysql.TableName
	digest uint64 // 0 if it wasn't there
	// wrote is set by who writes to it, and cleared by each look.
	wrote atomic.Bool
}

func newWatch(db *sql.DB) *watch {
	return &watch{db: db, tables: map[mysql.TableName]*watched{}, at: time.Now()}
}

// add notes a table, before its definition is read: if it is altered in between, the
// next look finds it altered.
func (w *watch) add(ctx context.Context, name mysql.TableName) (*watched, error) {
	w.mu.Lock()
	known := w.tables[name]
	w.mu.Unlock()
	if known != nil {
		return known, nil
	}
	found, err := mysql.Digests(ctx, w.db, []mysql.TableName{name})
	if err != nil {
		return nil, classify(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tables[name] == nil {
		w.tables[name] = &watched{name: name, digest: found[name]}
		w.order = append(w.order, name)
	}
	return w.tables[name], nil
}

// keep looks again and again until ctx ends or a table has changed.
func (w *watch) keep(ctx context.Context) error {
	pause := watchEvery
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		began := time.Now()
		if err := w.look(ctx); err != nil {
			return err
		}
		pause = max(watchEvery, watchShare*time.Since(began))
	}
}

// look fails with an *alteredError if a table is no longer as it was bound.
func (w *watch) look(ctx context.Context) error {
	names, wrote, since := w.next()
	if len(names) == 0 {
		return nil
	}
	found, err := mysql.Digests(ctx, w.db, names)
	if err != nil {
		return classify(err)
	}
	altered := &alteredError{since: since}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		if found[name] != w.tables[name].digest {
			altered.tables = append(altered.tables, name.DB+"."+name.Table)
			altered.wrote = altered.wrote || wrote[name]
		}
	}
	if len(altered.tables) > 0 {
		return altered
	}
	return nil
}

// next returns the tables to look at now: all that were written to since the last look,
// and some of the others.
func (w *watch) next() (names []mysql.TableName, wrote map[mysql.TableName]bool, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wrote = map[mysql.TableName]bool{}
	for name, t := range w.tables {
		if t.wrote.Swap(false) {
			wrote[name] = true
			names = append(names, name)
		}
	}
	for range min(watchMost, len(w.order)) {
		name := w.order[w.turn%len(w.order)]
		w.turn = (w.turn + 1) % len(w.order)
		if !wrote[name] {
			names = append(names, name)
		}
	}
	since, w.at = w.at, time.Now()
	return names, wrote, since
}

// alteredError says that tables were altered in the target.
type alteredError struct {
	tables []string
	wrote  bool // to one of them, since
	since  time.Time
}

// Error names them, and tells what can't be vouched for.
func (e *alteredError) Error() string {
	slices.Sort(e.tables)
	text := "altered in this region: table " + strings.Join(e.tables, ", ") + "; reading its definition anew"
	if e.wrote {
		text += fmt.Sprintf("; what was written to it since %s may have been fitted to the new one by the server: if that holds less, compare those rows", e.since.UTC().Format(time.RFC3339Nano))
	}
	return text
}
