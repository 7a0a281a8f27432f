package apply

import (
	"context"
	"fmt"
	"time"

	"duplex/change"
	"duplex/mysql"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"
)

// Among three regions a change may come before one of a third region that had been applied
// where it was made: a row takes the unique value that another had until a third region gave that
// one a new value. Who takes the older row, which is all that is known here, for one in the way would delete it, and
// the third region's write, which comes next, would lose to that deletion. So what has to do with unique values waits.

// aheadPatience is from when on it shows that a stream waits for another one.
const aheadPatience = 5 * time.Second

// ahead is what the transaction at the head of the spine waits for.
type ahead struct {
	decided <-chan struct{} // closed when it may be there; nil if it needn't wait
	since   time.Time
	shown   bool
}

// early reports whether the transaction at the head of the spine must wait for what it had seen of third
// regions. What came before it doesn't wait: a third region's transaction may have seen that.
func (s *session) early(ctx context.Context, end *spine.Ending) (bool, error) {
	s.ahead.decided = nil
	if s.round == nil {
		return false, nil
	}
	of, decided := s.versions.lacks(end.Stamp)
	if of == "" {
		if s.ahead.shown {
			s.st.service.Enter(supervise.Streaming, nil)
		}
		s.ahead = ahead{}
		return false, nil
	}
	if clashes, err := s.binders.mayClash(ctx, end); !clashes || err != nil {
		return false, err
	}
	if s.ahead.decided = decided; s.ahead.since.IsZero() {
		s.ahead.since = time.Now()
	}
	if time.Since(s.ahead.since) > aheadPatience {
		s.ahead.shown = true
		s.st.service.Enter(supervise.Retrying, fmt.Errorf("waiting for the stream from region %s: transaction %d of %s had seen changes of it that aren't here yet, and is of a table with a unique key besides its primary key", of, end.Stamp.Seq, end.Stamp.Origin))
	}
	if len(s.open.commits) > 0 {
		return true, s.handOver(ctx)
	}
	return true, nil
}

// lacks returns a third region of which a transaction had seen what isn't decided here, if there is
// one, and what is closed when more is decided.
func (v *inbound) lacks(s change.Stamp) (of change.Region, decided <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, in := range v.all {
		if in == v || s.Seen.Of(in.source) <= max(in.applied, in.told.seq) || !v.frontier.Behind(in.source, s) {
			continue
		}
		if v.deciding == nil {
			v.deciding = make(chan struct{})
		}
		return in.source, v.deciding
	}
	return "", nil
}

// wake lets those look again who wait for more to be decided.
func (v *versions) wake() {
	if v.deciding != nil {
		close(v.deciding)
		v.deciding = nil
	}
}

// took notes what was applied before a session of the source's stream.
func (v *inbound) took(applied change.Seq) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.applied = applied
}

// mayClash reports whether rows of a transaction may have unique values that others have.
func (b *binders) mayClash(ctx context.Context, end *spine.Ending) (bool, error) {
	if end.MakesRoom {
		return true, nil
	}
	for i := range end.Partitions {
		unique, err := b.hasUnique(ctx, end.Partitions[i].Topic)
		if unique || err != nil {
			return unique, err
		}
	}
	return false, nil
}

// hasUnique reports whether the target's table for a topic has a unique key besides its primary key.
func (b *binders) hasUnique(ctx context.Context, topic string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if unique, known := b.unique[topic]; known {
		return unique, nil
	}
	_, db, table, ok := topics.ParseTable(topic)
	if !ok || !b.wanted(db, table) {
		return false, nil
	}
	found, err := mysql.LoadTable(ctx, b.db, db, table)
	if err != nil {
		return false, classify(err)
	}
	if b.unique == nil {
		b.unique = map[string]bool{}
	}
	b.unique[topic] = found != nil && len(found.Unique) > 0
	return b.unique[topic], nil
}
