package apply

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"

	"duplex/apply/statement"
	"duplex/change"
	"duplex/config"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"

	"github.com/twmb/franz-go/pkg/kgo"
)

// caseless answers as a server whose collation ignores the case of ASCII, and that
// is gone when asked for anything else.
func caseless(query string) (rows [][][]byte, err error) {
	number := func(n int) []byte { return []byte(strconv.Itoa(n)) }
	switch {
	case strings.Contains(query, "b.n"):
		for a := range 128 {
			for b := range 128 {
				rows = append(rows, [][]byte{number(a), number(b), bytes.ToLower([]byte{byte(a), byte(b)})})
			}
		}
	case strings.Contains(query, "a.n"):
		for a := range 128 {
			rows = append(rows, [][]byte{number(a), bytes.ToLower([]byte{byte(a)}), nil})
		}
	case strings.Contains(query, " = "):
		rows = [][][]byte{{[]byte("0")}}
	default:
		return nil, &weighError{errors.New("gone")}
	}
	return rows, nil
}

// spelt is a table whose keys are the same whatever their case.
func spelt(t testing.TB) *boundTable {
	t.Helper()
	table := boundTo(t, &schemas.Table{DB: "shop", Name: "spelt", Key: []int{0}, Columns: []schemas.Column{
		{Name: "id", Type: schemas.VarChar, Length: 200, Charset: "utf8mb4", Collation: "utf8mb4_0900_ai_ci"},
		{Name: "code", Type: schemas.VarChar, Length: 40, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_0900_bin"},
	}})
	err := table.binder.Weigh(func(charset, collation string) (*statement.Weights, error) {
		return statement.LearnWeights(caseless, charset, collation, statement.MySQL)
	})
	if err != nil {
		t.Fatal(err)
	}
	table.tracked = table.binder.Identity()
	return table
}

func newSpelt(t testing.TB) *known {
	k := newKnown(t)
	k.table = spelt(t)
	return k
}

func (k *known) as(spelling string) *known {
	k.key = schemas.AppendString(nil, spelling)
	return k
}

// Two regions' writes of a row are of one row however each has spelt its key.
func TestSpellingsAreOneRow(t *testing.T) {
	k := newSpelt(t)
	k.as("Row").localWrite(1, 20, 100)
	if !k.as("rOW").apply(1, 10) {
		t.Error("the older write of the other region is written over the newer")
	}
	if k.as("ROW").apply(2, 30) {
		t.Error("the newer write of the other region isn't written")
	}
	k.as("row").localWrite(2, 25, 101) // before the batch, the tail comes by only now
	k.as("ROW").comeBy(2)
	if topic, offset := k.as("row").newest(); topic != "west.shop.a" || offset != 2 || k.due() != 0 {
		t.Errorf("the newest is %s %d, %d to be put back", topic, offset, k.due())
	}
}

// spellings adds to a batch what west did with one row, in that order: it inserts it,
// renames it, or deletes it.
func spellings(t *testing.T, table *boundTable, b *batch, steps ...string) {
	t.Helper()
	for i, step := range steps {
		name, deleted := strings.CutPrefix(step, "-")
		key := schemas.AppendString(nil, name)
		after := image(key, "", 0)
		if deleted {
			after = nil
		}
		if err := b.add(table, key, nil, after, made{hlc: 10, origin: "west", seq: 1, order: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// onlyOne returns the row that is left of one row's spellings.
func onlyOne(t *testing.T, tables []*tableRows) *row {
	t.Helper()
	var left *row
	for i := range tables[0].rows {
		if r := &tables[0].rows[i]; !r.void {
			if left != nil {
				t.Fatalf("%q and %q are left", left.key, r.key)
			}
			left = r
		}
	}
	return left
}

// Of a row's spellings in one batch the last change counts, also where the row came back to
// one that it had before.
func TestLastSpellingStays(t *testing.T) {
	for _, steps := range [][]string{{"a", "-a", "A"}, {"a", "-a", "A", "-A", "a"}, {"-A", "a", "-a"}} {
		k := newSpelt(t)
		b := newBatch(0)
		spellings(t, k.table, b, steps...)
		k.must(k.sift(b.tables))
		name, deleted := strings.CutPrefix(steps[len(steps)-1], "-")
		if r := onlyOne(t, b.tables); !bytes.Equal(r.key, schemas.AppendString(nil, name)) || (r.after == nil) != deleted {
			t.Errorf("%v: %q is left, %q", steps, r.key, r.after)
		}
	}
}

// The same in a transaction too large for a batch.
func TestLastSpellingStaysInALargeTransaction(t *testing.T) {
	k := newSpelt(t)
	st := &Stream{cfg: Config{Source: "west"}}
	st.cfg.Process = &config.Process{Region: "east"}
	l := &large{s: &session{st: st, versions: k.inbound}, end: &spine.Ending{End: schemas.End{Stamp: change.Stamp{Origin: "west", Seq: 1, HLC: 10}}}}
	for order, step := range []string{"a", "-a", "A", "-A", "a"} {
		name, deleted := strings.CutPrefix(step, "-")
		key := schemas.AppendString(nil, name)
		h := &head{table: k.table, key: key, record: spine.Record{Record: &kgo.Record{Topic: "west.shop.spelt"}}, change: schemas.Decoded{After: image(key, "", 0), TotalOrder: int64(order)}}
		if deleted {
			h.change.After = nil
		}
		k.must(l.merge(h))
	}
	tables := l.chunk.steps[0].tables
	k.must(k.sift(tables))
	if r := onlyOne(t, tables); r.after == nil {
		t.Error("the row is deleted, and the transaction left it")
	}
}

// The deletion of a row that yielded doesn't come over a newer write of the row, however
// that is spelt.
func TestYieldedSpelling(t *testing.T) {
	k := newSpelt(t)
	b := newBatch(0)
	spellings(t, k.table, b, "a")
	for _, c := range []struct {
		spelling string
		hlc      change.HLC
		newer    bool
	}{{"A", 9, true}, {"A", 11, false}, {"b", 9, false}} {
		newer, err := b.hasNewer(k.table, schemas.AppendString(nil, c.spelling), change.Version{HLC: c.hlc, Origin: "east"})
		if err != nil || newer != c.newer {
			t.Errorf("%s of %d: newer %t, %v", c.spelling, c.hlc, newer, err)
		}
	}
}

// That the target doesn't say what a key weighs is no fault of the record.
func TestUnweighedIsTriedAgain(t *testing.T) {
	table := spelt(t)
	err := newBatch(0).add(table, schemas.AppendString(nil, "é"), nil, nil, made{})
	if err == nil || supervise.IsPermanent(table.unreadable(&kgo.Record{}, err)) {
		t.Errorf("the error is %v", err)
	}
	if err := table.unreadable(&kgo.Record{}, errors.New("cut off")); !supervise.IsPermanent(err) {
		t.Errorf("%v is tried again", err)
	}
}
