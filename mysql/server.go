package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Flavor is the family a server belongs to.
type Flavor string

// The flavors. Percona Server counts as MySQL.
const (
	MySQL   Flavor = "mysql"
	MariaDB Flavor = "mariadb"
)

// Version is a server's version.
type Version struct{ Major, Minor, Patch int }

// AtLeast reports whether v is that version or a later one.
func (v Version) AtLeast(major, minor, patch int) bool {
	if v.Major != major {
		return v.Major > major
	}
	if v.Minor != minor {
		return v.Minor > minor
	}
	return v.Patch >= patch
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// Collation is a collation and the character set it belongs to.
type Collation struct{ Name, Charset string }

// Clock is a server's clock as seen from here.
type Clock struct {
	Ahead time.Duration // the server's clock less ours
	Error time.Duration // Ahead may be wrong by this much either way
}

// Server is what a server says about itself.
type Server struct {
	Flavor      Flavor
	Version     Version
	VersionText string
	// UUID is server_uuid. MariaDB has none: there it is empty, and ServerID
	// with GTIDDomain stand for it.
	UUID       string
	ServerID   uint32
	GTIDDomain uint32 // MariaDB
	Account    string // CURRENT_USER(): the account whose privileges count

	LogBin                bool
	BinlogFormat          string        // ROW, STATEMENT or MIXED
	BinlogRowImage        string        // FULL, MINIMAL or NOBLOB
	BinlogRowMetadata     string        // FULL, MINIMAL, NO_LOG; empty on a server without it
	BinlogRowValueOptions string        // PARTIAL_JSON or empty
	BinlogChecksum        string        // CRC32 or NONE
	BinlogOrderCommits    bool          // always true on MariaDB, which has no other way
	BinlogExpire          time.Duration // 0: kept until purged by hand
	LogReplicaUpdates     bool
	SyncBinlog            int
	InnoDBFlush           int // innodb_flush_log_at_trx_commit
	// LogsCascades is set where rows changed by ON DELETE and ON UPDATE of a
	// foreign key are in the binlog: since MySQL 9.6, unless
	// innodb_native_foreign_keys hides them again.
	LogsCascades bool

	GTIDMode           string // ON or another; empty on MariaDB, where GTIDs are always on
	EnforceConsistency string // enforce_gtid_consistency; empty on MariaDB
	// GTIDExecuted is what the server has committed, GTIDPurged what of it the
	// binlog no longer holds. On MariaDB the first is gtid_binlog_pos, the
	// second empty.
	GTIDExecuted, GTIDPurged string

	LowerCaseTableNames int
	ReadOnly            bool // read_only or super_read_only
	MaxAllowedPacket    int64
	AutoIncrement       AutoIncrement
	TimeZone            string // global time_zone
	PartialRevokes      bool   // then _ and % in GRANT … ON db.* aren't wildcards
	Clock               Clock
	Collations          map[uint64]Collation
}

// AutoIncrement is how a server numbers rows: Offset, Offset+Increment, …
type AutoIncrement struct{ Increment, Offset int64 }

// Identity names the server among all others: what it answers is the same
// over every address it is reached by.
func (s *Server) Identity() string {
	if s.UUID != "" {
		return "server_uuid " + s.UUID
	}
	return fmt.Sprintf("server_id %d in gtid_domain_id %d", s.ServerID, s.GTIDDomain)
}

// Inspect asks the server for its facts. Any account may: no privilege is
// needed. The GTID sets are read by SELECT, since SHOW VARIABLES cuts long
// values off.
func Inspect(ctx context.Context, db *sql.DB) (*Server, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err // a *ConnectError says all
	}
	defer conn.Close()
	s := new(Server)
	if err := conn.QueryRowContext(ctx, "SELECT VERSION(), CURRENT_USER()").Scan(&s.VersionText, &s.Account); err != nil {
		return nil, fmt.Errorf("reading server version: %w", err)
	}
	if err := s.parseVersion(); err != nil {
		return nil, err
	}
	v, err := readVariables(ctx, conn)
	if err != nil {
		return nil, err
	}
	if err := s.fill(v); err != nil {
		return nil, err
	}
	if err := s.readGTIDs(ctx, conn); err != nil {
		return nil, err
	}
	if s.Clock, err = readClock(ctx, conn); err != nil {
		return nil, err
	}
	s.Collations, err = readCollations(ctx, conn, s.Flavor)
	return s, err
}

func (s *Server) parseVersion() error {
	text := s.VersionText
	s.Flavor = MySQL
	if strings.Contains(strings.ToLower(text), "mariadb") {
		s.Flavor = MariaDB
		text = strings.TrimPrefix(text, "5.5.5-") // put before the real version for old replicas
	}
	numbers, _, _ := strings.Cut(text, "-")
	if n, _ := fmt.Sscanf(numbers, "%d.%d.%d", &s.Version.Major, &s.Version.Minor, &s.Version.Patch); n < 2 {
		return fmt.Errorf("reading server version: %q isn't in the form major.minor.patch", s.VersionText)
	}
	return nil
}

// variables are global system variables by name, in lower case.
type variables map[string]string

func readVariables(ctx context.Context, conn *sql.Conn) (variables, error) {
	rows, err := conn.QueryContext(ctx, "SHOW GLOBAL VARIABLES")
	if err != nil {
		return nil, fmt.Errorf("reading server variables: %w", err)
	}
	defer rows.Close()
	v := make(variables, 700)
	for rows.Next() {
		var name string
		var value sql.NullString
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("reading server variables: %w", err)
		}
		v[strings.ToLower(name)] = value.String
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading server variables: %w", err)
	}
	return v, nil
}

// either returns the value of the first name that the server knows: names
// changed over the versions.
func (v variables) either(names ...string) string {
	for _, name := range names {
		if value, ok := v[name]; ok {
			return value
		}
	}
	return ""
}

func (v variables) on(names ...string) bool {
	switch strings.ToUpper(v.either(names...)) {
	case "ON", "1", "YES":
		return true
	}
	return false
}

func (s *Server) fill(v variables) error {
	var failed error
	number := func(name string) int64 {
		n, err := strconv.ParseInt(v[name], 10, 64)
		if err != nil && failed == nil {
			failed = fmt.Errorf("reading server variable %s: %q isn't a number", name, v[name])
		}
		return n
	}
	s.UUID = v["server_uuid"]
	s.ServerID = uint32(number("server_id"))
	s.LogBin = v.on("log_bin")
	s.BinlogFormat, s.BinlogRowImage = v["binlog_format"], v["binlog_row_image"]
	s.BinlogRowMetadata, s.BinlogRowValueOptions = v["binlog_row_metadata"], v["binlog_row_value_options"]
	s.BinlogChecksum = v["binlog_checksum"]
	s.BinlogOrderCommits = s.Flavor == MariaDB || v.on("binlog_order_commits")
	s.LogReplicaUpdates = v.on("log_replica_updates", "log_slave_updates")
	s.SyncBinlog, s.InnoDBFlush = int(number("sync_binlog")), int(number("innodb_flush_log_at_trx_commit"))
	s.GTIDMode, s.EnforceConsistency = v["gtid_mode"], v["enforce_gtid_consistency"]
	s.LowerCaseTableNames = int(number("lower_case_table_names"))
	// MariaDB 12 gives read_only names, of which only OFF lets applications write.
	s.ReadOnly = !offValue(v["read_only"]) || v.on("super_read_only") || v.on("innodb_read_only")
	s.MaxAllowedPacket = number("max_allowed_packet")
	s.AutoIncrement = AutoIncrement{number("auto_increment_increment"), number("auto_increment_offset")}
	s.LogsCascades = s.Flavor == MySQL && s.Version.AtLeast(9, 6, 0) && !v.on("innodb_native_foreign_keys")
	s.PartialRevokes = v.on("partial_revokes")
	s.TimeZone = v["time_zone"]
	if s.TimeZone == "SYSTEM" {
		s.TimeZone = "SYSTEM (" + v["system_time_zone"] + ")"
	}
	if _, ok := v["binlog_expire_logs_seconds"]; ok {
		s.BinlogExpire = time.Duration(number("binlog_expire_logs_seconds")) * time.Second
	} else if days, err := strconv.ParseFloat(v["expire_logs_days"], 64); err == nil {
		s.BinlogExpire = time.Duration(days * 24 * float64(time.Hour))
	}
	if v["binlog_expire_logs_auto_purge"] != "" && !v.on("binlog_expire_logs_auto_purge") {
		s.BinlogExpire = 0
	}
	if s.Flavor == MariaDB {
		s.GTIDDomain = uint32(number("gtid_domain_id"))
	}
	return failed
}

func offValue(value string) bool {
	switch strings.ToUpper(value) {
	case "", "OFF", "0":
		return true
	}
	return false
}

func (s *Server) readGTIDs(ctx context.Context, conn *sql.Conn) error {
	query := "SELECT @@global.gtid_executed, @@global.gtid_purged"
	if s.Flavor == MariaDB {
		query = "SELECT @@global.gtid_binlog_pos, ''"
	}
	if err := conn.QueryRowContext(ctx, query).Scan(&s.GTIDExecuted, &s.GTIDPurged); err != nil {
		return fmt.Errorf("reading gtid set: %w", err)
	}
	// The server breaks long sets into lines.
	s.GTIDExecuted = strings.ReplaceAll(s.GTIDExecuted, "\n", "")
	s.GTIDPurged = strings.ReplaceAll(s.GTIDPurged, "\n", "")
	return nil
}

// readClock asks for the time a few times and believes the quickest answer:
// the server looked at its clock somewhere within the round trip.
func readClock(ctx context.Context, conn *sql.Conn) (Clock, error) {
	const probes = 3
	best := Clock{Error: time.Hour}
	for range probes {
		var text string
		sent := time.Now()
		if err := conn.QueryRowContext(ctx, "SELECT UTC_TIMESTAMP(6)").Scan(&text); err != nil {
			return Clock{}, fmt.Errorf("reading server clock: %w", err)
		}
		half := time.Since(sent) / 2
		there, err := time.Parse("2006-01-02 15:04:05.000000", text)
		if err != nil {
			return Clock{}, fmt.Errorf("reading server clock: %w", err)
		}
		if half < best.Error {
			best = Clock{Ahead: there.Sub(sent.Add(half)), Error: half}
		}
	}
	return best, nil
}

// readCollations reads the ids that TABLE_MAP events name collations by.
// MariaDB's UCA 14 collations serve several character sets: only
// COLLATION_CHARACTER_SET_APPLICABILITY tells their ids.
func readCollations(ctx context.Context, conn *sql.Conn, flavor Flavor) (map[uint64]Collation, error) {
	query := "SELECT ID, COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATIONS"
	if flavor == MariaDB {
		query = "SELECT ID, FULL_COLLATION_NAME, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY WHERE ID IS NOT NULL"
	}
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("reading collations: %w", err)
	}
	defer rows.Close()
	collations := make(map[uint64]Collation, 512)
	for rows.Next() {
		var id uint64
		var c Collation
		if err := rows.Scan(&id, &c.Name, &c.Charset); err != nil {
			return nil, fmt.Errorf("reading collations: %w", err)
		}
		collations[id] = c
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading collations: %w", err)
	}
	return collations, nil
}
