package apply

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"duplex/apply/statement"
	"duplex/mysql"
	"duplex/spine"

	"github.com/twmb/franz-go/pkg/kgo"
)

// weigher has the weights of the target's collations, each of which it asks for
// once, for all that bind tables of the target in a session.
type weigher struct {
	db      *sql.DB
	dialect statement.Dialect

	mu      sync.Mutex
	weights map[string]*statement.Weights // by collation
}

// weighPatience is how long the target may take to say what a text weighs.
const weighPatience = 30 * time.Second

func newWeigher(db *sql.DB, dialect statement.Dialect) *weigher {
	return &weigher{db: db, dialect: dialect, weights: map[string]*statement.Weights{}}
}

// of returns the weights of a collation.
func (w *weigher) of(charset, collation string) (*statement.Weights, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if found, ok := w.weights[collation]; ok {
		return found, nil
	}
	learnt, err := statement.LearnWeights(w.ask, charset, collation, w.dialect)
	if err != nil {
		return nil, err
	}
	w.weights[collation] = learnt
	return learnt, nil
}

// ask is a statement.Ask. It takes no locks in the target, so who holds some may
// wait for it.
func (w *weigher) ask(query string) (found [][][]byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), weighPatience)
	defer cancel()
	rows, err := w.db.QueryContext(ctx, query)
	if err != nil {
		return nil, &weighError{err}
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, &weighError{err}
	}
	into := make([]any, len(columns))
	for rows.Next() {
		cells := make([][]byte, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, &weighError{err}
		}
		found = append(found, cells)
	}
	if err := rows.Err(); err != nil {
		return nil, &weighError{err}
	}
	return found, nil
}

// weighError says that the target didn't tell what a text weighs. Whatever the
// reason, nothing is wrong with the text: it is asked again.
type weighError struct{ err error }

func (e *weighError) Error() string {
	return "asking how a collation compares texts: " + mysql.Classify(e.err).Error()
}
func (e *weighError) Unwrap() error { return e.err }

// unreadable says that a record can't be taken into a batch, unless only the target
// failed to tell what its key weighs.
func (t *boundTable) unreadable(r *kgo.Record, err error) error {
	var weigh *weighError
	if errors.As(err, &weigh) {
		return weigh
	}
	return spine.Unreadable(r, t.failure(err))
}

// weigh has the target asked what a key weighs, if it must be: for who goes on with
// versions locked, where only what is known should be looked up.
func (t *boundTable) weigh(key []byte) error {
	if t.binder.ExactKey() {
		return nil
	}
	_, err := t.binder.AppendConflictKey(nil, key)
	return err
}
