package apply

import (
	"fmt"
	"time"

	"duplex/change"
	"duplex/internal/clock"
)

// skewError says that a transaction is dated so far in the future that the
// clock of its region must be wrong. It passes: time catches up.
type skewError struct {
	source       change.Region
	seq          change.Seq
	ahead, limit time.Duration
}

func (e *skewError) Error() string {
	return fmt.Sprintf("transaction %d of region %s is dated %s ahead of the clock here, more than conflicts.max_clock_skew (%s): were it applied, all that this region writes would be dated as far ahead, and would win over what others write; mend: set the clocks of both regions by NTP; the stream goes on when this region's clock has come near that date, or after a restart with conflicts: {max_clock_skew: %s}",
		e.seq, e.source, e.ahead.Round(time.Millisecond), e.limit, (e.ahead + time.Second).Round(time.Second))
}

// checkClock refuses a transaction that is dated too far ahead: the hybrid clock of
// this region must not be driven by a wrong one.
func (st *Stream) checkClock(seq change.Seq, hlc change.HLC) error {
	limit := st.cfg.Spec.Conflicts.MaxClockSkew
	ahead := hlc.Time().Sub(clock.Now())
	st.ahead.Store(int64(ahead))
	if ahead <= limit {
		return nil
	}
	return &skewError{st.cfg.Source, seq, ahead, limit}
}
