package binlog

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
)

// TestDecodeWithoutDerived: an image without derived columns is decoded like
// the one in which they are NULL, and no other column can be left out.
func TestDecodeWithoutDerived(t *testing.T) {
	m := allTypes()
	_, d := m.compile(t, madeCollations())
	values := allTypesValues()
	rapid.Check(t, func(t *rapid.T) {
		full, partial := make([]byte, d.bitmap), []byte{}
		present, image := m.present(), []byte{}
		there := 0
		for i, v := range values {
			derived, null := rapid.IntRange(0, 3).Draw(t, "derived") == 0, rapid.Bool().Draw(t, "null")
			d.columns[i].derived = i > 0 && derived
			if i > 0 && derived {
				present[i/8] &^= 1 << (i % 8)
				full[i/8] |= 1 << (i % 8)
				continue
			}
			if there%8 == 0 {
				partial = append(partial, 0)
			}
			if i > 0 && null {
				full[i/8] |= 1 << (i % 8)
				partial[there/8] |= 1 << (there % 8)
			} else {
				image = append(image, v.value...)
			}
			there++
		}
		want, _, err := d.Decode(nil, slices.Concat(full, image), m.present(), make([]Span, 1), new(schemas.Exact))
		if err != nil {
			t.Fatal(err)
		}
		got, rest, err := d.Decode(nil, slices.Concat(partial, image, []byte("next")), present, make([]Span, 1), new(schemas.Exact))
		if err != nil || !bytes.Equal(got, want) || string(rest) != "next" {
			t.Fatalf("%x, rest %q, %v; want %x", got, rest, err, want)
		}
		kept := rapid.IntRange(0, len(values)-1).Draw(t, "kept")
		if d.columns[kept].derived {
			return
		}
		present[kept/8] &^= 1 << (kept % 8)
		if _, _, err := d.Decode(nil, slices.Concat(partial, image), present, make([]Span, 1), new(schemas.Exact)); !errors.Is(err, ErrPartialImage) {
			t.Fatalf("without column %d: %v", kept, err)
		}
	})
}

// TestGeneratedColumnsOfTheBinlog: what MariaDB leaves out of its images is NULL
// in ours; a row is refused where that would hide the value of a unique key.
func TestGeneratedColumnsOfTheBinlog(t *testing.T) {
	onMariaDB(t, func(t *testing.T, s *source) {
		s.all(t, "CREATE TABLE d.plain (id INT PRIMARY KEY, n INT, a INT AS (n + 1) VIRTUAL, b INT AS (n + 2) STORED, c INT)",
			"CREATE TABLE d.keyed (id INT PRIMARY KEY, n INT, a INT AS (n + 1) STORED UNIQUE)",
			"CREATE TABLE d.stop (id INT PRIMARY KEY)")
		f := follow(t, s, s.executed(t))
		f.describe = func(table *schemas.Table) error {
			now, err := mysql.LoadTable(t.Context(), s.DB(), table.DB, table.Name)
			table.Complete(now)
			return err
		}
		s.all(t, "INSERT INTO d.plain (id, n, c) VALUES (1, 10, 5)", "UPDATE d.plain SET c = 6", "UPDATE d.plain SET n = 11", "DELETE FROM d.plain")
		f.until(t, 1)
		s.all(t, "INSERT INTO d.keyed (id, n) VALUES (1, 10)", "UPDATE d.keyed SET n = 11")
		s.exec(t, "INSERT INTO d.stop VALUES (2)")
		switch err := f.read(t, 2); {
		case err == nil && s.Part == testbed.MariaDB118:
			t.Error("an update without the value of a unique key was taken")
		case err != nil && (!strings.Contains(err.Error(), "table d.keyed, column a") || !strings.Contains(err.Error(), "ALTER TABLE d.keyed DROP INDEX")):
			t.Error(err)
		}
	})
}
