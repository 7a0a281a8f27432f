package apply

import (
	"context"
	"fmt"
	"slices"

	"duplex/apply/statement"
	"duplex/change"
	"duplex/converge"
	"duplex/mysql"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"
)

// partsMend puts rows right that are made of parts and over which something was written that
// must not be there. It locks them and waits until the tail has read all that was
// written before; then what the row must be is known exactly, counters too.
type partsMend struct {
	s      *session
	keys   []converge.Key
	images map[converge.Place]*repairRow
	rows   map[converge.Key]*partsRow
}

// partsRow is a row that is locked, if it is present.
type partsRow struct {
	table   *boundTable
	key     []byte
	present bool
}

// mendParts puts some of the rows right that aren't.
func (s *session) mendParts(ctx context.Context) (any bool, err error) {
	keys := s.versions.tornRows(repairRows)
	if len(keys) == 0 {
		return false, nil
	}
	if err := s.settle(ctx); err != nil {
		return true, err
	}
	m := &partsMend{s: s, keys: keys, images: map[converge.Place]*repairRow{}, rows: map[converge.Key]*partsRow{}}
	return true, m.run(ctx)
}

// tornRows returns at most so many rows that aren't what they must be.
func (v *inbound) tornRows(most int) []converge.Key {
	if v.parted == nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	torn := v.parted.Torn()
	return torn[:min(len(torn), most)]
}

// rights returns what the rows must be, by what is told now.
func (m *partsMend) rights() map[converge.Key]converge.Right {
	v := m.s.versions
	v.mu.Lock()
	defer v.mu.Unlock()
	all := map[converge.Key]converge.Right{}
	for _, key := range m.keys {
		if right, is := v.parted.Right(key); is {
			all[key] = right
		}
	}
	return all
}

func (m *partsMend) run(ctx context.Context) error {
	s := m.s
	rights := m.rights()
	if err := m.fetch(ctx, rights); err != nil {
		return err
	}
	w, err := newWriter(ctx, s.target, s.progress, s.workers, s.maxPacket)
	if err != nil {
		return err
	}
	defer w.conn.Close()
	mended, err := m.write(ctx, w, rights)
	if err == nil {
		s.repairsFailed = 0
		s.versions.mended(mended)
		return nil
	}
	w.rollback(ctx)
	if _, is := sumFailure(err); is {
		return supervise.Permanent(fmt.Errorf("putting right a row that regions changed at once: %w", err)) // again it would be the same
	}
	// A row that was absent couldn't be locked, and may be there now.
	fault := mysql.Classify(err)
	if s.repairsFailed++; fault.Class == mysql.Retry || fault.Number != 0 && s.repairsFailed < maxRepairs {
		s.st.cfg.Log.Info("rows are to be put right again", "error", fault)
		return nil
	}
	return err
}

// mended notes rows that are what they must be.
func (v *inbound) mended(keys []converge.Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, key := range keys {
		v.parted.Mended(key)
		v.repaired.Add(1)
	}
}

// write locks the rows, waits for the tail, and writes what they must be. It returns those that are.
func (m *partsMend) write(ctx context.Context, w *writer, rights map[converge.Key]converge.Right) ([]converge.Key, error) {
	s := m.s
	if err := w.begin(ctx, s.writtenUpTo(), m.newest()); err != nil {
		return nil, err
	}
	if err := m.lock(ctx, w, rights); err != nil {
		return nil, err
	}
	if err := s.pulse(ctx); err != nil {
		return nil, err
	}
	rights = m.rights()
	if err := m.fetch(ctx, rights); err != nil {
		return nil, err
	}
	var mended []converge.Key
	for _, key := range m.keys {
		right, row := rights[key], m.rows[key]
		if m.lacks(right) {
			mended = append(mended, key) // the log has told of it
			continue
		}
		if !m.complete(right) || row == nil && (right.Whole || len(right.Parts) > 0) || row != nil && right.Whole && !right.Deleted && !row.present {
			continue // it isn't locked: the next time
		}
		// An absent row isn't locked, and nothing lies over what was newer: what is there by now was
		// inserted since, and has seen all that came in.
		if row != nil && row.present {
			if err := m.right(ctx, w, row, right); err != nil {
				return nil, err
			}
		}
		mended = append(mended, key)
	}
	return mended, w.commit(ctx)
}

// lock locks the rows. One that is absent and is to be there is inserted: that locks it.
func (m *partsMend) lock(ctx context.Context, w *writer, rights map[converge.Key]converge.Right) error {
	byTable := map[*boundTable][]*partsRow{}
	exist := map[*partsRow]*repairRow{}
	for key, right := range rights {
		image := m.imageOf(right)
		if image == nil || m.lacks(right) {
			continue
		}
		row := &partsRow{table: image.table, key: image.row.key}
		m.rows[key] = row
		byTable[row.table] = append(byTable[row.table], row)
		if right.Whole && !right.Deleted {
			exist[row] = image
		}
	}
	for t, rows := range byTable {
		keys := make([][]byte, len(rows))
		for i, row := range rows {
			keys[i] = row.key
		}
		present, err := w.lookUpAll(ctx, t, keys)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if w.keyText, err = t.binder.AppendKeyText(w.keyText[:0], row.key); err != nil {
				return err
			}
			row.present = present[string(w.keyText)]
			image := exist[row]
			if row.present || image == nil {
				continue
			}
			if err := w.store(ctx, t, [][]byte{image.row.after}, insert()); err != nil {
				return err
			}
			row.present = true
		}
	}
	return nil
}

// right makes a row what it must be.
func (m *partsMend) right(ctx context.Context, w *writer, row *partsRow, right converge.Right) error {
	if right.Whole && right.Deleted {
		return w.chunks(ctx, row.table, [][]byte{row.key}, row.table.binder.AppendDelete)
	}
	if right.Whole {
		image := m.images[right.Exist]
		if err := w.store(ctx, image.table, [][]byte{image.row.after}, upsert()); err != nil {
			return err
		}
		if added := image.table.parts.additions(right.Added); len(added) > 0 {
			if err := w.patch(ctx, image.table, &statement.Patch{Key: image.row.key, Added: added}); err != nil {
				return err
			}
		}
	}
	for _, part := range right.Parts {
		image := m.images[part.Place]
		fields := image.table.parts.fields(part.Group)
		if len(fields) == 0 || image.row.after == nil {
			continue // a column that is no more
		}
		p := &statement.Patch{Key: image.row.key, Parts: []statement.Part{{Image: image.row.after, Fields: fields}}}
		if err := w.patch(ctx, image.table, p); err != nil {
			return err
		}
	}
	return nil
}

// lacks reports whether the topics no longer have an image that a row is made of.
func (m *partsMend) lacks(right converge.Right) bool {
	gone := func(p converge.Place) bool { return m.images[p] != nil && m.images[p].gone }
	return right.Whole && gone(right.Exist) || slices.ContainsFunc(right.Parts, func(p converge.Part) bool { return gone(p.Place) })
}

// complete reports whether all images are there that a row is made of.
func (m *partsMend) complete(right converge.Right) bool {
	if right.Whole && m.images[right.Exist] == nil {
		return false
	}
	for _, part := range right.Parts {
		if m.images[part.Place] == nil {
			return false
		}
	}
	return true
}

// imageOf returns an image of the row, nil if none is needed.
func (m *partsMend) imageOf(right converge.Right) *repairRow {
	if right.Whole {
		return m.images[right.Exist]
	}
	if len(right.Parts) > 0 {
		return m.images[right.Parts[0].Place]
	}
	return nil
}

// newest returns the HLC for the marker: that of what was written last.
func (m *partsMend) newest() (hlc change.HLC) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	return m.s.heard
}

// fetch reads the images from the topics that aren't there yet.
func (m *partsMend) fetch(ctx context.Context, rights map[converge.Key]converge.Right) error {
	places := map[converge.Place]bool{}
	for _, right := range rights {
		if right.Whole {
			places[right.Exist] = true
		}
		for _, part := range right.Parts {
			places[part.Place] = true
		}
	}
	v := m.s.versions
	wanted := map[change.Region]map[spine.Partition]map[int64]*repairRow{}
	v.mu.Lock()
	for place := range places {
		at, offset, ok := v.places.of(place)
		if !ok || m.images[place] != nil {
			continue
		}
		region, _, _, _ := topics.ParseTable(at.Topic)
		if wanted[region] == nil {
			wanted[region] = map[spine.Partition]map[int64]*repairRow{}
		}
		if wanted[region][at] == nil {
			wanted[region][at] = map[int64]*repairRow{}
		}
		image := &repairRow{}
		wanted[region][at][offset], m.images[place] = image, image
	}
	v.mu.Unlock()
	for region, wanted := range wanted {
		// What doesn't fit into memory at once stays for the next time.
		if err := (&repair{s: m.s}).readFrom(ctx, region, wanted); err != nil {
			return err
		}
	}
	for place, image := range m.images {
		if image.table == nil && !image.gone {
			delete(m.images, place)
		}
	}
	return nil
}
