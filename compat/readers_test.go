package compat_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"duplex/capture"
	"duplex/change"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/supervise"
	"duplex/tasks"
)

// prefixes are the first parts of the names of topics: our region, and
// Debezium's topic.prefix.
type prefixes struct{ ours, theirs string }

// shopTables are all of schema shop.
func shopTables(t *testing.T) *capture.Selection {
	t.Helper()
	tables, err := tasks.NewTables([]string{"shop.*"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &capture.Selection{Runs: []capture.Run{{Name: "shop", Tables: tables}}, Fixed: true}
}

// startOurs runs a capture of schema shop until the test ends.
func startOurs(t *testing.T, m *testbed.MySQL, engine, region string) *capture.Capture {
	t.Helper()
	services.start(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "capture.log"))
	if err != nil {
		t.Fatal(err)
	}
	c := capture.New(capture.Config{
		Process: &config.Process{
			Region: change.Region(region), Engine: engine,
			MySQL:    config.MySQL{Address: m.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}, ServerID: 77_000_001},
			Kafka:    config.Kafka{Brokers: services.kafka.Brokers(), ReplicationFactor: 1, Partitions: 1, Retention: time.Hour, TLS: config.TLS{Mode: config.TLSOff}},
			Registry: config.Registry{URL: services.registry.URL()}, Heartbeat: time.Second,
		},
		Tables:  shopTables(t),
		Version: "test", Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { c.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("capture's log:\n%s", text)
		}
		log.Close()
	})
	eventually(t, func() error {
		if s := c.Status(); s.State != supervise.Streaming {
			if s.State == supervise.Stopped {
				t.Fatalf("capture has stopped: %s", s.Error)
			}
			return fmt.Errorf("capture is %s: %s", s.State, s.Error)
		}
		return nil
	})
	return c
}

// startTheirs runs Debezium's connector on the same schema until the test ends.
func startTheirs(t *testing.T, m *testbed.MySQL, prefix string) {
	t.Helper()
	services.start(t)
	host, port, err := net.SplitHostPort(m.Addr)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"connector.class":                           "io.debezium.connector.mysql.MySqlConnector",
		"tasks.max":                                 "1",
		"database.hostname":                         host,
		"database.port":                             port,
		"database.user":                             "root",
		"database.password":                         "",
		"database.server.id":                        strconv.Itoa(77_000_002),
		"database.ssl.mode":                         "disabled",
		"driver.allowPublicKeyRetrieval":            "true",
		"topic.prefix":                              prefix,
		"database.include.list":                     "shop",
		"snapshot.mode":                             "no_data",
		"schema.history.internal":                   "io.debezium.relational.history.MemorySchemaHistory",
		"schema.name.adjustment.mode":               "avro_unicode",
		"field.name.adjustment.mode":                "avro_unicode",
		"include.schema.changes":                    "true",
		"provide.transaction.metadata":              "true",
		"bigint.unsigned.handling.mode":             "precise", // ours: long can't hold 2^63 and more
		"heartbeat.interval.ms":                     "1000",
		"poll.interval.ms":                          "50",
		"topic.creation.default.replication.factor": "1",
		"topic.creation.default.partitions":         "1",
		"producer.override.linger.ms":               "0",
	}
	name := prefix + "-source"
	if err := services.connect.Run(t.Context(), name, settings); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.connect.Remove(context.Background(), name); err != nil {
			t.Errorf("%v", err)
		}
	})
}
