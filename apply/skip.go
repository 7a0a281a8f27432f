package apply

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"duplex/change"
)

// Skip is transactions of a source that are left out here for good, since an operator
// moved the offsets past them and confirmed exactly that.
type Skip struct {
	Source change.Region `json:"source"`
	// First and Last are the first and the last of them, Transactions how many of
	// those in between have changes of the task.
	First        change.Seq `json:"first"`
	Last         change.Seq `json:"last"`
	Transactions int64      `json:"transactions"`
	// At is when it was confirmed.
	At time.Time `json:"at,omitzero"`
}

const skipForm = "%d-%d/%d"

// String returns source:first-last/transactions, as ParseSkip reads it.
func (k Skip) String() string {
	return string(k.Source) + ":" + fmt.Sprintf(skipForm, k.First, k.Last, k.Transactions)
}

// ParseSkip reads source:first-last/transactions.
func ParseSkip(text string) (Skip, error) {
	var k Skip
	for i := range text {
		if text[i] == ':' {
			k.Source = change.Region(text[:i])
			_, err := fmt.Sscanf(text[i+1:], skipForm, &k.First, &k.Last, &k.Transactions)
			if err == nil && k.String() == text && k.Source != "" && 0 < k.First && k.First <= k.Last && k.Transactions > 0 {
				return k, nil
			}
			break
		}
	}
	return k, fmt.Errorf("%q says no transactions to leave out; mend: give source:first-last/number, as duplex status shows it", text)
}

// skipError says that the offsets of the group were moved past what wasn't applied.
type skipError struct {
	group, task string
	target      change.Region
	skip        Skip
}

// Error tells what would be skipped and how to go on either way.
func (e *skipError) Error() string {
	k, process := &e.skip, fmt.Sprintf("-c <process file of %s> --task %s", e.target, e.task)
	return fmt.Sprintf("the offsets of consumer group %s were moved forward, past %d transactions of region %s that were never applied here, of those from %d to %d: nothing was left out yet; "+
		"mend: to go back and apply them: duplex replay %s --source %[3]s --from seq:%[4]d && duplex resume %[6]s; to leave them out for good, so that their rows differ between the regions: duplex resume %[6]s --skip %[7]s",
		e.group, k.Transactions, k.Source, k.First, k.Last, process, k)
}

// Permanent tells that waiting doesn't mend it.
func (e *skipError) Permanent() bool { return true }

// errSkipped ends the session that left transactions out: the next begins behind them.
var errSkipped = errors.New("transactions were left out as confirmed: going on behind them")

// leaveOut leaves transactions out if that is confirmed, and fails with errSkipped
// then, or with why it isn't. hlc is that of the last of them.
func (s *session) leaveOut(ctx context.Context, k Skip, hlc change.HLC) error {
	if !s.st.confirmed(k) {
		return &skipError{s.saver.Group, s.st.cfg.Spec.Task, s.st.cfg.Process.Region, k}
	}
	k.At = time.Now().UTC().Truncate(time.Millisecond)
	if err := s.progress.skip(ctx, s.target, k, hlc); err != nil {
		return err
	}
	s.st.cfg.Log.Warn("transactions left out for good, as confirmed", "first", k.First, "last", k.Last, "transactions", k.Transactions)
	return errSkipped
}

// skip notes transactions as done with that weren't applied: the marker, and which
// they were.
func (p *progress) skip(ctx context.Context, db *sql.DB, k Skip, hlc change.HLC) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	result, err := tx.ExecContext(ctx, string(p.appendMarker(nil, p.first, k.Last, hlc)))
	if err != nil {
		return classify(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errFenced
	}
	_, err = tx.ExecContext(ctx, "REPLACE INTO duplex.skipped (task, origin, first_seq, last_seq, transactions, at_ms) VALUES (?, ?, ?, ?, ?, ?)",
		p.task, string(p.origin), int64(k.First), int64(k.Last), k.Transactions, k.At.UnixMilli())
	if err != nil {
		return classify(err)
	}
	if err := tx.Commit(); err != nil {
		return classify(err)
	}
	return nil
}

// skips returns what was left out, the latest first.
func (p *progress) skips(ctx context.Context, db *sql.DB) (all []Skip, err error) {
	rows, err := db.QueryContext(ctx, "SELECT first_seq, last_seq, transactions, at_ms FROM duplex.skipped WHERE task = ? AND origin = ? ORDER BY first_seq DESC", p.task, string(p.origin))
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		k := Skip{Source: p.origin}
		var millis int64
		if err := rows.Scan(&k.First, &k.Last, &k.Transactions, &millis); err != nil {
			return nil, fmt.Errorf("reading duplex.skipped: %w", err)
		}
		k.At = time.UnixMilli(millis).UTC()
		all = append(all, k)
	}
	if err := rows.Err(); err != nil {
		return nil, classify(err)
	}
	return all, nil
}

// leftOut reports whether a transaction is one of those left out.
func (s *session) leftOut(seq change.Seq) bool {
	for i := range s.skips {
		if k := &s.skips[i]; k.First <= seq && seq <= k.Last {
			return true
		}
	}
	return false
}

// findSkips reads what was left out, for the status and for what is read again.
func (s *session) findSkips(ctx context.Context) (err error) {
	if s.skips, err = s.progress.skips(ctx, s.target); err != nil {
		return err
	}
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	s.st.skipped = s.skips
	return nil
}

// confirm notes what an operator wants left out.
func (st *Stream) confirm(skip []Skip) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, k := range skip {
		if k.Source == st.cfg.Source {
			st.confirmations = append(st.confirmations, k)
		}
	}
}

// confirmed reports whether an operator wants exactly that left out.
func (st *Stream) confirmed(k Skip) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, c := range st.confirmations {
		if c == k {
			return true
		}
	}
	return false
}
