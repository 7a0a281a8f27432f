package converge

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"duplex/change"
)

// TestPartedHistories: two regions write the same rows, their topics come late, batches
// are of any size, processes die and learn anew; at rest both have of each row what the set of
// its writes comes to (promise 4).
func TestPartedHistories(t *testing.T) {
	t.Parallel()
	limit := partedTime()
	n := 0
	for began := time.Now(); time.Since(began) < limit; n++ {
		seed := rand.Uint64()
		if text := playParted(seed, sound); text != "" {
			t.Fatalf("seed %d:\n%s", seed, text)
		}
	}
	t.Logf("%d histories", n)
}

func partedTime() time.Duration {
	if os.Getenv("DUPLEX_SOAK") != "" {
		return time.Minute
	}
	return 700 * time.Millisecond
}

// TestPartedRulesAreNeeded: without any one of them some histories end wrong.
func TestPartedRulesAreNeeded(t *testing.T) {
	t.Parallel()
	for rule, name := range partedRules {
		if rule == sound {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for n := range uint64(400_000) {
				if seed := partedSeeds[rule] + n; playParted(seed, rule) != "" {
					t.Logf("seed %d ends wrong", seed)
					return
				}
			}
			t.Error("every history ended right without it")
		})
	}
}

// partedRule is a rule that is broken.
type partedRule int

const (
	sound partedRule = iota
	noMending
	plannedBlindly   // not waiting for what it had seen of this region
	toldBlindly      // the tail not waiting for what was told
	addsUnseen       // additions to a row inserted anew that they hadn't seen
	noTallies        // counters put back as they were inserted
	wholeOnlyByPart  // a torn row's groups alone are put back
	groupsOfExist    // a row put back without its newer groups
	settledTooSoon   // a place saved though a row is torn
	notHeld          // a place saved though what lost before it is read again
	forgottenTooSoon // versions forgotten before all regions have seen them
	insertedLate     // an absent row inserted after the tail has come by
	overAbsent       // an absent row, which isn't locked, put right though it is there by now
	unlocked         // torn rows put right without waiting for the tail
)

var partedRules = map[partedRule]string{
	noMending: "mending", plannedBlindly: "plans wait", toldBlindly: "the tail waits", addsUnseen: "unseen additions", noTallies: "tallies",
	wholeOnlyByPart: "whole rows", groupsOfExist: "newer groups", settledTooSoon: "settled", notHeld: "held", forgottenTooSoon: "forgotten", unlocked: "mended under lock", insertedLate: "absent rows locked",
	overAbsent: "absent rows left alone",
}

// partedSeeds are where to begin to look for what is rare.
var partedSeeds = map[partedRule]uint64{notHeld: 150_300, insertedLate: 17_500, settledTooSoon: 10_900}

const (
	worldGroups = 2
	worldRows   = 2
)

type worldRow struct {
	present bool
	groups  [worldGroups]int
	q       int64
}

// worldEdit is an Edit with what the row was after it.
type worldEdit struct {
	Edit
	row   int
	image worldRow
}

type worldTxn struct {
	marked bool
	stamp  change.Stamp
	edits  []*worldEdit
}

type pairWorld struct {
	r       *rand.Rand
	broken  partedRule
	regions [2]*pairRegion
	places  []*worldEdit // by Place
	log     strings.Builder
	value   int
}

type pairRegion struct {
	w         *pairWorld
	id        int
	name      change.Region
	rows      [worldRows]worldRow
	binlog    []worldTxn
	published int
	seq       change.Seq
	hlc       change.HLC
	progress  change.Seq // of the source's, durable
	other     *pairRegion

	index    *Index
	parted   *Parted
	frontier *Frontier
	tail     int        // in binlog
	own      change.Seq // read by the tail
	told     change.Seq
	tailed   Pos // source's seq that the tail has come by
	next     int // in the source's binlog
	saw      change.Seq
	known    change.Seq
	job      *pairJob
	mend     *pairMend
	saved    pairPlace
	asked    *pairPlace // to be saved when it is settled
}

type pairPlace struct {
	next    int
	own     change.Seq
	saw     change.Seq
	settled change.Seq
}

type pairJob struct {
	rows  map[int]*Merged
	plans map[int]Plan
	from  []change.Stamp
	seen  change.Seq
	seq   change.Seq
	hlc   change.HLC
	next  int
	stage int // 0 gathered, 1 planned, 2 committed
}

type pairMend struct {
	rights map[int]Right
	absent map[int]bool
}

var worldNames = [2]change.Region{"east", "west"}

func (w *pairWorld) logf(format string, args ...any) { fmt.Fprintf(&w.log, format+"\n", args...) }

func rowKey(row int) Key { return Key{uint64(row+1) << 60, uint64(row+1) * 0x9e3779b97f4a7c15} }

func groupIDs() []uint64 { return []uint64{11, 22} }

func playParted(seed uint64, broken partedRule) (wrong string) {
	if broken != sound {
		defer func() {
			if r := recover(); r != nil { // an image that isn't known
				wrong = fmt.Sprint(r)
			}
		}()
	}
	w := &pairWorld{r: rand.New(rand.NewPCG(seed, 7)), broken: broken, places: []*worldEdit{nil}}
	for i := range w.regions {
		w.regions[i] = &pairRegion{w: w, id: i, name: worldNames[i]}
	}
	for i, r := range w.regions {
		r.other = w.regions[1-i]
		r.start()
	}
	steps, quiet := 10+w.r.IntN(120), w.r.IntN(3) == 0
	for range steps {
		r := w.regions[w.r.IntN(2)]
		switch k := w.r.IntN(40); {
		case k < 9:
			if !quiet || w.r.IntN(8) == 0 {
				r.write()
			}
		case k < 15:
			r.publish()
		case k < 22:
			r.read()
		case k < 34:
			r.apply()
		case k < 36:
			r.mendStep()
		case k < 37:
			r.save()
		case k < 39:
			r.sweep()
		default:
			if w.r.IntN(3) == 0 {
				w.logf("%s dies", r.name)
				r.start()
			}
		}
	}
	return w.settle()
}

// settle lets all be done, and compares.
func (w *pairWorld) settle() string {
	for range 2000 {
		moved := false
		for _, r := range w.regions {
			for r.read() {
				moved = true
			}
			if r.published < len(r.binlog) {
				r.published, moved = len(r.binlog), true
			}
			moved = r.apply() || moved
			moved = r.mendStep() || moved
		}
		if !moved {
			break
		}
	}
	wrong := ""
	for row := range worldRows {
		want := w.want(row)
		for _, r := range w.regions {
			if r.rows[row] != want {
				wrong += fmt.Sprintf("row %d of %s is %+v, must be %+v\n", row, r.name, r.rows[row], want)
			}
		}
	}
	for _, r := range w.regions {
		if r.job != nil || r.tail < len(r.binlog) || r.next < len(r.other.binlog) || len(r.parted.torn) > 0 && w.broken != noMending {
			wrong += fmt.Sprintf("%s isn't done: job %v, tail %d of %d, next %d of %d, torn %d\n", r.name, r.job != nil, r.tail, len(r.binlog), r.next, len(r.other.binlog), len(r.parted.torn))
		}
	}
	if wrong == "" {
		return ""
	}
	return wrong + w.log.String()
}

// want is what a row must be, by the set of its writes alone.
func (w *pairWorld) want(row int) (want worldRow) {
	var all []*worldEdit
	for _, e := range w.places[1:] {
		if e.row == row {
			all = append(all, e)
		}
	}
	var e *worldEdit
	at := -1
	for i, x := range all {
		if x.Kind != Updated && (e == nil || x.Version.Compare(e.Version) >= 0) {
			e, at = x, i
		}
	}
	if e == nil || e.Kind == Deleted {
		return want
	}
	want = worldRow{true, e.image.groups, e.image.q}
	var by [worldGroups]*worldEdit
	for i, x := range all {
		if x.Kind != Updated {
			continue
		}
		same := x.Version == e.Version
		for g, id := range groupIDs() {
			if slices.Contains(x.Groups, id) && (x.Version.Compare(e.Version) > 0 || same && i > at) && (by[g] == nil || x.Version.Compare(by[g].Version) >= 0) {
				by[g] = x
				want.groups[g] = x.image.groups[g]
			}
		}
		if x.Added == nil {
			continue
		}
		saw := x.Seen.Of(e.Version.Origin) >= e.Seq
		if x.Version.Origin == e.Version.Origin {
			saw = x.Seq > e.Seq || same && i > at
		}
		if saw {
			want.q += x.Added[0].Int64()
		}
	}
	return want
}

// start begins, or begins anew, with nothing known but what is durable.
func (r *pairRegion) start() {
	r.index = NewIndex(1<<20, 0)
	r.parted = NewParted(r.index, r.name, []change.Region{r.other.name}, 1<<20)
	r.frontier = NewFrontier(r.name, worldNames[:])
	r.job, r.mend, r.asked = nil, nil, nil
	r.next, r.own, r.told, r.tailed, r.saw = r.saved.next, r.saved.own, r.saved.settled, Pos(r.saved.settled), r.saved.saw
	r.known = r.progress
	r.tail = 0
	for r.tail < len(r.binlog) && (r.binlog[r.tail].marked || r.binlog[r.tail].stamp.Seq <= r.own) {
		if r.binlog[r.tail].marked && r.binlog[r.tail].stamp.Seq > r.saved.settled {
			break
		}
		r.tail++
	}
}

// write has the region's application write.
func (r *pairRegion) write() {
	w := r.w
	row := w.r.IntN(worldRows)
	if w.r.IntN(3) > 0 {
		row = 0
	}
	if r.mend != nil && !r.mend.absent[row] {
		if _, locked := r.mend.rights[row]; locked {
			return
		}
	}
	if j := r.job; j != nil && j.stage == 1 && w.r.IntN(2) == 0 {
		return // as if it waited for the lock
	}
	r.seq++
	r.hlc += 1 + change.HLC(w.r.IntN(3)*w.r.IntN(20))
	stamp := change.Stamp{Origin: r.name, Seq: r.seq, HLC: r.hlc, Seen: change.Seen{{Region: r.other.name, Seq: r.progress}}}
	t := worldTxn{stamp: stamp}
	for range 1 + w.r.IntN(2)*w.r.IntN(3) {
		t.edits = append(t.edits, r.edit(row, stamp)...)
	}
	r.binlog = append(r.binlog, t)
	for _, e := range t.edits {
		w.logf("%s %d hlc %d seen %d: row %d kind %d groups %v added %v → %+v", r.name, e.Seq, e.Version.HLC, e.Seen, row, e.Kind, e.Groups, e.Added, e.image)
	}
}

func (r *pairRegion) edit(row int, stamp change.Stamp) []*worldEdit {
	w, have := r.w, &r.rows[row]
	e := &worldEdit{Edit: Edit{Version: stamp.Version(), Seq: stamp.Seq, Seen: stamp.Seen}, row: row}
	fresh := func() int { w.value++; return w.value }
	switch {
	case !have.present:
		e.Kind, *have = Inserted, worldRow{true, [worldGroups]int{fresh(), fresh()}, int64(w.r.IntN(100))}
	case w.r.IntN(5) == 0:
		e.Kind, *have = Deleted, worldRow{}
	default:
		for g, id := range groupIDs() {
			if w.r.IntN(3) == 0 {
				have.groups[g] = fresh()
				e.Groups = append(e.Groups, id)
			}
		}
		if w.r.IntN(2) == 0 || e.Groups == nil {
			d := int64(1 + w.r.IntN(1000)*1000)
			have.q += d
			e.Added = []*big.Int{big.NewInt(d)}
		}
	}
	e.image = *have
	e.Place = Place(len(w.places))
	w.places = append(w.places, e)
	return []*worldEdit{e}
}

func (r *pairRegion) publish() {
	if r.published < len(r.binlog) {
		r.published += 1 + r.w.r.IntN(len(r.binlog)-r.published)
	}
}

// read has the tail read a transaction.
func (r *pairRegion) read() bool {
	if r.tail == r.published {
		return false
	}
	t := &r.binlog[r.tail]
	seen := t.stamp.Seq
	if !t.marked {
		seen = t.stamp.Seen.Of(r.other.name)
	}
	if r.told < seen && r.w.broken != toldBlindly {
		return false
	}
	r.tail++
	if t.marked {
		r.tailed = max(r.tailed, Pos(t.stamp.Seq))
		return true
	}
	for _, e := range t.edits {
		if err := r.parted.Local(rowKey(e.row), groupIDs(), &e.Edit); err != nil {
			panic(err)
		}
	}
	r.own = t.stamp.Seq
	r.frontier.Read(r.name, t.stamp)
	return true
}

// apply goes a step on.
func (r *pairRegion) apply() bool {
	if r.mend != nil {
		return false
	}
	w := r.w
	if r.job == nil {
		return r.gather()
	}
	j := r.job
	switch j.stage {
	case 0:
		if r.own < j.seen && w.broken != plannedBlindly {
			return false
		}
		for row, m := range j.rows {
			plan := r.parted.Plan(rowKey(row), m)
			j.plans[row] = plan
		}
	case 1:
		r.commit(j)
	default:
		for row, m := range j.rows {
			if err := r.parted.Wrote(rowKey(row), groupIDs(), m, j.plans[row], Pos(j.seq)); err != nil {
				panic(err)
			}
		}
		r.decide(j.from)
		r.told, r.next, r.job = j.seq, j.next, nil
		w.logf("%s told of %d", r.name, j.seq)
		return true
	}
	j.stage++
	return true
}

func (r *pairRegion) decide(stamps []change.Stamp) {
	for _, s := range stamps {
		r.frontier.Read(r.other.name, s)
		r.saw = max(r.saw, s.Seen.Of(r.name))
	}
}

// gather takes a batch, or learns of a transaction that was applied before.
func (r *pairRegion) gather() bool {
	from := r.other
	j := &pairJob{rows: map[int]*Merged{}, plans: map[int]Plan{}, next: r.next}
	for left := 1 + r.w.r.IntN(3); left > 0 && j.next < from.published; j.next++ {
		t := &from.binlog[j.next]
		if t.marked {
			continue
		}
		if t.stamp.Seq <= r.known && len(j.from) > 0 {
			panic("learning in a batch")
		}
		for _, e := range t.edits {
			if j.rows[e.row] == nil {
				j.rows[e.row] = &Merged{}
			}
			edit := e.Edit
			j.rows[e.row].Merge(&edit)
		}
		j.from = append(j.from, t.stamp)
		j.seen, j.seq, j.hlc = t.stamp.Seen.Of(r.name), t.stamp.Seq, t.stamp.HLC
		if left--; t.stamp.Seq <= r.known {
			j.next++
			break
		}
	}
	if len(j.from) == 0 {
		moved := r.next != j.next
		r.next = j.next
		return moved
	}
	if j.seq > r.known {
		r.job = j
		return true
	}
	if r.own < j.seen && r.w.broken != plannedBlindly {
		return false
	}
	for row, m := range j.rows {
		if err := r.parted.Wrote(rowKey(row), groupIDs(), m, m.Guess(), Pos(j.seq)); err != nil {
			panic(err)
		}
	}
	r.decide(j.from)
	r.told, r.next = j.seq, j.next
	r.w.logf("%s learns of %d", r.name, j.seq)
	return true
}

func (r *pairRegion) learning() bool { return r.told < r.known }

// commit writes a batch.
func (r *pairRegion) commit(j *pairJob) {
	for row, m := range j.rows {
		plan, have := j.plans[row], &r.rows[row]
		if r.w.broken == addsUnseen {
			plan.Adds = m.All().Adds
		}
		sum := func() int64 {
			if s := m.Sum(plan.Adds); s != nil {
				return s[0].Int64()
			}
			return 0
		}
		if plan.Exist {
			*have = r.w.places[m.Exist.Place].image
		}
		if !have.present {
			continue // an UPDATE finds nothing
		}
		for _, i := range plan.Touched {
			g := slices.Index(groupIDs(), m.Touched[i].Group)
			have.groups[g] = r.w.places[m.Touched[i].Place].image.groups[g]
		}
		have.q += sum()
		r.w.logf("%s writes row %d: %+v", r.name, row, *have)
	}
	r.progress = j.seq
	r.hlc = max(r.hlc, j.hlc)
	r.binlog = append(r.binlog, worldTxn{marked: true, stamp: change.Stamp{Origin: r.other.name, Seq: j.seq, HLC: j.hlc}})
}

// mendStep locks torn rows and waits for the tail, or writes them.
func (r *pairRegion) mendStep() bool {
	w := r.w
	if w.broken == noMending || r.job != nil || r.learning() {
		return false
	}
	if r.mend == nil {
		torn := r.parted.Torn()
		if len(torn) == 0 {
			return false
		}
		r.mend = &pairMend{map[int]Right{}, map[int]bool{}}
		for row := range worldRows {
			if slices.Contains(torn, rowKey(row)) {
				right, _ := r.parted.Right(rowKey(row))
				r.mend.rights[row] = Right{}
				// An absent row that is to be there is inserted at once: that locks it.
				r.mend.absent[row] = !r.rows[row].present && (!right.Whole || right.Deleted || w.broken == insertedLate)
			}
		}
		if w.broken != unlocked {
			r.published = len(r.binlog)
			for r.read() {
			}
			if r.tail < len(r.binlog) {
				panic("the tail doesn't come by")
			}
		}
		for row := range r.mend.rights {
			r.mend.rights[row], _ = r.parted.Right(rowKey(row))
		}
		return true
	}
	m := r.mend
	r.mend = nil
	for row, right := range m.rights {
		toBe := right.Whole && !right.Deleted
		if m.absent[row] && toBe && (w.broken != insertedLate || r.rows[row].present) {
			continue // it is inserted first the next time
		}
		if !m.absent[row] || toBe || w.broken == overAbsent {
			r.right(row, right)
		}
		r.parted.Mended(rowKey(row))
	}
	r.binlog = append(r.binlog, worldTxn{marked: true, stamp: change.Stamp{Origin: r.other.name, Seq: r.progress}})
	return true
}

func (r *pairRegion) right(row int, right Right) {
	w, have := r.w, &r.rows[row]
	if right.Whole && w.broken != wholeOnlyByPart {
		if right.Deleted {
			*have = worldRow{}
			w.logf("%s mends row %d: none", r.name, row)
			return
		}
		*have = w.places[right.Exist].image
		if right.Added != nil && w.broken != noTallies {
			have.q += right.Added[0].Int64()
		}
	}
	if !have.present {
		return
	}
	for _, p := range right.Parts {
		if g := slices.Index(groupIDs(), p.Group); !right.Whole || w.broken != groupsOfExist {
			have.groups[g] = w.places[p.Place].image.groups[g]
		}
	}
	w.logf("%s mends row %d: %+v by %+v", r.name, row, *have, right)
}

// save saves where to begin after a death: what was asked for, once that is settled.
func (r *pairRegion) save() {
	if a := r.asked; a != nil {
		settled, held := r.parted.Settled(a.settled, Pos(a.settled), a.saw)
		switch {
		case held && r.w.broken != notHeld:
			r.asked = nil
		case r.tailed >= Pos(a.settled) && (settled || held || r.w.broken == settledTooSoon):
			r.saved, r.asked = *a, nil
			r.parted.Begin(a.saw)
		}
		return
	}
	if r.job == nil && r.mend == nil && !r.learning() {
		own := r.saw
		if own > 0 && r.w.r.IntN(2) == 0 {
			own = max(r.saved.own, own-change.Seq(r.w.r.IntN(3)))
		}
		r.asked = &pairPlace{r.next, own, r.saw, r.progress}
	}
}

func (r *pairRegion) sweep() {
	stable := r.frontier.Stable()
	if r.w.broken == forgottenTooSoon {
		stable = r.hlc
	}
	for !r.index.Sweep(stable, r.tailed) {
	}
	r.parted.Sweep()
}
