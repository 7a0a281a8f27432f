package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"duplex/internal/testbed"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// debezium is Debezium's connector beside Duplex, on the same server and
// broker, tuned as it was found to be fastest: batches of 2048, polled every
// 50 ms, published in batches of 128 KiB without compression.
type debezium struct {
	r       *rig
	connect *testbed.Connect
	admin   *kadm.Client
	topic   string
}

const connector = "src"

func (r *rig) startDebezium(ctx context.Context) (*debezium, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.kafka.Brokers()...))
	if err != nil {
		return nil, fmt.Errorf("connecting to kafka: %w", err)
	}
	connect, err := r.startConnect(ctx)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &debezium{r: r, connect: connect, admin: kadm.NewClient(client), topic: "debezium.bench.sbtest1"}, nil
}

// startConnect starts a worker for Debezium's connectors in a JVM of 1 GiB with
// all of its compilers.
func (r *rig) startConnect(ctx context.Context) (*testbed.Connect, error) {
	connect, err := r.bed.StartConnect(ctx, r.kafka, r.registry, "-XX:-UseSerialGC", "-XX:+UseG1GC", "-XX:TieredStopAtLevel=4", "-Xms1g", "-Xmx1g")
	if err == nil {
		r.servers = append(r.servers, connect.PID())
	}
	return connect, err
}

func (d *debezium) close() { d.admin.Close() }

func (d *debezium) config() map[string]string {
	host, port := d.r.east.mysql.HostPort()
	return map[string]string{
		"connector.class":   "io.debezium.connector.mysql.MySqlConnector",
		"tasks.max":         "1",
		"database.hostname": host, "database.port": port, "database.user": "root", "database.password": "",
		"database.server.id":                              "5401",
		"database.ssl.mode":                               "disabled",
		"driver.allowPublicKeyRetrieval":                  "true",
		"topic.prefix":                                    "debezium",
		"database.include.list":                           "bench",
		"snapshot.mode":                                   "no_data",
		"include.schema.changes":                          "false",
		"max.batch.size":                                  "2048",
		"max.queue.size":                                  "8192",
		"poll.interval.ms":                                "50",
		"producer.override.linger.ms":                     "5",
		"producer.override.batch.size":                    "131072",
		"schema.history.internal.kafka.bootstrap.servers": strings.Join(d.r.kafka.Brokers(), ","),
		"schema.history.internal.kafka.topic":             "debezium.history",
		"topic.creation.default.replication.factor":       "1",
		"topic.creation.default.partitions":               "4",
	}
}

// begin has the connector find its place, which it keeps: from then on it
// publishes what is written while it doesn't run. It is seen by a row of its
// own, again and again until one comes through.
func (d *debezium) begin(ctx context.Context) error {
	if err := d.connect.Run(ctx, connector, d.config()); err != nil {
		return err
	}
	for n, id := int64(0), -1; n == 0; id-- {
		if err := run(ctx, d.r.east.mysql, fmt.Sprintf("INSERT INTO bench.sbtest1 VALUES (%d, 0, '', '')", id)); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
		var err error
		if n, err = d.published(ctx); err != nil {
			return err
		}
	}
	return d.settle(ctx)
}

// settle waits until nothing more is published, and ends the connector.
func (d *debezium) settle(ctx context.Context) error {
	last := int64(-1)
	for quiet := 0; quiet < 20; quiet++ {
		n, err := d.published(ctx)
		if err != nil {
			return err
		}
		if n != last {
			last, quiet = n, 0
		}
		time.Sleep(100 * time.Millisecond)
	}
	return d.connect.Remove(ctx, connector)
}

// published returns how many records the table's topic holds.
func (d *debezium) published(ctx context.Context) (n int64, err error) {
	ends, err := d.admin.ListEndOffsets(ctx, d.topic)
	if err != nil {
		return 0, fmt.Errorf("asking kafka for ends: %w", err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			n += o.Offset
		}
	})
	return n, nil
}

// capture has the connector publish a backlog and returns how long it took
// from the first record to the last: starting is not its work.
func (d *debezium) capture(ctx context.Context, rows int64) (pace, error) {
	before, err := d.published(ctx)
	if err != nil {
		return pace{}, err
	}
	if err := d.connect.Run(ctx, connector, d.config()); err != nil {
		return pace{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("debezium has not published %d changes within %s", rows, patience))
	defer cancel()
	var began time.Time
	for {
		n, err := d.published(ctx)
		if err != nil {
			return pace{}, err
		}
		if began.IsZero() && n > before {
			began = time.Now()
		}
		if n >= before+rows {
			took := time.Since(began)
			return pace{rows, took}, d.connect.Remove(ctx, connector)
		}
		select {
		case <-ctx.Done():
			return pace{}, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
