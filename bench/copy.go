package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"duplex/internal/testbed"
	"duplex/region"
)

// copyTask has the rows of east copied.
const copyTask = "task: bench\nregions: [east, west]\ntables: {include: ['bench.*']}\ninitial_copy: {from: east}\n"

// measureCopy measures the initial copy of a table into an empty one, with capture and apply of both regions,
// beside mysqldump piped into mysql on the same servers.
func measureCopy(ctx context.Context, r *rig, to report) (err error) {
	if err := r.both(ctx, "CREATE DATABASE bench", createTable); err != nil {
		return err
	}
	if err := r.fill(ctx, r.east.mysql); err != nil {
		return err
	}
	dumped, err := r.dumpAndLoad(ctx, to)
	if err != nil {
		return err
	}
	if err := run(ctx, r.west.mysql, "DROP TABLE bench.sbtest1", createTable); err != nil {
		return err
	}
	if err := os.WriteFile(r.taskFile, []byte(copyTask), 0o600); err != nil {
		return fmt.Errorf("writing the task file: %w", err)
	}
	copied, err := r.copyOver(ctx, to)
	if err != nil {
		return err
	}
	to.figure("copy.vs_dump_load", copied.speed()/dumped.speed(), "x")
	return r.equal(ctx, r.west.mysql)
}

// dumpAndLoad copies the table by MySQL's own tools.
func (r *rig) dumpAndLoad(ctx context.Context, to report) (*result, error) {
	if err := r.rest(ctx, r.west.mysql); err != nil {
		return nil, err
	}
	tool := func(m *testbed.MySQL, name string, args ...string) *exec.Cmd {
		host, port := m.HostPort()
		return m.Tool(ctx, name, append([]string{"--no-defaults", "--user=root", "--host=" + host, "--port=" + port, "--ssl-mode=DISABLED", "--get-server-public-key"}, args...)...)
	}
	dump := tool(r.east.mysql, "mysqldump", "--single-transaction", "--set-gtid-purged=OFF", "bench", "sbtest1")
	load := tool(r.west.mysql, "mysql", "bench")
	var wrong bytes.Buffer
	dump.Stderr, load.Stderr = &wrong, os.Stderr
	pipe, err := dump.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("connecting mysqldump with mysql: %w", err)
	}
	load.Stdin = pipe
	l := lap{"copy.dump_load", map[string]int{"mysql_source": r.east.mysql.PID(), "mysql_target": r.west.mysql.PID()}}
	return r.measure(l, to, func() (pace, error) {
		began := time.Now()
		if err := errors.Join(dump.Start(), load.Start()); err != nil {
			return pace{}, fmt.Errorf("starting mysqldump and mysql: %w; mend: the test bed's MySQL was installed without them: remove its folder mysql97", err)
		}
		loaded := load.Wait()
		if err := errors.Join(loaded, dump.Wait()); err != nil {
			return pace{}, fmt.Errorf("dumping and loading: %w; %s", err, wrong.Bytes())
		}
		return pace{existing, time.Since(began)}, nil
	})
}

// copyOver has Duplex copy the table. What it takes to start is counted.
func (r *rig) copyOver(ctx context.Context, to report) (copied *result, err error) {
	if err := r.rest(ctx, r.west.mysql); err != nil {
		return nil, err
	}
	west, err := r.launch(r.west, "run")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, west.stop()) }()
	east, err := r.launch(r.east, "run")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, east.thaw(), east.stop()) }()
	if err := east.freeze(); err != nil {
		return nil, err
	}
	if err := west.await(ctx, time.Minute, func(s *region.Status) error {
		if s.Capture.Seq == 0 && s.Capture.Position == "" {
			return errors.New("the other region isn't captured yet")
		}
		return nil
	}); err != nil {
		return nil, err
	}
	l := lap{"copy.duplex", map[string]int{"east": east.cmd.Process.Pid, "west": west.cmd.Process.Pid, "mysql_source": r.east.mysql.PID(), "mysql_target": r.west.mysql.PID(), "kafka": r.kafka.PID(0)}}
	return r.measure(l, to, func() (pace, error) {
		if err := east.thaw(); err != nil {
			return pace{}, err
		}
		return west.work(ctx, existing, appliedRows)
	})
}
