package capture

import (
	"log/slog"
	"testing"

	"duplex/capture/binlog"
	"duplex/config"
)

// What a session published and couldn't commit is published again by the next:
// it must count once.
func TestOnlyCommittedIsCounted(t *testing.T) {
	c := New(Config{Process: &config.Process{Region: "east"}, Log: slog.New(slog.DiscardHandler)})
	begin := func() *publishing {
		position, err := binlog.ParsePosition("mysql", "")
		if err != nil {
			t.Fatal(err)
		}
		return &publishing{c: c, position: position}
	}
	publish := func(s *publishing) {
		s.published.add(&transaction{total: 3})
		s.published.add(&transaction{total: 2, marked: true})
	}
	aborted := begin()
	publish(aborted)
	if got := c.Status(); got.Rows != 0 || got.Applied != 0 || got.Transactions != 0 {
		t.Errorf("before a commit: %d rows, %d applied, %d transactions, want 0", got.Rows, got.Applied, got.Transactions)
	}
	again := begin()
	publish(again)
	c.committed(again)
	c.committed(again) // an idle position
	if got := c.Status(); got.Rows != 3 || got.Applied != 2 || got.Transactions != 2 {
		t.Errorf("after a commit: %d rows, %d applied, %d transactions, want 3, 2, 2", got.Rows, got.Applied, got.Transactions)
	}
}
