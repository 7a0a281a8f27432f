package capture

import (
	"context"
	"fmt"

	"duplex/change"
	"duplex/config"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// continueNumbers makes a capture that has no saved position go on from the
// last numbers that its region published, if it ever did. The other regions
// know what they have applied by these numbers: a transaction under an old one
// would be taken for that.
func continueNumbers(ctx context.Context, cfg config.Kafka, region change.Region) (change.Stamper, error) {
	s := change.Stamper{Region: region}
	spine := topics.Spine(region)
	t, err := openTail(cfg, spine)
	if err != nil {
		return s, err
	}
	defer t.close()
	var failed error
	start, err := t.read(ctx, func(r *kgo.Record) {
		if err := follow(&s, r); err != nil && failed == nil {
			failed = supervise.Permanent(fmt.Errorf("reading %s@%d: %w", spine, r.Offset, err))
		}
	}, func() bool { return s.Seq > 0 || failed != nil })
	switch {
	case err != nil:
		return s, err
	case failed != nil:
		return s, failed
	case s.Seq == 0 && start > 0:
		return s, supervise.Permanent(fmt.Errorf("region %s has published before, but no position is saved and topic %s no longer holds a transaction of it to go on numbering from; mend: give the region another id, in the process file and in the task file", region, spine))
	}
	return s, nil
}

// follow takes into s the stamp of an END record of the region's spine.
func follow(s *change.Stamper, r *kgo.Record) error {
	_, value, err := schemas.ReadHeader(r.Value)
	if err != nil {
		return err
	}
	var end schemas.End
	if err := schemas.ReadEnd(value, &end); err != nil {
		return err
	}
	s.HLC = max(s.HLC, end.Stamp.HLC)
	for _, e := range end.Stamp.Seen {
		s.Seen = s.Seen.With(e.Region, e.Task, e.Seq)
	}
	if end.Stamp.Origin == s.Region {
		s.Seq = max(s.Seq, end.Stamp.Seq)
	}
	return nil
}
