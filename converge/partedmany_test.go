package converge

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"duplex/change"
)

// The same among three and four regions. What comes in from several of them is written in an order in which it could have
// happened (a transaction after all that it had seen), and between the planning and the telling of one source's batch no other
// source's is planned: so what is known is what lies in the database, but for the region's own writes.

// TestPartedHistoriesOfMany: at rest all regions have of each row what the set of its writes comes to.
func TestPartedHistoriesOfMany(t *testing.T) {
	t.Parallel()
	limit, n := partedTime(), 0
	for began := time.Now(); time.Since(began) < limit; n++ {
		seed := rand.Uint64()
		if text := playMany(seed, manySound); text != "" {
			t.Fatalf("seed %d:\n%s", seed, text)
		}
	}
	t.Logf("%d histories", n)
}

// TestPartedRulesOfManyAreNeeded: without any one of them some histories end wrong.
func TestPartedRulesOfManyAreNeeded(t *testing.T) {
	t.Parallel()
	for rule, name := range manyRules {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100_000) {
				if playMany(seed, rule) != "" {
					t.Logf("seed %d ends wrong", seed)
					return
				}
			}
			t.Error("every history ended right without it")
		})
	}
}

// manyRule is a rule that is broken.
type manyRule int

const (
	manySound          manyRule = iota
	manyNoMending               // torn rows stay
	manyBlind                   // plans don't wait for the region's own writes that the source had seen
	manyAcausal                 // nor for what third regions wrote that it had seen
	manyAtOnce                  // sources plan side by side
	manyToldBlindly             // the tail doesn't wait for what a write had seen
	manyEagerMending            // rows are put right while a source is still read again
	manySettledTooSoon          // a place is saved though a row is torn
	manyForgotten               // versions are forgotten before all have seen them
)

var manyRules = map[manyRule]string{
	manyNoMending: "mending", manyBlind: "plans wait for own writes", manyAcausal: "causal order", manyAtOnce: "one source at a time", manyToldBlindly: "the tail waits",
	manySettledTooSoon: "settled", manyForgotten: "forgotten",
}

type manyWorld struct {
	r       *rand.Rand
	broken  manyRule
	regions []*manyRegion
	places  []*worldEdit
	log     strings.Builder
	value   int
}

type manyRegion struct {
	w         *manyWorld
	id        int
	stamper   change.Stamper
	rows      [worldRows]worldRow
	binlog    []worldTxn
	published int
	progress  []change.Seq // of each source's, durable
	saved     change.HLC

	index    *Index
	parted   *Parted
	frontier *Frontier
	tail     int
	own      change.Seq
	streams  []*manyStream
	holder   int // the stream that has planned, -1 for none
	mend     *pairMend
}

// manyStream is what comes in from one source.
type manyStream struct {
	from        *manyRegion
	told, known change.Seq
	next        int
	job         *pairJob
	needs       change.Seen
	stamps      []change.Stamp
}

var manyNames = []change.Region{"east", "north", "south", "west"}

func (w *manyWorld) logf(format string, args ...any) { fmt.Fprintf(&w.log, format+"\n", args...) }

func playMany(seed uint64, broken manyRule) (wrong string) {
	if broken != manySound {
		defer func() {
			if r := recover(); r != nil { // an image that isn't known
				wrong = fmt.Sprint(r)
			}
		}()
	}
	w := &manyWorld{r: rand.New(rand.NewPCG(seed, 9)), broken: broken, places: []*worldEdit{nil}}
	n := 3 + w.r.IntN(4)/3
	for i := range n {
		w.regions = append(w.regions, &manyRegion{w: w, id: i, stamper: change.Stamper{Region: manyNames[i]}, progress: make([]change.Seq, n)})
	}
	for _, r := range w.regions {
		r.start()
	}
	steps, quiet := 20+w.r.IntN(300), w.r.IntN(2) == 0
	for range steps {
		r := w.regions[w.r.IntN(n)]
		switch k := w.r.IntN(60); {
		case k < 8:
			if !quiet || w.r.IntN(8) == 0 {
				r.write()
			}
		case k < 15:
			r.publish()
		case k < 24:
			r.read()
		case k < 50:
			r.apply(w.r.IntN(n))
		case k < 53:
			r.mendStep()
		case k < 55:
			r.save()
		case k < 58:
			r.sweep()
		default:
			if w.r.IntN(4) == 0 {
				w.logf("%s dies", r.stamper.Region)
				r.start()
			}
		}
	}
	return w.settle()
}

// settle lets all be done, and compares.
func (w *manyWorld) settle() (wrong string) {
	for range 5000 {
		moved := false
		for _, r := range w.regions {
			for r.read() {
				moved = true
			}
			if r.published < len(r.binlog) {
				r.published, moved = len(r.binlog), true
			}
			for s := range w.regions {
				moved = r.apply(s) || moved
			}
			moved = r.mendStep() || moved
		}
		if !moved {
			break
		}
	}
	for row := range worldRows {
		want := w.want(row)
		for _, r := range w.regions {
			if r.rows[row] != want {
				wrong += fmt.Sprintf("row %d of %s is %+v, must be %+v\n", row, r.stamper.Region, r.rows[row], want)
			}
		}
	}
	for _, r := range w.regions {
		for s, st := range r.streams {
			if s != r.id && (st.job != nil || st.next < len(st.from.binlog)) {
				wrong += fmt.Sprintf("%s isn't done with %s: job %v, next %d of %d\n", r.stamper.Region, st.from.stamper.Region, st.job != nil, st.next, len(st.from.binlog))
			}
		}
		if r.tail < len(r.binlog) || len(r.parted.torn) > 0 && w.broken != manyNoMending {
			wrong += fmt.Sprintf("%s isn't done: tail %d of %d, torn %d\n", r.stamper.Region, r.tail, len(r.binlog), len(r.parted.torn))
		}
	}
	if wrong == "" {
		return ""
	}
	return wrong + w.log.String()
}

// want is what a row must be, by the set of its writes alone.
func (w *manyWorld) want(row int) worldRow {
	return (&pairWorld{places: w.places}).want(row)
}

// start begins, or begins anew, with nothing known but what is durable.
func (r *manyRegion) start() {
	var sources []change.Region
	for i := range r.w.regions {
		if i != r.id {
			sources = append(sources, manyNames[i])
		}
	}
	r.index = NewIndex(1<<20, r.saved)
	r.parted = NewParted(r.index, r.stamper.Region, sources, 1<<20)
	r.frontier = NewFrontier(r.stamper.Region, manyNames[:len(r.w.regions)])
	r.holder, r.mend, r.own = -1, nil, 0
	r.streams = nil
	for i, from := range r.w.regions {
		st := &manyStream{from: from, known: r.progress[i]}
		for st.next < len(from.binlog) && (from.binlog[st.next].marked || from.binlog[st.next].stamp.HLC <= r.saved) {
			if t := &from.binlog[st.next]; !t.marked {
				st.told = t.stamp.Seq
			} else if t.stamp.HLC > r.saved {
				break
			}
			st.next++
		}
		r.streams = append(r.streams, st)
	}
	for r.tail = 0; r.tail < len(r.binlog) && r.binlog[r.tail].stamp.HLC <= r.saved; r.tail++ {
		if t := &r.binlog[r.tail]; !t.marked {
			r.own = t.stamp.Seq
		}
	}
}

// write has the region's application write.
func (r *manyRegion) write() {
	w := r.w
	row := w.r.IntN(worldRows) * w.r.IntN(2)
	if r.mend != nil && !r.mend.absent[row] {
		if _, locked := r.mend.rights[row]; locked {
			return
		}
	}
	r.stamper.HLC += change.HLC(w.r.IntN(3) * w.r.IntN(20))
	stamp := r.stamper.Local(change.HLC(0).Time())
	t := worldTxn{stamp: stamp}
	for range 1 + w.r.IntN(2)*w.r.IntN(3) {
		e := w.edit(&r.rows[row], stamp)
		e.row, e.Place = row, Place(len(w.places))
		w.places = append(w.places, e)
		t.edits = append(t.edits, e)
		w.logf("%s %d hlc %d seen %v: row %d kind %d groups %v added %v → %+v", stamp.Origin, e.Seq, e.Version.HLC, e.Seen, row, e.Kind, e.Groups, e.Added, e.image)
	}
	r.binlog = append(r.binlog, t)
}

func (w *manyWorld) edit(have *worldRow, stamp change.Stamp) *worldEdit {
	e := &worldEdit{Edit: Edit{Version: stamp.Version(), Seq: stamp.Seq, Seen: stamp.Seen}}
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
	return e
}

func (r *manyRegion) publish() {
	if r.published < len(r.binlog) {
		r.published += 1 + r.w.r.IntN(len(r.binlog)-r.published)
	}
}

// tells reports whether all is told that a transaction had seen: of the region itself, and of sources.
func (r *manyRegion) tells(seen change.Seen, but int) bool {
	for s, st := range r.streams {
		of := seen.Of(manyNames[s])
		switch {
		case s == but:
		case s == r.id && r.own < of && r.w.broken != manyBlind:
			return false
		case s != r.id && st.told < of && r.w.broken != manyAcausal:
			return false
		}
	}
	return true
}

// read has the tail read a transaction.
func (r *manyRegion) read() bool {
	if r.tail == r.published {
		return false
	}
	t := &r.binlog[r.tail]
	for s, st := range r.streams {
		if s != r.id && st.told < t.stamp.Seen.Of(manyNames[s]) && r.w.broken != manyToldBlindly {
			return false
		}
	}
	r.tail++
	if !t.marked {
		for _, e := range t.edits {
			if err := r.parted.Local(rowKey(e.row), groupIDs(), &e.Edit); err != nil {
				panic(err)
			}
		}
		r.own = t.stamp.Seq
	}
	r.frontier.Read(r.stamper.Region, t.stamp)
	return true
}

// apply goes a step on with what comes from a source.
func (r *manyRegion) apply(s int) bool {
	if s == r.id || r.mend != nil {
		return false
	}
	st := r.streams[s]
	if st.job == nil {
		return r.gather(s)
	}
	j := st.job
	switch j.stage {
	case 0:
		// Until all is told again that was applied, what was told last isn't what lies in the database.
		if r.learning() || !r.tells(st.needs, s) || r.holder >= 0 && r.holder != s && r.w.broken != manyAtOnce {
			return false
		}
		r.holder = s
		for row, m := range j.rows {
			j.plans[row] = r.parted.Plan(rowKey(row), m)
		}
	case 1:
		r.commit(s)
	default:
		r.tell(st, j, false)
		if r.holder == s {
			r.holder = -1
		}
		r.w.logf("%s told of %s %d", r.stamper.Region, manyNames[s], j.seq)
		return true
	}
	j.stage++
	return true
}

func (r *manyRegion) tell(st *manyStream, j *pairJob, guessed bool) {
	for row, m := range j.rows {
		plan := j.plans[row]
		if guessed {
			plan = m.Guess()
		}
		if err := r.parted.Wrote(rowKey(row), groupIDs(), m, plan, Pos(len(r.binlog))); err != nil {
			panic(err)
		}
	}
	for _, s := range st.stamps {
		r.frontier.Read(st.from.stamper.Region, s)
	}
	st.told, st.next, st.job = j.seq, j.next, nil
}

// gather takes a batch, or learns of a transaction that was applied before. Only the first transaction of a batch may have seen
// what isn't told yet: or two sources' batches could wait for each other.
func (r *manyRegion) gather(s int) bool {
	st, from := r.streams[s], r.streams[s].from
	j := &pairJob{rows: map[int]*Merged{}, plans: map[int]Plan{}, next: st.next}
	st.stamps = nil
	for left := 1 + r.w.r.IntN(3); left > 0 && j.next < from.published; j.next++ {
		t := &from.binlog[j.next]
		if t.marked {
			st.stamps = append(st.stamps, t.stamp)
			continue
		}
		if j.seq > 0 && (t.stamp.Seq <= st.known || !r.tells(t.stamp.Seen, s)) {
			break
		}
		for _, e := range t.edits {
			if j.rows[e.row] == nil {
				j.rows[e.row] = &Merged{}
			}
			edit := e.Edit
			j.rows[e.row].Merge(&edit)
		}
		st.stamps = append(st.stamps, t.stamp)
		if j.seq == 0 {
			st.needs = t.stamp.Seen
		}
		j.seq, j.hlc = t.stamp.Seq, t.stamp.HLC
		if left--; t.stamp.Seq <= st.known {
			j.next++
			break
		}
	}
	if j.seq == 0 {
		moved := st.next != j.next
		for _, stamp := range st.stamps {
			r.frontier.Read(from.stamper.Region, stamp)
		}
		st.next = j.next
		return moved
	}
	if j.seq > st.known {
		st.job = j
		return true
	}
	if !r.tells(st.needs, s) {
		return false
	}
	r.tell(st, j, true)
	r.w.logf("%s learns of %s %d", r.stamper.Region, manyNames[s], j.seq)
	return true
}

func (r *manyRegion) learning() bool {
	return slices.ContainsFunc(r.streams, func(st *manyStream) bool { return st.from != r && st.told < st.known })
}

// commit writes a batch.
func (r *manyRegion) commit(s int) {
	j := r.streams[s].job
	for row, m := range j.rows {
		plan, have := j.plans[row], &r.rows[row]
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
		if sum := m.Sum(plan.Adds); sum != nil {
			have.q += sum[0].Int64()
		}
		r.w.logf("%s writes row %d of %s: %+v", r.stamper.Region, row, manyNames[s], *have)
	}
	r.progress[s] = j.seq
	r.binlog = append(r.binlog, worldTxn{marked: true, stamp: r.stamper.Applied(manyNames[s], "", j.seq, j.hlc)})
}

// mendStep locks torn rows and waits for the tail, or writes them.
func (r *manyRegion) mendStep() bool {
	w := r.w
	if w.broken == manyNoMending || r.holder >= 0 || r.learning() && w.broken != manyEagerMending {
		return false
	}
	p := &pairRegion{w: &pairWorld{places: w.places, r: w.r}, rows: r.rows, name: r.stamper.Region}
	if r.mend == nil {
		torn := r.parted.Torn()
		if len(torn) == 0 {
			return false
		}
		r.mend = &pairMend{map[int]Right{}, map[int]bool{}}
		for row := range worldRows {
			if slices.Contains(torn, rowKey(row)) {
				right, _ := r.parted.Right(rowKey(row))
				r.mend.rights[row], r.mend.absent[row] = Right{}, !r.rows[row].present && (!right.Whole || right.Deleted)
			}
		}
		r.published = len(r.binlog)
		for r.read() {
		}
		if r.tail < len(r.binlog) {
			r.mend = nil // the tail is late
			return false
		}
		for row := range r.mend.rights {
			r.mend.rights[row], _ = r.parted.Right(rowKey(row))
		}
		return true
	}
	m := r.mend
	r.mend = nil
	for row, right := range m.rights {
		switch {
		case m.absent[row] && right.Whole && !right.Deleted:
			continue // it is inserted first the next time
		case !m.absent[row]:
			p.right(row, right)
			r.rows = p.rows
		}
		r.parted.Mended(rowKey(row))
		w.logf("%s mends row %d: %+v by %+v", r.stamper.Region, row, r.rows[row], right)
	}
	of := (r.id + 1) % len(r.w.regions)
	r.binlog = append(r.binlog, worldTxn{marked: true, stamp: r.stamper.Applied(manyNames[of], "", r.progress[of], r.stamper.HLC)})
	return true
}

// save saves from where all is read again after a death.
func (r *manyRegion) save() {
	if len(r.parted.torn) == 0 || r.w.broken == manySettledTooSoon {
		r.saved = max(r.saved, r.index.Forgotten())
	}
}

func (r *manyRegion) sweep() {
	stable := max(r.frontier.Stable(), r.saved)
	tailed := Pos(r.tail)
	if r.w.broken == manyForgotten {
		stable = r.stamper.HLC
	}
	for !r.index.Sweep(stable, tailed) {
	}
	r.parted.Sweep()
}
