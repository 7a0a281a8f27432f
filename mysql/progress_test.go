package mysql_test

import (
	"strings"
	"testing"

	"duplex/internal/testbed"
	"duplex/mysql"
)

func TestEnsureSchema(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		db := open(t, plainConfig(server), mysql.Applying)
		if missing, err := mysql.SchemaMissing(t.Context(), db); err != nil || !missing {
			t.Fatalf("missing %v, %v", missing, err)
		}
		if err := mysql.EnsureSchema(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if missing, err := mysql.SchemaMissing(t.Context(), db); err != nil || missing {
			t.Fatalf("missing %v, %v", missing, err)
		}
		exec(t, db, "INSERT INTO duplex.progress VALUES ('shop', 'east', 0, 1, 0, 0, 0)", "INSERT INTO duplex.canary VALUES ('shop', 'east', 'x')")
		before := inspect(t, db).GTIDExecuted
		if err := mysql.EnsureSchema(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if after := inspect(t, db).GTIDExecuted; after != before {
			t.Errorf("the second time it wrote: from %s to %s", before, after)
		}
		if got := query(t, db, "SELECT COUNT(*) FROM duplex.progress WHERE task='shop' AND n=0"); got != "1" {
			t.Error("the second time emptied the table")
		}
		exec(t, db, "ALTER TABLE duplex.progress DROP COLUMN n")
		if err := mysql.EnsureSchema(t.Context(), db); err == nil || !strings.Contains(err.Error(), "duplex.progress") || !strings.Contains(err.Error(), "RENAME TABLE") {
			t.Errorf("a table of another shape: %v", err)
		}
	})
}

// Without CREATE the error gives what an administrator is to run; run, it
// satisfies the account.
func TestEnsureSchemaWithoutPrivilege(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		exec(t, server.DB(), "CREATE USER app@'%' IDENTIFIED BY ''", "GRANT SELECT, INSERT, UPDATE, DELETE ON duplex.* TO app@'%'")
		cfg := plainConfig(server)
		cfg.User = "app"
		db := open(t, cfg, mysql.Applying)
		err := mysql.EnsureSchema(t.Context(), db)
		if err == nil {
			t.Fatal("no error")
		}
		for _, statement := range mysql.SchemaStatements() {
			if !strings.Contains(err.Error(), statement) {
				t.Errorf("%s isn't in %v", statement, err)
			}
		}
		exec(t, server.DB(), mysql.SchemaStatements()...)
		if err := mysql.EnsureSchema(t.Context(), db); err != nil {
			t.Error(err)
		}
	})
}
