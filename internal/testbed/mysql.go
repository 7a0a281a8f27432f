package testbed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// MySQL is a running MySQL or MariaDB server. Its root has no password and may connect from this machine only.
type MySQL struct {
	Part     Part
	Addr     string // host:port
	ServerID uint32 // its server_id, unlike that of any other server on this machine; also MariaDB's gtid_domain_id
	CAFile   string // PEM file of the CA that signed its certificate; "" without option MySQLTLS

	bed   *Bed
	dir   string
	port  *port
	proc  *process
	argv  []string // that starts its program, without flags
	maria bool
	db    *sql.DB
	once  sync.Once
}

type mysqlSettings struct {
	flags   []string
	durable bool
	tls     bool
}

// MySQLOption changes how a server is started.
type MySQLOption func(*mysqlSettings)

// MySQLFlags adds flags to mysqld's command line; they win over the test bed's own.
func MySQLFlags(flags ...string) MySQLOption {
	return func(s *mysqlSettings) { s.flags = append(s.flags, flags...) }
}

// Durable makes the server flush binlog and redo log at each commit, as in production. Without it a commit survives the
// kill of mysqld, since the kernel holds what was written, but not the loss of the machine; it is much faster.
func Durable() MySQLOption { return func(s *mysqlSettings) { s.durable = true } }

// MySQLTLS gives the server a certificate for 127.0.0.1 and localhost that the CA in CAFile signed, so that clients can
// verify both. (Without it MySQL still offers TLS, with a certificate that names nobody.)
func MySQLTLS() MySQLOption { return func(s *mysqlSettings) { s.tls = true } }

// StartMySQL starts a server of the given version (AnyMySQL, MySQL97, MySQL80, MariaDB118, MariaDB1011) with an empty data
// directory of its own and waits until it answers. GTIDs are on, the binlog has row format, full images and full metadata.
func (b *Bed) StartMySQL(ctx context.Context, version Part, options ...MySQLOption) (*MySQL, error) {
	m, err := b.prepareMySQL(ctx, version, options)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", version, err)
	}
	b.add(m)
	if err := m.start(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// MySQL is StartMySQL for the duration of test t.
func (b *Bed) MySQL(t TB, version Part, options ...MySQLOption) *MySQL {
	t.Helper()
	m, err := b.StartMySQL(t.Context(), version, options...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	closeWith(t, m)
	return m
}

func (b *Bed) prepareMySQL(ctx context.Context, version Part, options []MySQLOption) (*MySQL, error) {
	if err := Install(ctx, b.cache, version); err != nil {
		return nil, err
	}
	from, err := locate(ctx, b.cache, version)
	if err != nil {
		return nil, err
	}
	pr, err := programOf(from)
	if err != nil {
		return nil, err
	}
	dir, err := b.newDir(string(version))
	if err != nil {
		return nil, err
	}
	if _, err := run(ctx, "", "cp", "--archive", "--reflink=auto", "--sparse=auto", filepath.Join(from.dir, "data"), dir); err != nil {
		return nil, fmt.Errorf("copying the data directory: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		return nil, err
	}
	var s mysqlSettings
	for _, option := range options {
		option(&s)
	}
	p, err := claimPort()
	if err != nil {
		return nil, err
	}
	m := &MySQL{Part: version, Addr: p.address(), ServerID: uint32(p.number), bed: b, dir: dir, port: p, maria: pr.maria, argv: pr.argv}
	flags := append(append(pr.args, m.flags(s.durable)...), s.flags...)
	if s.tls {
		pair, err := writeCertificates(dir)
		if err != nil {
			p.release()
			return nil, err
		}
		m.CAFile = pair.ca
		flags = append(flags, "--ssl-ca="+pair.ca, "--ssl-cert="+pair.cert, "--ssl-key="+pair.key)
	}
	connector, err := mysql.NewConnector(m.config("root", "", ""))
	if err != nil {
		p.release()
		return nil, err
	}
	m.db = sql.OpenDB(connector)
	m.proc = &process{
		name: fmt.Sprintf("%s at %s", version, m.Addr), argv: append(pr.argv[:len(pr.argv):len(pr.argv)], flags...),
		env: pr.env, dir: dir, log: filepath.Join(dir, "error.log"),
	}
	return m, nil
}

// flags are the settings of every server: what Duplex demands of one, and little memory (225 MB). Those that only one of
// MySQL and MariaDB knows are marked loose.
func (m *MySQL) flags(durable bool) []string {
	id := strconv.FormatUint(uint64(m.ServerID), 10)
	flags := []string{
		"--datadir=" + filepath.Join(m.dir, "data"), "--tmpdir=" + filepath.Join(m.dir, "tmp"),
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(m.port.number), "--server-id=" + id,
		"--socket=mysqld.sock", // inside the data directory: a full path could be too long for a Unix socket
		"--pid-file=mysqld.pid",
		"--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-image=FULL", "--binlog-row-metadata=FULL",
		"--performance-schema=OFF", "--innodb-buffer-pool-size=64M", "--table-open-cache=400", "--max-connections=200",
		"--innodb-log-buffer-size=8M", "--loose-temptable-max-ram=16M",
		// The kernel has a machine-wide limit of asynchronous I/O requests, and every such thread takes 256 of them.
		"--innodb-read-io-threads=2", "--innodb-write-io-threads=2",
	}
	if m.maria {
		flags = append(flags, "--gtid-domain-id="+id, "--log-slave-updates", "--innodb-log-file-size=64M")
	} else {
		flags = append(flags, "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--mysqlx=OFF", "--loose-innodb-redo-log-capacity=64M",
			"--secure-file-priv=NULL") // the packaged default is a folder that doesn't exist here
	}
	if durable {
		return append(flags, "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1")
	}
	return append(flags, "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2")
}

func (m *MySQL) start(ctx context.Context) error {
	if err := m.proc.start(); err != nil {
		return err
	}
	return m.proc.await(ctx, func(ctx context.Context) error {
		_, err := m.DB().ExecContext(ctx, "DO 1")
		return err
	})
}

// Start starts the server again after Stop or Kill, on the same port with the same data, and waits until it answers.
func (m *MySQL) Start() error { return m.start(context.Background()) }

// Stop shuts the server down in order.
func (m *MySQL) Stop() error { return m.proc.stop() }

// Kill ends the server with SIGKILL, in the middle of whatever it does.
func (m *MySQL) Kill() error { return m.proc.kill() }

// Freeze stops the server with SIGSTOP: connections stay open and nothing is answered, until Thaw.
func (m *MySQL) Freeze() error { return m.proc.freeze() }

// Thaw lets a frozen server go on.
func (m *MySQL) Thaw() error { return m.proc.thaw() }

// Close kills the server and removes its data.
func (m *MySQL) Close() error {
	var err error
	m.once.Do(func() {
		_ = m.db.Close() // an idle connection may have died, of a test that killed the server
		err = errors.Join(m.proc.kill(), os.RemoveAll(m.dir))
		m.port.release()
		m.bed.forget(m)
	})
	return err
}

// Name is version and address, for messages.
func (m *MySQL) Name() string { return m.proc.name }

// Tool makes a command of a program that came with the server, such as mysqlbinlog.
func (m *MySQL) Tool(ctx context.Context, name string, args ...string) *exec.Cmd {
	last := len(m.argv) - 1
	argv := append(m.argv[:last:last], filepath.Join(filepath.Dir(m.argv[last]), "..", "bin", name))
	argv = append(argv, args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), m.proc.env...)
	return cmd
}

// HostPort is Addr in its two parts.
func (m *MySQL) HostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(m.Addr) // made by JoinHostPort
	return host, port
}

// PID is that of mysqld itself.
func (m *MySQL) PID() int { return m.proc.pid() }

// IsMariaDB tells MariaDB from MySQL.
func (m *MySQL) IsMariaDB() bool { return m.maria }

// DSN is a go-sql-driver data source name for root in schema db, which may be "".
func (m *MySQL) DSN(db string) string { return m.DSNFor("root", "", db) }

// DSNFor is DSN for another user. Several statements may stand in one string.
func (m *MySQL) DSNFor(user, password, db string) string {
	return m.config(user, password, db).FormatDSN()
}

func (m *MySQL) config(user, password, db string) *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", m.Addr, user, password, db
	c.MultiStatements = true
	c.InterpolateParams = true
	c.AllowNativePasswords = true
	c.Collation = "utf8mb4_general_ci" // MySQL 8 and MariaDB both know it
	c.Logger = &mysql.NopLogger{}      // it would print a line for each server that isn't up yet
	return c
}

// DB is a pool of root's connections without a default schema; it belongs to the server and survives its restarts.
func (m *MySQL) DB() *sql.DB { return m.db }

// ErrorLog is what the server has logged since it was first started.
func (m *MySQL) ErrorLog() (string, error) {
	text, err := os.ReadFile(m.proc.log)
	if err != nil {
		return "", fmt.Errorf("reading the error log: %w", err)
	}
	return string(text), nil
}

func (m *MySQL) logTail() string { return m.proc.logTail() }
