package binlog

import (
	"bytes"
	"database/sql"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
)

// TestSelectedLikeLogged holds rows that are selected against the same rows in the
// binlog, for the edges of every type: both must come to the same bytes, under the
// same schemas, but for JSON values of SQL's types. (Promise 8: values survive exactly.)
func TestSelectedLikeLogged(t *testing.T) {
	for _, part := range []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118} {
		t.Run(string(part), func(t *testing.T) {
			s := startSource(t, part)
			s.exec(t, "SET sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'")
			for _, f := range exactFamilies() {
				if f.on(s) {
					t.Run(f.name, func(t *testing.T) { compareSelected(t, s, f) })
				}
			}
		})
	}
}

func compareSelected(t *testing.T, s *source, f family) {
	from := s.position(t)
	if s.IsMariaDB() {
		s.exec(t, temporalFormat(f))
	}
	f.name = "sel_" + f.name
	rows := fill(t, s, f, rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)), 10)
	now, err := mysql.LoadTable(t.Context(), s.DB(), "d", f.name)
	if err != nil {
		t.Fatal(err)
	}
	engine := "mysql"
	if s.IsMariaDB() {
		engine = "mariadb"
	}
	selected, err := NewSelected(now, engine)
	if refused := new(UnsupportedError); errors.As(err, &refused) && (f.name == "sel_odd_labels" || f.name == "sel_dates" && s.IsMariaDB()) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	got := selectImages(t, s, selected, f.name)
	row := 0
	for _, ev := range s.headers(t, from, s.position(t)) {
		if string(ev.Table.Table) != f.name {
			continue
		}
		table, err := TableFromMap(ev.Table, s.collations(t))
		if err != nil {
			t.Fatal(err)
		}
		table.Complete(now)
		if a, b := schemaOf(t, table), schemaOf(t, selected.Version().Table); a != b {
			at := 0
			for at < min(len(a), len(b)) && a[at] == b[at] {
				at++
			}
			t.Fatalf("from byte %d on the schema of what is selected is\n%.300s\nand that of what is logged\n%.300s", at, b[max(0, at-60):], a[max(0, at-60):])
		}
		d, err := CompileRow(table, ev.Table)
		if err != nil {
			t.Fatal(err)
		}
		for rest := ev.images; len(rest) > 0; row++ {
			var want []byte
			exact, key := new(schemas.Exact), make([]Span, d.KeyLen())
			if want, rest, err = d.Decode(nil, rest, ev.ColumnBitmap1, key, exact); err != nil {
				t.Fatal(err)
			}
			gotExact := new(schemas.Exact)
			have, _, err := selected.Version().Decoder.Decode(nil, got[row], selected.Present(), key, gotExact)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(have, want) {
				t.Errorf("row %d is selected as\n%x\nand logged as\n%x", row, have, want)
			}
			a, b := schemas.AppendExact(nil, nil, exact), schemas.AppendExact(nil, nil, gotExact)
			if !bytes.Equal(a, b) && !strings.Contains(f.name, "json") {
				t.Errorf("row %d: exact values are selected as\n%x\nand logged as\n%x", row, b, a)
			}
		}
	}
	if row != rows {
		t.Fatalf("%d rows in the binlog, %d were written", row, rows)
	}
}

func selectImages(t *testing.T, s *source, selected *Selected, table string) (images [][]byte) {
	t.Helper()
	s.exec(t, "SET time_zone='+00:00', character_set_results=NULL")
	defer s.exec(t, "SET character_set_results=utf8mb4")
	result, err := s.conn.QueryContext(t.Context(), "SELECT "+strings.Join(selected.Expressions(), ", ")+" FROM d."+table+" ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	raw := make([]sql.RawBytes, len(selected.Expressions()))
	into, texts := make([]any, len(raw)), make([][]byte, len(raw))
	for i := range raw {
		into[i] = &raw[i]
	}
	for result.Next() {
		if err := result.Scan(into...); err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			texts[i] = raw[i]
		}
		image, err := selected.AppendImage(nil, texts)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, image)
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return images
}

func schemaOf(t *testing.T, table *schemas.Table) string {
	t.Helper()
	value, err := schemas.EnvelopeSchema(table, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	key, err := schemas.KeySchema(table, "east")
	if err != nil {
		t.Fatal(err)
	}
	return key + value
}
