package preflight_test

import (
	"fmt"
	"strings"
	"testing"

	"duplex/internal/testbed"
)

// Each bad setting yields exactly its finding, and running the printed fix
// removes it.
func TestSettings(t *testing.T) {
	onEveryPair(t, func(t *testing.T, w *world) {
		for _, c := range []struct {
			broken string // what spoils west
			want   string
			onlyOn string // "mysql": MariaDB hasn't the setting
		}{
			{"SET GLOBAL binlog_format='STATEMENT'", "west binlog-format refuse", ""},
			{"SET GLOBAL binlog_format='MIXED'", "west binlog-format refuse", ""},
			{"SET GLOBAL binlog_row_image='MINIMAL'", "west binlog-row-image refuse", ""},
			{"SET GLOBAL binlog_row_image='NOBLOB'", "west binlog-row-image refuse", ""},
			{"SET GLOBAL binlog_row_metadata='MINIMAL'", "west binlog-row-metadata refuse", ""},
			{"SET GLOBAL binlog_row_value_options='PARTIAL_JSON'", "west binlog-row-value-options refuse", "mysql"},
			{"SET GLOBAL binlog_order_commits=OFF", "west binlog-order-commits refuse", "mysql"},
			{"SET GLOBAL gtid_mode=ON_PERMISSIVE", "west gtid-mode refuse", "mysql"},
			{"SET GLOBAL gtid_mode=ON_PERMISSIVE; SET GLOBAL gtid_mode=OFF_PERMISSIVE; SET GLOBAL gtid_mode=OFF", "west gtid-mode refuse", "mysql"},
			{"SET GLOBAL gtid_mode=ON_PERMISSIVE; SET GLOBAL gtid_mode=OFF_PERMISSIVE; SET GLOBAL gtid_mode=OFF; SET GLOBAL enforce_gtid_consistency=OFF",
				"west enforce-gtid-consistency refuse, west gtid-mode refuse", "mysql"},
			{"SET GLOBAL read_only=ON", "west read-only refuse", ""},
			{"SET GLOBAL super_read_only=ON", "west read-only refuse", "mysql"},
			{"SET GLOBAL binlog_expire_logs_seconds=3600", "west binlog-expire-logs-seconds warn", ""},
			{"SET GLOBAL binlog_checksum=NONE", "west binlog-checksum warn", ""},
			{"SET GLOBAL sync_binlog=0", "west sync-binlog warn", ""},
			{"SET GLOBAL innodb_flush_log_at_trx_commit=2", "west innodb-flush-log-at-trx-commit warn", ""},
			{"SET GLOBAL server_id=0", "west server-id refuse", "mysql"},
			{"SET GLOBAL server_id=900000001", "west server-id refuse", ""},
			{fmt.Sprintf("SET GLOBAL server_id=%d", w.servers[east].ServerID), "west server-id refuse", ""},
			{"SET GLOBAL max_allowed_packet=1048576", "west max-allowed-packet warn", ""},
		} {
			if c.onlyOn == "mysql" && w.isMariaDB() {
				continue
			}
			w.step(c.broken, func(w *world) {
				w.exec(west, strings.Split(c.broken, "; ")...)
				w.mends(strings.Split(c.want, ", ")...)
			})
		}
	})
}

// Settings that only a restart changes: the fix is a remark.
func TestSettingsOfTheOptionFile(t *testing.T) {
	for _, c := range []struct {
		version testbed.Part
		flag    string
		want    []string
	}{
		{testbed.MySQL97, "--log-replica-updates=OFF", []string{"west log-replica-updates warn"}},
		{testbed.MySQL80, "--log-slave-updates=OFF", []string{"west log-replica-updates warn"}},
		{testbed.MariaDB118, "--skip-log-slave-updates", []string{"west log-replica-updates warn"}},
		{testbed.MySQL97, "--skip-log-bin", []string{"west log-bin refuse", "west log-replica-updates warn"}},
		{testbed.MariaDB118, "--lower-case-table-names=1", []string{"west lower-case-table-names warn"}},
	} {
		t.Run(string(c.version)+c.flag, func(t *testing.T) {
			newWorldWith(t, []testbed.Part{c.version, c.version}, c.flag).expect(c.want...)
		})
	}
}
