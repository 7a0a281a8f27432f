package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"duplex/change"
	"duplex/converge"
	"duplex/mysql"
)

// room makes room for rows that the server refused, since others have their unique
// values: two regions gave one value to two rows. The newer write has it; the other row
// yields. The holders of the values are locked and the tail waited for, so that all
// versions are known; what yields is deleted in a transaction of the region's own, by
// which capture publishes the deletion with the winner's version (duplex.outbox): to
// all regions it is a write like any other. When the tail has read that, who was
// refused tries again.
type room struct {
	s      *session
	w      *writer
	claims []claim
	byID   map[converge.Key]int // places in claims
	// stale are holders that are themselves to be put back first.
	stale []converge.Key
	// arriving is set for rows of the source's, and not of a repair.
	arriving bool
}

// yield is a deletion to publish: of a claim's own row, or of the one that holds a
// unique value that the claim wants.
type yield struct {
	version change.Version
	claim   *claim
	unique  int // -1 for the claim's own row
	// id is the row's in the index, lost what it loses.
	id   converge.Key
	lost converge.Write
}

const (
	// maxVain is how often in a row a batch may be refused though nobody seems to
	// have its values.
	maxVain = 20
	// roomRows is how many deletions one transaction publishes.
	roomRows = 500
)

// isDuplicate reports whether the server refused a row since a unique key has its
// value.
func isDuplicate(err error) bool {
	n := mysql.Classify(err).Number
	return n == 1062 || n == 1586
}

// errVain says that no room is to be made: which row has the value isn't known, or
// not since when.
var errVain = errors.New("it isn't known since when a row has the unique value")

// crowded makes room for a batch that was refused. Those before it are committed
// then.
func (s *session) crowded(ctx context.Context, w *writer, b *batch, cause error) error {
	err := errYielded
	for errors.Is(err, errYielded) {
		err = w.awaitTurn(ctx, b)
	}
	if err != nil || b.ordered != nil || b.vain >= maxVain {
		return cmp.Or(err, cause)
	}
	for _, tables := range [2][]*tableRows{b.tables, b.late} {
		for _, t := range tables {
			for i := range t.rows {
				// A row may have been given another value here, and now hinder another one.
				t.rows[i].mixed = true
			}
		}
	}
	if s.round != nil {
		s.pool.askToYield(b) // another stream that makes room may wait for their locks, and this one for it
	}
	done, err := s.makeRoom(ctx, claimsOf(b.tables, b.late), w.ping)
	switch {
	case errors.Is(err, errTailLate):
		return mysql.Fault{Class: mysql.Retry, Waiting: true, Why: "rows have a unique value that another region gave to other rows: " + err.Error()}
	case errors.Is(err, errVain):
		return cause
	case err != nil:
		return err
	case done:
		b.vain = 0
	default:
		b.vain++
	}
	return nil
}

// crowdedLarge makes room for a large transaction, of which the server refused
// these steps. It is begun anew.
func (s *session) crowdedLarge(ctx context.Context, refused []sequenceStep, cause error) error {
	var tables []*tableRows
	for i := range refused {
		tables = append(tables, refused[i].tables...)
	}
	done, err := s.makeRoom(ctx, claimsOf(tables), func(context.Context) error { return nil })
	if err == nil && !done {
		err = cause
	}
	if errors.Is(err, errTailLate) || err == nil {
		return mysql.Fault{Class: mysql.Retry, Why: "rows had a unique value that another region gave to other rows; trying again"}
	}
	return err
}

// makeRoom makes room for rows, putting back first what is wrong itself. done is false
// if nobody seems to be in the way. Nothing else of the stream is committed meanwhile; alive
// is called now and then.
func (s *session) makeRoom(ctx context.Context, claims []claim, alive func(context.Context) error) (done bool, err error) {
	if s.round != nil {
		// Two streams that make room at once would wait for each other's locks, or decide by what the other one has changed.
		if err := s.round.have(ctx, alive); err != nil {
			return false, err
		}
		defer s.round.repairing.Release(1)
	}
	r := &room{s: s, claims: claims, arriving: true}
	if done, err = r.make(ctx, r.isOlder); err != nil {
		return false, err
	}
	if err := alive(ctx); err != nil || len(r.stale) == 0 {
		return done, err
	}
	back := &repair{s: s, keys: r.stale}
	if err := back.run(ctx); err != nil {
		return false, err
	}
	if back.away != "" {
		return false, mysql.Fault{Class: mysql.Retry, Waiting: true, Why: fmt.Sprintf("rows that are to be put back first are region %s's, whose topics can't be read now", back.away)}
	}
	return true, alive(ctx) // and be refused again, if need be
}

// have waits until no other stream puts rows back or makes room.
func (r *round) have(ctx context.Context, alive func(context.Context) error) error {
	for {
		limited, cancel := context.WithTimeout(ctx, leaseBeat)
		err := r.repairing.Acquire(limited, 1)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err := alive(ctx); err != nil {
			return err
		}
	}
}

// isOlder reports whether a row that comes in is older than what is known.
func (r *room) isOlder(c *claim) bool {
	k, known := r.s.versions.index.Of(c.id)
	return known && k.Version.Compare(c.write.Version) >= 0
}

// makeRoom makes room for a repair that was refused: with the rows that are to be
// put back along with it, if any.
func (r *repair) makeRoom(ctx context.Context, cause error) error {
	if r.s.repairsFailed++; r.s.repairsFailed >= maxRepairs {
		return cause
	}
	var claims []claim
	for i := range r.rows {
		row := &r.rows[i]
		claims = append(claims, claim{table: row.table, id: row.key, key: row.row.key, after: row.row.after, write: row.known.Write})
	}
	m := &room{s: r.s, claims: claims}
	// A row that was written since is no longer to be put back.
	done, err := m.make(ctx, func(c *claim) bool {
		k, known := r.s.versions.index.Of(c.id)
		return !known || k.Version != c.write.Version
	})
	switch {
	case err != nil:
		return err
	case len(m.stale) > 0:
		return r.instead(ctx, append(slices.Clone(r.keys), m.stale...))
	case !done && len(r.keys) > 1:
		// Two of them may want values that only the server takes for equal.
		return r.instead(ctx, r.keys[:len(r.keys)/2])
	}
	return nil
}

// instead puts back these rows.
func (r *repair) instead(ctx context.Context, keys []converge.Key) error {
	other := &repair{s: r.s, keys: keys}
	err := other.run(ctx)
	r.away = other.away
	return err
}

// make makes room, unless holders are stale: these are told then. loses tells
// whether a claim has lost meanwhile; versions are locked.
func (r *room) make(ctx context.Context, loses func(*claim) bool) (done bool, err error) {
	r.byID = make(map[converge.Key]int, len(r.claims))
	for i := range r.claims {
		r.byID[r.claims[i].id] = i
	}
	s := r.s
	if r.w, err = newWriter(ctx, s.target, s.progress, s.workers, s.maxPacket); err != nil {
		return false, err
	}
	defer r.w.conn.Close()
	defer func() {
		if err != nil || !done {
			r.w.rollback(ctx)
		}
	}()
	// Without a marker: what it does is the region's own.
	if _, err := r.w.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return false, err
	}
	if err := r.weigh(loses); err != nil {
		return false, err
	}
	if err := r.contest(); err != nil {
		return false, err
	}
	if err := r.lock(ctx); err != nil {
		return false, err
	}
	if err := s.pulse(ctx); err != nil {
		return false, err
	}
	yields, again, err := r.decide(loses)
	switch {
	case err != nil:
		return false, err
	case again:
		r.w.rollback(ctx) // a row that has lost holds a value, and wasn't looked at
		return true, nil
	case len(r.stale) > 0 || len(yields) == 0:
		return false, nil
	}
	if err := r.publish(ctx, yields[:min(len(yields), roomRows)]); err != nil {
		return false, err
	}
	return true, s.pulse(ctx)
}

// weigh finds out which claims have lost as far as is known now.
func (r *room) weigh(loses func(*claim) bool) error {
	v := r.s.versions
	v.mu.Lock()
	defer v.mu.Unlock()
	err := r.unpack()
	for i := range r.claims {
		r.claims[i].lost = loses(&r.claims[i])
	}
	return err
}

// decide finds who yields, the tail having read all that was written before the
// locks. again is set if the holders must be looked for once more.
func (r *room) decide(loses func(*claim) bool) (yields []yield, again bool, err error) {
	v := r.s.versions
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := r.unpack(); err != nil {
		return nil, false, err
	}
	stale := map[converge.Key]bool{}
	var order []*claim
	for i := range r.claims {
		c := &r.claims[i]
		if was := c.lost; loses(c) != was {
			c.lost, again = !was, true
		}
		if c.lost || c.after == nil {
			continue
		}
		order = append(order, c)
		for _, h := range c.holders {
			switch {
			case v.index.Suspect(h.id):
				stale[h.id] = true
			case r.arriving && !v.mayClash(h.id, c):
				return nil, false, cmp.Or(v.index.Err(), errVain)
			}
		}
	}
	if r.stale = slices.Collect(maps.Keys(stale)); again || len(r.stale) > 0 {
		return nil, again && len(r.stale) == 0, nil
	}
	slices.SortStableFunc(order, func(a, b *claim) int { return a.write.Version.Compare(b.write.Version) })
	gone, placed := map[converge.Key]bool{}, map[string]*claim{}
	for _, c := range order {
		yields = append(yields, r.settle(c, gone, placed)...)
	}
	// The newest first: the stamp of the transaction must be greater than all of them.
	slices.SortStableFunc(yields, func(a, b yield) int { return b.version.Compare(a.version) })
	if len(v.losing) > 4*roomRows {
		clear(v.losing)
	}
	for _, y := range yields {
		v.losing[y.id] = losing{y.version, y.lost}
	}
	return yields, false, v.index.Err()
}

// unmetBy reports whether a change came in that hadn't seen a write of its row of which k is known, another region's.
// Who told of the deletion of a row that yielded doesn't tell when it lost.
func (v *inbound) unmetBy(k converge.Known, m made) bool {
	if v.alone() {
		return k.Version.Origin == v.region && k.Seq > m.seen
	}
	return k.Seq == 0 || k.Version.Origin != m.origin && k.Seq > m.saw.Of(k.Version.Origin)
}

// mayClash reports whether two regions can have given one value to a row that comes in
// and to one that has it. Where the source knew of that one, it can't have the unique key,
// or the regions weren't equal before: no row is deleted for that. Unless both
// wrote that row lately: then the source may have had an older image of it for a
// moment, and the value was free.
func (v *versions) mayClash(holder converge.Key, c *claim) bool {
	k, known := v.index.Of(holder)
	if known && k.Version.Origin != c.write.Version.Origin && k.Seq > c.saw.Of(k.Version.Origin) {
		return true
	}
	_, lately := v.contested[holder]
	return lately
}

// contest notes that both regions wrote a row.
func (v *versions) contest(id converge.Key) {
	const enough = 1 << 16
	if len(v.contested) >= enough {
		clear(v.contested)
	}
	v.contested[id] = struct{}{}
}

// unpack brings what large transactions wrote of the rows into the index.
func (r *room) unpack() error {
	for i := range r.claims {
		c := &r.claims[i]
		if err := r.s.versions.unpack(c.id); err != nil {
			return err
		}
		for _, h := range c.holders {
			if err := r.s.versions.unpack(h.id); err != nil {
				return err
			}
		}
	}
	return r.s.versions.index.Err()
}

// settle finds who yields to a claim, or that it does itself.
func (r *room) settle(c *claim, gone map[converge.Key]bool, placed map[string]*claim) (yields []yield) {
	var live []holder
	var keys []converge.Key
	for _, h := range c.holders {
		if !gone[h.id] {
			live, keys = append(live, h), append(keys, h.id)
		}
	}
	if newest, yes := r.s.versions.index.Settle(c.write.Version, keys); yes {
		return []yield{{newest, c, -1, c.id, c.write}}
	}
	for _, h := range live {
		gone[h.id] = true
		k, _ := r.s.versions.index.Of(h.id)
		yields = append(yields, yield{c.write.Version, c, h.unique, h.id, k.Write})
	}
	for i := range c.table.binder.Unique() {
		value, err := c.value(i)
		if value == "" || err != nil || !c.contested {
			continue // err: contest would have failed
		}
		if older := placed[value]; older != nil && !gone[older.id] {
			gone[older.id] = true
			yields = append(yields, yield{c.write.Version, older, -1, older.id, older.write})
		}
		placed[value] = c
	}
	return yields
}

// publish deletes what yields and tells capture of it.
func (r *room) publish(ctx context.Context, yields []yield) error {
	for _, y := range yields {
		c := y.claim
		ref := c.table
		if y.unique >= 0 || c.there {
			ref = nil
		}
		if err := r.tell(ctx, y, ref); err != nil {
			return err
		}
		var err error
		switch {
		case y.unique >= 0:
			r.w.text, _, err = c.table.binder.AppendDeleteHolder(r.w.text[:0], y.unique, c.after)
		case c.there:
			r.w.text, err = c.table.binder.AppendDelete(r.w.text[:0], [][]byte{c.key})
		default:
			continue
		}
		if err == nil {
			_, err = r.w.conn.ExecContext(ctx, string(r.w.text))
		}
		if err != nil {
			return c.table.failure(err)
		}
		if w := c.table.watched; w != nil {
			w.wrote.Store(true)
		}
	}
	if err := r.w.commit(ctx); err != nil {
		return err
	}
	r.s.st.yielded.Add(int64(len(yields)))
	return nil
}

// tell writes a row into duplex.outbox, and takes it out again: of what is deleted next,
// or, with ref, of a row that isn't there.
func (r *room) tell(ctx context.Context, y yield, ref *boundTable) error {
	t, topic, key := y.claim.table, "", []byte{}
	keyID, valueID := 0, 0
	if ref != nil {
		topic, keyID, valueID, key = ref.topic, ref.keyID, ref.valueID, y.claim.key
	}
	result, err := r.w.conn.ExecContext(ctx, "INSERT INTO duplex.outbox (origin, hlc, db, tbl, topic, key_schema, value_schema, row_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		string(y.version.Origin), int64(y.version.HLC), t.db, t.table, topic, keyID, valueID, key)
	if err != nil {
		return fmt.Errorf("writing duplex.outbox: %w", err)
	}
	id, err := result.LastInsertId()
	if err == nil {
		_, err = r.w.conn.ExecContext(ctx, "DELETE FROM duplex.outbox WHERE id = ?", id)
	}
	if err != nil {
		return fmt.Errorf("writing duplex.outbox: %w", err)
	}
	return nil
}
