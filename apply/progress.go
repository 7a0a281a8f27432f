package apply

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"duplex/change"
	"duplex/mysql"
	"duplex/supervise"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"
)

// errFenced says that a newer applier has taken over.
var errFenced = errors.New("another applier of this task has taken over: the epoch in duplex.progress is no longer ours")

// progress is the truth of what was applied (promise 3): the rows of
// duplex.progress of one task and origin, one for each worker, changed only in
// the transactions that write the rows they speak of.
type progress struct {
	task   string
	origin change.Region
	epoch  int64
	// first and last are the workers whose rows are ours: all of them, but with
	// ordering key, where several processes write at once.
	first, last int
}

// everyWorker is the last of all workers that there may be.
const everyWorker = math.MaxInt32

// lease is held by the one applier of a task and origin. It is a named lock
// of the target server, bound to a connection: the server gives it to the next
// when the holder's connection ends, or has been silent for leaseSilence, as a
// frozen process's is. Whoever gets it raises the epoch, so a holder that comes
// back to life can't write.
type lease struct{ conn *sql.Conn }

const (
	leaseSilence = 6 * time.Second
	leaseBeat    = time.Second
)

// errStandby says that another applier holds the lease.
var errStandby = errors.New("standing by: another applier of this task is running")

// lockName is the name of the lease's lock: one has at most 64 characters, task and
// origin may have more.
func (p *progress) lockName() string {
	return "duplex." + strconv.FormatUint(xxhash.Sum64String(p.task+"\x00"+string(p.origin)), 16)
}

// takeLease gets the lease or fails with errStandby.
func (p *progress) takeLease(ctx context.Context, db *sql.DB) (*lease, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, classify(err)
	}
	var got sql.NullInt64
	_, err = conn.ExecContext(ctx, fmt.Sprintf("SET SESSION wait_timeout = %d", int(leaseSilence.Seconds())))
	if err == nil {
		err = conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 0)", p.lockName()).Scan(&got)
	}
	switch {
	case err != nil:
		conn.Close()
		return nil, classify(err)
	case got.Int64 != 1:
		conn.Close()
		return nil, errStandby
	}
	return &lease{conn}, nil
}

// keep shows the server that we live, until ctx ends or the lease is lost.
func (l *lease) keep(ctx context.Context) error {
	tick := time.NewTicker(leaseBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if _, err := l.conn.ExecContext(ctx, "DO 1"); err != nil {
				return fmt.Errorf("keeping the applier's lease: %w", err)
			}
		}
	}
}

// during runs f while the lease is kept. It ends f if the lease is lost.
func (l *lease) during(ctx context.Context, f func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	finished := errors.New("finished")
	group.Go(func() error {
		if err := f(ctx); err != nil {
			return err
		}
		return finished
	})
	group.Go(func() error { return l.keep(ctx) })
	if err := group.Wait(); !errors.Is(err, finished) {
		return err
	}
	return nil
}

// release gives the lease back. Closing the pool after it closes the
// connection, which is what frees the lock.
func (l *lease) release() { l.conn.Close() }

// takeOver raises the epoch, makes the rows of so many workers, and returns the
// stamp of the last transaction that was applied. It is called by the holder of the
// lease.
func (p *progress) takeOver(ctx context.Context, db *sql.DB, workers int) (applied change.Stamp, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return applied, classify(err)
	}
	defer tx.Rollback()
	applied.Origin = p.origin
	var epoch int64
	// FOR UPDATE waits for a batch that the former applier is committing.
	rows, err := tx.QueryContext(ctx, "SELECT epoch, seq, hlc FROM duplex.progress WHERE task = ? AND origin = ? AND worker BETWEEN ? AND ? FOR UPDATE", p.task, string(p.origin), p.first, p.last)
	if err != nil {
		return applied, classify(err)
	}
	for rows.Next() {
		var e int64
		var s change.Stamp
		if err := rows.Scan(&e, &s.Seq, &s.HLC); err != nil {
			rows.Close()
			return applied, fmt.Errorf("reading duplex.progress: %w", err)
		}
		epoch, applied.Seq, applied.HLC = max(epoch, e), max(applied.Seq, s.Seq), max(applied.HLC, s.HLC)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return applied, classify(err)
	}
	p.epoch = epoch + 1
	if _, err := tx.ExecContext(ctx, "UPDATE duplex.progress SET n = n + 1, epoch = ? WHERE task = ? AND origin = ? AND worker BETWEEN ? AND ?", p.epoch, p.task, string(p.origin), p.first, p.last); err != nil {
		return applied, classify(err)
	}
	for w := p.first; w < p.first+workers; w++ {
		_, err := tx.ExecContext(ctx, "INSERT IGNORE INTO duplex.progress (task, origin, worker, epoch, n, seq, hlc) VALUES (?, ?, ?, ?, 0, 0, 0)", p.task, string(p.origin), w, p.epoch)
		if err != nil {
			return applied, classify(err)
		}
	}
	if err := tx.Commit(); err != nil {
		return applied, classify(err)
	}
	return applied, nil
}

// appendMarker appends the statement that must be the first of every apply
// transaction. n always changes, since a row that an UPDATE leaves as it was
// is not logged, and the transaction would look local and echo (promise 2).
func (p *progress) appendMarker(dst []byte, worker int, seq change.Seq, hlc change.HLC) []byte {
	dst = append(dst, "UPDATE duplex.progress SET n = n + 1, seq = "...)
	dst = strconv.AppendInt(dst, int64(seq), 10)
	dst = append(dst, ", hlc = "...)
	dst = strconv.AppendInt(dst, int64(hlc), 10)
	// Task and region names have no character that needs escaping.
	dst = append(append(append(dst, " WHERE task = '"...), p.task...), "' AND origin = '"...)
	dst = append(append(dst, p.origin...), "' AND worker = "...)
	dst = strconv.AppendInt(dst, int64(worker), 10)
	dst = append(dst, " AND epoch = "...)
	return strconv.AppendInt(dst, p.epoch, 10)
}

// classify marks errors of the server that waiting doesn't mend.
func classify(err error) error {
	fault := mysql.Classify(err)
	if fault.Class == mysql.Stop && fault.Number != 0 {
		return supervise.Permanent(fault)
	}
	return fault
}
