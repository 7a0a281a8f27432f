package main

import (
	"context"
	"fmt"
	"os"
)

// measureCaptureRace measures capture of prepared backlogs, from the binlog
// into Kafka, against Debezium on the same backlog, server and broker, against
// mysqlbinlog that copies it, and against reading it and dropping it. A figure
// is given only if all else on the machine used less than maxOthers.
func measureCaptureRace(ctx context.Context, r *rig, to report) error {
	if err := run(ctx, r.east.mysql, eventSchema()...); err != nil {
		return err
	}
	peer, err := r.startDebezium(ctx)
	if err != nil {
		return err
	}
	defer peer.close()
	if err := peer.begin(ctx); err != nil {
		return err
	}
	// Saves its first position: where the backlogs begin.
	if err := r.once(ctx, r.east, "capture", func(*service) error { return nil }); err != nil {
		return err
	}
	race := &captureRace{rig: r, peer: peer, to: to}
	// A JVM just started spends its time compiling: that is not what is compared.
	if _, _, _, err := race.run(ctx, events{"warm-up", 300_000, "CALL bench.inserts(1000000000 + %d, %d, 100)"}); err != nil {
		return err
	}
	for _, e := range eventShapes() {
		if err := race.measure(ctx, e); err != nil {
			return fmt.Errorf("backlog of %s: %w", e.name, err)
		}
	}
	return nil
}

type captureRace struct {
	rig  *rig
	peer *debezium
	to   report
}

// run writes a backlog and has Duplex and Debezium publish it, one after the
// other. It returns where the backlog ends in the binlog.
func (c *captureRace) run(ctx context.Context, e events) (end binlogEnd, ours, theirs *result, err error) {
	c.rig.log.Info("writing a backlog", "kind", e.name, "rows", e.rows)
	if end, err = e.write(ctx, c.rig.east.mysql); err != nil {
		return end, ours, theirs, err
	}
	c.rig.log.Info("measuring capture", "kind", e.name)
	if ours, err = c.duplex(ctx, e); err != nil {
		return end, ours, theirs, err
	}
	c.rig.log.Info("measuring Debezium", "kind", e.name)
	theirs, err = c.lap(e, "debezium", c.peer.connect.PID(), func() (pace, error) { return c.peer.capture(ctx, e.rows) })
	return end, ours, theirs, err
}

func (c *captureRace) measure(ctx context.Context, e events) error {
	end, ours, theirs, err := c.run(ctx, e)
	if err != nil {
		return err
	}
	c.rig.log.Info("measuring bare reading", "kind", e.name)
	raw, err := c.lap(e, "raw_read", os.Getpid(), func() (pace, error) {
		took, err := readRaw(ctx, c.rig.east.mysql, end)
		return pace{e.rows, took}, err
	})
	if err != nil {
		return err
	}
	copied, err := c.rig.mysqlbinlogRaw(ctx, c.rig.east.mysql, end)
	if err != nil {
		return err
	}
	name := "capture." + e.name
	c.to.figure(name+".mysqlbinlog.rows", float64(e.rows)/copied.Seconds(), "rows/s")
	c.to.figure(name+".vs_debezium", ours.speed()/theirs.speed(), "x")
	c.to.figure(name+".cpu.vs_debezium", theirs.cpu["debezium"]/ours.cpu["duplex"], "x")
	c.to.figure(name+".vs_raw_read", ours.speed()/raw.speed(), "x")
	c.to.figure(name+".vs_mysqlbinlog", copied.Seconds()/ours.took.Seconds(), "x")
	return nil
}

// duplex has capture publish the backlog.
func (c *captureRace) duplex(ctx context.Context, e events) (result *result, err error) {
	err = c.rig.once(ctx, c.rig.east, "capture", func(p *service) (err error) {
		result, err = c.lap(e, "duplex", p.cmd.Process.Pid, func() (pace, error) {
			return p.work(ctx, e.rows, capturedRows)
		})
		return err
	})
	return result, err
}

// lap measures what one needs for the backlog.
func (c *captureRace) lap(e events, who string, pid int, do func() (pace, error)) (*result, error) {
	l := lap{"capture." + e.name + "." + who, map[string]int{who: pid, "kafka": c.rig.kafka.PID(0), "mysql": c.rig.east.mysql.PID()}}
	return c.rig.measure(l, c.to, do)
}
