package mysql_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"duplex/internal/testbed"
	"duplex/mysql"
)

func TestInspect(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		db := open(t, plainConfig(server), mysql.Reading)
		exec(t, db, "CREATE DATABASE shop")
		s, err := mysql.Inspect(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.VersionText, query(t, db, "SELECT VERSION()"); got != want || !strings.HasPrefix(want, s.Version.String()) {
			t.Errorf("version %s read as %s", want, s.Version)
		}
		if s.ServerID != server.ServerID || !s.LogBin || s.BinlogFormat != "ROW" || s.BinlogRowImage != "FULL" || s.BinlogRowMetadata != "FULL" ||
			s.BinlogRowValueOptions != "" || s.BinlogChecksum != "CRC32" || !s.BinlogOrderCommits || s.ReadOnly || s.Account != "root@localhost" || s.MaxAllowedPacket < 1<<20 ||
			s.AutoIncrement != (mysql.AutoIncrement{Increment: 1, Offset: 1}) {
			t.Errorf("facts: %+v", s)
		}
		if server.IsMariaDB() {
			if s.Flavor != mysql.MariaDB || s.UUID != "" || s.GTIDDomain != server.ServerID || s.LogsCascades ||
				!strings.HasPrefix(s.GTIDExecuted, fmt.Sprintf("%d-%d-", s.GTIDDomain, s.ServerID)) {
				t.Errorf("facts: %+v", s)
			}
		} else if s.Flavor != mysql.MySQL || len(s.UUID) != 36 || s.GTIDMode != "ON" || s.EnforceConsistency != "ON" || !s.LogReplicaUpdates ||
			!strings.HasPrefix(s.GTIDExecuted, s.UUID+":1") || s.LogsCascades != (server.Part == testbed.MySQL97) {
			t.Errorf("facts: %+v", s)
		}
		if ahead := s.Clock.Ahead.Abs(); ahead > s.Clock.Error+time.Millisecond || s.Clock.Error > time.Second {
			t.Errorf("the clock of this machine is %v ahead of itself (±%v)", s.Clock.Ahead, s.Clock.Error)
		}
		if c := s.Collations[45]; c != (mysql.Collation{Name: "utf8mb4_general_ci", Charset: "utf8mb4"}) {
			t.Errorf("collation 45 is %+v", c)
		}
		own := query(t, db, "SELECT COLLATION('a')") // of our sessions
		for _, c := range s.Collations {
			if c.Name == own && c.Charset == "utf8mb4" {
				return
			}
		}
		t.Errorf("collation %s isn't among the %d", own, len(s.Collations))
	})
}

// SHOW VARIABLES cuts values at 1024 characters; a GTID set of many servers is
// longer, and 8.3 and later have tags in it.
func TestInspectReadsLongGTIDSets(t *testing.T) {
	for _, version := range []testbed.Part{testbed.MySQL97, testbed.MySQL80} {
		t.Run(string(version), func(t *testing.T) {
			server := bed.SharedMySQL(t, version, "")
			db := open(t, plainConfig(server), mysql.Reading)
			var sets []string
			for i := range 200 {
				set := fmt.Sprintf("%08x-aaaa-bbbb-cccc-000000000000:1-%d", i, i+5)
				if version == testbed.MySQL97 && i%2 == 0 {
					set = fmt.Sprintf("%08x-aaaa-bbbb-cccc-000000000000:duplex:1-%d", i, i+5)
				}
				sets = append(sets, set)
			}
			want := strings.Join(sets, ",")
			exec(t, db, "SET GLOBAL gtid_purged='+"+want+"'")
			s, err := mysql.Inspect(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			if got := query(t, db, fmt.Sprintf("SELECT GTID_SUBSET('%s', '%s')", want, s.GTIDExecuted)); got != "1" || len(s.GTIDExecuted) < len(want) || strings.ContainsAny(s.GTIDExecuted, " \n") {
				t.Errorf("got %s", s.GTIDExecuted)
			}
			if s.GTIDPurged == "" {
				t.Error("gtid_purged is empty")
			}
		})
	}
}

func TestInspectNeedsNoPrivilege(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		exec(t, server.DB(), "CREATE USER nobody@'%' IDENTIFIED BY ''")
		cfg := plainConfig(server)
		cfg.User = "nobody"
		if _, err := mysql.Inspect(t.Context(), open(t, cfg, mysql.Reading)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestVersionOrder(t *testing.T) {
	v := mysql.Version{Major: 8, Minor: 0, Patch: 31}
	for _, c := range []struct {
		major, minor, patch int
		want                bool
	}{{8, 0, 31, true}, {8, 0, 32, false}, {8, 1, 0, false}, {7, 9, 99, true}, {9, 0, 0, false}, {8, 0, 1, true}} {
		if v.AtLeast(c.major, c.minor, c.patch) != c.want {
			t.Errorf("%v at least %d.%d.%d: want %v", v, c.major, c.minor, c.patch, c.want)
		}
	}
}
