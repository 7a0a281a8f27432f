package e2e_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"pgregory.net/rapid"

	"duplex/change"
)

// write is one write of one row, as the topics of its origin tell of it.
type write struct {
	stamp change.Stamp
	txn   string  // GTID of the transaction
	order int64   // in the transaction
	image content // what it left; nil: no row
	rank  int64   // by the table's policy
}

// beats reports whether w stays of two writes of which neither had seen the other.
func (w *write) beats(o *write) bool {
	return cmp.Or(cmp.Compare(w.rank, o.rank), w.stamp.Version().Compare(o.stamp.Version())) > 0
}

// newer reports whether w comes after o in the order of all writes of the row.
func (w *write) newer(o *write) bool {
	if by := w.stamp.Version().Compare(o.stamp.Version()); by != 0 {
		return by > 0
	}
	return w.order > o.order
}

// register is all writes of one row, by whichever region: what the row must be
// when all regions have all of them.
type register struct {
	newest *write
	latest map[change.Region]*write
	stamps map[change.Region][]change.Stamp // of its writes, in their order
	// last is, of each transaction that wrote the row, what it left.
	last map[change.Version]*write
}

// registers are those of all rows, by table and key. The order in which writes
// of different regions are added makes no difference.
type registers map[string]*register

// add notes a write; those of one region come in their order.
func (all registers) add(row string, w *write) error {
	r := all[row]
	if r == nil {
		r = &register{latest: map[change.Region]*write{}, stamps: map[change.Region][]change.Stamp{}, last: map[change.Version]*write{}}
		all[row] = r
	}
	if n := r.newest; n != nil && n.stamp.Version() == w.stamp.Version() && n.txn != w.txn && n.image.compare(w.image) != "" {
		return fmt.Errorf("%s: two transactions of %s, %s and %s, have the version %s and leave different images", row, w.stamp.Origin, n.txn, w.txn, w.stamp.HLC)
	}
	if r.newest == nil || w.newer(r.newest) {
		r.newest = w
	}
	if last := r.last[w.stamp.Version()]; last == nil || w.order > last.order {
		r.last[w.stamp.Version()] = w
	}
	r.latest[w.stamp.Origin] = w
	made := r.stamps[w.stamp.Origin]
	if last := len(made) - 1; last >= 0 && made[last].Seq >= w.stamp.Seq {
		if made[last].Seq > w.stamp.Seq {
			return fmt.Errorf("%s: transaction %d of %s comes after transaction %d", row, w.stamp.Seq, w.stamp.Origin, made[last].Seq)
		}
		return nil // written several times in one transaction
	}
	r.stamps[w.stamp.Origin] = append(made, w.stamp)
	return nil
}

// stands returns the write that stays: the newest, unless the table's policy prefers another region's last one, among
// those that no other region's had seen.
func (r *register) stands() *write {
	stands := r.newest
	for _, w := range r.latest {
		if !r.seen(w) && w.beats(stands) {
			stands = w
		}
	}
	return stands
}

// seen reports whether a write of another region had seen that one.
func (r *register) seen(w *write) bool {
	for _, other := range r.latest {
		if other.stamp.Seen.Of(w.stamp.Origin) >= w.stamp.Seq {
			return true
		}
	}
	return false
}

// concurrent counts the rows that had writes of different regions of which
// neither had seen the other. Only writes after those numbered in since count.
func (all registers) concurrent(since map[change.Region]change.Seq) (rows int) {
	for _, r := range all {
		if r.concurrent(since) {
			rows++
		}
	}
	return rows
}

func (r *register) concurrent(since map[change.Region]change.Seq) bool {
	for origin, made := range r.stamps {
		for other, theirs := range r.stamps {
			if other <= origin {
				continue
			}
			for _, a := range made {
				if a.Seq <= since[origin] {
					continue
				}
				// Of theirs, the first that a had not seen had seen the least.
				unseen := max(a.Seen.Of(other), since[other])
				i := sort.Search(len(theirs), func(i int) bool { return theirs[i].Seq > unseen })
				if i < len(theirs) && change.Concurrent(a, theirs[i]) {
					return true
				}
			}
		}
	}
	return false
}

// winners counts the rows by the region that wrote them last.
func (all registers) winners() map[change.Region]int {
	by := map[change.Region]int{}
	for _, r := range all {
		by[r.stands().stamp.Origin]++
	}
	return by
}

func stampOf(origin change.Region, seq change.Seq, hlc change.HLC, seen change.Seq) change.Stamp {
	other := map[change.Region]change.Region{"east": "west", "west": "east"}[origin]
	return change.Stamp{Origin: origin, Seq: seq, HLC: hlc, Seen: change.Seen{}.With(other, "", seen)}
}

// TestRegisters: what rows come to in made-up histories.
func TestRegisters(t *testing.T) {
	type made struct {
		stamp change.Stamp
		order int64
		image string // "" for none
	}
	east, west := change.Region("east"), change.Region("west")
	for _, test := range []struct {
		name       string
		writes     []made
		want       string
		concurrent bool
	}{
		{"one write", []made{{stampOf(east, 1, 10, 0), 1, "a"}}, "a", false},
		{"the later one", []made{{stampOf(east, 1, 10, 0), 1, "a"}, {stampOf(west, 1, 11, 1), 1, "b"}}, "b", false},
		{"the later one comes first", []made{{stampOf(west, 1, 11, 0), 1, "b"}, {stampOf(east, 1, 10, 0), 1, "a"}}, "b", true},
		{"of one moment the greater origin's", []made{{stampOf(west, 1, 10, 0), 1, "b"}, {stampOf(east, 1, 10, 0), 1, "a"}}, "b", true},
		{"the last of a transaction", []made{{stampOf(east, 1, 10, 0), 1, "a"}, {stampOf(east, 1, 10, 0), 2, ""}, {stampOf(east, 1, 10, 0), 3, "c"}}, "c", false},
		{"a delete that is the newest", []made{{stampOf(east, 1, 10, 0), 1, "a"}, {stampOf(east, 2, 12, 0), 1, ""}, {stampOf(west, 1, 11, 0), 1, "b"}}, "", true},
		{"a delete that is older", []made{{stampOf(east, 1, 10, 0), 1, ""}, {stampOf(west, 1, 11, 0), 1, "b"}}, "b", true},
		{"put back after a delete", []made{{stampOf(east, 1, 10, 0), 1, ""}, {stampOf(east, 2, 12, 0), 1, "c"}, {stampOf(west, 1, 11, 1), 1, "b"}}, "c", true},
		{"east had seen it", []made{{stampOf(west, 5, 10, 0), 1, "b"}, {stampOf(east, 1, 12, 5), 1, "a"}}, "a", false},
		{"east had seen one less", []made{{stampOf(west, 5, 10, 0), 1, "b"}, {stampOf(east, 1, 12, 4), 1, "a"}}, "a", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			rows := registers{}
			for _, m := range test.writes {
				if err := rows.add("row", &write{m.stamp, fmt.Sprint(m.stamp.Origin, m.stamp.Seq), m.order, imageOf(m.image), 0}); err != nil {
					t.Fatal(err)
				}
			}
			if got := rows["row"].newest.image; got.compare(imageOf(test.want)) != "" {
				t.Errorf("the row is %v, want %q", got, test.want)
			}
			if got := rows.concurrent(nil) == 1; got != test.concurrent {
				t.Errorf("concurrent: %t", got)
			}
		})
	}
}

// imageOf is a row of one column, none for "".
func imageOf(text string) content {
	if text == "" {
		return nil
	}
	c := content{{column: "v"}}
	c[0].String, c[0].Valid = text, true
	return c
}

func TestRegistersTakeNoImpossibleWrite(t *testing.T) {
	first := &write{stampOf("east", 2, 10, 0), "txn 2", 1, imageOf("a"), 0}
	for _, test := range []struct {
		name string
		next *write
		ok   bool
	}{
		{"the same version with another image", &write{stampOf("east", 2, 10, 0), "txn 3", 1, imageOf("b"), 0}, false},
		{"the same version and image: a repair", &write{stampOf("east", 2, 10, 0), "txn 3", 1, imageOf("a"), 0}, true},
		{"an older transaction", &write{stampOf("east", 1, 9, 0), "txn 1", 1, imageOf("b"), 0}, false},
	} {
		rows := registers{}
		if err := rows.add("row", first); err != nil {
			t.Fatal(err)
		}
		if err := rows.add("row", test.next); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestRegistersInAnyOrder: whichever region's writes are read first, rows come
// to the same, and a simple count of concurrent pairs agrees.
func TestRegistersInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		of := madeUp(r)
		since := map[change.Region]change.Seq{"east": change.Seq(r.IntN(3)), "west": change.Seq(r.IntN(3))}
		var all []*write
		forth, mixed := registers{}, registers{}
		for _, origin := range []change.Region{"east", "west"} {
			for _, w := range of[origin] {
				all = append(all, w)
				if err := forth.add("row", w); err != nil {
					t.Fatal(err)
				}
			}
		}
		for e, w := of["east"], of["west"]; len(e)+len(w) > 0; {
			from := &e
			if len(e) == 0 || len(w) > 0 && r.IntN(2) == 0 {
				from = &w
			}
			if err := mixed.add("row", (*from)[0]); err != nil {
				t.Fatal(err)
			}
			*from = (*from)[1:]
		}
		if len(all) == 0 {
			return
		}
		newest := slices.MaxFunc(all, func(a, b *write) int { return a.stamp.Version().Compare(b.stamp.Version()) })
		pairs := 0
		for _, a := range all {
			for _, b := range all {
				if a.stamp.Origin != b.stamp.Origin && a.stamp.Seq > since[a.stamp.Origin] && b.stamp.Seq > since[b.stamp.Origin] && change.Concurrent(a.stamp, b.stamp) {
					pairs++
				}
			}
		}
		for name, rows := range map[string]registers{"one after the other": forth, "mixed": mixed} {
			if rows["row"].newest != newest {
				t.Fatalf("%s: the newest is %+v, not %+v", name, rows["row"].newest, newest)
			}
			if got := rows.concurrent(since); (got == 1) != (pairs > 0) {
				t.Fatalf("%s: %d rows with concurrent writes, there are %d pairs", name, got, pairs)
			}
		}
	})
}

// madeUp is a history of two regions that write one row and see some of each
// other's writes, in order.
func madeUp(r *rand.Rand) map[change.Region][]*write {
	of := map[change.Region][]*write{}
	stampers := map[change.Region]*change.Stamper{"east": {Region: "east"}, "west": {Region: "west"}}
	for range r.IntN(14) {
		here, there := change.Region("east"), change.Region("west")
		if r.IntN(2) == 0 {
			here, there = there, here
		}
		s := stampers[here]
		if seen := int(s.Seen.Of(there)); r.IntN(3) == 0 && seen < len(of[there]) {
			next := of[there][seen].stamp
			s.Applied(next.Origin, "", next.Seq, next.HLC)
			continue
		}
		s.HLC += change.HLC(r.IntN(3))
		stamp := s.Local(change.HLC(0).Time())
		of[here] = append(of[here], &write{stamp, fmt.Sprint(here, stamp.Seq), 1, imageOf(fmt.Sprint(r.IntN(2))), 0})
	}
	return of
}
