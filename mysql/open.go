// Package mysql is the one place that speaks to MySQL and MariaDB by SQL:
// connections with a pinned session, what a server says about itself, the
// tables it holds, the meaning of its errors, and the tables of schema duplex.
//
// A value means the same on two servers only if both sessions read and write
// it under the same rules. So every connection, whatever the server's
// defaults and init_connect say, gets its time zone, sql_mode, character set
// and isolation level in one statement before anyone else can use it; a
// connection on which that failed is never handed out.
package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"time"

	sqldriver "github.com/go-sql-driver/mysql"

	"duplex/config"
)

// Session says what a connection is for.
type Session uint8

const (
	// Reading is for facts, table definitions, checks and snapshots.
	Reading Session = iota
	// Applying is for writing other regions' changes: foreign keys aren't
	// checked (rows come in the order the origin committed them, a batch
	// doesn't), and @duplex_apply is 1 for the user's triggers to test. Locks
	// are waited for briefly: the whole batch is tried again, and a gap that a
	// later batch has locked, which waits for this one's commit, is a deadlock
	// that the server can't see and that ends only with this wait.
	Applying
)

// pinned is the part of the session that all connections share.
//
// sql_mode is strict, so that a value that doesn't fit is an error and never
// clamped, yet takes every value that some server may hold: zero and partly
// zero dates (no NO_ZERO_DATE, no NO_ZERO_IN_DATE), 31 February
// (ALLOW_INVALID_DATES), 0 in an AUTO_INCREMENT column
// (NO_AUTO_VALUE_ON_ZERO). NO_BACKSLASH_ESCAPES, ANSI_QUOTES and
// PAD_CHAR_TO_FULL_LENGTH would change the meaning of our statements and of
// what is read back: absent.
//
// The versioned comments pick the spelling each server knows: MariaDB 10.11
// has only tx_isolation, MySQL 8 only transaction_isolation.
const pinned = "SET NAMES utf8mb4, autocommit=1, time_zone='+00:00'," +
	" sql_mode='STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'," +
	" /*!80000 transaction_isolation='READ-COMMITTED', max_execution_time=0, */" +
	" /*M!100000 tx_isolation='READ-COMMITTED', max_statement_time=0, */" +
	" unique_checks=1, sql_safe_updates=0, sql_auto_is_null=0, sql_select_limit=DEFAULT," +
	" wait_timeout=28800, net_read_timeout=120, net_write_timeout=600"

// applying is added for Applying. lock_wait_timeout is for metadata locks:
// its default of a year would hide a forgotten ALTER TABLE.
const applying = ", foreign_key_checks=0, innodb_lock_wait_timeout=1, lock_wait_timeout=30, @duplex_apply=1"

func (s Session) statement() string {
	if s == Applying {
		return pinned + applying
	}
	return pinned
}

// readTimeout is the longest silence of a server that is answering. It finds
// half-open connections, on which nothing else would ever fail. An apply
// statement is a bounded batch; other queries may scan.
func (s Session) readTimeout() time.Duration {
	if s == Applying {
		return time.Minute
	}
	return 10 * time.Minute
}

const (
	dialTimeout  = 10 * time.Second
	writeTimeout = time.Minute
)

// Open returns a pool of connections to the server of cfg, each pinned for
// the session. It doesn't connect; the first use does, and fails with a
// *ConnectError that says how to mend it. An error of Open itself is one of
// the TLS files named in cfg.
func Open(cfg config.MySQL, session Session) (*sql.DB, error) {
	c, err := driverConfig(cfg, session)
	if err != nil {
		return nil, err
	}
	inner, err := sqldriver.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to MySQL at %s: %w", cfg.Address, err)
	}
	db := sql.OpenDB(&connector{inner: inner, address: cfg.Address, user: cfg.User, pin: session.statement()})
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

// driverConfig fixes every driver option that bears on safety. Statements
// are prepared by the server (no client interpolation: its escaping depends on
// the character set), one at a time, and the server can't ask for local
// files. Times stay text, since time.Time can't hold a zero date.
//
// With tls off, caching_sha2_password sends the password encrypted with a
// public key that it asks the server for, which someone in the middle could
// replace; who chooses tls off has said that there is no such person.
func driverConfig(cfg config.MySQL, session Session) (*sqldriver.Config, error) {
	tlsConfig, err := cfg.TLSConfig()
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3}}
	c := sqldriver.NewConfig()
	c.User, c.Passwd = cfg.User, cfg.Password.Reveal()
	c.Net, c.Addr, c.TLS = "tcp", cfg.Address, tlsConfig
	c.DialFunc = dialer.DialContext
	c.Timeout, c.ReadTimeout, c.WriteTimeout = dialTimeout, session.readTimeout(), writeTimeout
	c.MaxAllowedPacket = 0            // ask the server
	c.Logger = &sqldriver.NopLogger{} // whatever it would log is in the returned error too
	c.ConnectionAttributes = "program_name:duplex"
	c.AllowAllFiles, c.MultiStatements, c.InterpolateParams, c.ParseTime = false, false, false, false
	c.AllowFallbackToPlaintext, c.AllowCleartextPasswords, c.AllowOldPasswords = false, false, false
	c.AllowNativePasswords = true // MariaDB's default
	return c, nil
}

// connector pins the session of each connection that it makes.
type connector struct {
	inner         driver.Connector
	address, user string
	pin           string
}

func (c *connector) Driver() driver.Driver { return c.inner.Driver() }

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.inner.Connect(ctx)
	if err != nil {
		return nil, connectError(c.address, c.user, err)
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, c.pin, nil); err != nil {
		conn.Close() // already failing: its own error would tell nothing new
		return nil, connectError(c.address, c.user, fmt.Errorf("pinning the session: %w", err))
	}
	return conn, nil
}
