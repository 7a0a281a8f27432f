package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"duplex/tasks"
)

// writersPerSide write to each region at once.
const writersPerSide = 3

// load writes to both regions of a pair.
type load struct {
	t       *testing.T
	tables  []*table
	writers []*writer
	written map[string]*atomic.Int64 // rows changed, by side
	pace    time.Duration            // pause of each writer after a transaction
	// ordering is that of the task: what the audit demands.
	ordering string
	cancel   context.CancelFunc
	done     sync.WaitGroup
	mu       sync.Mutex
	failure  error
}

// newLoad makes the tables on both servers, before any capture runs, and the
// writers. The seed fixes what they do, but for the order in which they come.
func newLoad(p *pair, seed uint64) *load {
	p.t.Helper()
	return newLoadOf(p, seed, loadTables())
}

// newLoadOf is newLoad with tables of the test's choice.
func newLoadOf(p *pair, seed uint64, tables []*table) *load {
	p.t.Helper()
	l := &load{t: p.t, tables: tables, ordering: tasks.OrderingTransaction, written: map[string]*atomic.Int64{}}
	collation := ""
	if p.east.mysql.IsMariaDB() || p.west.mysql.IsMariaDB() {
		collation = " COLLATE utf8mb4_unicode_ci" // the default differs, and keys must be the same to both
	}
	for _, s := range p.sides() {
		name := sideName(s)
		l.written[name] = &atomic.Int64{}
		for _, t := range l.tables {
			mustExec(p.t, s.mysql.DB(), t.statement()+collation)
		}
		ops := &atomic.Int64{}
		for i := range writersPerSide {
			conn, err := s.mysql.DB().Conn(context.Background())
			if err != nil {
				p.t.Fatal(err)
			}
			p.t.Cleanup(func() { conn.Close() })
			mustPin(p.t, conn, s)
			l.writers = append(l.writers, &writer{
				Rand: rand.New(rand.NewPCG(seed, uint64(s.number*1000+i))), side: name, number_: i,
				tables: l.tables, ops: ops, ledger: newLedger(l.tables), conn: conn,
			})
		}
	}
	p.t.Cleanup(func() { l.cancelAll() })
	return l
}

// sideName is what the load writes into column side.
func sideName(s *side) string { return s.region[:1] }

// pin gives a connection the session that the load reads and writes in. Its
// numbers for AUTO_INCREMENT are its side's, also where the connection is older
// than the server's global settings, or those were lost with a restart.
func pin(conn *sql.Conn, s *side) error {
	_, err := conn.ExecContext(context.Background(), fmt.Sprintf("SET SESSION time_zone = '+00:00', innodb_lock_wait_timeout = 20, sql_mode = 'STRICT_ALL_TABLES', "+
		"auto_increment_increment = 2, auto_increment_offset = %d", s.number))
	return err
}

func mustPin(t *testing.T, conn *sql.Conn, s *side) {
	t.Helper()
	if err := pin(conn, s); err != nil {
		t.Fatal(err)
	}
}

// begin starts the writers. Each side stops by itself after so many changes;
// with 0 it goes on until end.
func (l *load) begin(changes int64) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	for _, w := range l.writers {
		w.ctx = context.Background() // a transaction begun is ended
		l.done.Go(func() {
			for ctx.Err() == nil && (changes == 0 || l.written[w.side].Load() < changes) {
				n, err := w.transaction()
				if err != nil {
					l.fail(fmt.Errorf("writer %d of side %s: %w", w.number_, w.side, err))
					return
				}
				l.written[w.side].Add(int64(n))
				if l.pace > 0 {
					pause(ctx, l.pace/2+rand.N(l.pace))
				}
			}
		})
	}
}

// pause waits so long, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = errors.Join(l.failure, err)
}

// end stops the writers; each finishes its transaction.
func (l *load) end() {
	l.t.Helper()
	l.cancelAll()
	l.check()
}

// wait waits until the writers have written what begin asked for.
func (l *load) wait() {
	l.t.Helper()
	l.done.Wait()
	l.check()
}

func (l *load) cancelAll() {
	if l.cancel != nil {
		l.cancel()
		l.done.Wait()
	}
}

func (l *load) check() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		l.t.Fatalf("the load could not write: %v", l.failure)
	}
}

// changes returns how many rows both sides have changed.
func (l *load) changes() (east, west int64) { return l.written["e"].Load(), l.written["w"].Load() }

// expected returns what a table must hold on both sides: each row's side and
// op by its key, from the ledgers.
func (l *load) expected(t *table) map[string]string {
	rows := map[string]string{}
	for _, w := range l.writers {
		for _, e := range w.ledger.of(t).live {
			rows[t.text(e.key)] = fmt.Sprintf("%s %d", w.side, e.op)
		}
	}
	return rows
}
