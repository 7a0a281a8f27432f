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
