package main

import (
	"time"

	"duplex/change"
	"duplex/converge"
)

// No history has more of these.
const (
	maxRegions = 4
	maxKeys    = 4
	maxParts   = 2
)

// image is what a row holds: 0 for no row.
type image uint8

func (i image) digest() converge.Digest { return converge.Digest(i) }

// row is a row in a region's database.
type row struct {
	image image
	// by is the greatest version that this row is known to be based on: of the
	// change that was applied last, zero after the region's own writes.
	by    change.Version
	bySeq change.Seq
	// held is the job, plus one, that has the row locked, and latched the one
	// that has its key, so that no other job may decide on it.
	held, latched uint8
}

// rowChange is what a transaction did to a row.
type rowChange struct {
	key           uint8
	before, after image
	based         change.Version // row.by when it was made
	basedSeq      change.Seq     // row.bySeq
}

// txn is a transaction in a region's binlog, and, once published, in its topics.
type txn struct {
	marked bool  // written by apply
	origin uint8 // of a marked one, as its marker says, with seq and hlc
	seq    change.Seq
	hlc    change.HLC
	commit time.Time
	rows   [maxKeys]rowChange
	n      int // rows in use
	stamp  change.Stamp
	// outbox is set if the rows are deletions, of rows that yielded a unique
	// value, with versions of their own.
	outbox   bool
	versions [maxKeys]change.Version
}

// region is one database with its capture and its apply.
type region struct {
	id      uint8
	name    change.Region
	clock   int // ms; it may be set back
	rows    [maxKeys]row
	binlog  []txn
	durable [maxRegions]change.Seq // duplex.progress: of each origin, the last applied

	applied   [maxRegions]change.Seq // durable, at the last crash
	published int                    // of the binlog
	stamper   change.Stamper

	index    *converge.Index
	frontier *converge.Frontier
	tail     [maxParts]int // how much of its own topics is read, by partition
	followed int           // of the own transactions, by the frontier
	streams  [maxRegions]stream
	saved    change.HLC // index.Forgotten, as it was at some time
	right    change.HLC // up to where rows that go by ranks were right then
	began    change.HLC // right, when the index began
	horizon  converge.Horizon
	settled  settled // as it was at some time, of a pair
	from     settled // as it was at the last crash
	reborn   int     // how much of its own topics is to be read again after a crash before it forgets
	repair   job
}

// settled is from where all is read again after a crash, in a pair: the other region's
// topics from next on, after transaction seq, and the own ones after transaction local, which
// all after seq had seen.
type settled struct {
	next       int
	seq, local change.Seq
	own        change.Seq // the last own transaction that the tail had read then
}

// stream applies the transactions of another region.
type stream struct {
	next int // in the source's topics
	// behind is a place in the binlog behind all that it has written.
	behind int
	job    job
}

// stage is how far a job has come.
type stage uint8

const (
	idle      stage = iota
	waiting         // for the tail, rows locked
	decided         // rows locked
	committed       // and not noted in the index yet

	// Only where apply writes first:
	crowded  // the server refused a duplicate of a unique value
	asking   // who yields: rows locked, waiting for the tail
	making   // room is to be made
	made     // waiting for the tail to read that
	watching // for the tail to read what was put back
)

// job is a batch of a stream, or a repair, on its way into the database.
type job struct {
	stage   stage
	items   [maxKeys]item
	n       int
	waitFor int // place in the binlog
	upTo    int // in the source's topics
	seq     change.Seq
	hlc     change.HLC
	at      converge.Pos // behind its transaction

	yields txn                      // that makes room
	puts   [maxKeys]converge.Digest // of what a repair puts back
	over   [maxKeys]converge.Digest // and of what that comes over
}

// item is a row that a job decides on.
type item struct {
	key     uint8
	change  converge.Change
	write   converge.Write
	stamp   change.Stamp // of the last
	after   image
	image   image // that yields
	absent  bool  // when it was read: then it isn't locked
	tailed  bool  // the tail has read all that was in the binlog before the lock
	verdict converge.Verdict
	holder  bool // only locked, as it holds a unique value that another takes
	yields  bool // it is deleted, for its unique value
	lost    bool // a newer version is known
}

// world is all regions at a moment of a history.
type world struct {
	setting
	pick    chooser
	regions []region
	written int
	crashed int
	trace   func(format string, args ...any)

	stats
	ledger []written
	fault  string // what went wrong
}

// stats counts what happened.
type stats struct {
	steps, repairs, restored, heals, swept, waits, again, yielded, outranked, conflicts, reborn, spilled, early int
}

// chooser decides what is left to chance: random, or one of all possibilities.
type chooser interface {
	// intn returns one of 0 to n-1.
	intn(n int) int
}

var names = [maxRegions]change.Region{"a", "b", "c", "d"}

// indexed returns a key as the index has it.
func indexed(key uint8) converge.Key { return converge.Key{A: uint64(key)} }

// indexLimit makes the index one of a single shard.
const indexLimit = 1 << 20

func newWorld(s setting, pick chooser) *world {
	w := &world{setting: s, pick: pick, regions: make([]region, s.regions)}
	for i := range w.regions {
		r := &w.regions[i]
		r.id, r.name = uint8(i), names[i]
		r.stamper.Region = r.name
		r.binlog = make([]txn, 0, 4*s.writes)
		r.clock = 1000
		if s.skew > 0 {
			r.clock += w.pick.intn(s.skew)
		}
		w.empty(r, 0)
		r.frontier = converge.NewFrontier(r.name, names[:s.regions])
	}
	return w
}

// empty gives a region an empty index.
func (w *world) empty(r *region, forgotten change.HLC) {
	r.index = converge.NewIndex(indexLimit, forgotten)
	if w.spills {
		r.index.SpillTo(space{})
	}
}

// part returns the partition of a key's topic.
func (w *world) part(key uint8) int { return int(key) % w.parts }

// read returns how far the tail has read all partitions.
func (w *world) read(r *region) int {
	n := r.tail[0]
	for p := 1; p < w.parts; p++ {
		n = min(n, r.tail[p])
	}
	return n
}

// place tells where an image stands: a region's transaction and row.
func place(region uint8, at, row int) converge.Place {
	return converge.Place(region)<<32 | converge.Place(at)<<8 | converge.Place(row)
}

// imageOf returns the image of a write, from the topics.
func (w *world) imageOf(write converge.Write) image {
	if write.Digest == converge.Absent {
		return 0
	}
	p := write.Place
	return w.regions[p>>32].binlog[p>>8&0xffffff].rows[p&0xff].after
}

func (w *world) stampAt(p converge.Place) change.Stamp {
	return w.regions[p>>32].binlog[p>>8&0xffffff].stamp
}

func (w *world) logf(format string, args ...any) {
	if w.trace != nil {
		w.trace(format, args...)
	}
}

func (w *world) fail(reason string) {
	if w.fault == "" {
		w.fault = reason
	}
}
