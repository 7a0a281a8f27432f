package capture

import (
	"errors"
	"strings"
	"testing"

	"duplex/supervise"
)

// The server has one number for all reasons not to give its binlog.
func TestMendOfDump(t *testing.T) {
	for text, want := range map[string]string{
		"Could not find GTID state requested by slave in any binlog files. Probably the slave state is too old and required binlog files have been purged.": "copy the tables anew",
		"Cannot replicate because the source purged required binary logs.":                                                                                  "binlog_expire_logs_seconds",
		"Error: connecting slave requested to start from GTID 1-1-3, which is not in the master's binlog":                                                   "lacks what was published before",
		"A replica with the same server_uuid/server_id as this replica has connected to the source":                                                         "mysql.server_id",
		"bogus data in log event; the first event 'binlog.000001' at 4":                                                                                     "damaged",
		"event read from binlog did not pass crc check":                                                                                                     "damaged",
	} {
		err := classifyRead(errors.New("reading binlog: ERROR 1236 (HY000): " + text))
		if !supervise.IsPermanent(err) || !strings.Contains(err.Error(), "mend:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
