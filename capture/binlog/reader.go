// Package binlog reads a server's binlog and turns it into the few events that
// capture needs. Together with its row decoder it is the only place that knows
// go-mysql, GTIDs and the formats of the binlog.
//
// The reading goroutine does as little as it can: it decodes headers, drops
// what isn't captured, and hands on the bytes of row images. Reconnecting is
// the caller's, from a position of its own, since go-mysql's own reconnect
// delivers a half-read transaction twice.
package binlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"duplex/schemas"
)

// Config says which server to read and which tables of it.
type Config struct {
	Engine   string // mysql or mariadb
	Address  string // host:port
	User     string
	Password string
	TLS      *tls.Config // nil: no TLS
	ServerID uint32      // our id as a replica: differs from that of every server and replica
	// Collations maps a collation's id to its name and character set.
	Collations map[uint64]Collation
	// Captured says which tables to read.
	Captured func(db, table string) bool
	// Describe adds to a table what a TABLE_MAP event doesn't tell and the order
	// of an Avro union depends on: see schemas.Table.Complete. It is called once for
	// each version of a table, on the goroutine that reads.
	Describe func(*schemas.Table) error
	Logger   *slog.Logger

	heldBytes int64 // of prepared transactions; 0: xaBytes. Tests set it
}

// The server sends a heartbeat when it has nothing else to send, so silence
// longer than readTimeout means that the connection is dead, not idle.
const (
	dialTimeout = 10 * time.Second
	heartbeat   = 3 * time.Second
	readTimeout = 10 * time.Second
	// A reader held back by Kafka stops reading; the server would otherwise
	// cut it off after net_write_timeout, 60 s by default.
	netWriteTimeout = 3600
)

// Read reads the binlog from just after position and calls emit for every
// event, in order, from one goroutine, until ctx ends, emit fails, or the
// connection or the binlog does. emit may block: the server then waits. The
// error is never nil; that of emit is returned as it is.
func Read(ctx context.Context, cfg Config, from *Position, emit func(*Event) error) error {
	r := &reader{cfg: cfg, at: from.clone(), outcomes: map[GTID]outcome{}}
	for {
		err := r.dump(ctx, emit)
		var again *againError
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case r.failed != nil:
			return r.failed
		case !errors.As(err, &again):
			return fmt.Errorf("reading binlog of %s: %w", cfg.Address, err)
		}
		r.outcomes[again.prepare] = again.outcome
	}
}

// reader reads one connection's stream after another.
type reader struct {
	cfg      Config
	at       *Position // after the last event emitted
	outcomes map[GTID]outcome
	failed   error // what emit returned
}

// dump reads until the connection or the stream fails.
func (r *reader) dump(ctx context.Context, emit func(*Event) error) error {
	d, err := openDump(ctx, r.cfg, r.at)
	if err != nil {
		return err
	}
	defer d.close()
	defer context.AfterFunc(ctx, d.close)()
	passed := false // a transaction, since the server was asked
	h := newHandler(r.cfg, func(ev *Event) error {
		if r.failed = emit(ev); r.failed != nil || ev.Kind != Commit {
			return r.failed
		}
		passed = true
		return r.at.Pass(ev)
	})
	if r.cfg.heldBytes > 0 {
		h.xa.limit = r.cfg.heldBytes
	}
	h.xa.resume(r.at, r.outcomes)
	s := newStream(d, h)
	defer s.close()
	return r.cut(h, passed, s.run())
}
