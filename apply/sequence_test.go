package apply

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"testing"

	"duplex/change"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// record is one with the given headers.
func record(headers ...string) *kgo.Record {
	r := new(kgo.Record)
	for _, h := range headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h, Value: []byte("x")})
	}
	return r
}

// cascadeKin is the table of bound with a child table whose foreign key refers
// to column code.
func cascadeKin(t testing.TB, onDelete, onUpdate string) *kin {
	t.Helper()
	root := &schemas.Table{DB: "shop", Name: "a", Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.VarBinary}, {Name: "code", Type: schemas.VarChar, Charset: "utf8mb4"}}}
	child := &schemas.Table{DB: "shop", Name: "child", Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.Int}, {Name: "code", Type: schemas.VarChar, Charset: "utf8mb4"}, {Name: "at", Type: schemas.Timestamp}}}
	k, err := newKin(root, []mysql.ForeignKey{{DB: "shop", Table: "child", Columns: []string{"code"}, ParentDB: "shop", Parent: "a", ParentColumns: []string{"code"}, OnDelete: onDelete, OnUpdate: onUpdate}},
		func(string, string) (*schemas.Table, error) { return child, nil })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSequence: what has a cascade is a step of its own, in its place; what lies
// between is merged, and a moved row's two halves are one step.
func TestSequence(t *testing.T) {
	table, k := bound(t, "a"), cascadeKin(t, "CASCADE", "CASCADE")
	rapid.Check(t, func(r *rapid.T) {
		q := new(sequence)
		var want []string
		plain := 0
		flush := func() {
			if plain > 0 {
				want = append(want, "merged")
			}
			plain = 0
		}
		for i := range rapid.IntRange(0, 30).Draw(r, "changes") {
			key := schemas.AppendBytes(nil, fmt.Appendf(nil, "key%d", i))
			moved := schemas.AppendBytes(nil, fmt.Appendf(nil, "moved%d", i))
			row, other := image(key, "old", 0), image(moved, "new", 0)
			var err error
			switch rapid.IntRange(0, 3).Draw(r, "kind") {
			case 0:
				err = q.add(table, key, &schemas.Decoded{After: row}, record(), nil)
				plain++
			case 1:
				flush()
				err = q.add(table, key, &schemas.Decoded{Before: row}, record(topics.HeaderCascade), k)
				want = append(want, "'old'→")
			case 2:
				flush()
				err = q.add(table, key, &schemas.Decoded{Before: row, After: image(key, "new", 0)}, record(topics.HeaderCascade), k)
				want = append(want, "'old'→'new'")
			default:
				flush()
				if err = q.add(table, key, &schemas.Decoded{Before: row}, record(topics.HeaderNewKey, topics.HeaderCascade), k); err == nil {
					err = q.add(table, moved, &schemas.Decoded{After: other}, record(topics.HeaderOldKey, topics.HeaderCascade), k)
				}
				want = append(want, "'old'→'new'")
			}
			if err != nil {
				r.Fatal(err)
			}
		}
		flush()
		var got []string
		for _, st := range q.take() {
			switch c := st.cascade; {
			case c == nil:
				got = append(got, "merged")
			case c.after == nil:
				got = append(got, c.before[1]+"→")
			default:
				got = append(got, c.before[1]+"→"+c.after[1])
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || q.moving != nil {
			r.Fatalf("got %v, want %v", got, want)
		}
	})
}

// Half a moved row is never taken for a delete.
func TestHalfMove(t *testing.T) {
	table, k := bound(t, "a"), cascadeKin(t, "CASCADE", "")
	key := schemas.AppendBytes(nil, []byte("key"))
	for _, next := range []*kgo.Record{record(), record(topics.HeaderNewKey)} {
		q := new(sequence)
		if err := q.add(table, key, &schemas.Decoded{Before: image(key, "old", 0)}, record(topics.HeaderNewKey, topics.HeaderCascade), k); err != nil {
			t.Fatal(err)
		}
		if err := q.add(table, key, &schemas.Decoded{After: image(key, "new", 0)}, next, nil); err == nil {
			t.Error("another change was taken for the other half")
		}
	}
}

// TestKinStatements: what the children of a row get.
func TestKinStatements(t *testing.T) {
	old, now, null := values{"", "'x'"}, values{"", "'y'"}, values{"", "NULL"}
	const where = " WHERE `code`='x'"
	for _, tt := range []struct {
		onDelete, onUpdate string
		before, after      values
		want               string
	}{
		{"CASCADE", "", old, nil, "DELETE FROM `shop`.`child`" + where},
		{"SET NULL", "", old, nil, "UPDATE `shop`.`child` SET `code`=NULL,`at`=`at`" + where},
		{"SET NULL", "CASCADE", old, now, "UPDATE `shop`.`child` SET `code`='y',`at`=`at`" + where},
		{"CASCADE", "SET NULL", old, now, "UPDATE `shop`.`child` SET `code`=NULL,`at`=`at`" + where},
		{"CASCADE", "CASCADE", old, old, ""},
		{"CASCADE", "", old, now, ""},
		{"", "CASCADE", old, nil, ""},
		{"CASCADE", "CASCADE", null, nil, ""},
	} {
		key := &cascadeKin(t, tt.onDelete, tt.onUpdate).children[0]
		got := ""
		if rule, set := key.rule(tt.before, tt.after); rule != refuse {
			got = key.statement(set, key.condition(tt.before, nil))
		}
		if got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// TestBarrier: a batch in which order matters is written when all before it are
// committed, and nothing after it is begun before it is.
func TestBarrier(t *testing.T) {
	table, k := bound(t, "a"), cascadeKin(t, "CASCADE", "")
	for seed := range 20 {
		var mu sync.Mutex
		open := 0 // transactions with a row statement
		var wrong []string
		server := &tracked{statement: func(tx *int, statement string) {
			mu.Lock()
			defer mu.Unlock()
			cascades := strings.Contains(statement, "child") || strings.Contains(statement, "barrier")
			switch {
			case statement == "COMMIT" || statement == "ROLLBACK":
				open -= *tx
				*tx = 0
			case strings.Contains(statement, "duplex.progress") || !strings.Contains(statement, "`shop`"):
			case *tx == 0:
				*tx = 1
				open++
				fallthrough
			default:
				if cascades && open > 1 {
					wrong = append(wrong, statement)
				}
			}
		}}
		var batches []*batch
		for i := range 24 {
			b := newBatch(0)
			b.seq, b.bytes, b.commits = change.Seq(i+1), 100, []int64{1}
			key := schemas.AppendBytes(nil, fmt.Appendf(nil, "key%d", i))
			if i%4 == seed%4 {
				b.ordered = new(sequence)
				key = schemas.AppendBytes(nil, fmt.Appendf(nil, "barrier%d", i))
				if err := b.ordered.add(table, key, &schemas.Decoded{Before: image(key, "x", 0)}, record(topics.HeaderCascade), k); err != nil {
					t.Fatal(err)
				}
			} else if err := b.add(table, key, nil, image(key, fmt.Sprint(i), 0), made{}); err != nil {
				t.Fatal(err)
			}
			batches = append(batches, b)
		}
		order := runPool(t, 4, server, batches)
		if fmt.Sprint(order) != fmt.Sprint(seqsOf(batches)) {
			t.Errorf("written in the order %v", order)
		}
		if len(wrong) > 0 {
			t.Fatalf("beside an open transaction: %v", wrong)
		}
	}
}

// tracked is a server that tells of each statement, with a number that belongs
// to the connection.
type tracked struct {
	scripted
	statement func(tx *int, statement string)
}

func (s *tracked) Connect(context.Context) (driver.Conn, error) {
	tx := new(int)
	return scriptedConn{&scripted{answer: func(statement string) error {
		s.statement(tx, statement)
		return nil
	}}}, nil
}
