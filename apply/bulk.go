package apply

import (
	"slices"
	"sort"

	"duplex/change"
	"duplex/converge"
)

// bulk is what a transaction too large for a batch has written: of each row only
// 8 bytes, since an entry in the index for each would take ten times as much. A
// row comes into the index when it is asked for.
type bulk struct {
	rows []uint64 // halves of the rows' keys in the index; sorted once it is written
	// places are where their images stand, nil if there is one source only: then nothing comes
	// over them that is older, but what the region itself writes.
	places []converge.Place
	// known are those of its rows that the index knew before: what it has of them is
	// older, and must not be taken for the newest when the bulk is forgotten.
	known []converge.Key
	write converge.Write
	at    converge.Pos
}

// addBulk notes a change of it, and returns what stands for its row. That isn't
// written yet: what the index knows of it is what the change meets.
func (v *inbound) addBulk(b *bulk, t *boundTable, key []byte, m made) (id converge.Key, err error) {
	if !t.tracked {
		return id, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if id, err = v.id(t, key); err != nil {
		return id, err
	}
	if v.clashes.streamed = m.seq; t.ranking != nil {
		// Of each row, as its rank must be known. What isn't committed in the end ends the session,
		// and the tail reads on only when all is told.
		return id, v.contend(t, id, key, m, m.seq, v.ticket(m.seq))
	}
	k, known, err := v.of(id)
	if err != nil {
		return id, err
	}
	b.rows = append(b.rows, id.A)
	if !v.alone() {
		b.places = append(b.places, m.place)
	}
	if known {
		b.known = append(b.known, id)
		v.metBy(t, id, key, k, m)
	}
	return id, nil
}

// wroteBulk notes that it is committed.
func (v *inbound) wroteBulk(b *bulk, s change.Stamp, stamps []change.Stamp) error {
	b.sort()
	b.write = converge.Write{Version: s.Version(), Seq: s.Seq, Digest: v.digest(v.source, s.Seq)}
	v.mu.Lock()
	defer v.mu.Unlock()
	b.at = v.ticket(s.Seq)
	v.bulks = slices.DeleteFunc(v.bulks, func(had *bulk) bool { return had.write.Version == b.write.Version }) // told by an earlier session
	v.bulks = append(v.bulks, b)
	v.decided(stamps)
	v.metBulk(b, s)
	for _, id := range b.known {
		k, known := v.index.Of(id)
		if err := v.note(id, k, known, made{hlc: s.HLC, origin: s.Origin, seq: s.Seq, place: b.of(id.A)}, s.Seq, b.at); err != nil {
			return err
		}
	}
	b.known = nil
	return nil
}

// sort puts the rows into the order in which they are found; of one row the last change
// stays last.
func (b *bulk) sort() {
	if b.places == nil {
		slices.Sort(b.rows)
		return
	}
	sort.Stable((*byRow)(b))
}

type byRow bulk

func (b *byRow) Len() int           { return len(b.rows) }
func (b *byRow) Less(i, j int) bool { return b.rows[i] < b.rows[j] }
func (b *byRow) Swap(i, j int) {
	b.rows[i], b.rows[j] = b.rows[j], b.rows[i]
	b.places[i], b.places[j] = b.places[j], b.places[i]
}

// of returns where the image stands that it left of a row, if that is remembered.
func (b *bulk) of(row uint64) converge.Place {
	i, found := slices.BinarySearch(b.rows, row)
	if !found || b.places == nil {
		return 0
	}
	for i+1 < len(b.rows) && b.rows[i+1] == row {
		i++
	}
	return b.places[i]
}

// unpack brings a row into the index if a bulk has it.
func (v *versions) unpack(key converge.Key) error {
	for _, b := range v.bulks {
		if _, found := slices.BinarySearch(b.rows, key.A); found {
			w := b.write
			w.Place = b.of(key.A)
			if err := v.index.Wrote(key, w, b.at); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropBulks forgets those that need no remembering.
func (v *versions) dropBulks(stable change.HLC) {
	tailed := v.tailed()
	v.bulks = slices.DeleteFunc(v.bulks, func(b *bulk) bool {
		return b.write.Version.HLC <= stable && b.at <= tailed
	})
}
