package e2e_test

import (
	"fmt"
	"testing"
)

// TestStopIsExact: capture stops at exactly the transaction that it can't
// take. All before it, though read in one go with it, reaches the other
// region; nothing of it or after it does (promise 6).
func TestStopIsExact(t *testing.T) { onEveryPair(t, testStopIsExact) }

func testStopIsExact(t *testing.T, e engines) {
	t.Run("between transactions", func(t *testing.T) {
		stopsExactly(t, e, "exactddl", "TRUNCATE shop.other", "TRUNCATE shop.other")
	})
	t.Run("inside a transaction", func(t *testing.T) {
		// The rows of the INSERT are whole, those of the UPDATE are not.
		stopsExactly(t, e, "exactrow", "binlog_row_image",
			"SET SESSION binlog_row_image = MINIMAL",
			"BEGIN", "INSERT INTO shop.other VALUES (1, 'a'), (2, 'b')", "UPDATE shop.other SET v = 'c' WHERE id = 2", "COMMIT",
			"SET SESSION binlog_row_image = FULL") // the connection is others' later
	})
}

func stopsExactly(t *testing.T, e engines, name, reason string, bad ...string) {
	const before = 300
	p := newSmall(t, e, name)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.other (id INT PRIMARY KEY, v VARCHAR(60))")
	}
	stop(p.start("run")) // saves where it begins
	conn, err := p.east.mysql.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var statements []string
	for i := range before {
		statements = append(statements, fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", i))
	}
	statements = append(append(statements, bad...), "INSERT INTO shop.t VALUES (-1, 'after')")
	for _, statement := range statements {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	east, west := p.process(p.east, "run"), p.process(p.west, "run")
	east.Start()
	west.Start()
	stopped(t, p, east, reason)
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", before) })
	if err := hasRows(p.west, "shop.other", 0); err != nil {
		t.Error(err)
	}
	stop([]*Process{east, west})
}
