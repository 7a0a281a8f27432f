package preflight_test

import (
	"strings"
	"testing"

	"duplex/internal/testbed"
)

// Without any privilege one GRANT is printed for each object; each single one
// that is missing is found and mended.
func TestPrivileges(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		const data = "SELECT, INSERT, UPDATE, DELETE"
		objects := []struct{ on, privileges, granted string }{
			{"*.*", "REPLICATION SLAVE, REPLICATION CLIENT", ""},
			{"`duplex`.*", data, data},
			{"`shop\\_eu`.*", data, data},
			{"`crm`.`customer`", data, ""},
		}
		for _, object := range objects {
			for _, privilege := range strings.Split(object.privileges, ", ") {
				w.step(privilege+" ON "+object.on, func(w *world) {
					w.exec(west, "REVOKE "+privilege+" ON "+object.on+" FROM duplex@'%'")
					granted := object.granted
					if granted == "" {
						granted = privilege
					}
					found := w.check()
					if len(found) != 1 || found[0].Fix != "GRANT "+granted+" ON "+object.on+" TO 'duplex'@'%';\n" ||
						!strings.Contains(found[0].What, "lacks "+privilege+" on "+object.on) {
						w.t.Errorf("found %+v", found)
					}
					w.mends("west privileges refuse")
				})
			}
		}
		w.step("everything", func(w *world) {
			w.exec(west, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM duplex@'%'")
			want := []string{"west privileges refuse", "west privileges refuse", "west privileges refuse", "west privileges refuse"}
			found := w.expect(want...)
			for i, object := range objects {
				privileges := object.privileges
				if strings.Contains(object.on, "duplex") {
					privileges = "CREATE, " + privileges // the account can't see that the tables are there
				}
				if fix := "GRANT " + privileges + " ON " + object.on + " TO 'duplex'@'%';\n"; found[i].Fix != fix {
					w.t.Errorf("fix %q, want %q", found[i].Fix, fix)
				}
			}
			w.mends(want...)
		})
		// A grant on the unescaped name is a pattern; it does, until the very
		// name is granted something.
		w.step("pattern", func(w *world) {
			w.exec(west, "REVOKE SELECT, INSERT, UPDATE, DELETE ON `shop\\_eu`.* FROM duplex@'%'", "GRANT SELECT, INSERT, UPDATE, DELETE ON `shop_e%`.* TO duplex@'%'")
			w.expect()
			w.exec(west, "GRANT EXECUTE ON `shop\\_eu`.* TO duplex@'%'")
			w.mends("west privileges refuse")
			w.exec(west, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM duplex@'%'")
			w.grant()
			w.expect()
		})
		w.step("role", func(w *world) {
			w.exec(west, "CREATE ROLE writer", "REVOKE INSERT ON `shop\\_eu`.* FROM duplex@'%'", "GRANT INSERT ON `shop\\_eu`.* TO writer", "GRANT writer TO duplex@'%'")
			w.expect("west privileges refuse") // a role that isn't active gives nothing
			if w.isMariaDB() {
				w.exec(west, "SET DEFAULT ROLE writer FOR duplex@'%'")
			} else {
				w.exec(west, "SET DEFAULT ROLE writer TO duplex@'%'")
			}
			w.expect()
			w.exec(west, "DROP ROLE writer")
			w.mends("west privileges refuse")
		})
		w.step("excess", func(w *world) {
			w.exec(west, "GRANT FILE, CREATE USER ON *.* TO duplex@'%' WITH GRANT OPTION")
			w.mends("west excess-privileges warn")
		})
	})
}

func TestPartialRevokes(t *testing.T) {
	w := newWorld(t, testbed.MySQL97, testbed.MySQL97)
	w.exec(west, "SET GLOBAL partial_revokes=ON", "REVOKE ALL PRIVILEGES, GRANT OPTION FROM duplex@'%'",
		"GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT, INSERT, UPDATE, DELETE ON *.* TO duplex@'%'")
	w.expect()
	w.exec(west, "REVOKE INSERT ON shop_eu.* FROM duplex@'%'")
	w.mends("west privileges refuse")
}

// What the account may really do agrees with what the check says of it.
func TestPrivilegesAreTrue(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		db := w.open(west)
		db.SetMaxIdleConns(0) // global privileges count from log-in
		try := func() error {
			_, err := db.ExecContext(w.t.Context(), "DELETE FROM shop_eu.orders")
			return err
		}
		for _, grants := range []string{
			"GRANT DELETE, SELECT ON `shop_eu`.* TO duplex@'%'", "GRANT DELETE, SELECT ON `sho%`.* TO duplex@'%'; GRANT SELECT ON `shop_eu`.* TO duplex@'%'",
			"GRANT DELETE, SELECT ON `shop_eu`.* TO duplex@'%'; GRANT SELECT ON `shop\\_eu`.* TO duplex@'%'",
			"GRANT DELETE, SELECT ON *.* TO duplex@'%'; GRANT SELECT ON `shop\\_eu`.* TO duplex@'%'",
			"GRANT DELETE, SELECT ON `%\\_eu`.* TO duplex@'%'", "GRANT DELETE, SELECT ON shop_eu.orders TO duplex@'%'; GRANT SELECT ON `shop\\_eu`.* TO duplex@'%'",
			"GRANT SELECT ON shop_eu.* TO duplex@'%'", "GRANT DELETE, SELECT ON `s%`.* TO duplex@'%'; GRANT SELECT ON `%`.* TO duplex@'%'",
		} {
			w.step(grants, func(w *world) {
				w.exec(west, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM duplex@'%'")
				w.exec(west, strings.Split(grants, "; ")...)
				denied := try() != nil
				told := false
				for _, f := range w.check() {
					told = told || f.Region == "west" && f.Code == "privileges" && strings.Contains(f.What, "DELETE") && strings.Contains(f.What, "shop\\_eu")
				}
				// A grant on the one table is enough for the statement, not for
				// the pattern shop_eu.*, which covers tables to come.
				if told != denied && !strings.Contains(grants, "shop_eu.orders") {
					w.t.Errorf("denied %v, told %v: %v", denied, told, try())
				}
			})
		}
	})
}
