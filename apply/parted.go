package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/change"
	"duplex/converge"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/tasks"
)

// What package converge's Parted is told of rows that are made of parts, and the waiting that its
// rules ask for.

var (
	// errVersionsMixed has the batch's transactions written one by one.
	errVersionsMixed = errors.New("a batch has changes of a table from before and after an ALTER that was undone")
	// errOwnLate says that the tail is behind what came in.
	errOwnLate = errors.New("what came in has seen changes of this region that its own topics don't show here yet: tables with merge-columns or delta can't be written before; mend: none, if the region's own Kafka can be reached")
)

// errPartedParent says that foreign keys go on from a row made of parts.
func errPartedParent(t *boundTable) error {
	return fmt.Errorf("conflict rule of table %s: the source's server changed rows of other tables along with one of its rows, by a foreign key: where a row is made of parts it isn't known which of them it would have to be here; mend: drop ON DELETE and ON UPDATE from the foreign keys that refer to it, in every region, or give it policy last-write-wins without delta", t.name)
}

// partedPart is which part of conflicts.memory tallies may take.
const partedPart = 4

func (v *versions) newParted(spec *tasks.Spec) {
	if !anyParted(spec) || !v.alone() {
		return
	}
	v.parted = converge.NewParted(v.index, v.region, []change.Region{v.all[0].source}, int64(v.limits.Memory)/partedPart)
}

// refuseCascades refuses a table that is made of parts of which the server deletes or changes rows by itself.
func (b *binders) refuseCascades(ctx context.Context, t *boundTable) error {
	keys, err := mysql.LoadForeignKeys(ctx, b.db)
	if err != nil {
		return classify(err)
	}
	for i := range keys {
		if k := &keys[i]; k.Cascades() && k.DB == t.db && k.Table == t.table {
			return supervise.Permanent(fmt.Errorf("conflict rule of table %s: merge-columns and delta can't be used where the server itself changes rows, by foreign key %s, %s; mend: drop ON DELETE and ON UPDATE from that key, in every region, or give the table policy last-write-wins without delta", t.name, k.Name, k.Definition()))
		}
	}
	return nil
}

// hasLater reports whether the batch has a later version of a table.
func (b *batch) hasLater(t *boundTable) bool {
	later := false
	for i := len(b.tables) - 1; i >= 0 && b.tables[i].table != t; i-- {
		later = later || b.tables[i].table.name == t.name
	}
	for i := range b.tables {
		if b.tables[i].table == t {
			return later
		}
	}
	return false
}

// addOrderedParts adds a change of a row made of parts to a sequence.
func (s *session) addOrderedParts(q *sequence, t *boundTable, key []byte, c *schemas.Decoded, m made, r spine.Record) error {
	if s.versions == nil || s.versions.parted == nil {
		return supervise.Permanent(fmt.Errorf("conflict rule of table %s: it isn't looked for conflicts in this task", t.name))
	}
	row := q.merge(t, key, c.Before, c.After)
	row.made = s.at(m, r, c.TotalOrder)
	if err := row.join(t, c.Before, c.After, row.made); err != nil {
		return spine.Unreadable(r.Record, err)
	}
	var err error
	row.id, err = s.versions.idOf(t, key)
	return err
}

// siftParts plans what is written of rows that are made of parts.
func (p *pool) siftParts(tables []*tableRows) error {
	if p.versions == nil || p.versions.parted == nil {
		return nil
	}
	p.versions.mu.Lock()
	defer p.versions.mu.Unlock()
	for _, t := range tables {
		if t.table.parts != nil {
			p.versions.planParts(t)
		}
	}
	return p.versions.index.Err()
}

// planParts plans what is written of each row. v.mu is locked.
func (v *inbound) planParts(t *tableRows) {
	for i := range t.rows {
		r := &t.rows[i]
		r.parts.plan = v.parted.Plan(r.id, &r.parts.merged)
		r.lost = r.parts.plan.Nothing()
	}
}

// wroteParts notes what came in for a row that is made of parts. v.mu is locked.
func (v *inbound) wroteParts(t *boundTable, id converge.Key, key []byte, m *converge.Merged, plan converge.Plan, at converge.Pos) error {
	v.parted.Met = func(_ converge.Key, local, remote converge.Write, remoteWon bool) {
		v.metParts(t, id, key, local, remote, remoteWon)
	}
	if err := v.parted.Wrote(id, t.parts.ids, m, plan, at); err != nil {
		return err
	}
	return v.index.Err()
}

// wroteSteps notes the rows made of parts of a sequence. v.mu is locked.
func (v *inbound) wroteSteps(tables []*tableRows, at converge.Pos) error {
	for _, t := range tables {
		if t.table.parts == nil {
			continue
		}
		for i := range t.rows {
			r := &t.rows[i]
			if err := v.wroteParts(t.table, r.id, r.key, &r.parts.merged, r.parts.plan, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// partedRow is a row as a large transaction has written it.
type partedRow struct {
	table  *boundTable
	id     converge.Key
	key    []byte
	merged *converge.Merged
	plan   converge.Plan
}

const (
	// maxParted bounds what is remembered of a large transaction until it is committed, partedRowBytes is about what a row
	// takes then.
	maxParted, partedRowBytes = 128 << 20, 400
)

// keepParts keeps what the transaction has written of rows made of parts until it is committed.
func (l *large) keepParts(steps []sequenceStep) error {
	for i := range steps {
		for _, t := range steps[i].tables {
			if t.table.parts == nil {
				continue
			}
			for j := range t.rows {
				r := &t.rows[j]
				if x := r.parts.merged.Exist; x != nil {
					x.Image = nil
				}
				for _, touch := range r.parts.merged.Touched {
					touch.Image = nil
				}
				for _, a := range r.parts.merged.Adds {
					a.Image = nil
				}
				l.parted = append(l.parted, partedRow{t.table, r.id, bytes.Clone(r.key), &r.parts.merged, r.parts.plan})
				l.partedBytes += partedRowBytes + int64(len(r.key)) + int64(len(r.parts.merged.Adds))*partedRowBytes
			}
			if l.partedBytes > maxParted {
				return supervise.Permanent(fmt.Errorf("conflict rule of table %s: one transaction changes more than about %d of its rows, and what it adds to each must be known until it is committed; mend: change fewer rows in one transaction, or give the table policy last-write-wins without delta in every region, until that is applied", t.table.name, maxParted/partedRowBytes))
			}
		}
	}
	return nil
}

// wroteLargeParts notes what a large transaction has written.
func (v *inbound) wroteLargeParts(rows []partedRow, seq change.Seq) error {
	if len(rows) == 0 {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	at := v.ticket(seq)
	for i := range rows {
		r := &rows[i]
		if err := v.wroteParts(r.table, r.id, r.key, r.merged, r.plan, at); err != nil {
			return err
		}
	}
	v.clashes.release()
	return nil
}

// localParts notes a write of the region itself that the tail has read.
func (v *versions) localParts(t *boundTable, key []byte, c *schemas.Decoded, s *change.Stamp, at spine.Partition, offset int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	id, err := v.id(t, key)
	if err != nil {
		return err
	}
	in := v.all[0]
	m := made{hlc: s.HLC, origin: s.Origin, seq: s.Seq, saw: s.Seen, place: v.places.add(at, offset)}
	e, err := t.parts.edit(c.Before, c.After, m)
	if err != nil {
		return err
	}
	v.parted.Met = func(_ converge.Key, local, remote converge.Write, remoteWon bool) {
		in.metParts(t, id, key, local, remote, remoteWon)
	}
	if err := v.parted.Local(id, t.parts.ids, e); err != nil {
		return err
	}
	return v.index.Err()
}

// metParts notes a conflict.
func (v *inbound) metParts(t *boundTable, id converge.Key, key []byte, local, remote converge.Write, remoteWon bool) {
	v.metAgain(id, local)
	v.metAgain(id, remote)
	n := len(v.clashes.held[id])
	v.meet(t, id, key, local, remote)
	if held := v.clashes.held[id]; len(held) > n {
		c := &held[n]
		c.overruled = remoteWon == (local.Version.Compare(remote.Version) > 0)
	}
}

// ownPatience is how long is waited for the tail before a session begins anew.
const ownPatience = 30 * time.Second

// awaitOwn waits until the tail has read this region's transactions up to seq, where rows are made
// of parts. w, if it isn't nil, is kept alive meanwhile.
func (v *inbound) awaitOwn(ctx context.Context, w *writer, seq change.Seq) error {
	if v.parted == nil {
		return nil
	}
	var limit, beat <-chan time.Time
	for {
		v.mu.Lock()
		if seq <= v.own.seq || v.adrift || v.again {
			v.mu.Unlock()
			return nil
		}
		rises := v.own.rises()
		v.mu.Unlock()
		if limit == nil {
			limit = time.After(ownPatience)
		}
		if w != nil && beat == nil {
			t := time.NewTicker(leaseBeat)
			defer t.Stop()
			beat = t.C
		}
		select {
		case <-rises:
		case <-beat:
			if err := w.ping(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit:
			return errOwnLate
		}
	}
}

// leaped notes that the tail goes on at the end of the own topics: what it passed over isn't waited for.
func (v *versions) leaped() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.adrift = true
	v.own.upTo(v.own.seq)
}

// awaitTold waits, before the tail reads a transaction of the region itself, until all is told that it had
// seen.
func (v *versions) awaitTold(ctx context.Context, s change.Stamp) error {
	for _, in := range v.all {
		if err := in.awaitToldUpTo(ctx, s.Seen.Of(in.source)); err != nil {
			return err
		}
	}
	return nil
}

func (v *inbound) awaitToldUpTo(ctx context.Context, seq change.Seq) error {
	for {
		v.mu.Lock()
		if seq <= v.told.seq || v.lax || v.again {
			v.mu.Unlock()
			return nil
		}
		rises := v.told.rises()
		v.mu.Unlock()
		select {
		case <-rises:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(notingPatience):
			v.mu.Lock()
			v.lax = !v.learning()
			v.mu.Unlock()
		}
	}
}

// pruneEvery is how often is looked for what needn't be remembered.
const pruneEvery = 10 * time.Second

// sweepParts forgets what the index has, at the end of a sweep. v.mu is locked.
func (v *versions) sweepParts(done bool) {
	if v.parted == nil || !done || time.Since(v.pruned) < pruneEvery {
		return
	}
	v.parted.Sweep()
	v.pruned = time.Now()
}

// errHeld says that a checkpoint will never be settled, and errTorn that it isn't yet.
var errHeld, errTorn = errors.New("held"), errors.New("torn")

// partsSettled tells why rows made of parts don't let a checkpoint be settled, nil if they do. v.mu is locked.
func (v *inbound) partsSettled(c *checkpoint) error {
	if v.parted == nil {
		return nil
	}
	switch settled, held := v.parted.Settled(c.written, converge.Pos(c.written), c.local); {
	case held:
		return errHeld
	case !settled:
		return errTorn
	}
	return nil
}

// held reports whether a checkpoint will never be settled: a later one may be.
func (v *inbound) held(c *checkpoint) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return errors.Is(v.partsSettled(c), errHeld)
}

// settledParts notes that a checkpoint is settled.
func (v *inbound) settledParts(c *checkpoint) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.parted != nil {
		v.parted.Begin(c.local)
	}
}
