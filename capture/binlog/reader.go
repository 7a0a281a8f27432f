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
	"net"
	"strconv"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/replication"

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
}

// The server sends a heartbeat when it has nothing else to send, so silence
// longer than readTimeout means that the connection is dead, not idle.
const (
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
	host, port, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return fmt.Errorf("reading mysql.address: %w", err)
	}
	portNumber, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("reading port of mysql.address %q: %w", cfg.Address, err)
	}
	h := newHandler(cfg, emit)
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{
		ServerID: cfg.ServerID, Flavor: cfg.Engine,
		Host: host, Port: uint16(portNumber), User: cfg.User, Password: cfg.Password, TLSConfig: cfg.TLS,
		Charset:         "utf8mb4",
		HeartbeatPeriod: heartbeat, ReadTimeout: readTimeout,
		DisableRetrySync: true, DiscardGTIDSet: true,
		FillZeroLogPos:          cfg.Engine == "mariadb",
		RowsEventDecodeFunc:     h.decodeHeader,
		SynchronousEventHandler: h,
		Option: func(c *client.Conn) error {
			_, err := c.Execute(fmt.Sprintf("SET @@session.net_write_timeout = %d", netWriteTimeout))
			return err
		},
		// Its errors come back to us as well; logged there they would be said twice.
		Logger: slog.New(slog.DiscardHandler),
	})
	defer syncer.Close()
	stream, err := syncer.StartSyncGTID(from.set.Clone())
	if err != nil {
		return fmt.Errorf("asking %s for its binlog: %w", cfg.Address, err)
	}
	// Events go to the handler; the stream only tells how it ended.
	_, err = stream.GetEvent(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case h.failed != nil && errors.Is(err, h.failed):
		return h.failed
	case err == nil:
		return errors.New("reading binlog: an event went astray")
	default:
		return fmt.Errorf("reading binlog of %s: %w", cfg.Address, err)
	}
}

// decodeHeader is called by go-mysql in place of its decoding of a rows event.
// It reads the header and keeps the rest for the workers. Rows of schema
// duplex, few and small, are decoded whole.
func (h *handler) decodeHeader(e *replication.RowsEvent, data []byte) error {
	pos, err := e.DecodeHeader(data)
	if err != nil {
		return fmt.Errorf("decoding header of rows event: %w", err)
	}
	if string(e.Table.Schema) == controlSchema {
		return e.DecodeData(pos, data)
	}
	h.images = append(h.images, data[pos:])
	return nil
}
