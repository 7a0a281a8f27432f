package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/internal/testbed"
)

// measureSink measures apply against Debezium's JDBC sink, from the same topics
// into servers with the same settings.
func measureSink(ctx context.Context, r *rig, to report) error {
	sink, err := r.startSink(ctx)
	if err != nil {
		return err
	}
	for _, m := range []*testbed.MySQL{r.east.mysql, r.west.mysql, sink.target} {
		if err := run(ctx, m, "CREATE DATABASE bench", createTable); err != nil {
			return err
		}
	}
	if err := r.fill(ctx, r.east.mysql, r.west.mysql, sink.target); err != nil {
		return err
	}
	// Saves its first position: where the backlogs begin.
	if err := r.once(ctx, r.east, "capture", func(*service) error { return nil }); err != nil {
		return err
	}
	race := &sinkRace{rig: r, sink: sink, to: to}
	// A JVM just started spends its time compiling: that is not what is compared.
	warmUp := workload{"warm-up", 6_000, func(c *client) ([]string, int) {
		updates, n := c.updates(50)
		inserts, m := c.inserts(50)
		return append(updates, inserts...), n + m
	}}
	if _, _, err := race.run(ctx, &warmUp); err != nil {
		return err
	}
	var ours, theirs float64
	for _, w := range []workload{
		{"updates", 4_000, func(c *client) ([]string, int) { return c.updates(100) }},
		{"inserts", 4_000, func(c *client) ([]string, int) { return c.inserts(100) }},
	} {
		duplex, sink, err := race.run(ctx, &w)
		if err != nil {
			return fmt.Errorf("workload %s: %w", w.name, err)
		}
		to.figure("apply."+w.name+".vs_jdbc_sink", duplex.speed()/sink.speed(), "x")
		to.figure("apply."+w.name+".cpu.vs_jdbc_sink", sink.cpu["connect"]/duplex.cpu["duplex"], "x")
		ours += duplex.cpu["duplex"]
		theirs += sink.cpu["connect"]
	}
	to.figure("apply.cpu.vs_jdbc_sink", theirs/ours, "x")
	return nil
}

type sinkRace struct {
	rig  *rig
	sink *jdbcSink
	to   report
}

// run prepares a backlog and has the sink and apply work it off, one after the
// other.
func (s *sinkRace) run(ctx context.Context, w *workload) (ours, theirs *result, err error) {
	r := s.rig
	rows, err := r.prepare(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	if err := r.rest(ctx, r.west.mysql, s.sink.target); err != nil {
		return nil, nil, err
	}
	if theirs, err = s.sink.apply(ctx, "sink."+w.name, rows, s.to); err != nil {
		return nil, nil, err
	}
	if ours, err = r.apply(ctx, "sink."+w.name, rows, s.to, s.sink.target); err != nil {
		return nil, nil, err
	}
	return ours, theirs, r.equal(ctx, r.west.mysql, s.sink.target)
}

// jdbcSink is Debezium's JDBC sink as it was found to be fastest, with no order
// between its four tasks: batches of 1000, which the driver rewrites to
// statements of many rows.
type jdbcSink struct {
	r       *rig
	connect *testbed.Connect
	target  *testbed.MySQL
}

func (r *rig) startSink(ctx context.Context) (*jdbcSink, error) {
	target, err := r.bed.StartMySQL(ctx, testbed.MySQL97, production()...)
	if err != nil {
		return nil, err
	}
	r.servers = append(r.servers, target.PID())
	connect, err := r.startConnect(ctx)
	return &jdbcSink{r, connect, target}, err
}

func (s *jdbcSink) config() map[string]string {
	return map[string]string{
		"connector.class":                             "io.debezium.connector.jdbc.JdbcSinkConnector",
		"tasks.max":                                   "4", // the topic has four partitions
		"topics":                                      "east.bench.sbtest1",
		"connection.url":                              "jdbc:mysql://" + s.target.Addr + "/bench?useSSL=false&allowPublicKeyRetrieval=true&rewriteBatchedStatements=true",
		"connection.username":                         "root",
		"connection.password":                         "",
		"insert.mode":                                 "upsert",
		"delete.enabled":                              "true",
		"primary.key.mode":                            "record_key",
		"schema.evolution":                            "none",
		"collection.name.format":                      "${source.table}",
		"batch.size":                                  "1000",
		"header.converter":                            "org.apache.kafka.connect.storage.StringConverter",
		"consumer.override.auto.offset.reset":         "earliest",
		"consumer.override.isolation.level":           "read_committed",
		"consumer.override.max.poll.records":          "1000",
		"consumer.override.fetch.min.bytes":           "1",
		"consumer.override.max.partition.fetch.bytes": "4194304",
	}
}

// apply has the sink work off a backlog. It is measured from the first rows
// that it has written: starting is not its work.
func (s *jdbcSink) apply(ctx context.Context, name string, rows int64, to report) (result *result, err error) {
	before, err := s.written(ctx)
	if err != nil {
		return nil, err
	}
	const connector = "sink"
	if err := s.connect.Run(ctx, connector, s.config()); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.connect.Remove(ctx, connector)) }()
	if _, err := s.await(ctx, connector, before+1); err != nil {
		return nil, err
	}
	l := lap{name + ".jdbc_sink", map[string]int{"connect": s.connect.PID(), "mysql": s.target.PID(), "kafka": s.r.kafka.PID(0)}}
	return s.r.measure(l, to, func() (pace, error) {
		began := time.Now()
		first, err := s.written(ctx)
		if err != nil {
			return pace{}, err
		}
		last, err := s.await(ctx, connector, before+rows)
		return pace{last - first, time.Since(began)}, err
	})
}

// await waits until so many rows are written.
func (s *jdbcSink) await(ctx context.Context, connector string, rows int64) (written int64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the JDBC sink has not written %d rows within %s", rows, patience))
	defer cancel()
	for {
		if written, err = s.written(ctx); err != nil || written >= rows {
			return written, err
		}
		if err := s.connect.Running(ctx, connector); err != nil {
			return written, err
		}
		select {
		case <-ctx.Done():
			return written, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// written returns how many rows the target has written since it was started.
func (s *jdbcSink) written(ctx context.Context) (n int64, err error) {
	err = s.target.DB().QueryRowContext(ctx, "SELECT CAST(SUM(VARIABLE_VALUE) AS SIGNED) FROM performance_schema.global_status WHERE VARIABLE_NAME IN ('Innodb_rows_inserted', 'Innodb_rows_updated', 'Innodb_rows_deleted')").Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("asking for the rows that the JDBC sink wrote: %w", err)
	}
	return n, nil
}
