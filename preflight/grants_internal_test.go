package preflight

import "testing"

func TestParseGrant(t *testing.T) {
	for _, c := range []struct {
		line                 string
		privilege, db, table string
		want                 bool
	}{
		{"GRANT SELECT, INSERT ON `shop`.* TO `u`@`%`", "INSERT", "shop", "t", true},
		{"GRANT SELECT, INSERT ON `shop`.* TO `u`@`%`", "INSERT", "shop", "*", true},
		{"GRANT SELECT, INSERT ON `shop`.* TO `u`@`%`", "DELETE", "shop", "t", false},
		{"GRANT SELECT, INSERT ON `shop`.* TO `u`@`%`", "INSERT", "shop2", "t", false},
		{"GRANT ALL PRIVILEGES ON *.* TO `u`@`%` WITH GRANT OPTION", "INSERT", "shop", "t", true},
		{"GRANT ALL PRIVILEGES ON *.* TO `u`@`%` WITH GRANT OPTION", "REPLICATION SLAVE", "*", "*", true},
		{"GRANT ALL PRIVILEGES ON `shop`.* TO `u`@`%`", "REPLICATION SLAVE", "*", "*", false},
		{"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*X ON Y'", "REPLICATION CLIENT", "*", "*", true},
		{"GRANT SELECT (`a`, `b ON c`), INSERT ON `shop`.`t` TO `u`@`%`", "SELECT", "shop", "t", false},
		{"GRANT SELECT (`a`, `b ON c`), INSERT ON `shop`.`t` TO `u`@`%`", "INSERT", "shop", "t", true},
		{"GRANT SELECT ON `shop`.`t` TO `u`@`%`", "SELECT", "shop", "*", false},
		{"GRANT SELECT ON `sh``o ON p`.`t.x` TO `u`@`%`", "SELECT", "sh`o ON p", "t.x", true},
		{"GRANT SELECT ON `shop%`.* TO `u`@`%`", "SELECT", "shopping", "t", true},
		{"GRANT SELECT ON `shop\\_eu`.* TO `u`@`%`", "SELECT", "shop_eu", "t", true},
		{"GRANT SELECT ON `shop\\_eu`.* TO `u`@`%`", "SELECT", "shopXeu", "t", false},
		{"GRANT SELECT ON `shop_eu`.* TO `u`@`%`", "SELECT", "shopXeu", "t", true},
		{"GRANT `role`@`%` TO `u`@`%`", "SELECT", "shop", "t", false},
		{"GRANT PROXY ON ``@`` TO 'root'@'localhost' WITH GRANT OPTION", "SELECT", "shop", "t", false},
		{"GRANT EXECUTE ON FUNCTION `shop`.`f` TO `u`@`%`", "EXECUTE", "shop", "f", false},
		{"SET DEFAULT ROLE `r` FOR `u`@`%`", "SELECT", "shop", "t", false},
		{"", "SELECT", "shop", "t", false},
	} {
		g := grants{patterns: true}
		if line, ok := parseGrant(c.line); ok {
			g.lines = append(g.lines, line)
		}
		if got := g.allow(c.privilege, c.db, c.table); got != c.want {
			t.Errorf("%s: %s on %s.%s: %v", c.line, c.privilege, c.db, c.table, got)
		}
	}
}

func FuzzParseGrant(f *testing.F) {
	f.Add("GRANT SELECT (`a`), INSERT ON `sh``op`.`t` TO `u`@`%`")
	f.Add("REVOKE SELECT ON `shop`.* FROM `u`@`%`")
	f.Fuzz(func(t *testing.T, line string) {
		if g, ok := parseGrant(line); ok && (g.db == "" && g.table == "" && len(line) < 9) {
			t.Errorf("%q gives %+v", line, g)
		}
	})
}
