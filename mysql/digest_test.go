package mysql_test

import (
	"testing"

	"duplex/internal/testbed"
	"duplex/mysql"
)

// Whatever changes how a row must be written changes the digest, and nothing else
// does.
func TestDigests(t *testing.T) {
	onEveryServer(t, func(t *testing.T, m *testbed.MySQL) {
		db := open(t, plainConfig(m), mysql.Applying)
		exec(t, db, "CREATE DATABASE `o'n\\e`", "CREATE DATABASE two",
			"CREATE TABLE `o'n\\e`.t (id INT PRIMARY KEY, v INT)",
			"CREATE TABLE two.t (id INT AUTO_INCREMENT PRIMARY KEY, d DECIMAL(10,4), s VARCHAR(30), e ENUM('a','b'), at DATETIME(6), n INT, g INT AS (n + 1), KEY usual (n)) CHARACTER SET utf8mb4")
		one, two, gone := mysql.TableName{DB: "o'n\\e", Table: "t"}, mysql.TableName{DB: "two", Table: "t"}, mysql.TableName{DB: "two", Table: "gone"}
		look := func() map[mysql.TableName]uint64 {
			t.Helper()
			found, err := mysql.Digests(t.Context(), db, []mysql.TableName{one, two, gone})
			if err != nil {
				t.Fatal(err)
			}
			if _, there := found[gone]; there || len(found) != 2 || found[one] == 0 {
				t.Fatalf("found %v", found)
			}
			return found
		}
		was := look()
		exec(t, db, "INSERT INTO two.t (d, n) VALUES (1, 1), (2, 2)", "ANALYZE TABLE two.t", "ALTER TABLE two.t DROP KEY usual, ADD KEY other (s)")
		if now := look(); now[one] != was[one] || now[two] != was[two] {
			t.Errorf("%v became %v", was, now)
		}
		seen := map[uint64]string{was[two]: "the first"}
		for _, alter := range []string{
			"MODIFY d DECIMAL(10,2)", "MODIFY s VARCHAR(20)", "MODIFY e ENUM('b','a')", "MODIFY at DATETIME", "MODIFY n INT NOT NULL", "MODIFY n INT NOT NULL DEFAULT 1",
			"MODIFY n INT UNSIGNED NOT NULL DEFAULT 1", "MODIFY s VARCHAR(20) CHARACTER SET latin1", "MODIFY s VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin",
			"ADD UNIQUE KEY u (s)", "DROP KEY u, ADD UNIQUE KEY u (s(3))", "DROP KEY u, ADD UNIQUE KEY u (s, n)", "DROP KEY u, ADD UNIQUE KEY u (n, s)",
			"ADD COLUMN more INT", "DROP COLUMN g", "ADD COLUMN g INT AS (n + 2)", "DROP PRIMARY KEY, ADD PRIMARY KEY (id, n)", "MODIFY more INT FIRST",
		} {
			exec(t, db, "ALTER TABLE two.t "+alter)
			now := look()
			if before, same := seen[now[two]]; same || now[one] != was[one] {
				t.Errorf("%s gives the digest of %s", alter, before)
			}
			seen[now[two]] = alter
		}
	})
}
