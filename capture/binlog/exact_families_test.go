package binlog

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"duplex/internal/testbed"
)

// exactFamilies are the tables of TestRoundTrip: those of TestDifferential, and
// those with values that Debezium's form can't hold.
func exactFamilies() []family {
	all := append(families(), family{name: "json_types", columns: jsonTypes(), onlyMySQL: true})
	for i := range all {
		all[i].random = 30
		if all[i].name == "floats" {
			all[i].notTo = []testbed.Part{testbed.MariaDB1011, testbed.MariaDB118} // which have no minus zero
		}
		if all[i].name == "json" {
			// MySQL 8.0.31 takes eight hours from every 32 of a TIME that it puts
			// into a document.
			all[i].columns[0].edges = slices.DeleteFunc(all[i].columns[0].edges, func(e string) bool { return strings.Contains(e, "TIME'-838") || strings.Contains(e, "TIME'123") })
		}
	}
	all = append(all, family{name: "dates", columns: oddDates()}, family{name: "odd_labels", columns: oddLabels()},
		family{name: "no_label", columns: noLabel(), onlyMySQL: true})
	return append(append(all, charsetFamilies()...), spatialFamilies()...)
}

// spatialFamilies are GEOMETRY and what else only some of the servers have.
func spatialFamilies() []family {
	one := func(definition string, edges ...string) testColumn {
		return testColumn{definition, edges, func(r *rand.Rand) string { return edges[r.IntN(len(edges))] }}
	}
	text := func(wkt ...string) (edges []string) {
		for _, w := range wkt {
			edges = append(edges, "ST_GeomFromText('"+w+"')", "ST_GeomFromText('"+w+"', 4326)")
		}
		return edges
	}
	points := append(text("POINT(1 2)", "POINT(-0.1 89.99999999999999)"), "x'00000000010100000000000000000000800000000000f8ff7f'", "x'110f000001010000000000000000000040ffffffffffffef7f'")
	lines := text("LINESTRING(0 0, 1 1, 2 2.5)")
	areas := text("POLYGON((0 0, 10 0, 10 10, 0 10, 0 0), (2 2, 2 4, 4 4, 4 2, 2 2))")
	several := text("MULTIPOINT(1 2, 3 4)")
	all := slices.Concat(points, lines, areas, several, text("MULTILINESTRING((0 0, 1 1), (2 2, 3 3))", "MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))", "GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1))"), []string{"x'00000000010700000000000000'"})
	vectors := []string{"x'0000803f0000004001000080'", "x'000080bf0000ff4201000000'"}
	geometry := family{name: "geometry", random: 5, columns: []testColumn{one("GEOMETRY", all...), one("POINT", points...), one("VARCHAR(9) CHARACTER SET latin1", "'é'"),
		one("LINESTRING", lines...), one("POLYGON", areas...), one("MULTIPOINT", several...), one("GEOMETRY", all...), one("POINT", points...), one("TEXT CHARACTER SET cp1251", "'Ж'")}}
	addresses := []string{"'::'", "'::1'", "'1:2:3:4:5:6:7:8'", "'::ffff:1.2.3.4'", "'::1.2.3.4'", "'fe80::'", "x'0011223344556677000000aabbcc0000'"}
	return []family{geometry,
		{name: "vector", random: 3, parts: []testbed.Part{testbed.MySQL97, testbed.MariaDB118}, columns: []testColumn{one("VECTOR(3)", vectors...), one("VARBINARY(12)", vectors...)}},
		{name: "addresses", random: 3, onlyMariaDB: true, columns: []testColumn{
			one("UUID", "'123e4567-e89b-12d3-a456-426655440000'", "'00112233-4455-7677-8899-aabbccddeeff'", "'00000000-0000-0000-0000-000000000000'", "'00112233-4455-1677-0899-aabbccddee00'", "UUID()"),
			one("INET4", "'0.0.0.0'", "'1.2.3.0'", "'255.255.255.255'"), one("INET6", addresses...), one("BINARY(16)", "x'00'")}},
		{name: "compressed", random: 3, onlyMariaDB: true, columns: []testColumn{one("VARCHAR(300) COMPRESSED", "''", "'a'", "REPEAT('é😀', 150)"), one("TEXT COMPRESSED CHARACTER SET cp1251", "''", "REPEAT('Ж', 60000)"),
			one("VARBINARY(300) COMPRESSED", "''", "x'00'", "REPEAT(x'00ff', 150)"), one("LONGBLOB COMPRESSED", "''", "REPEAT(x'80', 100000)"), one("DECIMAL(10,2)", "1.5"), one("VARCHAR(20) COMPRESSED CHARACTER SET ascii", "x'80'", "'a'")}}}
}

// oddLabels are ENUMs and SETs with values that their text doesn't tell.
func oddLabels() []testColumn {
	pick := func(edges ...string) func(*rand.Rand) string {
		return func(r *rand.Rand) string { return edges[r.IntN(len(edges))] }
	}
	sets := []string{"0", "1", "2", "3", "4", "5", "7"}
	return []testColumn{
		{"ENUM('a','','b')", []string{"''", "'a'", "2"}, pick("1", "3")},
		{"ENUM('0','00','😀','?')", []string{"'0'", "'00'", "3", "4"}, pick("1", "2", "3", "4")},
		{"SET('','a','b')", sets, pick(sets...)},
		{"SET('a','','😀')", sets, pick(sets...)},
		{"ENUM('Ж','ß','ss') CHARACTER SET cp1251 COLLATE cp1251_bin", []string{"1", "3"}, pick("1", "3")},
		{"SET('漢','字') CHARACTER SET gbk", []string{"0", "3"}, pick("1", "2")},
		{"ENUM('ñ','😀') CHARACTER SET utf16", []string{"1", "2"}, pick("1", "2")},
	}
}

// jsonTypes are documents with values of types that JSON doesn't have: of
// every type of column, and more.
func jsonTypes() []testColumn {
	of := func(definition, value string) string {
		return fmt.Sprintf("(SELECT JSON_OBJECT('a', v, 'b', JSON_ARRAY(v)) FROM JSON_TABLE(JSON_ARRAY(%s), '$[0]' COLUMNS (v %s PATH '$' ERROR ON ERROR)) t)", value, definition)
	}
	edges := []string{`JSON_ARRAY(CAST(5 AS UNSIGNED), CAST(70000 AS UNSIGNED), CAST(9223372036854775807 AS UNSIGNED), CAST(18446744073709551615 AS UNSIGNED), 5)`,
		`JSON_OBJECT('k', CAST('0000-00-00' AS DATE), 'l', CAST('2023-02-30 01:02:03.5' AS DATETIME(6)), 'm', CAST('31:59:59' AS TIME), 'n', CAST('-00:00:00.000001' AS TIME(6)))`,
		`JSON_ARRAY(1.10, 0.5, -0.001, 99999999999999999999999999999999999999999999999999999999999999999, .000000000000000000000000000001, 0.0, 100, 1e0, CAST('7' AS DECIMAL(20,5)))`,
		`JSON_ARRAY("it's", 'a"\\\\', '漢😀', CAST(1 AS DECIMAL))`, `CAST(CAST(1.5 AS DECIMAL(10,1)) AS JSON)`, `CAST(CAST(1 AS UNSIGNED) AS JSON)`}
	for _, definition := range []string{"BLOB", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB", "VARBINARY(99)", "BINARY(3)"} {
		edges = append(edges, of(definition, "x'00fffe'"))
	}
	edges = append(edges, of("LONGBLOB", "REPEAT(x'80', 100000)"), of("VARBINARY(60000)", "REPEAT(x'80', 60000)"), of("BLOB", "x''"), of("VARBINARY(9)", "x''"))
	edges = append(edges, of("BIT(16)", "513"), of("BIT(64)", "x'fffffffffffffff1'+0"), of("BIT(1)", "1"), of("TIMESTAMP(6)", "'2024-01-02 03:04:05.123456'"),
		of("DECIMAL(65,30)", "'-12345678901234567890123456789012345.678901234567890123456789012345'"), of("DECIMAL(20,10)", "'1.5'"), of("YEAR", "2024"), of("BIGINT UNSIGNED", "7"))
	return []testColumn{{"JSON", edges, func(r *rand.Rand) string { return edges[r.IntN(len(edges))] }}}
}

// noLabel is index 0, which MariaDB takes only when it isn't strict.
func noLabel() (columns []testColumn) {
	for _, c := range []struct{ definition, zero string }{{"ENUM('a','','b')", "'0'"}, {"ENUM('a')", "'0'"}, {"ENUM('a','','0','00')", "'000'"}} {
		columns = append(columns, testColumn{c.definition, []string{c.zero, "'a'", "1"}, func(*rand.Rand) string { return c.zero }})
	}
	return columns
}

// charsetFamilies are columns of every character set, with all that the set
// can hold, and what some servers keep in it though it can't be.
func charsetFamilies() []family {
	byName := map[bool]*family{false: {name: "charsets"}, true: {name: "gb18030", onlyMySQL: true}}
	for _, set := range slices.Sorted(maps.Keys(charsets)) {
		f := byName[set == "gb18030"]
		edges := charsetEdges(set)
		f.columns = append(f.columns, testColumn{fmt.Sprintf("TEXT CHARACTER SET %s", set), edges, func(r *rand.Rand) string { return edges[r.IntN(len(edges))] }})
		f.random = 5
	}
	unicode := family{name: "unicode", random: 5}
	add := func(f *family, definition string, edges ...string) {
		f.columns = append(f.columns, testColumn{definition, edges, func(r *rand.Rand) string { return edges[r.IntN(len(edges))] }})
	}
	text := "_utf8mb4 'añ€😀 " + string(rune(0xffff)) + string(rune(0xe000)) + "'"
	add(&unicode, "VARCHAR(30) CHARACTER SET ucs2", "''", "_utf8mb4 'añ€ "+string(rune(0xffff))+"'", "x'd800'", "x'dc000061d800'", "x'd83dde00'")
	add(&unicode, "CHAR(30) CHARACTER SET ucs2 COLLATE ucs2_bin", "''", "_utf8mb4 'añ€'", "x'd800'")
	for _, set := range []string{"utf16", "utf16le", "utf32", "utf8mb4"} {
		add(&unicode, "VARCHAR(30) CHARACTER SET "+set, "''", text)
		add(&unicode, "CHAR(30) CHARACTER SET "+set, "''", text)
		add(&unicode, "TEXT CHARACTER SET "+set, "''", text)
	}
	loose := family{name: "loose", random: 5, onlyMariaDB: true}
	add(&loose, "VARCHAR(30) CHARACTER SET utf8mb4", "x'eda080'", "x'61eda08062'", "'a'")
	add(&loose, "VARCHAR(30) CHARACTER SET utf8mb3", "x'eda080'", "x'61edb08062'", "'a'")
	add(&loose, "VARCHAR(30) CHARACTER SET ascii", "x'80'", "x'6180ff'", "'a'")
	return []family{*byName[false], *byName[true], unicode, loose}
}

// charsetEdges are texts with every code that the tables have of a character
// set, and with codes that they lack and the servers keep.
func charsetEdges(set string) []string {
	read, err := charsets[set]()
	if err != nil {
		panic(err)
	}
	var all []string
	var text strings.Builder
	n := 0
	add := func(code string) {
		text.WriteString(code)
		if n++; n%2000 == 0 {
			all = append(all, "x'"+text.String()+"'")
			text.Reset()
		}
	}
	for b := range read.narrow {
		if read.narrow[b] != 0 {
			add(fmt.Sprintf("%02x", b))
		}
	}
	for _, table := range []struct {
		points []codePoint
		form   string
	}{{read.wide, "%04x"}, {read.triple, "8f%04x"}} {
		for code, p := range table.points {
			if p != 0 {
				add(fmt.Sprintf(table.form, code))
			}
		}
	}
	if read.long != nil {
		for _, code := range []string{"81308130", "8431a439", "90308130", "e3329a35", "81318130"} {
			add(code)
		}
	}
	all = append(all, "x'"+text.String()+"'", "''")
	if maxBytes(set) == 1 {
		all = append(all, "x'808182838485868788898a8b8c8d8e8f90a0ff'")
	}
	return all
}

func oddDates() (columns []testColumn) {
	date := func(r *rand.Rand) string {
		return fmt.Sprintf("%04d-%02d-%02d", []int{0, 1, 1970, 2023, 9999}[r.IntN(5)], r.IntN(13), r.IntN(32))
	}
	columns = append(columns, testColumn{"DATE", []string{"'0000-00-00'", "'2023-02-30'", "'1970-01-01'", "'2024-00-00'", "'2024-05-00'", "'0000-01-00'", "'9999-00-31'", "'0000-00-01'"},
		func(r *rand.Rand) string { return "'" + date(r) + "'" }})
	for _, digits := range []int{0, 3, 4, 6} {
		last := fraction6("999999", digits)
		columns = append(columns,
			testColumn{fmt.Sprintf("DATETIME(%d)", digits), []string{"'0000-00-00 00:00:00'", "'2023-02-30 23:59:59" + last + "'", "'1970-01-01 00:00:00'", "'2024-05-00 00:00:00" + last + "'", "'0000-00-31 01:02:03'"},
				func(r *rand.Rand) string { return "'" + date(r) + randomClock(r) + randomFraction(r, digits) + "'" }},
			testColumn{fmt.Sprintf("TIMESTAMP(%d)", digits), []string{"'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'", "0"},
				func(*rand.Rand) string { return "0" }})
	}
	return columns
}
