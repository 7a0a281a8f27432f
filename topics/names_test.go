package topics

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTableNames(t *testing.T) {
	for _, c := range []struct{ db, table, want string }{
		{"shop", "orders", "east.shop.orders"},
		{"shop", "Orders_2", "east.shop.Orders_2"},
		{"a.b", "c", "east.a_x002eb.c"},
		{"a", "b.c", "east.a.b_x002ec"},
		{"shop", "订单", "east.shop._x8ba2_x5355"},
		{"shop", "_x002e", "east.shop._x005fx002e"},
		{"shop", "_xyz", "east.shop._xyz"},
	} {
		got, err := Table("east", c.db, c.table)
		if err != nil || got != c.want {
			t.Errorf("Table(%q, %q) = %q, %v; want %q", c.db, c.table, got, err, c.want)
		}
	}
	if _, err := Table("east", "shop", strings.Repeat("订", 64)); err == nil {
		t.Error("a name too long for Kafka was accepted")
	}
}

// Two tables must never share a topic: the name can be turned back.
func TestTableNamesAreInjective(t *testing.T) {
	part := rapid.StringOfN(rapid.RuneFrom([]rune("ab_x02e5f.-$ 订é")), 1, 12, -1)
	rapid.Check(t, func(t *rapid.T) {
		db, table := part.Draw(t, "db"), part.Draw(t, "table")
		name, err := Table("east", db, table)
		if err != nil {
			t.Fatal(err)
		}
		r, gotDB, gotTable, ok := ParseTable(name)
		if !ok || r != "east" || gotDB != db || gotTable != table {
			t.Fatalf("%q.%q became %q, which reads back as %q.%q", db, table, name, gotDB, gotTable)
		}
	})
}
