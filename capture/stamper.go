package capture

import (
	"time"

	"duplex/change"
)

// stamper gives each published transaction its stamp. It is pure: what it
// knows is saved with the position, so a restart stamps the same transaction
// alike.
type stamper struct {
	region change.Region
	seq    change.Seq // of the last local transaction stamped
	hlc    change.HLC // the greatest given or applied so far
	seen   change.Seen
}

// local stamps a transaction of the region's own application.
func (s *stamper) local(commit time.Time) change.Stamp {
	s.seq++
	s.hlc = s.hlc.Next(commit)
	return change.Stamp{Origin: s.region, Seq: s.seq, HLC: s.hlc, Seen: s.seen}
}

// pass brings s to where the stamper is that gave the stamp, if it gave no
// other meanwhile.
func (s *stamper) pass(stamp change.Stamp) {
	if stamp.Origin == s.region {
		s.seq = stamp.Seq
	}
	s.hlc, s.seen = max(s.hlc, stamp.HLC), stamp.Seen
}

// applied stamps a transaction that apply wrote for another region, as its
// marker says. All local transactions after it have seen it.
func (s *stamper) applied(origin change.Region, seq change.Seq, hlc change.HLC) change.Stamp {
	s.hlc = max(s.hlc, hlc)
	s.seen = s.seen.With(origin, seq)
	return change.Stamp{Origin: origin, Seq: seq, HLC: hlc, Seen: s.seen}
}
