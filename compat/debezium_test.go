package compat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"duplex/internal/testbed"
	"duplex/schemas"
)

// TestSameAsDebezium: Debezium's connector and ours read the same server while
// the same changes are made. Each key, value, header and schema of a table's
// topic is the same, but for the list.
func TestSameAsDebezium(t *testing.T) {
	t.Run("MySQL 8.0", func(t *testing.T) { testSame(t, testbed.MySQL80, prefixes{"ours80", "theirs80"}) })
	t.Run("MySQL 9.7", func(t *testing.T) { testSame(t, testbed.MySQL97, prefixes{"ours97", "theirs97"}) })
}

func testSame(t *testing.T, version testbed.Part, names prefixes) {
	m := bed.SharedMySQL(t, version, "source")
	exec(t, m, "CREATE DATABASE shop", "CREATE TABLE shop.probe (id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0)")
	exec(t, m, tables(version)...)
	exec(t, m, shapes...)
	startOurs(t, m, "mysql", names.ours)
	startTheirs(t, m, names.theirs)
	r := newReader(t)

	// Debezium says that it runs before it has found its place.
	probes := 0
	eventually(t, func() error {
		probes++
		exec(t, m, fmt.Sprintf("INSERT INTO shop.probe (id) VALUES (%d)", probes))
		if len(r.read(names.theirs+".shop.probe")) == 0 {
			return fmt.Errorf("debezium reads nothing yet")
		}
		return nil
	})
	first := gtidOf(r.read(names.theirs + ".shop.probe")[0])
	exec(t, m, changes(version)...)
	for _, stage := range workload {
		// Ours asks the server for defaults when a table has changed, and is
		// told what they are now.
		exec(t, m, stage...)
		probes++
		exec(t, m, fmt.Sprintf("INSERT INTO shop.probe (id) VALUES (%d)", probes))
		eventually(t, func() error {
			if n := len(r.read(names.ours + ".shop.probe")); n < probes {
				return fmt.Errorf("ours has published %d of %d changes of probe", n, probes)
			}
			return nil
		})
	}

	for _, topic := range []string{"nullable", "required", "nullable_default", "required_default", "pair", "shape", "keys"} {
		t.Run(topic, func(t *testing.T) {
			compareTopic(t, names, mayDiffer, func(prefix string) []record { return r.read(prefix + ".shop." + topic) })
		})
	}
	t.Run("transactions", func(t *testing.T) {
		compareTopic(t, names, transactionsMayDiffer, func(prefix string) []record { return ends(r.read(prefix+".transaction"), first) })
	})
	t.Run("statements", func(t *testing.T) {
		compareTopic(t, names, statementsMayDiffer, func(prefix string) []record { return streamed(append(r.read(prefix+".ddl"), r.read(prefix)...)) })
	})
	t.Run("heartbeats", func(t *testing.T) {
		compareTopic(t, names, []difference{{"value/ts_ms", "when it was made"}}, func(prefix string) []record {
			beats := r.read("__debezium-heartbeat." + prefix)
			return beats[:min(1, len(beats))]
		})
	})
}

// ends are the END records from that of the first transaction that both have.
func ends(all []record, first string) []record {
	var found []record
	for _, one := range all {
		v := one.value.value.(map[string]any)
		if v["status"] == "END" && (v["id"] == first || len(found) > 0) {
			sortCollections(v["data_collections"].([]any))
			found = append(found, one)
		}
	}
	return found
}

// sortCollections puts the tables of a transaction in order; Debezium's stand in
// that of a hash table.
func sortCollections(list []any) {
	name := func(c any) string { return c.(map[string]any)["data_collection"].(string) }
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(name(a), name(b)) })
}

// streamed leaves out what Debezium tells of tables that were there before.
func streamed(all []record) []record {
	return slices.DeleteFunc(all, func(one record) bool {
		source := one.value.value.(map[string]any)["source"].(map[string]any)
		return source["snapshot"] != "false"
	})
}

func gtidOf(one record) string {
	return one.value.value.(map[string]any)["source"].(map[string]any)["gtid"].(string)
}

// shapes are tables besides those of types.
var shapes = []string{
	"CREATE TABLE shop.pair (b VARCHAR(20) NOT NULL DEFAULT 'x', v VARCHAR(20), a INT NOT NULL, PRIMARY KEY (a, b))",
	"CREATE TABLE shop.shape (`id` BIGINT PRIMARY KEY AUTO_INCREMENT, `odd name` INT, `1st` INT DEFAULT 3, g INT AS (`odd name` * 2) STORED, hidden INT DEFAULT 4 INVISIBLE, e INT DEFAULT (1 + 1))",
	"CREATE TABLE shop.keys (i BIGINT, s VARCHAR(20), d DECIMAL(12,8), dt DATETIME(6), ts TIMESTAMP(3), b VARBINARY(5), u BIGINT UNSIGNED, e ENUM('a','b'), y YEAR, t TIME, bt BIT(12), b1 BIT(1), v INT," +
		" PRIMARY KEY (e, i, s, d, dt, ts, b, u, y, t, bt, b1))",
}

// workload changes them in every way.
var workload = [][]string{{
	"INSERT INTO shop.pair VALUES ('one', 'v', 1), ('two', NULL, 2), ('three', 'w', 3)",
	"UPDATE shop.pair SET v = 'changed'",
	"UPDATE shop.pair SET a = a + 10 WHERE a = 2",
	"UPDATE shop.pair SET b = 'né\"w', a = 20 WHERE a = 1",
	"BEGIN", "INSERT INTO shop.pair VALUES ('t', 't', 100)", "UPDATE shop.pair SET v = 'tt' WHERE a = 100",
	"INSERT INTO shop.shape (`odd name`) VALUES (1), (2)", "DELETE FROM shop.pair WHERE a = 100", "COMMIT",
	"INSERT INTO shop.keys VALUES (-1, 'a\\n\"b\\\\', 0.00000001, '1999-01-01 00:00:00.5', '2020-01-01', 0x00ff, 18446744073709551615, 'b', 2001, '-10:00', b'101', b'1', 1)",
	"UPDATE shop.keys SET i = 5, d = 123.5, dt = '2001-02-03 04:05:06', b = 'abc', e = 'a', b1 = b'0'",
	"UPDATE shop.keys SET d = -0.5, s = '', u = 0, bt = 0",
	"UPDATE shop.keys SET d = 100, s = 'ünï', ts = '2020-01-01 00:00:00.123'",
	"DELETE FROM shop.pair WHERE a = 3",
	"UPDATE shop.shape SET `1st` = NULL, hidden = 9",
}, {
	"ALTER TABLE shop.shape ADD COLUMN added VARCHAR(10) NOT NULL DEFAULT 'new' AFTER `1st`",
	"INSERT INTO shop.shape (`odd name`) VALUES (3)",
}, {
	"ALTER TABLE shop.shape ALTER COLUMN added SET DEFAULT 'other', MODIFY COLUMN e BIGINT",
	"INSERT INTO shop.shape (`odd name`) VALUES (4)",
}, {
	"CREATE TABLE shop.born (id INT PRIMARY KEY)",
	"ALTER TABLE shop.shape DROP COLUMN e",
	"DELETE FROM shop.shape WHERE `odd name` = 1",
}}

const escapes = "Debezium shows the default as it stands in the definition, with doubled quotes and backslashes"

const jsonOfMySQL = "Debezium shows times, binary values and large doubles in JSON in a way of its own; ours is what SELECT shows"

// mayDiffer is the written list of differences in records of changes; those of
// other topics have lists of their own. docs/debezium.md tells them to users.
var mayDiffer = []difference{
	{"value/ts_ms", "when the connector worked"},
	{"value/ts_us", "when the connector worked"},
	{"value/ts_ns", "when the connector worked"},
	{"value/before/c_year", "the year 0000 is 0, to Debezium 1900"},
	{"value/after/c_year", "the year 0000 is 0, to Debezium 1900"},
	{"value schema/fields/before/type/1/fields/c_binary/default", escapes},
	{"value schema/fields/before/type/1/fields/c_binary/type/connect.default", escapes},
	{"value schema/fields/before/type/1/fields/c_binary/type/0/connect.default", escapes},
	{"value schema/fields/before/type/1/fields/c_quoted/default", escapes},
	{"value schema/fields/before/type/1/fields/c_quoted/type/connect.default", escapes},
	{"value schema/fields/before/type/1/fields/c_quoted/type/0/connect.default", escapes},
	{"value/before/c_json_odd", jsonOfMySQL},
	{"value/after/c_json_odd", jsonOfMySQL},
	{"value/source/version", "of the program"},
	{"value/source/origin", "our stamp"},
	{"value/source/seq", "our stamp"},
	{"value/source/hlc", "our stamp"},
	{"value schema/fields/source/type/fields/origin", "our stamp"},
	{"value schema/fields/source/type/fields/seq", "our stamp"},
	{"value schema/fields/source/type/fields/hlc", "our stamp"},
	{"headers/__debezium.context.connectorLogicalName", "of the task of Kafka Connect"},
	{"headers/__debezium.context.connectorName", "of the task of Kafka Connect"},
	{"headers/__debezium.context.runId", "of the task of Kafka Connect"},
	{"headers/__debezium.context.taskId", "of the task of Kafka Connect"},
	{"headers/origin", "our stamp"},
	{"headers/seq", "our stamp"},
	{"headers/hlc", "our stamp"},
	{"headers/exact", "what Debezium's form can't hold"},
}

var transactionsMayDiffer = []difference{
	{"value/ts_ms", "when it was written"},
	{"value/origin", "our stamp"},
	{"value/seq", "our stamp"},
	{"value/hlc", "our stamp"},
	{"value/seen", "our stamp"},
	{"value/partitions", "what proves that nothing is missing"},
	{"value/ts_us", "commit time"},
	{"value/canary", "our canary"},
	{"value/task", "the task that applied it"},
	{"value/seen_by_task", "our stamp"},
	{"value schema/fields/origin", "our stamp"},
	{"value schema/fields/seq", "our stamp"},
	{"value schema/fields/hlc", "our stamp"},
	{"value schema/fields/seen", "our stamp"},
	{"value schema/fields/partitions", "what proves that nothing is missing"},
	{"value schema/fields/ts_us", "commit time"},
	{"value schema/fields/canary", "our canary"},
	{"value schema/fields/task", "the task that applied it"},
	{"value schema/fields/seen_by_task", "our stamp"},
	{"headers/__debezium.context.connectorLogicalName", "of the task of Kafka Connect"},
	{"headers/__debezium.context.connectorName", "of the task of Kafka Connect"},
	{"headers/__debezium.context.runId", "of the task of Kafka Connect"},
	{"headers/__debezium.context.taskId", "of the task of Kafka Connect"},
}

var statementsMayDiffer = append([]difference{
	{"value/source/ts_us", "Debezium knows only milliseconds of it"},
	{"value/source/ts_ns", "Debezium knows only milliseconds of it"},
	{"value/tableChanges/*/table", "the binlog doesn't tell the columns"},
	{"value schema/fields/source/type/fields/origin", "our stamp"},
	{"value schema/fields/source/type/fields/seq", "our stamp"},
	{"value schema/fields/source/type/fields/hlc", "our stamp"},
}, mayDiffer...)

// compareTopic compares two topics record by record.
func compareTopic(t *testing.T, names prefixes, may []difference, read func(prefix string) []record) {
	ours := read(names.ours)
	var theirs []record
	eventually(t, func() error {
		theirs = read(names.theirs)
		if len(theirs) < len(ours) {
			return fmt.Errorf("debezium has published %d records of %d", len(theirs), len(ours))
		}
		return nil
	})
	if len(ours) != len(theirs) || len(ours) == 0 {
		t.Fatalf("ours has %d records, theirs %d", len(ours), len(theirs))
	}
	c := &comparison{names: names, may: may, used: map[string]bool{}}
	lines := map[string]int{}
	for i := range ours {
		c.found = nil
		c.compareRecords(ours[i], theirs[i])
		for _, line := range c.found {
			if lines[line]++; lines[line] == 1 {
				t.Errorf("%s, %s: %s", ours[i].at, theirs[i].at, line)
			}
		}
	}
	t.Logf("%d records compared", len(ours))
}

func (c *comparison) compareRecords(ours, theirs record) {
	c.compareData("key", ours.key, theirs.key)
	c.compareData("value", ours.value, theirs.value)
	o, t := map[string]any{}, map[string]any{}
	for _, h := range ours.headers {
		o[h.Key] = string(h.Value)
	}
	for _, h := range theirs.headers {
		t[h.Key] = string(h.Value)
	}
	c.compare("headers", o, t)
}

func (c *comparison) compareData(path string, ours, theirs *datum) {
	if ours == nil || theirs == nil {
		if ours != theirs {
			c.found = append(c.found, fmt.Sprintf("%s: ours %v, theirs %v", path, ours, theirs))
		}
		return
	}
	c.compare(path+" schema", withoutOriginalName(ours.schema), theirs.schema)
	ours, theirs = c.withoutNulls(ours, theirs)
	c.compare(path, ours.value, theirs.value)
}

// withoutOriginalName copies a schema without the parameter that tells a
// column's own name, which Debezium hasn't.
func withoutOriginalName(node any) any {
	switch n := node.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range n {
			if k == "connect.parameters" {
				v = without(v, schemas.OriginalName)
				if len(v.(map[string]any)) == 0 {
					continue
				}
			}
			out[k] = withoutOriginalName(v)
		}
		if len(out) == 1 && out["type"] != nil {
			return out["type"] // an object says no more than the name of the type
		}
		return out
	case []any:
		out := make([]any, len(n))
		for i, v := range n {
			out[i] = withoutOriginalName(v)
		}
		return out
	}
	return node
}

// withoutNulls takes out of both rows the columns that are NULL in ours and
// have a default that theirs shows instead.
func (c *comparison) withoutNulls(ours, theirs *datum) (*datum, *datum) {
	o, okO := ours.value.(map[string]any)
	t, okT := theirs.value.(map[string]any)
	if !okO || !okT {
		return ours, theirs
	}
	o, t = maps.Clone(o), maps.Clone(t)
	for _, image := range []string{"before", "after"} {
		row, okO := o[image].(map[string]any)
		other, okT := t[image].(map[string]any)
		if !okO || !okT {
			continue
		}
		row, other = maps.Clone(row), c.renamedKeys(other)
		for name, value := range row {
			if text, ok := value.(string); ok && columnType(ours.schema, name)["connect.name"] == "io.debezium.data.Json" {
				row[name] = compacted(text)
			}
			if value == nil && other[name] != nil && hasDefault(ours.schema, name) {
				delete(row, name)
				delete(other, name)
				c.nulls++
			}
		}
		o[image], t[image] = row, other
	}
	return &datum{value: o}, &datum{value: t}
}

// hasDefault tells whether a column has one that isn't NULL in the schema of
// an envelope.
func hasDefault(schema any, column string) bool { return fieldOf(schema, column)["default"] != nil }

// columnType returns a column's type as an object, that of a union which isn't
// null.
func columnType(schema any, column string) map[string]any {
	typ := fieldOf(schema, column)["type"]
	if union, ok := typ.([]any); ok {
		typ = union[0]
		if typ == "null" {
			typ = union[1]
		}
	}
	object, _ := typ.(map[string]any)
	return object
}

// fieldOf returns a column's field in the schema of an envelope.
func fieldOf(schema any, column string) map[string]any {
	before := schema.(map[string]any)["fields"].([]any)[0].(map[string]any)
	row := before["type"].([]any)[1].(map[string]any)
	for _, f := range row["fields"].([]any) {
		if field := f.(map[string]any); field["name"] == column {
			return field
		}
	}
	return nil
}

// compacted takes the spaces out of a JSON document, which MySQL's own form
// has: Debezium shows that form in snapshots and the compact one in the stream.
func compacted(text string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return text
	}
	return b.String()
}
