package compat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/sr"

	"duplex/supervise"
)

// TestReadersResolveSchemas: while a table changes, a reader that resolves
// schemas, as Flink's do, reads old and new records by one schema of its own,
// an older or a newer one. What the subject's compatibility mode forbids stops
// capture, with the request that allows it.
func TestReadersResolveSchemas(t *testing.T) {
	services.start(t)
	m := bed.SharedMySQL(t, "mysql80", "source")
	exec(t, m, "CREATE DATABASE shop", "CREATE TABLE shop.grow (id INT PRIMARY KEY, a INT, b VARCHAR(10) NOT NULL DEFAULT 'b')")
	registry, err := sr.NewClient(sr.URLs(services.registry.URL()))
	if err != nil {
		t.Fatal(err)
	}
	backward := sr.SetCompatibility{Level: sr.CompatBackward}
	if set := registry.SetCompatibility(t.Context(), backward, "grows.shop.grow-value"); set[0].Err != nil {
		t.Fatal(set[0].Err)
	}
	c := startWith(t, m, "grows", services.registry.URL())
	r := newReader(t)
	wait := func(n int) []record {
		t.Helper()
		var all []record
		eventually(t, func() error {
			if all = r.read("grows.shop.grow"); len(all) < n {
				return fmt.Errorf("%d records of %d; capture: %s", len(all), n, c.capture.Status().Error)
			}
			return nil
		})
		return all
	}
	exec(t, m, "INSERT INTO shop.grow VALUES (1, 10, 'x'), (2, NULL, 'y')")
	wait(2)
	exec(t, m, "ALTER TABLE shop.grow ADD COLUMN c INT NOT NULL DEFAULT 5, ADD COLUMN d VARCHAR(5)", "INSERT INTO shop.grow VALUES (3, 30, 'z', 7, 'd')")
	wait(3)
	exec(t, m, "ALTER TABLE shop.grow DROP COLUMN b, MODIFY COLUMN a BIGINT", "INSERT INTO shop.grow VALUES (4, 5000000000, 8, NULL)")
	all := wait(4)

	old, middle, newest := all[0].value.avro, all[2].value.avro, all[3].value.avro
	for _, tt := range []struct {
		reader *avro.Schema
		of     int
		want   string
	}{
		{newest, 0, "a=10 c=5 d=<nil> id=1"}, {newest, 1, "a=<nil> c=5 d=<nil> id=2"}, {newest, 2, "a=30 c=7 d=d id=3"}, {newest, 3, "a=5000000000 c=8 d=<nil> id=4"},
		{middle, 0, "a=10 b=x c=5 d=<nil> id=1"}, {middle, 2, "a=30 b=z c=7 d=d id=3"},
		{old, 0, "a=10 b=x id=1"}, {old, 2, "a=30 b=z id=3"},
	} {
		if got := resolved(t, all[tt.of].value, tt.reader); got != tt.want {
			t.Errorf("record %d: %s, want %s", tt.of, got, tt.want)
		}
	}

	exec(t, m, "ALTER TABLE shop.grow ADD COLUMN e INT NOT NULL", "INSERT INTO shop.grow VALUES (5, 1, 1, NULL, 1)")
	eventually(t, func() error {
		s := c.capture.Status()
		if s.State != supervise.Stopped || !strings.Contains(s.Error, `{"compatibility":"NONE"}`) || !strings.Contains(s.Error, "grows.shop.grow-value") {
			return fmt.Errorf("capture is %s: %s", s.State, s.Error)
		}
		return nil
	})
	if n := len(r.read("grows.shop.grow")); n != 4 {
		t.Errorf("%d records are published, want 4", n)
	}
	c.end()
	if set := registry.SetCompatibility(context.Background(), sr.SetCompatibility{Level: sr.CompatNone}, "grows.shop.grow-value"); set[0].Err != nil {
		t.Fatal(set[0].Err)
	}
	c = startWith(t, m, "grows", services.registry.URL())
	wait(5)
}

// TestFullCompatibility: under mode FULL what old readers can't read stops
// capture too, though new readers could read the old. What precedes it is
// published, nothing of it or after it is, until the mode allows it.
func TestFullCompatibility(t *testing.T) {
	services.start(t)
	m := bed.SharedMySQL(t, "mysql80", "source")
	exec(t, m, "CREATE DATABASE shop", "CREATE TABLE shop.full_ (id INT PRIMARY KEY, a INT)", "CREATE TABLE shop.other (id INT PRIMARY KEY)")
	registry, err := sr.NewClient(sr.URLs(services.registry.URL()))
	if err != nil {
		t.Fatal(err)
	}
	const subject = "fulls.shop.full_-value"
	mode := func(level sr.CompatibilityLevel) {
		t.Helper()
		if set := registry.SetCompatibility(t.Context(), sr.SetCompatibility{Level: level}, subject); set[0].Err != nil {
			t.Fatal(set[0].Err)
		}
	}
	mode(sr.CompatFull)
	c := startWith(t, m, "fulls", services.registry.URL())
	r := newReader(t)
	published := func(table string, want int) error {
		if n := len(r.read("fulls.shop." + table)); n != want {
			return fmt.Errorf("%d records of %s, not %d; capture: %s", n, table, want, c.capture.Status().Error)
		}
		return nil
	}
	exec(t, m, "INSERT INTO shop.full_ VALUES (1, 1)", "ALTER TABLE shop.full_ ADD COLUMN b INT", "INSERT INTO shop.full_ VALUES (2, 2, 2)",
		"INSERT INTO shop.other VALUES (1)", "ALTER TABLE shop.full_ MODIFY COLUMN a BIGINT", "INSERT INTO shop.full_ VALUES (3, 5000000000, 3)", "INSERT INTO shop.other VALUES (2)")
	eventually(t, func() error {
		s := c.capture.Status()
		for _, want := range []string{"shop.full_", "409", `{"compatibility":"NONE"}`, "/config/" + subject, "transaction "} {
			if s.State != supervise.Stopped || !strings.Contains(s.Error, want) {
				return fmt.Errorf("capture is %s and lacks %q: %s", s.State, want, s.Error)
			}
		}
		return nil
	})
	if err := errors.Join(published("full_", 2), published("other", 1)); err != nil {
		t.Error(err)
	}
	c.end()
	mode(sr.CompatBackward) // which takes a wider type
	c = startWith(t, m, "fulls", services.registry.URL())
	eventually(t, func() error { return errors.Join(published("full_", 3), published("other", 2)) })
}

// resolved reads a record by a schema of the reader's own and returns the row.
func resolved(t *testing.T, d *datum, reader *avro.Schema) string {
	t.Helper()
	schema, err := avro.Resolve(d.avro, reader)
	if err != nil {
		return err.Error()
	}
	var value any
	if err := decodeAll(schema, d.bytes, &value); err != nil {
		return err.Error()
	}
	row := value.(map[string]any)["after"].(map[string]any)
	var cells []string
	for _, k := range keys(row, nil) {
		cells = append(cells, fmt.Sprintf("%s=%v", k, row[k]))
	}
	return strings.Join(cells, " ")
}
