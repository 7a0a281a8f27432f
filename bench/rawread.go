package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"duplex/internal/testbed"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

// readRaw reads a file of the binlog as a replica does, drops every event
// undecoded, and returns how long that took: no capture can be faster.
func readRaw(ctx context.Context, m *testbed.MySQL, end binlogEnd) (time.Duration, error) {
	host, port := m.HostPort()
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("reading the port of %s: %w", m.Name(), err)
	}
	done := make(chan struct{})
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: 99, Flavor: gomysql.MySQLFlavor, Host: host, Port: uint16(number), User: "root",
		RawModeEnabled: true, DisableRetrySync: true, Logger: slog.New(slog.DiscardHandler),
		SynchronousEventHandler: &dropper{end: end.pos, done: done},
	})
	defer syncer.Close()
	began := time.Now()
	if _, err := syncer.StartSync(gomysql.Position{Name: end.file, Pos: 4}); err != nil {
		return 0, fmt.Errorf("reading the binlog of %s: %w", m.Name(), err)
	}
	select {
	case <-done:
		return time.Since(began), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// dropper drops events until one ends at the place where the backlog does.
type dropper struct {
	end  uint32
	done chan struct{}
	over bool
}

// HandleEvent implements replication.EventHandler.
func (d *dropper) HandleEvent(e *replication.BinlogEvent) error {
	if !d.over && e.Header.LogPos >= d.end && e.Header.EventType != replication.ROTATE_EVENT {
		d.over = true
		close(d.done)
	}
	return nil
}

// mysqlbinlogRaw has mysqlbinlog copy the file, and returns how long that took.
func (r *rig) mysqlbinlogRaw(ctx context.Context, m *testbed.MySQL, end binlogEnd) (time.Duration, error) {
	host, port := m.HostPort()
	cmd := m.Tool(ctx, "mysqlbinlog", "--no-defaults", "--read-from-remote-server", "--raw", "--user=root", "--host="+host, "--port="+port,
		"--result-file="+r.dir+string(filepath.Separator), end.file)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("running mysqlbinlog: %w\n%s", err, out)
	}
	took := time.Since(began)
	return took, os.Remove(filepath.Join(r.dir, end.file))
}
