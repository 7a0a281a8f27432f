// Package topics knows the names, headers and settings of Duplex's Kafka
// topics, and how to reach a Kafka.
package topics

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"duplex/change"
)

// Positions is the compacted topic of capture positions, keyed by region.
const Positions = "duplex.positions"

// Copies is the compacted topic of how far initial copies are, keyed by region, task and table.
const Copies = "duplex.copies"

// Tasks is the compacted topic of tasks and what is wanted of them, keyed by name; Status that of what the
// services report, keyed by task, region and process.
const (
	Tasks  = "duplex.tasks"
	Status = "duplex.status"
)

// TasksWriter is the transactional id of whoever changes a task: of two at once Kafka lets only the later write.
const TasksWriter = "duplex.tasks"

// copyID is how the id of a chunk of an initial copy begins.
const copyID = "copy:"

// CopyID returns the id, in the place of a GTID, of the transaction that is a chunk of an
// initial copy. It may have no change, if all its rows were changed while they were read.
func CopyID(r change.Region, seq change.Seq) string {
	return copyID + string(r) + ":" + strconv.FormatInt(int64(seq), 10)
}

// IsCopy reports whether a transaction's id is one of CopyID.
func IsCopy(id string) bool { return strings.HasPrefix(id, copyID) }

// maxName is Kafka's limit on the length of a topic name, in bytes.
const maxName = 249

// Spine returns the name of the region's transaction topic: one END record
// for each published transaction, in commit order.
func Spine(r change.Region) string { return string(r) + ".transaction" }

// DDL returns the name of the region's topic of statements on captured tables.
func DDL(r change.Region) string { return string(r) + ".ddl" }

// Heartbeat returns the name of the region's topic of heartbeats, Debezium's
// own: that is where programs look for them.
func Heartbeat(r change.Region) string { return "__debezium-heartbeat." + string(r) }

// Table returns the name of the topic of a table's changes,
// <region>.<db>.<table>. Different tables never get the same name: a
// character that Kafka doesn't allow, and a dot within a name, becomes _xHHHH.
// The error names the table whose topic name would be too long for Kafka.
func Table(r change.Region, db, table string) (string, error) {
	name := string(r) + "." + escape(db) + "." + escape(table)
	if len(name) > maxName {
		return "", fmt.Errorf("topic of table %s.%s: its name would have %d bytes and Kafka allows %d; mend: exclude the table from the task", db, table, len(name), maxName)
	}
	return name, nil
}

// ParseTable is the inverse of Table. ok is false for any other name.
func ParseTable(topic string) (r change.Region, db, table string, ok bool) {
	parts := strings.Split(topic, ".")
	if len(parts) != 3 {
		return "", "", "", false
	}
	return change.Region(parts[0]), unescape(parts[1]), unescape(parts[2]), true
}

// Group returns the consumer group under which the applier of a task commits
// how far it has read one region's topics. Resetting its offsets replays.
func Group(task string, source, target change.Region) string {
	return "duplex." + task + "." + string(source) + "-to-" + string(target)
}

// StreamTailGroup returns the consumer group in which the apply of a direction, if the
// task has no other into that region, saves how far it has read its own region's topics,
// to find conflicts.
func StreamTailGroup(task string, source, target change.Region) string {
	return Group(task, source, target) + ".tail"
}

// TailGroup is the one in which all of a task's directions into a region save that, if
// there are several.
func TailGroup(task string, region change.Region) string {
	return "duplex." + task + "." + string(region) + ".tail"
}

// PlaceGroup returns the consumer group in which the apply of a direction keeps, for
// itself, where it is: what a reset of Group leaves alone.
func PlaceGroup(task string, source, target change.Region) string {
	return Group(task, source, target) + ".place"
}

// TransactionalID returns the id under which a region's capture publishes.
// Kafka lets only the newest holder of it write.
func TransactionalID(r change.Region) string { return "duplex.capture." + string(r) }

// escape writes name in Kafka's alphabet. A literal "_x" followed by four hex
// digits is escaped too, so that unescape can't mistake it.
func escape(name string) string {
	plain := true
	for i := 0; i < len(name); i++ {
		if !legal(name[i]) || isEscape(name[i:]) {
			plain = false
			break
		}
	}
	if plain {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		switch {
		case r < utf8.RuneSelf && legal(byte(r)) && !isEscape(name[i:]):
			b.WriteByte(byte(r))
		case r > 0xffff:
			// MySQL's identifiers are within the Basic Multilingual Plane.
			fmt.Fprintf(&b, "_x%04x", 0xfffd)
		default:
			fmt.Fprintf(&b, "_x%04x", r)
		}
		i += size
	}
	return b.String()
}

func unescape(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if isEscape(s[i:]) {
			code, _ := strconv.ParseUint(s[i+2:i+6], 16, 32) // isEscape checked the digits
			b.WriteRune(rune(code))
			i += 6
			continue
		}
		b.WriteByte(s[i])
		i++
	}
	return b.String()
}

func legal(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// isEscape reports whether s starts with an escape as escape writes it.
func isEscape(s string) bool {
	if len(s) < 6 || s[0] != '_' || s[1] != 'x' {
		return false
	}
	for _, c := range []byte(s[2:6]) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}
