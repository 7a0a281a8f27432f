package preflight_test

import (
	"strings"
	"testing"

	"duplex/internal/testbed"
	"duplex/preflight"
)

// What is wrong with a table by itself, the same on both sides; the fix of
// each side mends it.
func TestTables(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		for _, c := range []struct {
			create, code string
		}{
			{"CREATE TABLE shop_eu.t (a INT NOT NULL, b VARCHAR(9), UNIQUE KEY (a))", "no-primary-key refuse"},
			{"CREATE TABLE shop_eu.t (a INT, b VARCHAR(9), UNIQUE KEY (a))", "no-primary-key refuse"},
			{"CREATE TABLE shop_eu.`t``x` (a INT)", "no-primary-key refuse"},
			{"CREATE TABLE shop_eu.t (c VARBINARY(100), d INT, PRIMARY KEY (d, c(10)))", "prefix-primary-key refuse"},
			{"CREATE TABLE shop_eu.t (id INT PRIMARY KEY) ENGINE=MyISAM", "engine refuse"},
		} {
			w.step(c.create, func(w *world) {
				w.reset()
				w.exec(east, "SET GLOBAL auto_increment_increment=2") // as some fixes add a number
				w.exec(west, "SET GLOBAL auto_increment_increment=2", "SET GLOBAL auto_increment_offset=2")
				w.exec(east, c.create)
				w.exec(west, c.create)
				w.mends("east "+c.code, "west "+c.code)
			})
		}
	})
}

// Faults whose mending is for people to choose.
func TestTablesWithoutStatement(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		cases := []struct {
			create []string
			code   string
		}{
			{[]string{"CREATE TABLE shop_eu.t (id INT PRIMARY KEY, e ENUM('a?'))"}, "enum-label warn"},
			{[]string{"CREATE TABLE shop_eu.t (id INT PRIMARY KEY)", "CREATE TRIGGER shop_eu.tr BEFORE INSERT ON shop_eu.t FOR EACH ROW SET @x=1",
				"GRANT TRIGGER ON `shop\\_eu`.* TO duplex@'%'"}, "trigger warn"},
		}
		if w.isMariaDB() {
			cases = append(cases, struct {
				create []string
				code   string
			}{[]string{"CREATE TABLE shop_eu.t (id INT PRIMARY KEY) WITH SYSTEM VERSIONING"}, "system-versioned refuse"}, struct {
				create []string
				code   string
			}{[]string{"CREATE SEQUENCE shop_eu.s"}, "sequence warn"}, struct {
				create []string
				code   string
			}{[]string{"CREATE TABLE shop_eu.t (id INT PRIMARY KEY, n INT, g INT AS (n + 1) STORED, UNIQUE KEY u (g))"}, "generated-unique warn"})
		}
		for _, c := range cases {
			w.step(c.create[0], func(w *world) {
				w.reset()
				w.exec(east, c.create...)
				w.exec(west, c.create...)
				w.expect("east "+c.code, "west "+c.code)
			})
		}
	})
}

// Cascades are in the binlog of MySQL 9.6 and later only: elsewhere a task must
// have both tables.
func TestCascades(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		for i := range w.servers {
			w.exec(i, "CREATE TABLE shop_eu.child (id INT PRIMARY KEY, o INT, CONSTRAINT c1 FOREIGN KEY (o) REFERENCES shop_eu.orders (id) ON DELETE CASCADE)",
				"CREATE TABLE shop_eu.strict (id INT PRIMARY KEY, o INT, CONSTRAINT c2 FOREIGN KEY (o) REFERENCES shop_eu.orders (id) ON DELETE RESTRICT)")
		}
		w.expect()
		want := []string{"east cascade refuse", "west cascade refuse"}
		if w.servers[west].Part == testbed.MySQL97 {
			want = nil
		}
		w.useTask(`tables: {include: ["shop_eu.*"], exclude: ["shop_eu.child"]}`)
		w.expect(want...)
		w.useTask(`tables: {include: ["shop_eu.*"], exclude: ["shop_eu.orders"]}`)
		w.expect(want...)
		if want != nil {
			w.mends(want...)
		}
	})
}

// In tables whose keys the server doesn't help to tell apart conflicts aren't looked for.
func TestVagueKeys(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		for i := range w.servers {
			w.exec(i, "CREATE TABLE shop_eu.czech (id INT, name VARCHAR(20) CHARACTER SET latin2 COLLATE latin2_czech_cs, PRIMARY KEY (id, name))",
				"CREATE TABLE shop_eu.named (id INT, name VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci, PRIMARY KEY (id, name))",
				"CREATE TABLE shop_eu.exact (code CHAR(5) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, note VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci)",
				"CREATE TABLE shop_eu.kind (e ENUM('a','b') CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY)")
		}
		w.mends("east conflict-key warn", "west conflict-key warn")
	})
}

// A conflict rule that a table isn't fit for is refused before the task runs.
func TestConflictRules(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		for i := range w.servers {
			w.exec(i, "CREATE TABLE shop_eu.plain (id INT PRIMARY KEY, at DATETIME(6), n BIGINT UNSIGNED, d DECIMAL(18,4), name VARCHAR(20), x DOUBLE, wide DECIMAL(30,2))",
				"CREATE TABLE shop_eu.coded (id INT PRIMARY KEY, at TIMESTAMP NULL, code INT, UNIQUE KEY (code))")
		}
		use := func(rules string) {
			w.useTask(`tables: {include: ["shop_eu.plain", "shop_eu.coded"]}` + "\nconflicts: {tables: {" + rules + "}}")
		}
		for _, column := range []string{"at", "n", "d", "id"} {
			use("shop_eu.plain: {policy: newest-column, column: " + column + "}")
			w.expect()
		}
		use("shop_eu.plain: {policy: region-priority}, shop_eu.coded: {policy: stop}")
		w.expect()
		for _, column := range []string{"name", "x", "wide", "none"} {
			use("shop_eu.plain: {policy: newest-column, column: " + column + "}")
			w.expect("east conflict-rule refuse", "west conflict-rule refuse")
		}
		use("shop_eu.coded: {policy: region-priority}")
		w.expect("east conflict-rule refuse", "west conflict-rule refuse")
	})
}

// Rules of which rows are made of parts are refused where apply would refuse them.
func TestPartedRules(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		for i := range w.servers {
			w.exec(i, "CREATE TABLE shop_eu.stock (id INT PRIMARY KEY, n INT UNSIGNED NOT NULL, d DECIMAL(9,2) NOT NULL, z INT, x DOUBLE NOT NULL, o INT)",
				"CREATE TABLE shop_eu.coded (id INT PRIMARY KEY, n INT NOT NULL, code INT, UNIQUE KEY (code))",
				"CREATE TABLE shop_eu.named (name VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, n INT NOT NULL)",
				"CREATE TABLE shop_eu.child (id INT PRIMARY KEY, n INT NOT NULL, o INT, CONSTRAINT c1 FOREIGN KEY (o) REFERENCES shop_eu.orders (id) ON DELETE CASCADE)")
		}
		use := func(table, rule string) {
			w.useTask(`tables: {include: ["shop_eu.*"]}` + "\nconflicts: {tables: {shop_eu." + table + ": {" + rule + "}}}")
		}
		refused := []string{"east conflict-rule refuse", "west conflict-rule refuse"}
		for _, rule := range []string{"delta: [n, d]", "policy: merge-columns", "policy: merge-columns, delta: [n]"} {
			use("stock", rule)
			w.expect()
			for _, table := range []string{"coded", "child"} {
				use(table, strings.ReplaceAll(rule, "n, d", "n"))
				w.expect(refused...)
			}
		}
		for _, column := range []string{"z", "x", "id", "none"} {
			use("stock", "delta: ["+column+"]")
			w.expect(refused...)
		}
		use("named", "delta: [n]")
		w.mends(refused...)
	})
}

// With ordering key a table must have its rows in one partition each.
func TestKeyOrder(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		for i := range w.servers {
			w.exec(i, "CREATE TABLE shop_eu.named (name VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY)",
				"CREATE TABLE shop_eu.exact (name VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin, id INT, KEY (id), PRIMARY KEY (name, id))",
				"CREATE TABLE shop_eu.measured (d DOUBLE PRIMARY KEY)",
				"CREATE TABLE shop_eu.child (id INT PRIMARY KEY, o INT, CONSTRAINT c1 FOREIGN KEY (o) REFERENCES shop_eu.orders (id) ON DELETE CASCADE)")
		}
		w.expect()
		w.useTask(`tables: {include: ["shop_eu.*"]}` + "\nconflicts: {policy: none}")
		w.expect()
		w.useTask(`tables: {include: ["shop_eu.*"]}` + "\napply: {ordering: key}")
		var want []string
		for i, region := range []string{"east", "west"} {
			n := 4                                    // orders has a unique key
			if w.servers[i].Part == testbed.MySQL97 { // which logs cascades
				n = 3
			}
			for range n {
				want = append(want, region+" key-order refuse")
			}
		}
		w.expect(want...)
	})
}

func TestPatterns(t *testing.T) {
	w := newWorld(t, testbed.MySQL97, testbed.MySQL97)
	for _, c := range []struct {
		tables string
		want   []string
	}{
		{`["shop_eu.*"]`, nil},
		{`["shop_eu.*", "shop_eu.zz*"]`, []string{"no-table refuse"}},
		{`["*.orders", "shop_e?.Orders"]`, []string{"no-table refuse"}},
		// A database that the account may not see: the privilege is what is told.
		{`["shop_eu.*", "hidden.t"]`, []string{"east privileges refuse", "west privileges refuse"}},
		{`["crm.*"]`, []string{"east no-primary-key refuse", "east privileges refuse", "west no-primary-key refuse", "west privileges refuse"}},
	} {
		w.step(c.tables, func(w *world) {
			if strings.Contains(c.tables, "crm.*") {
				w.exec(east, "GRANT SELECT ON crm.other TO duplex@'%'")
				w.exec(west, "GRANT SELECT ON crm.other TO duplex@'%'")
			}
			w.useTask("tables: {include: " + c.tables + "}")
			w.expect(c.want...)
		})
	}
}

// A case of differences: what makes the table in east and in west (nothing for
// no table), and what is found. The fixes mend it.
type differenceCase struct {
	east, west string
	want       []string
}

func TestDifferences(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		cases := []differenceCase{
			{"(id INT PRIMARY KEY, s VARCHAR(9), KEY (s))", "", []string{"west table-missing refuse"}},
			{"", "(id INT PRIMARY KEY, `odd``name` ENUM('it''s') )", []string{"east table-missing refuse"}},
			{"(id INT PRIMARY KEY, a INT UNSIGNED NOT NULL DEFAULT 7)", "(id INT PRIMARY KEY)", []string{"west column-missing refuse"}},
			{"(id INT PRIMARY KEY)", "(id INT PRIMARY KEY, `a``b` TEXT COMMENT 'one, two')", []string{"east column-missing refuse"}},
			{"(id INT PRIMARY KEY, a INT)", "(id INT PRIMARY KEY, A INT)", nil},
			{"(id INT PRIMARY KEY, a INT, b INT)", "(id INT PRIMARY KEY, b INT, a INT)", nil},
			{"(id INT PRIMARY KEY, a INT)", "(id INT PRIMARY KEY, a SMALLINT)", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a INT)", "(id INT PRIMARY KEY, a INT UNSIGNED)", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a INT)", "(id INT PRIMARY KEY, a INT NOT NULL)", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a VARCHAR(9))", "(id INT PRIMARY KEY, a VARCHAR(10))", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a CHAR(9))", "(id INT PRIMARY KEY, a VARCHAR(9))", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a DECIMAL(9,2))", "(id INT PRIMARY KEY, a DECIMAL(9,3))", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a DATETIME(3))", "(id INT PRIMARY KEY, a DATETIME)", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a MEDIUMTEXT)", "(id INT PRIMARY KEY, a TEXT)", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a BIT(3))", "(id INT PRIMARY KEY, a BIT(4))", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a ENUM('x','y'))", "(id INT PRIMARY KEY, a ENUM('x'))", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a INT)", "(id INT PRIMARY KEY, a INT GENERATED ALWAYS AS (id) STORED)", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a VARCHAR(9)) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "(id INT PRIMARY KEY, a VARCHAR(9)) CHARACTER SET latin1", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a VARCHAR(9)) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "(id INT PRIMARY KEY, a VARCHAR(9))", []string{"west column-differs warn"}},
			{"(id INT, a VARCHAR(9) COLLATE utf8mb4_bin, PRIMARY KEY (a))", "(id INT, a VARCHAR(9), PRIMARY KEY (a))", []string{"west column-differs refuse"}},
			{"(id INT PRIMARY KEY, a VARCHAR(9) COLLATE utf8mb4_bin UNIQUE)", "(id INT PRIMARY KEY, a VARCHAR(9) UNIQUE)", []string{"west column-differs refuse"}},
			{"(a INT, b INT, PRIMARY KEY (a, b))", "(a INT, b INT, PRIMARY KEY (b, a))", []string{"west primary-key-differs refuse"}},
			{"(a INT NOT NULL, b INT NOT NULL, PRIMARY KEY (a))", "(a INT NOT NULL, b INT NOT NULL, PRIMARY KEY (b))", []string{"west primary-key-differs refuse"}},
			{"(id INT PRIMARY KEY, a INT, UNIQUE KEY u (a))", "(id INT PRIMARY KEY, a INT, KEY u2 (a))", []string{"west unique-key-differs refuse"}},
			{"(id INT PRIMARY KEY, a INT)", "(id INT PRIMARY KEY, a INT, UNIQUE KEY u (a, id))", []string{"east unique-key-differs refuse"}},
			{"(id INT PRIMARY KEY, a INT, UNIQUE KEY u (a))", "(id INT PRIMARY KEY, a INT, UNIQUE KEY u (a, id))", []string{"west unique-key-differs refuse"}},
			{"(id INT PRIMARY KEY, a INT, UNIQUE KEY u (a))", "(id INT PRIMARY KEY, a INT, UNIQUE KEY v (a))", nil},
			{"(id INT PRIMARY KEY, s VARCHAR(99), UNIQUE KEY u (s(5)))", "(id INT PRIMARY KEY, s VARCHAR(99), UNIQUE KEY u (s(6)))", []string{"west unique-key-differs refuse"}},
			{"(id INT PRIMARY KEY, s VARCHAR(99), UNIQUE KEY u (s(5)))", "(id INT PRIMARY KEY, s VARCHAR(99), UNIQUE KEY v (s(5)))", nil},
			{"(id INT PRIMARY KEY, o INT, CONSTRAINT f FOREIGN KEY (o) REFERENCES shop_eu.orders (id))", "(id INT PRIMARY KEY, o INT)", []string{"west foreign-key-differs warn"}},
			{"(id INT PRIMARY KEY, o INT, p INT, CONSTRAINT f FOREIGN KEY (o) REFERENCES shop_eu.orders (id))",
				"(id INT PRIMARY KEY, o INT, p INT, CONSTRAINT f FOREIGN KEY (p) REFERENCES shop_eu.orders (id) ON DELETE RESTRICT)", []string{"west foreign-key-differs warn"}},
			{"(id INT PRIMARY KEY, o INT, CONSTRAINT f FOREIGN KEY (o) REFERENCES shop_eu.orders (id) ON DELETE NO ACTION)",
				"(id INT PRIMARY KEY, o INT, CONSTRAINT g FOREIGN KEY (o) REFERENCES shop_eu.orders (id) ON DELETE RESTRICT)", nil},
			{"(id INT PRIMARY KEY AUTO_INCREMENT)", "(id INT PRIMARY KEY AUTO_INCREMENT)", []string{"west auto-increment warn"}},
		}
		if !w.isMariaDB() {
			cases = append(cases,
				differenceCase{"(id INT PRIMARY KEY, s VARCHAR(9), UNIQUE KEY u ((LOWER(s))))", "(id INT PRIMARY KEY, s VARCHAR(9), UNIQUE KEY u ((UPPER(s))))", []string{"west unique-key-differs refuse"}},
				differenceCase{"(id INT PRIMARY KEY, j JSON)", "(id INT PRIMARY KEY, j LONGTEXT)", []string{"west column-differs refuse"}})
		}
		for _, c := range cases {
			w.step(c.east+" "+c.west, func(w *world) { w.difference(c) })
		}
	})
}

func (w *world) difference(c differenceCase) {
	w.reset()
	for i, definition := range []string{c.east, c.west} {
		if definition != "" {
			w.exec(i, "CREATE TABLE shop_eu.`diff``t` "+definition)
		}
	}
	if len(c.want) == 1 && strings.Contains(c.want[0], "auto-increment") {
		w.fixBoth(w.expect(c.want...)[0].Fix)
		w.expect()
		return
	}
	w.mends(c.want...)
}

// fixBoth runs a fix that has a part for each region.
func (w *world) fixBoth(fix string) {
	_, fix, _ = strings.Cut(fix, "-- in east\n")
	first, second, ok := strings.Cut(fix, "-- in west\n")
	if !ok {
		w.t.Fatalf("no parts in %q", fix)
	}
	w.exec(east, statements(first)...)
	w.exec(west, statements(second)...)
}

// The two dialects: equal tables are equal although MariaDB shows display
// widths and calls collations otherwise.
func TestMySQLWithMariaDB(t *testing.T) {
	w := newWorld(t, testbed.MySQL80, testbed.MariaDB1011)
	for i := range w.servers {
		w.exec(i, "CREATE TABLE shop_eu.t (id BIGINT UNSIGNED PRIMARY KEY, a INT, b TINYINT(1), y YEAR, d DOUBLE, f FLOAT, s VARCHAR(9) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin, x MEDIUMBLOB, bi BIT(2))")
	}
	w.expect()
	// A document is JSON to the one, a text with a check to the other.
	w.exec(east, "CREATE TABLE shop_eu.docs (id INT PRIMARY KEY, `a b` JSON, n JSON NOT NULL)")
	w.exec(west, "CREATE TABLE shop_eu.docs (id INT PRIMARY KEY, `a b` LONGTEXT CHARACTER SET utf8mb4, n JSON NOT NULL)")
	for _, f := range w.expect("west json-text refuse", "west json-text warn") {
		if f.Severity == preflight.Refuse {
			w.fix(f)
		}
	}
	w.expect("west json-text warn", "west json-text warn")
	w.exec(west, "ALTER TABLE shop_eu.docs MODIFY n JSON NULL")
	w.expect("west json-text warn", "west json-text warn", "west column-differs refuse")
}
