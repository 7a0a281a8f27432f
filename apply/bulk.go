package apply

import (
	"slices"

	"duplex/change"
	"duplex/converge"
)

// bulk is what a transaction too large for a batch has written: of each row only
// 8 bytes, since an entry in the index for each would take ten times as much. A
// row comes into the index when it is asked for.
type bulk struct {
	rows []uint64 // halves of the rows' keys in the index; sorted once it is written
	// known are those of its rows that the index knew before: what it has of them is
	// older, and must not be taken for the newest when the bulk is forgotten.
	known []converge.Key
	write converge.Write
}

// addBulk notes a change of it, and returns what stands for its row. That isn't
// written yet: what the index knows of it is what the change meets.
func (v *versions) addBulk(b *bulk, t *boundTable, key []byte, m made) (id converge.Key, err error) {
	if !t.tracked {
		return id, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if id, err = v.id(t, key); err != nil {
		return id, err
	}
	k, known, err := v.of(id)
	if err != nil {
		return id, err
	}
	b.rows = append(b.rows, id.A)
	v.clashes.streamed = m.seq
	if known {
		b.known = append(b.known, id)
		v.metBy(t, id, key, k, m)
	}
	return id, nil
}

// wroteBulk notes that it is committed.
func (v *versions) wroteBulk(b *bulk, s change.Stamp, stamps []change.Stamp) error {
	slices.Sort(b.rows)
	b.write = converge.Write{Version: s.Version(), Seq: s.Seq, Digest: v.digest(v.source, s.Seq)}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.bulks = append(v.bulks, b)
	v.decided(stamps)
	v.metBulk(b, s)
	for _, id := range b.known {
		k, known := v.index.Of(id)
		if err := v.note(id, k, known, made{hlc: s.HLC, origin: s.Origin, seq: s.Seq}, s.Seq); err != nil {
			return err
		}
	}
	b.known = nil
	return nil
}

// unpack brings a row into the index if a bulk has it.
func (v *versions) unpack(key converge.Key) error {
	for _, b := range v.bulks {
		if _, found := slices.BinarySearch(b.rows, key.A); found {
			if err := v.index.Wrote(key, b.write, converge.Pos(b.write.Seq)); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropBulks forgets those that need no remembering.
func (v *versions) dropBulks(stable change.HLC) {
	v.bulks = slices.DeleteFunc(v.bulks, func(b *bulk) bool {
		return b.write.Version.HLC <= stable && b.write.Seq <= v.tail
	})
}
