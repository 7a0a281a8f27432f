package binlog

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"

	"duplex/internal/testbed"
	"duplex/schemas"
)

// mapOf runs statements that write rows and returns the last rows event.
func mapOf(t *testing.T, s *source, statements ...string) rowsEvent {
	t.Helper()
	from := s.position(t)
	for _, statement := range statements {
		s.exec(t, statement)
	}
	events := s.headers(t, from, s.position(t))
	if len(events) == 0 {
		t.Fatalf("no rows event from %q", statements)
	}
	return events[len(events)-1]
}

// decodeOne compiles the table of a rows event and decodes its first image.
func decodeOne(s *source, t *testing.T, ev rowsEvent) ([]byte, *schemas.Table, error) {
	t.Helper()
	table, err := TableFromMap(ev.Table, s.collations(t))
	if err != nil {
		return nil, nil, err
	}
	d, err := CompileRow(table, ev.Table)
	if err != nil {
		return nil, nil, err
	}
	out, _, err := d.Decode(nil, ev.images, ev.ColumnBitmap1, make([]Span, d.KeyLen()), new(schemas.Exact))
	return out, table, err
}

// TestRefusals demands that whatever can't be carried is refused by name, with
// the mend. (Promise 6: nothing is skipped silently.)
func TestRefusals(t *testing.T) {
	mysql, mariadb := startSource(t, testbed.MySQL97), startSource(t, testbed.MariaDB118)
	for _, test := range []struct {
		name       string
		servers    []*source
		statements []string
		kind       error  // of a value
		want       string // in the text
	}{
		{name: "no primary key", statements: []string{"CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1)"},
			want: "table d.t: it has no primary key; mend: ALTER TABLE d.t ADD PRIMARY KEY"},
		{name: "prefix key", statements: []string{"CREATE TABLE d.t (a INT, c VARCHAR(100), PRIMARY KEY (a, c(10)))", "INSERT INTO d.t VALUES (1, 'x')"},
			want: "table d.t, column c: the primary key has only a prefix of it"},
		{name: "metadata", statements: []string{"SET GLOBAL binlog_row_metadata=MINIMAL", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)", "SET GLOBAL binlog_row_metadata=FULL"},
			want: "table d.t: the binlog doesn't tell its column names; mend: SET PERSIST binlog_row_metadata='FULL'"},
		{name: "row image", statements: []string{"CREATE TABLE d.t (a INT PRIMARY KEY, b INT, c INT)", "INSERT INTO d.t VALUES (1, 2, 3)", "SET SESSION binlog_row_image=MINIMAL", "UPDATE d.t SET c = 4", "SET SESSION binlog_row_image=FULL"},
			kind: ErrPartialImage, want: "SET PERSIST binlog_row_image='FULL'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			servers := test.servers
			if servers == nil {
				servers = []*source{mysql, mariadb}
			}
			for _, s := range servers {
				s.exec(t, "DROP TABLE IF EXISTS d.t")
				s.exec(t, "SET sql_mode = 'ALLOW_INVALID_DATES'")
				_, _, err := decodeOne(s, t, mapOf(t, s, test.statements...))
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: got %v, want %q", s.Part, err, test.want)
				}
				var value *ValueError
				var table *UnsupportedError
				if test.kind != nil && (!errors.As(err, &value) || !errors.Is(err, test.kind)) {
					t.Errorf("%s: got %v, want a ValueError of kind %v", s.Part, err, test.kind)
				}
				if test.kind == nil && (!errors.As(err, &table) || table.Table != "t") {
					t.Errorf("%s: got %v, want an UnsupportedError", s.Part, err)
				}
			}
		})
	}
}

// TestCollationsBesideVector demands the right character sets in a table with
// a VECTOR column, where go-mysql's own CollationMap is wrong.
func TestCollationsBesideVector(t *testing.T) {
	s := startSource(t, testbed.MySQL97)
	ev := mapOf(t, s, `CREATE TABLE d.t (id INT PRIMARY KEY, a VARCHAR(9) CHARACTER SET latin1, v VECTOR(3), b VARBINARY(9), c TEXT CHARACTER SET ascii,
		w VECTOR(2), d BLOB, e CHAR(5) COLLATE utf8mb4_bin, g GEOMETRY, f VARCHAR(9) CHARACTER SET utf8mb3)`, "INSERT INTO d.t (id) VALUES (1)")
	table, err := TableFromMap(ev.Table, s.collations(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range table.Columns {
		got = append(got, strings.TrimSpace(c.Native+" "+c.Collation))
	}
	want := "int, varchar(9) latin1_swedish_ci, vector, varbinary(9), text ascii_general_ci, vector, blob, char(5) utf8mb4_bin, geometry, varchar(9) utf8mb3_general_ci"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
}

// TestColumnsOfTheBinlog demands that columns users don't see change nothing:
// invisible and generated ones are in the row, those of functional indexes
// aren't, and the key is in key order.
func TestColumnsOfTheBinlog(t *testing.T) {
	for _, version := range []testbed.Part{testbed.MySQL97, testbed.MySQL80} {
		s := startSource(t, version)
		ev := mapOf(t, s, `CREATE TABLE d.t (a INT NOT NULL, b INT INVISIBLE, c INT AS (a + 1) VIRTUAL, e INT AS (a + 2) STORED, j JSON, z VARCHAR(5) NOT NULL,
			KEY f ((a + 10)), KEY m ((CAST(j AS UNSIGNED ARRAY))), PRIMARY KEY (z, a))`, `INSERT INTO d.t (a, b, j, z) VALUES (5, 6, '[1, 2]', 'k')`)
		out, table, err := decodeOne(s, t, ev)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		var names []string
		for _, c := range table.Columns {
			names = append(names, fmt.Sprintf("%s %t", c.Name, c.Invisible))
		}
		if got, want := strings.Join(names, ", "), "a false, b true, c false, e false, j false, z false"; got != want {
			t.Errorf("%s: got %s, want %s", version, got, want)
		}
		if got, want := fmt.Sprintf("%x", out), "0a020c020c020e020c5b312c20325d026b"; got != want {
			t.Errorf("%s: row %s, want %s", version, got, want)
		}
		if got := fmt.Sprint(table.Key); got != "[5 0]" {
			t.Errorf("%s: key %s", version, got)
		}
	}
}

// TestMalformedTableMap demands an error, never a panic, of an event whose
// parts don't agree.
func TestMalformedTableMap(t *testing.T) {
	whole := func() *replication.TableMapEvent {
		return &replication.TableMapEvent{Schema: []byte("d"), Table: []byte("t"), ColumnCount: 2, ColumnType: []byte{3, 15}, ColumnMeta: []uint16{0, 40},
			NullBitmap: []byte{2}, SignednessBitmap: []byte{0}, ColumnName: [][]byte{[]byte("a"), []byte("b")}, PrimaryKey: []uint64{0}, PrimaryKeyPrefix: []uint64{0}, DefaultCharset: []uint64{255}}
	}
	collations := map[uint64]Collation{255: {"utf8mb4_0900_ai_ci", "utf8mb4"}}
	if table, err := TableFromMap(whole(), collations); err != nil || table.Columns[1].Native != "varchar(10)" {
		t.Fatalf("the whole event: %+v, %v", table, err)
	}
	for name, spoil := range map[string]func(*replication.TableMapEvent){
		"key beyond the columns": func(e *replication.TableMapEvent) { e.PrimaryKey = []uint64{2} },
		"no character set":       func(e *replication.TableMapEvent) { e.DefaultCharset = nil },
		"unknown collation":      func(e *replication.TableMapEvent) { e.DefaultCharset = []uint64{9999} },
		"unknown type":           func(e *replication.TableMapEvent) { e.ColumnType[1] = 20 },
		"enum without values": func(e *replication.TableMapEvent) {
			e.ColumnType[1], e.ColumnMeta[1] = 254, 0xf701
			e.EnumSetDefaultCharset = []uint64{255}
		},
		"types missing":           func(e *replication.TableMapEvent) { e.ColumnType = e.ColumnType[:1] },
		"null bitmap missing":     func(e *replication.TableMapEvent) { e.NullBitmap = nil },
		"more names than columns": func(e *replication.TableMapEvent) { e.ColumnName = append(e.ColumnName, nil) },
	} {
		e := whole()
		spoil(e)
		var refused *UnsupportedError
		if _, err := TableFromMap(e, collations); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
