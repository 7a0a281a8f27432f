package binlog

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/google/uuid"
)

// dump is a connection over which the server sends its binlog. Connecting and
// logging in are go-mysql's; asking for the binlog and reading its packets are
// ours. go-mysql always asks for events without their checksums, so that nobody
// can tell a corrupt one, and it holds a compressed transaction whole in memory.
type dump struct {
	conn    *client.Conn
	packets *packets
	// checked tells that the server ends events in a checksum.
	checked bool
}

// openDump connects and asks for what comes after a position.
func openDump(ctx context.Context, cfg Config, from *Position) (*dump, error) {
	conn, err := client.ConnectWithDialer(ctx, "tcp", cfg.Address, cfg.User, cfg.Password, "", (&net.Dialer{Timeout: dialTimeout}).DialContext,
		func(c *client.Conn) error {
			c.SetTLSConfig(cfg.TLS)
			c.SetAttributes(map[string]string{"program_name": "duplex"})
			c.ReadTimeout = readTimeout
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	d := &dump{conn: conn}
	if err := d.begin(cfg, from); err != nil {
		conn.Close() // already failing
		return nil, err
	}
	return d, nil
}

func (d *dump) begin(cfg Config, from *Position) error {
	result, err := d.conn.Execute("SELECT @@GLOBAL.binlog_checksum")
	if err != nil {
		return fmt.Errorf("reading binlog_checksum: %w", err)
	}
	algorithm, err := result.GetString(0, 0)
	if err != nil {
		return fmt.Errorf("reading binlog_checksum: %w", err)
	}
	d.checked = strings.EqualFold(algorithm, "CRC32")
	id, err := uuid.NewUUID()
	if err != nil {
		return fmt.Errorf("making a replica's uuid: %w", err)
	}
	statements := []string{
		fmt.Sprintf("SET @@session.net_write_timeout = %d", netWriteTimeout),
		// Both names of each: the servers' versions know one or the other.
		"SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum",
		fmt.Sprintf("SET @master_heartbeat_period = %d, @source_heartbeat_period = %[1]d", heartbeat),
		fmt.Sprintf("SET @slave_uuid = '%s', @replica_uuid = '%[1]s'", id),
	}
	if cfg.Engine == mysql.MariaDBFlavor {
		const understandsGTIDs = 4
		statements = append(statements,
			fmt.Sprintf("SET @mariadb_slave_capability = %d", understandsGTIDs),
			fmt.Sprintf("SET @slave_connect_state = '%s'", from.start()),
			// A position that the server lacks is then an error, never a guess.
			"SET @slave_gtid_strict_mode = 1")
	}
	for _, statement := range statements {
		if _, err := d.conn.Execute(statement); err != nil {
			return fmt.Errorf("asking for the binlog: %s: %w", statement, err)
		}
	}
	if err := d.register(cfg); err != nil {
		return fmt.Errorf("registering as a replica: %w", err)
	}
	if err := d.ask(cfg, from); err != nil {
		return fmt.Errorf("asking for the binlog: %w", err)
	}
	// All answers were read, so go-mysql's own buffer is empty.
	d.packets = &packets{r: bufio.NewReaderSize(&patientReader{d.conn.Conn.Conn}, 64<<10), sequence: d.conn.Sequence}
	return nil
}

// register makes us show in SHOW REPLICAS.
func (d *dump) register(cfg Config) error {
	host, err := os.Hostname()
	if err != nil || len(host) > 60 {
		host = "duplex"
	}
	b := make([]byte, 4, 64)
	b = append(b, mysql.COM_REGISTER_SLAVE)
	b = binary.LittleEndian.AppendUint32(b, cfg.ServerID)
	b = append(append(b, byte(len(host))), host...)
	b = append(b, make([]byte, 1+1+2+4+4)...) // user, password, port, rank, master's id
	d.conn.ResetSequence()
	if err := d.conn.WritePacket(b); err != nil {
		return err
	}
	_, err = d.conn.ReadOKPacket()
	return err
}

// ask sends the command. MariaDB takes its position from the session.
func (d *dump) ask(cfg Config, from *Position) error {
	b := make([]byte, 4, 64)
	if cfg.Engine == mysql.MariaDBFlavor {
		// Positions of later events count on the annotations being sent.
		const sendAnnotations = 2
		b = append(b, mysql.COM_BINLOG_DUMP)
		b = binary.LittleEndian.AppendUint32(b, 4)
		b = binary.LittleEndian.AppendUint16(b, sendAnnotations)
		b = binary.LittleEndian.AppendUint32(b, cfg.ServerID)
	} else {
		set := from.start().Encode()
		b = append(b, mysql.COM_BINLOG_DUMP_GTID)
		b = binary.LittleEndian.AppendUint16(b, 0)
		b = binary.LittleEndian.AppendUint32(b, cfg.ServerID)
		b = binary.LittleEndian.AppendUint32(b, 0) // length of the file's name
		b = binary.LittleEndian.AppendUint64(b, 4)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(set)))
		b = append(b, set...)
	}
	d.conn.ResetSequence()
	return d.conn.WritePacket(b)
}

// close ends the connection; reading from it then fails.
func (d *dump) close() { d.conn.Close() }

// patientReader fails when the server has been silent for readTimeout.
type patientReader struct{ conn net.Conn }

func (r *patientReader) Read(b []byte) (int, error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return 0, err
	}
	return r.conn.Read(b)
}

// packets reads the packets of MySQL's protocol one after the other. Within a
// packet it is an io.Reader. A packet of 16 MiB and more comes in several
// frames, each with a header of its own.
type packets struct {
	r        *bufio.Reader
	sequence byte
	left     int  // bytes of the frame not read yet
	more     bool // another frame of the packet follows
	failed   error
	header   [4]byte
}

const maxFrame = 1<<24 - 1

// next begins the next packet. The one before must have been read to its end.
func (p *packets) next() error {
	header := &p.header
	if _, err := io.ReadFull(p.r, header[:]); err != nil {
		p.failed = err
		return err
	}
	p.left = int(header[0]) | int(header[1])<<8 | int(header[2])<<16
	p.more = p.left == maxFrame
	if header[3] != p.sequence {
		return fmt.Errorf("packet %d came instead of packet %d", header[3], p.sequence)
	}
	p.sequence++
	return nil
}

// whole returns the packet that next began, which isn't read yet, if it fits
// the buffer. It is lost with the next reading.
func (p *packets) whole() (packet []byte, ok bool) {
	if p.more || p.left > p.r.Size() {
		return nil, false
	}
	packet, err := p.r.Peek(p.left)
	return packet, err == nil // the error comes again
}

// pass passes over what whole returned.
func (p *packets) pass() {
	_, _ = p.r.Discard(p.left) // all of it is in the buffer
	p.left = 0
}

// Read reads from the packet; io.EOF is its end.
func (p *packets) Read(b []byte) (int, error) {
	for p.left == 0 {
		if !p.more {
			return 0, io.EOF
		}
		if err := p.next(); err != nil {
			return 0, noEOF(err)
		}
	}
	n, err := p.r.Read(b[:min(len(b), p.left)])
	p.left -= n
	if err != nil {
		p.failed = noEOF(err)
	}
	return n, p.failed
}

// noEOF keeps the end of the connection from being taken for that of a packet.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
