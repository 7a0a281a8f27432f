package apply

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// claims are the locks of one row of a test.
type claims struct {
	row   int32 // its key lock, as the batch's rows have it
	hashs []uint64
}

// claimed makes a batch of rows with up to most locks each out of few, in one
// table, and returns what each row claims.
func claimed(rng *rand.Rand, table *boundTable, rows, most, few int) (*batch, []claims) {
	b := newBatch(0)
	tr := &tableRows{table: table}
	var all []claims
	for i := range rows {
		c := claims{hashs: []uint64{uint64(rng.IntN(few))}}
		c.row = b.locks.add(c.hashs[0])
		for range rng.IntN(most) {
			hash := uint64(rng.IntN(few))
			c.hashs = append(c.hashs, hash)
			b.locks.join(c.row, b.locks.add(hash))
		}
		tr.rows = append(tr.rows, row{key: []byte{byte(i)}, lock: c.row})
		all = append(all, c)
	}
	if rows > 0 {
		b.tables = append(b.tables, tr)
	}
	return b, all
}

// Of each batch, what is written at once shares no lock with any earlier batch
// not yet done, nor with what it puts off itself; nothing is put off but for
// such a lock of its group; no row is lost or doubled, and no lock is left
// behind. Batches are done in their order, as commits are.
func TestSchedule(t *testing.T) {
	table := bound(t, "a")
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		few := rapid.IntRange(1, 60).Draw(t, "locks")
		s := newScheduler()
		type held struct {
			batch *batch
			rows  []claims
		}
		var undone []held
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			b, rows := claimed(rng, table, rng.IntN(8), 3, few)
			s.add(b)
			var taken []uint64
			for _, u := range undone {
				for _, c := range u.rows {
					taken = append(taken, c.hashs...)
				}
			}
			checkPutOff(t, b, rows, taken)
			undone = append(undone, held{b, rows})
			for len(undone) > 0 && rng.IntN(2) == 0 {
				s.remove(undone[0].batch)
				undone = undone[1:]
			}
		}
		for _, u := range undone {
			s.remove(u.batch)
		}
		if len(s.holders) != 0 {
			t.Fatalf("%d locks are still held", len(s.holders))
		}
	})
}

// checkPutOff compares what a batch puts off with the definition: what has a
// lock that is taken, and all that shares a lock with what is put off.
func checkPutOff(t *rapid.T, b *batch, rows []claims, taken []uint64) {
	late := make([]bool, len(rows))
	for changed := true; changed; {
		changed = false
		for i, c := range rows {
			if !late[i] && slices.ContainsFunc(c.hashs, func(h uint64) bool { return slices.Contains(taken, h) }) {
				late[i], changed = true, true
				taken = append(slices.Clone(taken), c.hashs...)
			}
		}
	}
	times := make([]int, len(rows))
	for _, tr := range b.tables {
		for _, r := range tr.rows {
			if times[r.key[0]]++; late[r.key[0]] {
				t.Fatalf("row %d is written at once, its locks %v are taken of %v", r.key[0], rows[r.key[0]].hashs, taken)
			}
		}
	}
	for _, tr := range b.late {
		for _, r := range tr.rows {
			if times[r.key[0]]++; !late[r.key[0]] {
				t.Fatalf("row %d is put off for nothing: its locks are %v, taken are %v", r.key[0], rows[r.key[0]].hashs, taken)
			}
		}
	}
	for i, n := range times {
		if n != 1 {
			t.Fatalf("row %d is written %d times", i, n)
		}
	}
}
