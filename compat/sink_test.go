package compat_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"duplex/internal/testbed"
)

// TestJDBCSink: Debezium's JDBC sink, as it comes, reads our topics while a
// mixed load runs, and keeps another MySQL equal to ours.
func TestJDBCSink(t *testing.T) {
	source, target := bed.SharedMySQL(t, testbed.MySQL80, "source"), bed.SharedMySQL(t, testbed.MySQL97, "target")
	tables := []string{
		"CREATE TABLE shop.account (id BIGINT PRIMARY KEY, owner VARCHAR(80) NOT NULL, balance DECIMAL(14,2) NOT NULL DEFAULT 0, flags BIT(1) NOT NULL, note TEXT, at DATETIME(6) NOT NULL, day DATE, doc JSON, raw VARBINARY(40), f DOUBLE, kind ENUM('a','b','c') NOT NULL DEFAULT 'a')",
		"CREATE TABLE shop.entry (region VARCHAR(10) NOT NULL, n INT NOT NULL, v INT UNSIGNED NOT NULL, s SMALLINT, tx VARCHAR(200), PRIMARY KEY (region, n))",
	}
	for _, m := range []*testbed.MySQL{source, target} {
		exec(t, m, append([]string{"CREATE DATABASE shop"}, tables...)...)
	}
	startOurs(t, source, "mysql", "east") // as the example has it
	l := &sinkLoad{db: source.DB()}
	// The sink may only subscribe to topics that are there.
	exec(t, source, l.insertAccount(1), l.insertEntry(1))
	r := newReader(t)
	eventually(t, func() error {
		if n := len(r.topics("east.shop")); n != 2 {
			return fmt.Errorf("%d topics of 2", n)
		}
		return nil
	})
	startSink(t, target)

	var workers sync.WaitGroup
	failed := make([]error, 3)
	for w := range failed {
		workers.Go(func() { failed[w] = l.run(t.Context(), w, 300) })
	}
	workers.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	for _, table := range []struct{ name, key string }{{"account", "id"}, {"entry", "region, n"}} {
		eventually(t, func() error {
			if err := services.connect.Running(t.Context(), "sink"); err != nil {
				t.Fatal(err)
			}
			query := "SELECT * FROM shop." + table.name + " ORDER BY " + table.key
			want, got := rows(t, source.DB(), query), rows(t, target.DB(), query)
			if len(want) < 50 {
				t.Fatalf("the load has left %d rows in %s", len(want), table.name)
			}
			if len(want) != len(got) {
				return fmt.Errorf("%s: %d rows in the source, %d in the target", table.name, len(want), len(got))
			}
			for i := range want {
				if !reflect.DeepEqual(want[i], got[i]) {
					return fmt.Errorf("%s: source %q, target %q", table.name, want[i], got[i])
				}
			}
			t.Logf("%s: %d rows are equal", table.name, len(want))
			return nil
		})
	}
}

// startSink runs the sink of examples/connect until the test ends.
func startSink(t *testing.T, m *testbed.MySQL) {
	t.Helper()
	text, err := os.ReadFile("../examples/connect/jdbc-sink.json")
	if err != nil {
		t.Fatal(err)
	}
	var example struct{ Config map[string]string }
	if err := json.Unmarshal(text, &example); err != nil {
		t.Fatal(err)
	}
	config := example.Config
	set := func(name, value string) {
		if _, ok := config[name]; !ok {
			t.Errorf("the example has no %s", name)
		}
		config[name] = value
	}
	set("connection.url", "jdbc:mysql://"+m.Addr+"/shop?useSSL=false&allowPublicKeyRetrieval=true")
	set("connection.username", "root")
	set("connection.password", "")
	// Confluent's converter isn't on Maven Central: the worker has Apicurio's.
	maps.DeleteFunc(config, func(name, _ string) bool {
		return strings.HasPrefix(name, "key.converter") || strings.HasPrefix(name, "value.converter")
	})
	config["consumer.override.metadata.max.age.ms"] = "1000"
	err = services.connect.Run(t.Context(), "sink", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.connect.Remove(context.Background(), "sink"); err != nil {
			t.Errorf("%v", err)
		}
	})
}

// sinkLoad changes rows in every way, each of its workers rows of its own.
type sinkLoad struct{ db *sql.DB }

func (l *sinkLoad) insertAccount(id int) string {
	return fmt.Sprintf("INSERT INTO shop.account VALUES (%d, 'Ünï %d', %d.%02d, b'%d', REPEAT('é', %d), '2026-01-02 03:04:05.%06d', '2026-02-28', '{\"n\": %d}', 0x00ff%02x, %d.25, 'b')",
		id, id, id%1000, id%100, id%2, id%50, id%1000000, id, id%256, id)
}

func (l *sinkLoad) insertEntry(n int) string {
	return fmt.Sprintf("INSERT INTO shop.entry VALUES ('r%d', %d, %d, NULL, 'it''s \"%d\"')", n%3, n, uint32(n)*2654435, n)
}

func (l *sinkLoad) run(ctx context.Context, worker, rounds int) error {
	r := rand.New(rand.NewPCG(7, uint64(worker)))
	base := (worker + 1) * 100_000
	for i := range rounds {
		mine := base + r.IntN(i+1) // a row made before, maybe gone by now
		statements := []string{l.insertAccount(base + i), l.insertEntry(base + i)}
		switch r.IntN(5) {
		case 0:
			statements = append(statements, fmt.Sprintf("DELETE FROM shop.account WHERE id = %d", mine))
		case 1:
			statements = append(statements, fmt.Sprintf("UPDATE shop.account SET id = %d, note = NULL WHERE id = %d", base+50_000+i, mine))
		case 2:
			statements = append(statements, fmt.Sprintf("UPDATE shop.entry SET region = 'moved', s = %d WHERE region = 'r%d' AND n = %d", i-150, mine%3, mine),
				fmt.Sprintf("DELETE FROM shop.entry WHERE region = 'r%d' AND n = %d", (mine+1)%3, mine+1))
		default:
			statements = append(statements, fmt.Sprintf("UPDATE shop.account SET balance = -balance, doc = JSON_OBJECT('i', %d), f = NULL, raw = '' WHERE id BETWEEN %d AND %d", i, mine, mine+5))
		}
		if err := transaction(ctx, l.db, statements); err != nil {
			return err
		}
	}
	return nil
}

func transaction(ctx context.Context, db *sql.DB, statements []string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return tx.Commit()
}

// rows returns a query's rows as the server prints them.
func rows(t *testing.T, db *sql.DB, query string) [][]string {
	t.Helper()
	found, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer found.Close()
	columns, err := found.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for found.Next() {
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make([]string, len(columns))
		for i, v := range values {
			if row[i] = v.String; !v.Valid {
				row[i] = "NULL"
			}
		}
		all = append(all, row)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
