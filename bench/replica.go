package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"duplex/internal/testbed"
)

// replica is MySQL's own replica of east, what Duplex is measured against:
// eight workers, commit order kept, a binlog of its own, as a primary's peer
// has.
type replica struct{ *testbed.MySQL }

// startReplica starts an empty server and tells it of east.
func (r *rig) startReplica(ctx context.Context) (*replica, error) {
	options := append(production(), testbed.MySQLFlags("--replica-parallel-workers=8", "--replica-preserve-commit-order=ON", "--log-replica-updates=ON", "--skip-replica-start"))
	m, err := r.bed.StartMySQL(ctx, testbed.MySQL97, options...)
	if err != nil {
		return nil, err
	}
	r.servers = append(r.servers, m.PID())
	host, port, err := net.SplitHostPort(r.east.mysql.Addr)
	if err != nil {
		return nil, fmt.Errorf("reading the address of east: %w", err)
	}
	return &replica{m}, run(ctx, m, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%s, SOURCE_USER='root', SOURCE_PASSWORD='', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1", host, port))
}

// catchUp replicates all that east has at present, and stops. It returns how
// long it took from the start of its threads to the last commit.
func (p *replica) catchUp(ctx context.Context, east *testbed.MySQL) (took time.Duration, err error) {
	var executed string
	if err := east.DB().QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&executed); err != nil {
		return 0, fmt.Errorf("asking east for its position: %w", err)
	}
	began := time.Now()
	if err := run(ctx, p.MySQL, "START REPLICA"); err != nil {
		return 0, err
	}
	var timedOut int
	if err := p.DB().QueryRowContext(ctx, "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", executed, patience.Seconds()).Scan(&timedOut); err != nil {
		return 0, fmt.Errorf("waiting for the replica: %w", err)
	}
	if timedOut != 0 {
		return 0, fmt.Errorf("waiting for the replica: not done after %s; SHOW REPLICA STATUS on %s tells why", patience, p.Name())
	}
	took = time.Since(began)
	return took, run(ctx, p.MySQL, "STOP REPLICA")
}
