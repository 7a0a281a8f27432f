package binlog

import (
	"bytes"
	"context"
	"database/sql"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"duplex/apply/statement"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
)

// TestRoundTrip writes the edges of every type to a server, decodes its binlog,
// writes the rows to another server as apply does, and demands that the other's
// binlog has the same row images byte for byte. Every server is both source and
// target, so what it makes of a value also travels back. (Promise 8: values
// survive exactly.)
func TestRoundTrip(t *testing.T) {
	servers := map[testbed.Part]*source{}
	for _, part := range []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118} {
		servers[part] = startSource(t, part)
	}
	targets := map[testbed.Part][]testbed.Part{
		testbed.MySQL80:     {testbed.MySQL97, testbed.MariaDB118, testbed.MySQL80},
		testbed.MySQL97:     {testbed.MySQL80, testbed.MySQL97},
		testbed.MariaDB1011: {testbed.MariaDB118, testbed.MariaDB1011},
		testbed.MariaDB118:  {testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118},
	}
	for part, to := range targets {
		t.Run(string(part), func(t *testing.T) {
			s := servers[part]
			for _, f := range exactFamilies() {
				if !f.on(s) {
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					trip := newTrip(t, s, f)
					for _, target := range to {
						if f.on(servers[target]) && !slices.Contains(f.notTo, target) {
							t.Run("to "+string(target), func(t *testing.T) { trip.carry(t, servers[target]) })
						}
					}
				})
			}
		})
	}
}

// trip is a table of one family and what its server's binlog has of it.
type trip struct {
	f      family
	from   *source
	table  *schemas.Table
	images [][]byte // in order, the bitmap of NULLs made canonical
	rows   [][]byte // as Avro, exact values in their place
	keys   [][]byte
	value  *schemas.EnvelopeReader
	key    *schemas.Record
}

// newTrip fills the table and reads its binlog.
func newTrip(t *testing.T, s *source, f family) *trip {
	s.exec(t, "SET sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'")
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	if s.IsMariaDB() {
		s.exec(t, temporalFormat(f))
	}
	from := s.position(t)
	f.name = "x_" + f.name
	rows := fill(t, s, f, r, f.random)
	trip := &trip{f: f, from: s}
	trip.read(t, from, "d")
	if len(trip.images) != rows {
		t.Fatalf("%d images of %d rows", len(trip.images), rows)
	}
	return trip
}

// read decodes the row images of the table in schema db since from.
func (p *trip) read(t *testing.T, from gomysql.Position, db string) {
	t.Helper()
	p.images, p.rows, p.keys = nil, nil, nil
	for _, ev := range p.from.headers(t, from, p.from.position(t)) {
		if string(ev.Table.Table) != p.f.name || string(ev.Table.Schema) != db {
			continue
		}
		table, err := TableFromMap(ev.Table, p.from.collations(t))
		if err != nil {
			t.Fatal(err)
		}
		now, err := mysql.LoadTable(t.Context(), p.from.DB(), db, p.f.name)
		if err != nil {
			t.Fatal(err)
		}
		table.Complete(now)
		d, err := CompileRow(table, ev.Table)
		if err != nil {
			t.Fatal(err)
		}
		p.compile(t, table)
		exact, key := new(schemas.Exact), make([]Span, d.KeyLen())
		for rest := ev.images; len(rest) > 0; {
			image := rest
			row, after, err := d.Decode(nil, rest, ev.ColumnBitmap1, key, exact)
			if err != nil {
				t.Fatal(err)
			}
			image, rest = image[:len(rest)-len(after)], after
			p.images = append(p.images, canonicalImage(image, len(table.Columns)))
			p.rows = append(p.rows, p.restore(t, row, exact))
		}
	}
}

func (p *trip) compile(t *testing.T, table *schemas.Table) {
	t.Helper()
	p.table = table
	text, err := schemas.EnvelopeSchema(table, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	if p.value, err = schemas.ParseEnvelope(text); err != nil {
		t.Fatal(err)
	}
	if text, err = schemas.KeySchema(table, "east"); err != nil {
		t.Fatal(err)
	}
	if p.key, err = schemas.ParseKey(text); err != nil {
		t.Fatal(err)
	}
}

// restore does what apply does with a row and its header. What stands on the
// wire must be Avro to goavro as well, and as it is where no header is.
func (p *trip) restore(t *testing.T, row []byte, exact *schemas.Exact) []byte {
	t.Helper()
	value, _ := codecs(t, p.table)
	if _, rest, err := value.NativeFromBinary(row); err != nil || len(rest) != 0 {
		t.Fatalf("goavro: %v, %d bytes left of %x", err, len(rest), row)
	}
	c := schemas.Decoded{After: row}
	if header := schemas.AppendExact(nil, nil, exact); header != nil {
		if err := p.value.Restore(&c, header); err != nil {
			t.Fatal(err)
		}
	}
	key, err := p.value.Value.AppendKey(nil, p.key, c.After)
	if err != nil {
		t.Fatal(err)
	}
	p.keys = append(p.keys, key)
	return c.After
}

// canonicalImage sets the bits of the bitmap of NULLs that stand for no column.
func canonicalImage(image []byte, columns int) []byte {
	image = bytes.Clone(image)
	if columns%8 != 0 {
		image[(columns+7)/8-1] |= 0xff << (columns % 8)
	}
	return image
}

// carry writes the rows to another server and reads that one's binlog.
func (p *trip) carry(t *testing.T, to *source) {
	conn := openApplying(t, to)
	db := "from_" + string(p.from.Part)
	for _, q := range []string{"CREATE DATABASE IF NOT EXISTS `" + db + "`", "USE `" + db + "`"} {
		run(t, conn, q)
	}
	if to.IsMariaDB() {
		run(t, conn, temporalFormat(p.f))
	}
	run(t, conn, "CREATE TABLE "+p.f.name+p.f.definition())
	tables, err := mysql.LoadTables(t.Context(), to.DB(), func(d, name string) bool { return d == db && name == p.f.name })
	if err != nil || len(tables) != 1 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	dialect := statement.MySQL
	if to.IsMariaDB() {
		dialect = statement.MariaDB
	}
	binder, err := statement.Compile(p.value.Value, p.key, tables[0], dialect)
	if err != nil {
		t.Fatal(err)
	}
	from := to.position(t)
	for i := 0; i < len(p.rows); i += 50 {
		p.write(t, conn, binder.AppendInsert, p.rows[i:min(i+50, len(p.rows))])
	}
	back := &trip{f: p.f, from: to}
	back.read(t, from, db)
	p.compare(t, back)
	p.findAndDelete(t, conn, binder)
}

func (p *trip) write(t *testing.T, conn *sql.Conn, build func([]byte, [][]byte) ([]byte, error), items [][]byte) {
	t.Helper()
	text, err := build(nil, items)
	if err != nil {
		t.Fatal(err)
	}
	run(t, conn, string(text))
}

// findAndDelete looks the rows up by their keys, and deletes them.
func (p *trip) findAndDelete(t *testing.T, conn *sql.Conn, binder *statement.Binder) {
	t.Helper()
	text, err := binder.AppendDelete(nil, p.keys)
	if err != nil {
		t.Fatal(err)
	}
	result, err := conn.ExecContext(t.Context(), string(text))
	if err != nil {
		t.Fatalf("%.300s: %v", text, err)
	}
	if n, err := result.RowsAffected(); err != nil || n != int64(len(p.keys)) {
		t.Errorf("%d of %d rows are deleted by their keys, %v", n, len(p.keys), err)
	}
}

// compare tells in which columns the images differ.
func (p *trip) compare(t *testing.T, back *trip) {
	t.Helper()
	if len(back.images) != len(p.images) {
		t.Fatalf("%d images arrive, %d were sent", len(back.images), len(p.images))
	}
	bad := map[string]int{}
	for i := range p.images {
		if bytes.Equal(p.images[i], back.images[i]) {
			continue
		}
		sent, got := make([]schemas.Span, len(p.table.Columns)), make([]schemas.Span, len(p.table.Columns))
		if p.value.Value.Split(p.rows[i], sent) != nil || back.value.Value.Split(back.rows[i], got) != nil {
			t.Fatal("a row doesn't split")
		}
		found := false
		for c := range sent {
			a, b := p.rows[i][sent[c].From:sent[c].To], back.rows[i][got[c].From:got[c].To]
			if !bytes.Equal(a, b) {
				found = true
				if bad[p.table.Columns[c].Name]++; bad[p.table.Columns[c].Name] < 4 {
					t.Errorf("row %d, column %s %s: %.200q was sent, %.200q arrives", i, p.table.Columns[c].Name, p.table.Columns[c].Native, a, b)
				}
			}
		}
		if !found {
			if bad[""]++; bad[""] < 4 {
				t.Errorf("row %d: the images differ and the Avro doesn't:\n%.600x\n%.600x", i, p.images[i], back.images[i])
			}
		}
	}
}

// openApplying opens the session that apply writes with.
func openApplying(t *testing.T, s *source) *sql.Conn {
	t.Helper()
	db, err := mysql.Open(config.MySQL{Address: s.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}}, mysql.Applying)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func run(t *testing.T, conn *sql.Conn, statement string) {
	t.Helper()
	if _, err := conn.ExecContext(context.Background(), statement); err != nil {
		t.Fatalf("%.700s: %v", statement, err)
	}
}

// temporalFormat chooses how MariaDB keeps the times of tables made after it.
func temporalFormat(f family) string {
	if f.before != "" {
		return f.before
	}
	return "SET GLOBAL mysql56_temporal_format = ON"
}

// on reports whether a server has the family's types.
func (f *family) on(s *source) bool {
	return (!f.onlyMySQL || !s.IsMariaDB()) && (!f.onlyMariaDB || s.IsMariaDB()) && (f.parts == nil || slices.Contains(f.parts, s.Part))
}
