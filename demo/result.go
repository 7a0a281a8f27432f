package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Result is what the demo found.
type Result struct {
	Seconds float64 `json:"seconds"` // that the applications wrote
	East    Wrote   `json:"east"`
	West    Wrote   `json:"west"`
	// Conflicts is how many writes were lost, as both regions had written one row before
	// they saw each other's write. The records tell what they were.
	Conflicts   int64   `json:"conflicts"`
	Differences int64   `json:"differences"` // rows that aren't the same in both regions
	Echoes      int64   `json:"echoes"`      // see echoes
	Tables      []Table `json:"tables"`
}

// Wrote is what one application did, and what became of it on the other side.
type Wrote struct {
	Rows         int64   `json:"rows"`
	Transactions int64   `json:"transactions"`
	LagP50Millis float64 `json:"lag_p50_ms"` // commit here to visible there
	LagP99Millis float64 `json:"lag_p99_ms"`
}

// String is the demo's last line.
func (r *Result) String() string {
	return fmt.Sprintf("demo: %d rows written in east, %d in west, %d conflicts, %d differences, %d echoes",
		r.East.Rows, r.West.Rows, r.Conflicts, r.Differences, r.Echoes)
}

// Good reports whether the regions are equal and nothing came back.
func (r *Result) Good() bool { return r.Differences == 0 && r.Echoes == 0 }

// result sums up after compare.
func (p *pair) result(wrote time.Duration, tables []Table, conflicts int64) *Result {
	r := &Result{Seconds: wrote.Seconds(), Tables: tables, Conflicts: conflicts, Differences: differences(tables), Echoes: p.echoes()}
	r.East, r.West = wroteAs(p.east, p.west), wroteAs(p.west, p.east)
	return r
}

func differences(tables []Table) (n int64) {
	for _, t := range tables {
		n += t.Differences
	}
	return n
}

func wroteAs(s, other *side) Wrote {
	applied := other.region.Status().Apply[0]
	return Wrote{Rows: s.app.rows.Load(), Transactions: s.app.transactions.Load(), LagP50Millis: applied.LagP50Millis, LagP99Millis: applied.LagP99Millis}
}

// conflicts counts the writes that either region has recorded as lost.
func (p *pair) conflicts(ctx context.Context) (int64, error) {
	lost := map[string]bool{}
	for _, s := range p.sides() {
		ids, err := listNames(ctx, s.server.DB(), "SELECT id FROM duplex.conflicts")
		if err != nil {
			return 0, fmt.Errorf("reading the conflicts of %s: %w", s.name, err)
		}
		for _, id := range ids {
			lost[id] = true
		}
	}
	return int64(len(lost)), nil
}

// echoes counts the changes that Duplex took for an application's although no
// application made them. The applications have counted what they committed:
// that many changes, and not one more, may come out of a region's binlog as
// its own, and that many may be applied in the other region. A change that
// travels back is in excess of both: its origin's change, applied in west
// without a mark that capture understands, leaves west as west's own, and is
// then applied in east once more than west's application has written. The
// excess shows even where writing the same values again changes no row, which
// neither the tables nor the rows in the binlog would betray.
func (p *pair) echoes() int64 {
	var n int64
	for i, s := range p.sides() {
		other := p.sides()[1-i]
		published := s.region.Status().Capture.Rows - s.app.rows.Load()
		applied := other.region.Status().Apply[0].Rows - s.app.rows.Load()
		n += max(0, published, applied)
	}
	return n
}

// quiet is for how long nothing is written once all is done with.
const quiet = time.Second

// catchUp waits until nothing is on its way: each capture has read its whole
// binlog and each stream has applied the last transaction that its source
// published. Both are asked of the databases too, and twice: what was applied
// between the two questions, or put back after a conflict, or recorded, would have
// made the binlog grow.
func (p *pair) catchUp(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the regions have not caught up %s after the last write", limit))
	defer cancel()
	return poll(ctx, func() error {
		if err := p.stopped(); err != nil {
			return final{err}
		}
		var before [2]string
		for i, s := range p.sides() {
			var err error
			if before[i], err = s.unread(ctx); err != nil {
				return err
			}
		}
		if err := errors.Join(p.behind(p.east, p.west), p.behind(p.west, p.east)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(quiet):
		}
		for i, s := range p.sides() {
			now, err := s.unread(ctx)
			if err != nil {
				return err
			}
			if now != before[i] {
				return fmt.Errorf("%s is still being written to", s.name)
			}
		}
		return nil
	})
}

// unread returns the region's executed transactions once capture has read
// them all, and an error until then.
func (s *side) unread(ctx context.Context) (executed string, err error) {
	position := s.region.Status().Capture.Position
	var missing sql.NullString
	err = s.server.DB().QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed, GTID_SUBTRACT(@@GLOBAL.gtid_executed, ?)", position).Scan(&executed, &missing)
	if err != nil {
		return "", fmt.Errorf("asking %s for its position: %w", s.name, err)
	}
	if missing.String != "" {
		return "", fmt.Errorf("the capture of %s has yet to read %s", s.name, missing.String)
	}
	return executed, nil
}

// behind returns an error while what source published isn't applied in target.
func (p *pair) behind(source, target *side) error {
	published, applied := source.region.Status().Capture.Seq, target.region.Status().Apply[0].Seq
	if applied < published {
		return fmt.Errorf("%s has applied %d of %d transactions of %s", target.name, applied, published, source.name)
	}
	return nil
}
