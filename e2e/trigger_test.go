package e2e_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"
)

// TestTriggersFireOnce: triggers with the guard that check tells of do their
// work where the application writes, and not again where apply does; numbers
// that both servers give out at the same time don't collide (promise 3).
func TestTriggersFireOnce(t *testing.T) { onEveryPairIfLong(t, testTriggersFireOnce) }

func testTriggersFireOnce(t *testing.T, e engines) {
	const each = 100
	p := newPairOf(t, e, "triggers", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(),
			"CREATE TABLE shop.orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, touched INT NOT NULL DEFAULT 0)",
			"CREATE TABLE shop.audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, written BIGINT NOT NULL, side CHAR(1) NOT NULL)",
			fmt.Sprintf("CREATE TRIGGER shop.inserted AFTER INSERT ON shop.orders FOR EACH ROW IF @duplex_apply IS NULL THEN INSERT INTO shop.audit (written, side) VALUES (NEW.id, '%s'); END IF", sideName(s)),
			"CREATE TRIGGER shop.updated BEFORE UPDATE ON shop.orders FOR EACH ROW IF @duplex_apply IS NULL THEN SET NEW.touched = OLD.touched + 1; END IF")
	}
	processes := p.start("run")
	var conns []*sql.Conn
	for _, s := range p.sides() {
		conn, err := s.mysql.DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		mustPin(t, conn, s)
		conns = append(conns, conn)
	}
	for range each {
		for _, conn := range conns {
			execOn(t, conn, "INSERT INTO shop.orders () VALUES ()")
		}
	}
	for _, s := range p.sides() {
		eventually(t, stallLimit, func() error { return errors.Join(hasRows(s, "shop.orders", 2*each), hasRows(s, "shop.audit", 2*each)) })
	}
	// Each side updates what the other inserted.
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), fmt.Sprintf("UPDATE shop.orders SET touched = 50 WHERE id IN (SELECT written FROM shop.audit WHERE side = '%s')", sideName(p.other(s))))
	}
	for _, s := range p.sides() {
		eventually(t, stallLimit, func() error {
			return errors.Join(hasRows(s, "shop.orders WHERE touched = 1", 2*each), hasRows(s, "shop.audit", 2*each))
		})
	}
	stop(processes)
	for _, text := range []string{"SELECT id, touched FROM shop.orders ORDER BY id", "SELECT id, written, side FROM shop.audit ORDER BY id"} {
		if east, west := rowsOf(t, p.east, text), rowsOf(t, p.west, text); fmt.Sprint(east) != fmt.Sprint(west) {
			t.Errorf("%s: east has %v, west %v", text, east, west)
		}
	}
	for _, s := range p.sides() {
		if got := rowsOf(t, s, "SELECT COUNT(DISTINCT written), COUNT(*) FROM shop.audit"); got[0] != fmt.Sprintf(`"%d", "%d"`, 2*each, 2*each) {
			t.Errorf("the audit of %s has %v", s.region, got)
		}
	}
}
