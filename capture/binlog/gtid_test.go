package binlog

import (
	"fmt"
	"testing"

	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// A GTID reads as the server prints it, and is found in a position that has it.
func TestGTIDString(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := GTID{sid: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "sid")), number: rapid.Int64Range(1, 1<<62).Draw(t, "number")}
		want := fmt.Sprintf("%s:%d", g.sid, g.number)
		if rapid.Bool().Draw(t, "tagged") {
			g.tag = mysql.NewTag("a_tag")
			want = fmt.Sprintf("%s:a_tag:%d", g.sid, g.number)
		}
		if g.sid != uuid.Nil && g.String() != want {
			t.Errorf("%s, want %s", g, want)
		}
	})
}

// Whatever transactions are passed in whatever order, the position is the set
// of them.
func TestPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		servers := [2]uuid.UUID{{1}, {2}}
		tags := [2]mysql.Tag{{}, mysql.NewTag("a_tag")}
		p, err := ParsePosition(mysql.MySQLFlavor, rapid.SampledFrom([]string{"", servers[0].String() + ":1-3:9-10:tag:4"}).Draw(t, "before"))
		if err != nil {
			t.Fatal(err)
		}
		want := p.clone().set.(*mysql.MysqlGTIDSet)
		number := int64(0)
		for range rapid.IntRange(1, 40).Draw(t, "transactions") {
			number = max(1, number+rapid.SampledFrom([]int64{1, 1, 1, 1, 2, 4, -3, 0}).Draw(t, "step"))
			g := GTID{sid: servers[rapid.IntRange(0, 5).Draw(t, "server")/5], tag: tags[rapid.IntRange(0, 5).Draw(t, "tag")/5], number: number}
			want.AddGTIDWithTag(g.sid, g.tag, g.number)
			if err := p.Pass(&Event{GTID: g}); err != nil {
				t.Fatal(err)
			}
			if p.String() != want.String() {
				t.Fatalf("after %s the position is %s, not %s", g, p, want)
			}
		}
	})
}
