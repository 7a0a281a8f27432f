package change

import "time"

// Stamper gives each published transaction of a region its stamp. It is pure:
// what it knows is saved with the position, so a restart stamps the same
// transaction alike.
type Stamper struct {
	Region Region
	Seq    Seq // of the last local transaction stamped
	HLC    HLC // the greatest given or applied so far
	Seen   Seen
}

// Local stamps a transaction of the region's own application.
func (s *Stamper) Local(commit time.Time) Stamp {
	s.Seq++
	s.HLC = s.HLC.Next(commit)
	return Stamp{Origin: s.Region, Seq: s.Seq, HLC: s.HLC, Seen: s.Seen}
}

// Applied stamps a transaction that a task's apply wrote for another region, as its
// marker says. All local transactions after it have seen it.
func (s *Stamper) Applied(origin Region, task string, seq Seq, hlc HLC) Stamp {
	s.HLC = max(s.HLC, hlc)
	s.Seen = s.Seen.With(origin, task, seq)
	return Stamp{Origin: origin, Task: task, Seq: seq, HLC: hlc, Seen: s.Seen}
}

// Pass brings s to where the stamper is that gave the stamp, if it gave no
// other meanwhile.
func (s *Stamper) Pass(stamp Stamp) {
	if stamp.Origin == s.Region {
		s.Seq = stamp.Seq
	}
	s.HLC, s.Seen = max(s.HLC, stamp.HLC), stamp.Seen
}
