package region_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/region"
	"duplex/tasks"
)

var bed *testbed.Bed

func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }

// The shortest proof of the whole path: two regions in one process over the
// embedded Kafka, one with rows that are copied, both written to, end equal, and nothing echoes.
func TestTwoRegionsStayEqual(t *testing.T) {
	east, west := servers(t)
	for _, m := range []*testbed.MySQL{east, west} {
		exec(t, m.DB(), "CREATE DATABASE shop", "CREATE TABLE shop.orders (id bigint unsigned primary key, v varchar(100), at datetime(6), d decimal(12,2))")
	}
	const existing = 1000
	exec(t, east.DB(), fmt.Sprintf("INSERT INTO shop.orders WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT 10000 + i, CONCAT('was there ', i), NOW(6), i FROM n", existing))
	spec, err := tasks.Parse("shop.yaml", []byte("task: shop\nregions: [east, west]\ntables: {include: ['shop.*']}\ninitial_copy: {from: east, batch_rows: 70}\n"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a := start(t, process(t, "east", east,
		fmt.Sprintf("{brokers: [embedded], embedded: {dir: %s}}", filepath.Join(dir, "kafka")),
		fmt.Sprintf("{url: embedded, embedded: {dir: %s}}", filepath.Join(dir, "registry"))), spec)
	b := start(t, process(t, "west", west,
		fmt.Sprintf("{brokers: ['%s'], replication_factor: 1}", a.Process().Kafka.Brokers[0]),
		fmt.Sprintf("{url: '%s'}", a.Process().Registry.URL)), spec)
	run(t, a)
	run(t, b)
	eventually(t, time.Minute, func() error { return errors.Join(a.Ready(), b.Ready()) })
	eventually(t, time.Minute, func() error {
		if c := a.Status().Capture.Copy; c == nil || c.State != "done" || c.RowsDone != existing {
			return fmt.Errorf("the copy isn't done: %+v", c)
		}
		return equal(east.DB(), west.DB(), "shop.orders")
	})

	for i := range 100 {
		exec(t, east.DB(), fmt.Sprintf("INSERT INTO shop.orders VALUES (%d, 'e%d', NOW(6), %d.25)", i, i, i))
		exec(t, west.DB(), fmt.Sprintf("INSERT INTO shop.orders VALUES (%d, 'w%d', NOW(6), -%d.25)", 1000+i, i, i))
	}
	exec(t, east.DB(),
		"UPDATE shop.orders SET v = 'changed' WHERE id < 50",
		"DELETE FROM shop.orders WHERE id < 10",
		"UPDATE shop.orders SET id = id + 500 WHERE id BETWEEN 20 AND 30")
	eventually(t, time.Minute, func() error { return equal(east.DB(), west.DB(), "shop.orders") })

	// 100 inserts, 50 updates, 10 deletes, and 11 new keys, each a delete and
	// an insert: what east made, besides the rows that were there. West must have applied that, and east none of it.
	const eastMade, westMade = existing + 100 + 50 + 10 + 2*11, 100
	eventually(t, time.Minute, func() error {
		if got := b.Status().Apply[0].Rows; got != eastMade {
			return fmt.Errorf("west applied %d changes, east made %d", got, eastMade)
		}
		if got := b.Status().Apply[0].Echoes; got != westMade {
			return fmt.Errorf("west left out %d changes of its own, it made %d", got, westMade)
		}
		return nil
	})
	if got := a.Status().Apply[0].Rows; got != westMade {
		t.Errorf("east applied %d changes, west made %d", got, westMade)
	}
	if got := b.Status().Apply[0]; got.Copied != existing || got.Inserts != 100+11 || got.Updates != 50 || got.Deletes != 10+11 || got.Bytes < eastMade*20 {
		t.Errorf("west's status has %d rows copied, %d inserts, %d updates, %d deletes, %d bytes", got.Copied, got.Inserts, got.Updates, got.Deletes, got.Bytes)
	}
	// Nobody writes any more, and still the delay is known.
	before := time.Now()
	eventually(t, time.Minute, func() error {
		for _, r := range []*region.Region{a, b} {
			if c := r.Status().Apply[0].Canary; c == nil || time.Duration(c.AgoMillis*1e6) > time.Since(before) {
				return fmt.Errorf("the last canary is %+v", c)
			}
		}
		return nil
	})
}

func servers(t *testing.T) (east, west *testbed.MySQL) {
	t.Helper()
	bed.Together(t,
		func(ctx context.Context) (err error) { east, err = bed.StartMySQL(ctx, testbed.AnyMySQL); return },
		func(ctx context.Context) (err error) { west, err = bed.StartMySQL(ctx, testbed.AnyMySQL); return })
	return east, west
}

func exec(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func equal(a, b *sql.DB, table string) error {
	var got [2]string
	for i, db := range []*sql.DB{a, b} {
		var n, sum string
		if err := db.QueryRow("SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', id, v, at, d))),0) FROM "+table).Scan(&n, &sum); err != nil {
			return err
		}
		got[i] = n + " rows, sum " + sum
	}
	if got[0] != got[1] {
		return fmt.Errorf("%s: %s here, %s there", table, got[0], got[1])
	}
	return nil
}

func process(t testing.TB, name change.Region, m *testbed.MySQL, kafka, registry string) *config.Process {
	t.Helper()
	p, err := config.Parse("process.yaml", []byte(fmt.Sprintf("region: %s\nmysql: {address: '%s', user: root, password: '', tls: off}\nkafka: %s\nregistry: %s\n", name, m.Addr, kafka, registry)))
	if err != nil {
		t.Fatal(err)
	}
	p.Listen, p.Kafka.Embedded.Listen, p.Registry.Embedded.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return p
}

func start(t testing.TB, p *config.Process, spec *tasks.Spec) *region.Region {
	t.Helper()
	r, err := region.Start(t.Context(), region.Config{Process: p, Tasks: []*tasks.Spec{spec}, Services: region.Capture | region.Apply,
		Version: "test", Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Banner: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func run(t testing.TB, r *region.Region) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func eventually(t testing.TB, limit time.Duration, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
