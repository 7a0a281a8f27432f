package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"duplex/region"
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

// maxOthers is how many cores the rest of the machine may use meanwhile.
const maxOthers = 0.1

type captureRace struct {
	rig  *rig
	peer *debezium
	to   report
}

// lap is what one of them needed for a backlog.
type lap struct {
	took   time.Duration
	cpu    float64 // seconds of its own process
	others float64 // cores used by what has no part in it
}

// run writes a backlog and has Duplex and Debezium publish it, one after the
// other. It returns where the backlog ends in the binlog.
func (c *captureRace) run(ctx context.Context, e events) (end binlogEnd, ours, theirs lap, err error) {
	c.rig.log.Info("writing a backlog", "kind", e.name, "rows", e.rows)
	if end, err = e.write(ctx, c.rig.east.mysql); err != nil {
		return end, ours, theirs, err
	}
	c.rig.log.Info("measuring capture", "kind", e.name)
	if ours, err = c.duplex(ctx, e); err != nil {
		return end, ours, theirs, err
	}
	c.rig.log.Info("measuring Debezium", "kind", e.name)
	theirs, err = c.lap(ctx, e, "debezium", c.peer.connect.PID(), func() (time.Duration, error) { return c.peer.capture(ctx, e.rows) })
	return end, ours, theirs, err
}

func (c *captureRace) measure(ctx context.Context, e events) error {
	end, ours, theirs, err := c.run(ctx, e)
	if err != nil {
		return err
	}
	c.rig.log.Info("measuring bare reading", "kind", e.name)
	raw, err := c.lap(ctx, e, "raw_read", os.Getpid(), func() (time.Duration, error) { return readRaw(ctx, c.rig.east.mysql, end) })
	if err != nil {
		return err
	}
	copied, err := c.rig.mysqlbinlogRaw(ctx, c.rig.east.mysql, end)
	if err != nil {
		return err
	}
	name := "capture." + e.name
	c.to.figure(name+".mysqlbinlog.rows", float64(e.rows)/copied.Seconds(), "rows/s")
	c.to.figure(name+".vs_debezium", theirs.took.Seconds()/ours.took.Seconds(), "x")
	c.to.figure(name+".cpu.vs_debezium", theirs.cpu/ours.cpu, "x")
	c.to.figure(name+".vs_raw_read", raw.took.Seconds()/ours.took.Seconds(), "x")
	c.to.figure(name+".vs_mysqlbinlog", copied.Seconds()/ours.took.Seconds(), "x")
	for who, l := range map[string]lap{"duplex": ours, "debezium": theirs} {
		if l.others >= maxOthers {
			c.rig.log.Warn("this doesn't count: the rest of the machine was busy", "kind", e.name, "while", who, "cores", l.others)
		}
	}
	return nil
}

// duplex has capture publish the backlog.
func (c *captureRace) duplex(ctx context.Context, e events) (l lap, err error) {
	err = c.rig.once(ctx, c.rig.east, "capture", func(p *service) error {
		var err error
		l, err = c.lap(ctx, e, "duplex", p.cmd.Process.Pid, func() (time.Duration, error) {
			speed, err := p.speed(ctx, e.rows, func(s *region.Status) int64 { return s.Capture.Rows })
			return time.Duration(float64(e.rows) / speed * float64(time.Second)), err
		})
		return err
	})
	return l, err
}

// lap measures what one needs for the backlog, and writes its figures.
func (c *captureRace) lap(ctx context.Context, e events, who string, pid int, do func() (time.Duration, error)) (l lap, err error) {
	parts := map[string]int{who: pid, "kafka": c.rig.kafka.PID(0), "mysql": c.rig.east.mysql.PID()}
	all := maps.Clone(parts)
	if pid != os.Getpid() {
		all["bench"] = os.Getpid()
	}
	m, err := startMeter(parts)
	if err != nil {
		return l, err
	}
	idle, err := startBystanders(all)
	if err != nil {
		return l, err
	}
	if l.took, err = do(); err != nil {
		return l, err
	}
	if l.others, err = idle.cores(); err != nil {
		return l, err
	}
	if l.cpu, err = m.used(who); err != nil {
		return l, err
	}
	name := "capture." + e.name + "." + who
	c.to.figure(name+".rows", float64(e.rows)/l.took.Seconds(), "rows/s")
	c.to.figure(name+".cpu_per_change", l.cpu/float64(e.rows)*1e6, "us")
	c.to.figure(name+".others", l.others, "cores")
	return l, errors.Join(m.report(c.to, name), ctx.Err())
}
