package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"duplex/apply"
	"duplex/supervise"
)

// snapshot is the state that the display shows.
type snapshot struct {
	elapsed, total time.Duration
	flows          [2]flow
}

// flow is one direction.
type flow struct {
	from, to       string
	fromServer     string
	written, rate  int64 // rows of the application of from: in all, in a second
	applied, speed int64 // the same as applied in to
	status         apply.Status
	last           []string // rows of from changed last, as they are in to
	trouble        string   // what is being tried again, if anything
}

// show shows the state once a second until ctx ends.
func (p *pair) show(ctx context.Context, total time.Duration, out display) error {
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, at := snapshot{}, began
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := p.stopped(); err != nil {
			return err
		}
		now := snapshot{elapsed: time.Since(began), total: total}
		for i, s := range p.sides() {
			f, err := p.flow(ctx, s, p.sides()[1-i])
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			now.flows[i] = f
		}
		now.measure(&last, time.Since(at))
		out.show(&now)
		last, at = now, time.Now()
	}
}

func (p *pair) flow(ctx context.Context, from, to *side) (flow, error) {
	f := flow{from: string(from.name), to: string(to.name), fromServer: from.server.Addr, written: from.app.rows.Load(), status: to.region.Status().Apply[0]}
	f.applied, f.trouble = f.status.Rows, trouble(from.region.Status().Capture.Status, f.status.Status)
	rows, err := to.server.DB().QueryContext(ctx,
		`SELECT CONCAT('order ', o.id), c.name, o.status, o.total, (SELECT COUNT(*) FROM shop.order_items i WHERE i.order_id = o.id)
		FROM shop.orders o JOIN shop.customers c ON c.id = o.customer_id WHERE o.home = ? ORDER BY o.changed DESC LIMIT 4`, f.from)
	if err != nil {
		return f, fmt.Errorf("reading the last orders of %s in %s: %w", f.from, f.to, err)
	}
	defer rows.Close()
	for rows.Next() {
		var order, customer, status, total, items string
		if err := rows.Scan(&order, &customer, &status, &total, &items); err != nil {
			return f, fmt.Errorf("reading the last orders of %s in %s: %w", f.from, f.to, err)
		}
		f.last = append(f.last, fmt.Sprintf("%s %s %s %8s  %s items", pad(order, 13), pad(customer, 13), pad(status, 6), total, items))
	}
	return f, rows.Err()
}

// trouble tells which of a direction's two services isn't streaming, and why.
func trouble(capture, apply supervise.Status) string {
	switch {
	case capture.State != supervise.Streaming:
		return fmt.Sprintf("capture is %s: %s", capture.State, capture.Error)
	case apply.State != supervise.Streaming:
		return fmt.Sprintf("apply is %s: %s", apply.State, apply.Error)
	}
	return ""
}

// measure fills in the rates since an earlier state.
func (s *snapshot) measure(before *snapshot, between time.Duration) {
	for i := range s.flows {
		f, old := &s.flows[i], &before.flows[i]
		f.rate = int64(float64(f.written-old.written) / between.Seconds())
		f.speed = int64(float64(f.applied-old.applied) / between.Seconds())
	}
}

// conflicts is how many conflicts the regions have recorded: each records them all, if
// not at once.
func (s *snapshot) conflicts() (most int64) {
	for i := range s.flows {
		most = max(most, s.flows[i].status.LocalWon+s.flows[i].status.RemoteWon)
	}
	return most
}

// line is the state in one line, for a log.
func (s *snapshot) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%3.0f s", s.elapsed.Seconds())
	for i := range s.flows {
		f := &s.flows[i]
		fmt.Fprintf(&b, " | %s→%s %d rows/s written, %d applied, lag p50 %.1f ms p99 %.1f ms, %d echoes filtered",
			f.from, f.to, f.rate, f.speed, f.status.LagP50Millis, f.status.LagP99Millis, f.status.Echoes)
		if f.trouble != "" {
			b.WriteString(", " + f.trouble)
		}
	}
	fmt.Fprintf(&b, " | %d conflicts", s.conflicts())
	return b.String()
}

// frame is the state as a picture.
func (s *snapshot) frame() []string {
	rule := strings.Repeat("─", 92)
	all := []string{
		fmt.Sprintf("Duplex: two regions, both written to          %2.0f of %.0f s, Ctrl-C ends it", s.elapsed.Seconds(), s.total.Seconds()),
		rule,
		"                rows written    rows/s │      applied    rows/s   lag p50   lag p99  echoes filtered",
	}
	for i := range s.flows {
		f := &s.flows[i]
		all = append(all, fmt.Sprintf("%-4s → %-4s      %10d %9d │   %10d %9d %6.1f ms %6.1f ms %16d",
			f.from, f.to, f.written, f.rate, f.applied, f.speed, f.status.LagP50Millis, f.status.LagP99Millis, f.status.Echoes))
	}
	all = append(all, fmt.Sprintf("prices that both regions changed at once: %d, the newer change stays in both", s.conflicts()), rule)
	for i := range s.flows {
		f := &s.flows[i]
		all = append(all, fmt.Sprintf("orders of %s changed last, as %s has them:", f.from, f.to))
		if f.trouble != "" {
			all = append(all, "  "+f.trouble)
		}
		for n := range 4 {
			row := ""
			if n < len(f.last) {
				row = f.last[n]
			}
			all = append(all, "  "+row) // always as many: the picture doesn't jump
		}
	}
	return all
}
