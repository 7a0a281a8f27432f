package preflight

import (
	"fmt"
	"time"

	"duplex/mysql"
	"duplex/tasks"
)

// clockWarn is how far apart two servers' clocks should be at most; the task
// says from where on apply refuses. Conflicts are decided without trusting clocks
// where one write had seen the other; between writes that hadn't, the clock that is
// ahead wins.
const clockWarn = time.Second

// sameServer reports whether both process files lead to one server.
func sameServer(a, b *side) []Finding {
	f := Finding{Region: b.region(), Code: "same-server", Severity: Refuse, Where: b.where(),
		Why: "a server can't be kept equal with itself: each change would come back to where it was made",
		Fix: "-- correct mysql.address in one of the two process files\n"}
	switch {
	case a.server.UUID != "" && a.server.UUID == b.server.UUID:
		f.What = fmt.Sprintf("%s and %s are the same server (%s)", a.region(), b.region(), a.server.Identity())
		if a.where() != b.where() {
			f.Fix += "-- or, if one was made by copying the other's files, delete auto.cnf in its data directory and restart it\n"
		}
	case a.where() == b.where():
		f.What = fmt.Sprintf("%s and %s have the same address", a.region(), b.region())
	default:
		return nil
	}
	return []Finding{f}
}

// comparePair looks at what two servers must or should have in common, or
// must not.
func comparePair(a, b *side, spec *tasks.Spec) []Finding {
	var found []Finding
	found = append(found, compareServerIDs(a, b)...)
	found = append(found, compareClocks(a, b, spec)...)
	found = append(found, compareNaming(a, b)...)
	found = append(found, comparePackets(a, b)...)
	return append(found, compareNumbering(a, b)...)
}

func compareServerIDs(a, b *side) []Finding {
	if a.server.ServerID != b.server.ServerID || a.server.ServerID == 0 {
		return nil
	}
	next := b.server.ServerID + 1
	if next == b.process.MySQL.ServerID {
		next++
	}
	return []Finding{{Region: b.region(), Code: "server-id", Severity: Refuse, Where: b.where(),
		What: fmt.Sprintf("server_id is %d in %s and here", a.server.ServerID, a.region()),
		Why:  "it tells in the topics, and on MariaDB in the GTIDs, which server a change was made on",
		Fix:  set(b.server, "server_id", fmt.Sprint(next)) + "-- or any other number that no server of yours has\n"}}
}

func compareClocks(a, b *side, spec *tasks.Spec) []Finding {
	x, y := a.server.Clock, b.server.Clock
	apart := max((y.Ahead-x.Ahead).Abs()-x.Error-y.Error, 0) // at least
	if apart <= clockWarn {
		return nil
	}
	ahead, behind := b, a
	if x.Ahead > y.Ahead {
		ahead, behind = a, b
	}
	f := Finding{Region: ahead.region(), Code: "clock", Severity: Warn, Where: ahead.where(),
		What: fmt.Sprintf("the server's clock is %s ahead of that of %s", apart.Round(time.Millisecond), behind.region()),
		Why:  "of two writes of one row that knew nothing of each other, the one made here wins, even if it was made earlier",
		Fix:  "-- set both machines' clocks by NTP (chronyd or systemd-timesyncd)\n"}
	if spec != nil && apart > spec.Conflicts.MaxClockSkew {
		f.Severity = Refuse
		f.Why = fmt.Sprintf("%s applies nothing that is dated further ahead than conflicts.max_clock_skew (%s)", behind.region(), spec.Conflicts.MaxClockSkew)
	}
	return []Finding{f}
}

func compareNaming(a, b *side) []Finding {
	if a.server.LowerCaseTableNames == b.server.LowerCaseTableNames {
		return nil
	}
	return []Finding{{Region: b.region(), Code: "lower-case-table-names", Severity: Warn, Where: b.where(),
		What: fmt.Sprintf("lower_case_table_names is %d in %s and %d here", a.server.LowerCaseTableNames, a.region(), b.server.LowerCaseTableNames),
		Why:  "tables whose names have capitals are called differently on the two sides and won't be recognised as the same",
		Fix:  "-- use names without capitals; the variable itself can be set only when a server is initialized\n"}}
}

func comparePackets(a, b *side) []Finding {
	if a.server.MaxAllowedPacket == b.server.MaxAllowedPacket {
		return nil
	}
	small, large := a, b
	if a.server.MaxAllowedPacket > b.server.MaxAllowedPacket {
		small, large = b, a
	}
	return []Finding{{Region: small.region(), Code: "max-allowed-packet", Severity: Warn, Where: small.where(),
		What: fmt.Sprintf("max_allowed_packet is %d here and %d in %s", small.server.MaxAllowedPacket, large.server.MaxAllowedPacket, large.region()),
		Why:  "a row that fits there may not fit here, and would stop the task",
		Fix:  set(small.server, "max_allowed_packet", fmt.Sprint(large.server.MaxAllowedPacket))}}
}

// compareNumbering finds out whether both servers can give a new row the same
// number: the progressions offset + k·increment meet exactly if the offsets
// are equal modulo the greatest common divisor of the increments.
func compareNumbering(a, b *side) []Finding {
	if a.autoIncrement == 0 && b.autoIncrement == 0 {
		return nil
	}
	x, y := effective(a.server), effective(b.server)
	if (x.Offset-y.Offset)%gcd(x.Increment, y.Increment) != 0 {
		return nil
	}
	return []Finding{{Region: b.region(), Code: "auto-increment", Severity: Warn, Where: fmt.Sprintf("%s and %s", a.where(), b.where()),
		What: fmt.Sprintf("auto_increment_increment and auto_increment_offset are %d and %d in %s, %d and %d here: both servers give new rows the same numbers",
			x.Increment, x.Offset, a.region(), y.Increment, y.Offset),
		Why: fmt.Sprintf("two rows inserted at once in both regions (%d tables number their rows) would have one key, and only one of them would stay", max(a.autoIncrement, b.autoIncrement)),
		Fix: fmt.Sprintf("-- in %s\n%s%s-- in %s\n%s%s%s", a.region(), set(a.server, "auto_increment_increment", "2"), set(a.server, "auto_increment_offset", "1"),
			b.region(), set(b.server, "auto_increment_increment", "2"), set(b.server, "auto_increment_offset", "2"), newSessions)}}
}

// effective is how the server really numbers: an offset above the increment is
// ignored.
func effective(s *mysql.Server) mysql.AutoIncrement {
	n := s.AutoIncrement
	n.Increment = max(n.Increment, 1)
	if n.Offset > n.Increment {
		n.Offset = 1
	}
	return n
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
