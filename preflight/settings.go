package preflight

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"duplex/mysql"
)

// setting is a demand on one system variable.
type setting struct {
	name     string // of the variable; the finding's code has - for _
	severity Severity
	value    func(*mysql.Server) string // as it is
	good     func(*mysql.Server) bool
	want     string // what it should be, after "and must be" or "and should be"
	why      string
	fix      func(*mysql.Server) string
}

const newSessions = "-- sessions that are open keep the old value: reconnect the applications\n"

// settings are the demands on every server, in the order they are told.
func settings() []setting {
	word := func(get func(*mysql.Server) string, accepted ...string) func(*mysql.Server) bool {
		return func(s *mysql.Server) bool {
			for _, a := range accepted {
				if strings.EqualFold(get(s), a) {
					return true
				}
			}
			return false
		}
	}
	format := func(s *mysql.Server) string { return s.BinlogFormat }
	image := func(s *mysql.Server) string { return s.BinlogRowImage }
	metadata := func(s *mysql.Server) string { return s.BinlogRowMetadata }
	options := func(s *mysql.Server) string { return s.BinlogRowValueOptions }
	gtid := func(s *mysql.Server) string { return s.GTIDMode }
	consistency := func(s *mysql.Server) string { return s.EnforceConsistency }
	return []setting{
		{name: "log_bin", severity: Refuse, value: func(s *mysql.Server) string { return onOff(s.LogBin) },
			good: func(s *mysql.Server) bool { return s.LogBin }, want: "ON",
			why: "changes are read from the binlog; without it there is nothing to read",
			fix: func(*mysql.Server) string {
				return "-- put log_bin=binlog under [mysqld] in the server's option file (or take skip_log_bin out) and restart the server\n"
			}},
		// Later versions may lack the variable, and know only ROW.
		{name: "binlog_format", severity: Refuse, value: format, good: word(format, "ROW", ""), want: "ROW",
			why: "statements can't be applied elsewhere with the same result; rows can",
			fix: func(s *mysql.Server) string { return set(s, "binlog_format", "ROW") + newSessions }},
		{name: "binlog_row_image", severity: Refuse, value: image, good: word(image, "FULL"), want: "FULL",
			why: "conflicts are found by comparing whole rows; other images lack columns",
			fix: func(s *mysql.Server) string { return set(s, "binlog_row_image", "FULL") + newSessions }},
		{name: "binlog_row_metadata", severity: Refuse, value: metadata, good: word(metadata, "FULL"), want: "FULL",
			why: "with it the binlog tells the names, signs and keys of the columns as they were when the row was written",
			fix: func(s *mysql.Server) string { return set(s, "binlog_row_metadata", "FULL") }},
		{name: "binlog_row_value_options", severity: Refuse, value: options, good: word(options, ""), want: "empty",
			why: "partial JSON updates don't hold the new value",
			fix: func(s *mysql.Server) string { return set(s, "binlog_row_value_options", "''") + newSessions }},
		{name: "enforce_gtid_consistency", severity: Refuse, value: consistency, good: onMySQL(word(consistency, "ON", "1")), want: "ON",
			why: "positions are kept as GTID sets, which hold on every replica after a failover",
			fix: fixConsistency},
		{name: "gtid_mode", severity: Refuse, value: gtid, good: onMySQL(word(gtid, "ON")), want: "ON",
			why: "positions are kept as GTID sets, which hold on every replica after a failover",
			fix: fixGTIDMode},
		{name: "binlog_order_commits", severity: Refuse, value: func(s *mysql.Server) string { return onOff(s.BinlogOrderCommits) },
			good: func(s *mysql.Server) bool { return s.BinlogOrderCommits }, want: "ON",
			why: "without it rows become visible in another order than the binlog's, and a conflict may be decided the wrong way round",
			fix: func(s *mysql.Server) string { return set(s, "binlog_order_commits", "ON") }},
		{name: "read_only", severity: Refuse, value: func(s *mysql.Server) string { return onOff(s.ReadOnly) },
			good: func(s *mysql.Server) bool { return !s.ReadOnly }, want: "OFF",
			why: "the other regions' changes are written to this server",
			fix: fixReadOnly},
		{name: "log_replica_updates", severity: Warn, value: func(s *mysql.Server) string { return onOff(s.LogReplicaUpdates) },
			good: func(s *mysql.Server) bool { return s.LogReplicaUpdates }, want: "ON",
			why: "were this server a replica of another, what it replicates wouldn't reach its binlog and so no other region",
			fix: func(s *mysql.Server) string {
				name := "log_replica_updates"
				if s.Flavor == mysql.MariaDB || !s.Version.AtLeast(8, 0, 26) {
					name = "log_slave_updates"
				}
				return "-- put " + name + "=ON under [mysqld] in the server's option file and restart the server\n"
			}},
		{name: "binlog_expire_logs_seconds", severity: Warn, value: func(s *mysql.Server) string { return strconv.Itoa(int(s.BinlogExpire.Seconds())) },
			good: func(s *mysql.Server) bool { return s.BinlogExpire == 0 || s.BinlogExpire >= leastRetention }, want: "86400 (a day) or more, or 0",
			why: "if duplex or Kafka is down for longer than the binlog is kept, the region needs a new copy of its tables",
			fix: func(s *mysql.Server) string { return set(s, "binlog_expire_logs_seconds", "604800") }},
		{name: "binlog_checksum", severity: Warn, value: func(s *mysql.Server) string { return s.BinlogChecksum },
			good: func(s *mysql.Server) bool { return strings.EqualFold(s.BinlogChecksum, "CRC32") }, want: "CRC32",
			why: "without it a byte that a disk or the network spoils is taken for a value, and travels to the other regions",
			fix: func(s *mysql.Server) string { return set(s, "binlog_checksum", "CRC32") }},
		{name: "sync_binlog", severity: Warn, value: func(s *mysql.Server) string { return strconv.Itoa(s.SyncBinlog) },
			good: func(s *mysql.Server) bool { return s.SyncBinlog == 1 }, want: "1",
			why: "after a power failure the server may have lost commits that the other regions already have",
			fix: func(s *mysql.Server) string { return set(s, "sync_binlog", "1") }},
		{name: "innodb_flush_log_at_trx_commit", severity: Warn, value: func(s *mysql.Server) string { return strconv.Itoa(s.InnoDBFlush) },
			good: func(s *mysql.Server) bool { return s.InnoDBFlush == 1 }, want: "1",
			why: "after a power failure the server may have lost commits that the other regions already have",
			fix: func(s *mysql.Server) string { return set(s, "innodb_flush_log_at_trx_commit", "1") }},
	}
}

// leastRetention is how long a binlog should be kept: a night's outage.
const leastRetention = 24 * time.Hour

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}

// onMySQL limits a demand to MySQL: MariaDB's GTIDs are always on.
func onMySQL(good func(*mysql.Server) bool) func(*mysql.Server) bool {
	return func(s *mysql.Server) bool { return s.Flavor == mysql.MariaDB || good(s) }
}

// set is the statement that sets a variable for good.
func set(s *mysql.Server, name, value string) string {
	if s.Flavor == mysql.MariaDB { // which has no SET PERSIST
		return fmt.Sprintf("SET GLOBAL %s = %s;\n-- and %s=%s under [mysqld] in the option file, for the next start\n", name, value, name, strings.Trim(value, "'"))
	}
	return fmt.Sprintf("SET PERSIST %s = %s;\n", name, value)
}

// fixConsistency goes by way of WARN on a server that has clients: ON fails
// while a transaction that violates it is open.
func fixConsistency(s *mysql.Server) string {
	if strings.EqualFold(s.GTIDMode, "ON") {
		return set(s, "enforce_gtid_consistency", "ON")
	}
	return "-- first WARN for a while: the error log names statements that ON will refuse\n" +
		set(s, "enforce_gtid_consistency", "WARN") + set(s, "enforce_gtid_consistency", "ON")
}

// fixGTIDMode steps from the present mode to ON: the server refuses leaps.
func fixGTIDMode(s *mysql.Server) string {
	steps := []string{"OFF", "OFF_PERMISSIVE", "ON_PERMISSIVE", "ON"}
	var b strings.Builder
	reached := false
	for _, step := range steps {
		if reached {
			if step == "ON" {
				b.WriteString("-- wait until Ongoing_anonymous_transaction_count is 0 (SHOW STATUS) here and on all replicas, then\n")
			}
			b.WriteString(set(s, "gtid_mode", step))
		}
		reached = reached || strings.EqualFold(step, s.GTIDMode)
	}
	return b.String()
}

func fixReadOnly(s *mysql.Server) string {
	const note = "-- only if this is the writable server of the region; else correct mysql.address\n"
	if s.Flavor == mysql.MariaDB {
		return note + set(s, "read_only", "OFF")
	}
	return note + set(s, "super_read_only", "OFF") + set(s, "read_only", "OFF")
}

// checkServerID sees to the id under which the server itself and our reader
// of its binlog are known to it.
func checkServerID(s *side) []Finding {
	reader := s.process.MySQL.ServerID
	f := Finding{Region: s.region(), Code: "server-id", Severity: Refuse, Where: s.where(),
		Fix: set(s.server, "server_id", strconv.FormatUint(uint64(reader)+1, 10)) + "-- or any other number that no server of yours has\n"}
	switch s.server.ServerID {
	case 0:
		f.What = "server_id is 0 and must be a number that no other server has"
		f.Why = "a server with id 0 gives its binlog to nobody"
	case reader:
		f.What = fmt.Sprintf("server_id is %d, which is also the replica id that duplex reads the binlog with (mysql.server_id)", reader)
		f.Why = "a server keeps its own changes from a replica with its own id"
	default:
		return nil
	}
	return []Finding{f}
}

// checkSettings tells the settings of one server that must or should change.
func checkSettings(s *side) []Finding {
	var found []Finding
	for _, demand := range settings() {
		if demand.good(s.server) {
			continue
		}
		verb := "must"
		if demand.severity == Warn {
			verb = "should"
		}
		value := demand.value(s.server)
		if value == "" {
			value = "not there"
		}
		found = append(found, Finding{Region: s.region(), Code: strings.ReplaceAll(demand.name, "_", "-"), Severity: demand.severity,
			What:  fmt.Sprintf("%s is %s and %s be %s", demand.name, value, verb, demand.want),
			Where: s.where(), Why: demand.why, Fix: demand.fix(s.server)})
	}
	return found
}
