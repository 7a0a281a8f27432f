package converge

import (
	"math"
	"sort"

	"duplex/change"
)

// Frontier tells up to which HLC writes are stable: every region has decided on
// all of them, and whatever any region writes from now on has seen them. It
// follows the transactions of all regions as their spines have them.
type Frontier struct {
	self  change.Region
	feeds []*feed
}

// feed is what is known of one region's spine.
type feed struct {
	region change.Region
	seq    change.Seq // of its last own transaction
	clock  change.HLC // its later own ones have greater HLCs
	seen   change.Seen
	// points are facts about its own transactions, in order: those up to hlc
	// have numbers up to seq.
	points []point
	apart  change.Seq // how far two of them are apart, but for the last
}

type point struct {
	seq  change.Seq
	hlc  change.HLC
	seen change.Seen // by those of greater numbers
}

// maxPoints bounds what is remembered of a region that another one is far
// behind. With fewer points rows are forgotten somewhat later.
const maxPoints = 4096

// NewFrontier makes one for region self of a task.
func NewFrontier(self change.Region, regions []change.Region) *Frontier {
	f := &Frontier{self: self}
	for _, r := range regions {
		f.feeds = append(f.feeds, &feed{region: r})
	}
	return f
}

// Read takes in the next END record of a region's spine, its own transaction
// or one that was applied there. One of another region must be decided here before, one of
// this region read by the tail with all its rows.
func (f *Frontier) Read(source change.Region, s change.Stamp) {
	d := f.feed(source)
	if s.Origin == source && s.Seq > d.seq {
		d.note(point{s.Seq - 1, s.HLC - 1, s.Seen})
		d.seq = s.Seq
	}
	d.clock, d.seen = max(d.clock, s.HLC), s.Seen
	d.note(point{d.seq, d.clock, d.seen})
}

// note adds a point. It takes the place of the last one if that stands close
// enough to the one before.
func (d *feed) note(p point) {
	n := len(d.points)
	if n > 0 && d.points[n-1].seq == p.seq || n > 1 && d.points[n-1].seq-d.points[n-2].seq < d.apart {
		d.points[n-1] = p
		return
	}
	if n == maxPoints {
		n /= 2
		for i := range n {
			d.points[i] = d.points[2*i+1]
		}
		d.points = d.points[:n]
		d.apart = 2 * max(d.apart, 1)
	}
	d.points = append(d.points, p)
}

// Told returns the last own transaction of a region that has been read.
func (f *Frontier) Told(region change.Region) change.Seq { return f.feed(region).seq }

// Newest returns the greatest HLC that has been read: what is greater hasn't.
func (f *Frontier) Newest() (newest change.HLC) {
	for _, d := range f.feeds {
		newest = max(newest, d.clock)
	}
	return newest
}

// Ahead reports whether a transaction of another region has seen one that hasn't
// been decided here.
func (f *Frontier) Ahead(seen change.Seen) bool {
	for _, s := range seen {
		if s.Region != f.self && s.Seq > f.feed(s.Region).seq {
			return true
		}
	}
	return false
}

// Behind reports whether a transaction has seen one of another region that hasn't been decided
// here, or may have: numbers may begin anew, HLCs don't.
func (f *Frontier) Behind(of change.Region, s change.Stamp) bool {
	d := f.feed(of)
	return s.Seen.Of(of) > d.seq && d.clock < s.HLC
}

// Concurrent reports whether a write that is known and a change that comes in
// from another region were made without either having seen the other: it is then
// a conflict, which one of them loses. It is to be asked when a change is decided, and when
// the tail reads a write of this region, since a change may have been written
// before that was read. Where it can't be told any more, as a
// region is very far behind, it says that they were.
func (f *Frontier) Concurrent(known Write, s change.Stamp) bool {
	by := known.Version.Origin
	if by == s.Origin || s.Seen.Of(by) >= known.Seq {
		return false
	}
	d := f.feed(by)
	n := sort.Search(len(d.points), func(i int) bool { return d.points[i].seq >= known.Seq })
	return n == 0 || d.points[n-1].seen.Of(s.Origin) < s.Seq
}

func (f *Frontier) feed(r change.Region) *feed {
	for _, d := range f.feeds {
		if d.region == r {
			return d
		}
	}
	panic("converge: a transaction of a region that isn't of the task: " + string(r))
}

// Stable returns the HLC up to which writes are stable.
func (f *Frontier) Stable() change.HLC {
	stable := change.HLC(math.MaxInt64)
	for _, of := range f.feeds {
		least := of.seq // that a region has decided on
		for _, by := range f.feeds {
			if by != of && by.region != f.self {
				least = min(least, by.seen.Of(of.region))
			}
		}
		stable = min(stable, of.upTo(least))
	}
	for _, d := range f.feeds {
		d.forget(stable)
	}
	return stable
}

// upTo returns the HLC up to which all own transactions have numbers up to seq.
func (d *feed) upTo(seq change.Seq) change.HLC {
	n := sort.Search(len(d.points), func(i int) bool { return d.points[i].seq > seq })
	if n == 0 {
		return 0
	}
	return d.points[n-1].hlc
}

// forget drops the points that tell only of what is stable.
func (d *feed) forget(stable change.HLC) {
	n := sort.Search(len(d.points), func(i int) bool { return d.points[i].hlc > stable })
	if n < 2 {
		return
	}
	d.points = append(d.points[:0], d.points[n-1:]...)
	if len(d.points) < maxPoints/4 {
		d.apart /= 2
	}
}
