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
	all := slices.DeleteFunc(families(), func(f family) bool { return f.name == "json" })
	for i := range all {
		all[i].random = 30
		if all[i].name == "floats" {
			all[i].notTo = testbed.MariaDB1011 // which has no minus zero
		}
	}
	all = append(all, family{name: "dates", columns: oddDates()}, family{name: "odd_labels", columns: oddLabels()},
		family{name: "no_label", columns: noLabel(), parts: []testbed.Part{testbed.MySQL80, testbed.MySQL97, testbed.MariaDB118}})
	return append(all, charsetFamilies()...)
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

// noLabel is index 0, which MariaDB 10.11 takes only when it isn't strict.
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
