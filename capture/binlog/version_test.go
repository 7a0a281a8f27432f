package binlog

import (
	"testing"

	"duplex/internal/testbed"
)

// MySQL 9.7 flags a table's map differently where a statement on its parent
// wrote it. Within one transaction a second version would count the changes of
// one partition twice over.
func TestTableVersionIsOneForParentAndChild(t *testing.T) {
	t.Parallel()
	s := startSource(t, testbed.MySQL97)
	s.exec(t, "CREATE TABLE d.parent (id INT PRIMARY KEY)")
	s.exec(t, "CREATE TABLE d.child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parent (id))")
	from := s.executed(t)
	for _, statement := range []string{"BEGIN", "INSERT INTO d.parent VALUES (1)", "INSERT INTO d.child VALUES (1, 1)", "UPDATE d.child SET id = 2", "DELETE FROM d.child", "DELETE FROM d.parent", "COMMIT"} {
		s.exec(t, statement)
	}
	events, err := s.read(t, from, 1)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]map[*TableVersion]bool{"parent": {}, "child": {}}
	for _, e := range events {
		if e.Kind == Rows {
			versions[e.Rows.Table.Table.Name][e.Rows.Table] = true
		}
	}
	if len(versions["parent"]) != 1 || len(versions["child"]) != 1 {
		t.Errorf("one transaction has %d versions of parent and %d of child", len(versions["parent"]), len(versions["child"]))
	}
}

// A table keeps its version until it is altered, whatever stands around its
// TABLE_MAP events: else each transaction would cost a decoder, a schema and
// memory for ever (promise 7).
func TestTableVersionLasts(t *testing.T) {
	t.Parallel()
	for _, version := range []testbed.Part{testbed.MySQL80, testbed.MySQL97, testbed.MariaDB118} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startSource(t, version)
			s.exec(t, "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20))")
			settings := []string{"SET GLOBAL binlog_checksum = CRC32", "SET GLOBAL binlog_checksum = NONE"}
			if !s.IsMariaDB() {
				settings = append(settings, "SET SESSION binlog_transaction_compression = ON")
			}
			for _, setting := range settings {
				s.exec(t, setting)
				from := s.executed(t)
				for range 3 {
					s.exec(t, "INSERT INTO d.t SELECT COALESCE(MAX(id), 0) + 1, 'a' FROM d.t")
				}
				s.exec(t, "ALTER TABLE d.t MODIFY v VARCHAR(30)")
				s.exec(t, "UPDATE d.t SET v = 'b'")
				s.exec(t, "ALTER TABLE d.t MODIFY v VARCHAR(20)")
				events, err := s.read(t, from, 5)
				if err != nil {
					t.Fatalf("%s: %v", setting, err)
				}
				var seen []*TableVersion
				for _, e := range events {
					if e.Kind == Rows {
						seen = append(seen, e.Rows.Table)
					}
				}
				if len(seen) != 4 || seen[0] != seen[1] || seen[1] != seen[2] || seen[2] == seen[3] {
					t.Errorf("%s: the versions of 4 changes, the table altered before the last, are %p", setting, seen)
				}
			}
		})
	}
}

// A sequence's row is in the binlog like a table's; it is left out.
func TestSequenceIsLeftOut(t *testing.T) {
	t.Parallel()
	s := startSource(t, testbed.MariaDB118)
	s.exec(t, "CREATE SEQUENCE d.s")
	s.exec(t, "CREATE TABLE d.t (id INT PRIMARY KEY)")
	from := s.executed(t)
	s.exec(t, "DO NEXTVAL(d.s)")
	s.exec(t, "INSERT INTO d.t VALUES (1)")
	events, err := s.read(t, from, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == Rows && e.Rows.Table.Table.Name != "t" {
			t.Errorf("rows of %s", e.Rows.Table.Table)
		}
	}
}
