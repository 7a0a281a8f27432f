package binlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/linkedin/goavro/v2"

	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
)

// TestDifferential writes every type's edges and random values to real
// servers and demands that the row decoder gives, byte for byte, what
// go-mysql's decoder and goavro give together; that goavro reads from it what
// SELECT returns; and that the table model is that of information_schema.
// (Promise 8: values survive exactly.)
func TestDifferential(t *testing.T) {
	for _, version := range []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startSource(t, version)
			for _, f := range families() {
				if f.onlyMySQL && s.IsMariaDB() || f.onlyMariaDB && !s.IsMariaDB() {
					continue
				}
				t.Run(f.name, func(t *testing.T) { checkFamily(t, s, f) })
			}
		})
	}
}

// checkFamily runs one table of columns, each NOT NULL and NULL.
func checkFamily(t *testing.T, s *source, f family) {
	const random = 120
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	from := s.position(t)
	rows := fill(t, s, f, r, random)
	selected := selectRows(t, s, f.name, rows)
	// The same images again, as before images, and with another key.
	s.exec(t, fmt.Sprintf("UPDATE d.%s SET id = id + 1000000", f.name))
	s.exec(t, fmt.Sprintf("DELETE FROM d.%s", f.name))

	o := newOracle(t, s, f.name)
	inserted := map[uint64][]byte{}
	for _, ev := range s.binlog(t, from, s.position(t)) {
		o.check(t, ev, selected, inserted)
	}
	if len(inserted) != rows {
		t.Errorf("%d rows in the binlog, %d inserted", len(inserted), rows)
	}
	if want := rows * 4; o.images != want {
		t.Errorf("%d images decoded, want %d", o.images, want)
	}
}

// fill creates the table and inserts its rows: all edges, then random ones.
func fill(t *testing.T, s *source, f family, r *rand.Rand, random int) (rows int) {
	if f.before != "" {
		s.exec(t, f.before)
	}
	edges := 0
	for _, c := range f.columns {
		edges = max(edges, len(c.edges))
	}
	s.exec(t, "CREATE TABLE d."+f.name+f.definition())
	rows = edges + random
	for row := range rows {
		values := []string{fmt.Sprint(row)}
		for _, c := range f.columns {
			value, nullable := c.edges[row%len(c.edges)], c.edges[(row+1)%len(c.edges)]
			if row >= edges {
				value, nullable = c.random(r), c.random(r)
			}
			if r.IntN(4) == 0 {
				nullable = "NULL"
			}
			values = append(values, value, nullable)
		}
		s.exec(t, fmt.Sprintf("INSERT INTO d.%s VALUES (%s)", f.name, strings.Join(values, ", ")))
	}
	return rows
}

// definition has each column once NOT NULL and once NULL.
func (f *family) definition() string {
	create := []string{"id BIGINT UNSIGNED NOT NULL"}
	for i, c := range f.columns {
		create = append(create, fmt.Sprintf("c%d %s NOT NULL", i, c.definition), fmt.Sprintf("n%d %s NULL", i, c.definition))
	}
	return " (" + strings.Join(create, ", ") + ", PRIMARY KEY (id)) CHARACTER SET utf8mb4"
}

// selectRows reads the table in the binary protocol, by id.
func selectRows(t *testing.T, s *source, table string, rows int) [][]any {
	// The text protocol would round FLOAT to six digits.
	statement, err := s.conn.PrepareContext(t.Context(), "SELECT * FROM d."+table+" ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer statement.Close()
	result, err := statement.QueryContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	columns, err := result.Columns()
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]any, 0, rows)
	for result.Next() {
		row, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			targets[i] = &row[i]
		}
		if err := result.Scan(targets...); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// oracle checks the events of one table.
type oracle struct {
	collations map[uint64]Collation
	want       *schemas.Table
	images     int
	versions   map[uint64]*version // by table id
}

// version is what is compiled from one TABLE_MAP event.
type version struct {
	table      *schemas.Table
	decoder    *RowDecoder
	value, key *goavro.Codec
}

func newOracle(t *testing.T, s *source, table string) *oracle {
	tables, err := mysql.LoadTables(t.Context(), s.DB(), func(db, name string) bool { return db == "d" && name == table })
	if err != nil || len(tables) != 1 {
		t.Fatalf("loading d.%s: %v, %v", table, tables, err)
	}
	return &oracle{collations: s.collations(t), want: tables[0], versions: map[uint64]*version{}}
}

func (o *oracle) version(t *testing.T, ev rowsEvent) *version {
	t.Helper()
	if v := o.versions[ev.TableID]; v != nil {
		return v
	}
	table, err := TableFromMap(ev.Table, o.collations)
	if err != nil {
		t.Fatal(err)
	}
	o.checkTable(t, table)
	d, err := CompileRow(table, ev.Table)
	if err != nil {
		t.Fatal(err)
	}
	v := &version{table: table, decoder: d}
	v.value, v.key = codecs(t, table)
	o.versions[ev.TableID] = v
	return v
}

func (o *oracle) check(t *testing.T, ev rowsEvent, selected [][]any, inserted map[uint64][]byte) {
	t.Helper()
	v := o.version(t, ev)
	table, d, value, key := v.table, v.decoder, v.value, v.key

	rest, present, spans := ev.images, ev.ColumnBitmap1, make([]Span, d.KeyLen())
	for i, row := range ev.Rows {
		if len(ev.ColumnBitmap2) > 0 && i%2 == 1 {
			present = ev.ColumnBitmap2
		}
		var err error
		out := []byte("before")
		if out, rest, err = d.Decode(out, rest, present, spans, new(schemas.Exact)); err != nil {
			t.Fatal(err)
		}
		id := row[0].(uint64)
		text := selected[id%1000000]
		native := make(map[string]any)
		for p := range table.Columns {
			c := &table.Columns[p]
			var plain any
			if row[p] != nil {
				plain = fromGoMySQL(t, c, ev.Table.ColumnType[p], row[p], text[p])
			}
			native[c.Name] = union(c, plain)
		}
		want, err := value.BinaryFromNative([]byte("before"), native)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, want) {
			o.explain(t, table, value, out[6:], want[6:])
			return
		}
		wantKey, err := key.BinaryFromNative(nil, map[string]any{"id": native["id"]})
		if err != nil {
			t.Fatal(err)
		}
		if got := out[spans[0].From:spans[0].To]; !bytes.Equal(got, wantKey) {
			t.Fatalf("row %d: key %x, want %x", id, got, wantKey)
		}
		if id < 1000000 {
			o.checkSelected(t, table, value, out[6:], text)
			if first := inserted[id]; first != nil && !bytes.Equal(first, out) {
				t.Fatalf("row %d: the image after it differs from that of the insert", id)
			}
			inserted[id] = bytes.Clone(out)
		}
		o.images++
	}
	if len(rest) != 0 {
		t.Fatalf("%d bytes left of the event", len(rest))
	}
}

// explain reports the columns in which two encodings differ.
func (o *oracle) explain(t *testing.T, table *schemas.Table, value *goavro.Codec, got, want []byte) {
	g, _, err := value.NativeFromBinary(got)
	if err != nil {
		t.Errorf("goavro can't read the row: %v", err)
	}
	w, _, err := value.NativeFromBinary(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range table.Columns {
		if a, b := fmt.Sprintf("%#v", field(g, c.Name)), fmt.Sprintf("%#v", field(w, c.Name)); a != b {
			t.Errorf("column %s %s: got %.300s, want %.300s", c.Name, c.Native, a, b)
		}
	}
	t.Errorf("%d bytes, want %d", len(got), len(want))
}

// checkTable compares the model with that of information_schema, but for what
// the binlog doesn't tell.
func (o *oracle) checkTable(t *testing.T, got *schemas.Table) {
	t.Helper()
	for i := range got.Columns {
		g, w := got.Columns[i], o.want.Columns[i]
		w.Generated, w.Default = false, g.Default
		w.Native = strings.TrimSuffix(w.Native, " /* mariadb-5.3 */")
		if w.Type != schemas.Decimal {
			w.Precision, g.Precision = 0, 0
		}
		if w.Type == schemas.Float || w.Type == schemas.Double {
			w.Scale, w.Native, g.Native = 0, "", "" // FLOAT(M,D)
		}
		if strings.Contains(w.Native, "(") && g.Type <= schemas.BigInt || g.Type == schemas.Year {
			g.Native, w.Native = "", "" // display widths of 8.0 and MariaDB
		}
		if fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", w) {
			t.Fatalf("table model: got\n%+v\nwant\n%+v", g, w)
		}
	}
	if fmt.Sprint(got.Key) != fmt.Sprint(o.want.Key) {
		t.Fatalf("key: got %v, want %v", got.Key, o.want.Key)
	}
}

// checkSelected reads the row back with goavro and compares with SELECT.
func (o *oracle) checkSelected(t *testing.T, table *schemas.Table, value *goavro.Codec, row []byte, selected []any) {
	t.Helper()
	native, rest, err := value.NativeFromBinary(row)
	if err != nil || len(rest) != 0 {
		t.Fatalf("reading back: %v, %d bytes left", err, len(rest))
	}
	for i := range table.Columns {
		c := &table.Columns[i]
		got, want := "NULL", "NULL"
		if v := field(native, c.Name); v != nil {
			got = asSelected(c, v)
		}
		if selected[i] != nil {
			want = plainText(selected[i])
		}
		if got != want {
			t.Errorf("column %s %s: got %.300q, SELECT gives %.300q", c.Name, c.Native, got, want)
		}
	}
}
