package binlog

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"duplex/internal/testbed"
)

// family is a table of columns of one kind, with the values to put into them.
type family struct {
	name    string
	columns []testColumn
	// onlyMySQL families have types that MariaDB lacks; those onlyMariaDB the
	// other way round.
	onlyMySQL, onlyMariaDB bool
	// before is run before the table is created.
	before string
	// parts, if given, are the servers that have the types.
	parts []testbed.Part
	// notTo are servers that take the types and not all of the values.
	notTo []testbed.Part
	// random is how many random rows TestRoundTrip adds to the edges.
	random int
}

// testColumn is a column definition, its edge values as SQL literals, and a
// source of random ones.
type testColumn struct {
	definition string
	edges      []string
	random     func(*rand.Rand) string
}

func families() []family {
	return []family{
		{name: "integers", columns: integerColumns()},
		{name: "decimals", columns: decimalColumns()},
		{name: "floats", columns: floatColumns()},
		{name: "bits", columns: bitColumns()},
		{name: "times", columns: timeColumns()},
		{name: "texts", columns: textColumns()},
		{name: "bytes", columns: byteColumns()},
		{name: "labels", columns: labelColumns()},
		{name: "json", columns: jsonColumns(), onlyMySQL: true},
		{name: "old_times", columns: oldTimeColumns(), onlyMariaDB: true, before: "SET GLOBAL mysql56_temporal_format = OFF"},
	}
}

func integerColumns() (columns []testColumn) {
	for _, t := range []struct {
		name string
		bits uint
	}{{"TINYINT", 8}, {"SMALLINT", 16}, {"MEDIUMINT", 24}, {"INT", 32}, {"BIGINT", 64}} {
		top := uint64(1) << (t.bits - 1)
		all := top<<1 - 1
		columns = append(columns,
			testColumn{t.name, []string{"0", "1", "-1", "63", "64", "-64", "-65", fmt.Sprint(top - 1), "-" + fmt.Sprint(top)},
				func(r *rand.Rand) string { return fmt.Sprint(int64(r.Uint64()) >> (64 - t.bits)) }},
			testColumn{t.name + " UNSIGNED", []string{"0", "1", "127", fmt.Sprint(top - 1), fmt.Sprint(top), fmt.Sprint(all)},
				func(r *rand.Rand) string { return fmt.Sprint(r.Uint64() >> r.UintN(64) & all) }})
		// A YEAR here and there: should it not count among the columns that
		// have a sign, all after it would show.
		columns = append(columns, testColumn{"YEAR", []string{"0", "1901", "2155", "2024"},
			func(r *rand.Rand) string { return fmt.Sprint(1901 + r.IntN(255)) }})
	}
	return columns
}

func decimalColumns() (columns []testColumn) {
	shapes := [][2]int{{1, 0}, {1, 1}, {2, 1}, {9, 0}, {9, 9}, {10, 0}, {12, 2}, {18, 9}, {18, 0}, {19, 0}, {19, 1}, {20, 20}, {28, 10}, {37, 0}, {38, 0}, {38, 30}, {39, 0}, {39, 7}, {45, 30}, {57, 28}, {64, 2}, {65, 0}, {65, 30}, {30, 30}}
	for _, shape := range shapes {
		precision, scale := shape[0], shape[1]
		number := func(digits string) string {
			digits = strings.Repeat("0", max(0, precision-len(digits))) + digits
			text := "0" + digits[:precision-scale]
			if scale > 0 {
				text += "." + digits[precision-scale:]
			}
			return text
		}
		edges := []string{"0", number("1"), "-" + number("1"), number(strings.Repeat("9", precision)), "-" + number(strings.Repeat("9", precision)),
			number("1" + strings.Repeat("0", precision-1)), "-" + number("1"+strings.Repeat("0", precision-1))}
		// Where the two's complement needs one byte more.
		for _, edge := range []string{"127", "128", "32767", "32768", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616",
			"170141183460469231731687303715884105727", "170141183460469231731687303715884105728", "340282366920938463463374607431768211456"} {
			if len(edge) <= precision {
				edges = append(edges, number(edge), "-"+number(edge))
			}
		}
		columns = append(columns, testColumn{fmt.Sprintf("DECIMAL(%d,%d)", precision, scale), edges, func(r *rand.Rand) string {
			sign, digits := "", make([]byte, r.IntN(precision)+1)
			if r.IntN(2) == 0 {
				sign = "-"
			}
			for i := range digits {
				digits[i] = byte('0' + r.IntN(10))
			}
			return sign + number(string(digits))
		}})
	}
	return columns
}

func floatColumns() []testColumn {
	return []testColumn{
		{"FLOAT", []string{"0", "-0e0", "1", "-1.5", "1.17549435e-38", "3.402823466e38", "-3.402823466e38", "1e-45"},
			func(r *rand.Rand) string { return fmt.Sprintf("%.9e", r.NormFloat64()*1e6) }},
		{"DOUBLE", []string{"0", "-0e0", "1", "-1.5", "2.2250738585072014e-308", "1.7976931348623157e308", "-1.7976931348623157e308", "0.1", "4.9e-324"},
			func(r *rand.Rand) string { return fmt.Sprintf("%.17e", r.NormFloat64()*1e9) }},
		{"DOUBLE UNSIGNED", []string{"0", "1", "1e300"}, func(r *rand.Rand) string { return fmt.Sprintf("%.17e", r.Float64()) }},
		{"FLOAT(7,3)", []string{"0", "9999.999", "-9999.999"}, func(r *rand.Rand) string { return fmt.Sprintf("%.3f", r.Float64()*1000) }},
	}
}

func bitColumns() (columns []testColumn) {
	for n := 1; n <= 64; n++ {
		all := uint64(1)<<n - 1
		columns = append(columns, testColumn{fmt.Sprintf("BIT(%d)", n), []string{"0", "1", fmt.Sprint(all), fmt.Sprint(all>>1 + 1)},
			func(r *rand.Rand) string { return fmt.Sprint(r.Uint64() & all) }})
	}
	return columns
}

func timeColumns() (columns []testColumn) {
	columns = append(columns, testColumn{"DATE", []string{"'1000-01-01'", "'9999-12-31'", "'1970-01-01'", "'1969-12-31'", "'2000-02-29'", "'1900-02-28'", "'1900-03-01'", "'0001-01-01'", "'0000-03-01'", "'0000-01-01'"},
		func(r *rand.Rand) string { return "'" + randomDate(r, 1, 9999) + "'" }})
	for fsp := 0; fsp <= 6; fsp++ {
		last := fraction6("999999", fsp)
		one := fraction6("000001"[6-fsp:]+"000000", fsp)
		columns = append(columns,
			testColumn{fmt.Sprintf("TIME(%d)", fsp), []string{"'00:00:00'", "'838:59:59'", "'-838:59:59'", "'00:00:00" + last + "'", "'-00:00:00" + last + "'", "'-00:00:00" + one + "'", "'-00:00:01" + one + "'", "'-00:00:01'", "'23:59:59" + last + "'", "'-01:00:00" + last + "'", "'-00:00:01" + last + "'"},
				func(r *rand.Rand) string {
					return fmt.Sprintf("'%s%d:%02d:%02d%s'", []string{"", "-"}[r.IntN(2)], r.IntN(838), r.IntN(60), r.IntN(60), randomFraction(r, fsp))
				}},
			testColumn{fmt.Sprintf("DATETIME(%d)", fsp), []string{"'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'9999-12-31 23:59:58" + last + "'", "'1970-01-01 00:00:00'", "'1969-12-31 23:59:59" + last + "'", "'2024-02-29 12:34:56" + one + "'", "'0001-01-01 00:00:00'"},
				func(r *rand.Rand) string {
					return "'" + randomDate(r, 1, 9999) + randomClock(r) + randomFraction(r, fsp) + "'"
				}},
			testColumn{fmt.Sprintf("TIMESTAMP(%d)", fsp), []string{"'1970-01-01 00:00:01'", "'1970-01-01 00:00:01" + last + "'", "'2038-01-19 03:14:07'", "'2024-02-29 23:59:59" + one + "'", "'2000-02-29 00:00:00" + last + "'", "'2000-12-31 23:59:59'", "'2001-01-01 00:00:00'"},
				func(r *rand.Rand) string {
					return "'" + randomDate(r, 1971, 2037) + randomClock(r) + randomFraction(r, fsp) + "'"
				}})
	}
	return columns
}

// oldTimeColumns are what MySQL before 5.6 made; MariaDB still can.
func oldTimeColumns() (columns []testColumn) {
	for _, c := range timeColumns() {
		if !strings.Contains(c.definition, "(") || strings.Contains(c.definition, "(0)") {
			columns = append(columns, c)
		}
	}
	return columns
}

func fraction6(digits string, fsp int) string {
	if fsp == 0 {
		return ""
	}
	return "." + digits[:fsp]
}

func randomFraction(r *rand.Rand, fsp int) string {
	return fraction6(fmt.Sprintf("%06d", r.IntN(1000000)), fsp)
}

func randomDate(r *rand.Rand, from, to int) string {
	return fmt.Sprintf("%04d-%02d-%02d", from+r.IntN(to-from+1), 1+r.IntN(12), 1+r.IntN(28))
}

func randomClock(r *rand.Rand) string {
	return fmt.Sprintf(" %02d:%02d:%02d", r.IntN(24), r.IntN(60), r.IntN(60))
}

func textColumns() (columns []testColumn) {
	const wide = "'añ€😀 \\\\ \\' \\n'"
	texts := func(edges []string, alphabet string, most int) func(r *rand.Rand) string {
		letters := []rune(alphabet)
		return func(r *rand.Rand) string {
			if r.IntN(4) == 0 {
				return edges[r.IntN(len(edges))]
			}
			text := make([]rune, r.IntN(most+1))
			for i := range text {
				text[i] = letters[r.IntN(len(letters))]
			}
			return "'" + string(text) + "'"
		}
	}
	add := func(definition string, alphabet string, most int, edges ...string) {
		columns = append(columns, testColumn{definition, edges, texts(edges, alphabet, most)})
	}
	const ascii, western, any = "abc XYZ09%", "abcäöüßéñÿ€ŠžŒ", "ab€ñ漢字😀🚀"
	add("CHAR(10) CHARACTER SET utf8mb4", any, 10, "''", "'a'", wide)
	add("CHAR(63) CHARACTER SET utf8mb4", any, 63, "''", "'"+strings.Repeat("😀", 63)+"'")
	add("CHAR(64) CHARACTER SET utf8mb4", any, 64, "''", "'"+strings.Repeat("😀", 64)+"'") // 256 bytes: two of length
	add("CHAR(255) CHARACTER SET utf8mb4", any, 255, "''", "'"+strings.Repeat("😀", 255)+"'", "'"+strings.Repeat("x", 255)+"'")
	add("VARCHAR(63) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", any, 63, "''", "'a  '", wide)
	add("VARCHAR(64) CHARACTER SET utf8mb4", any, 64, "''", "'"+strings.Repeat("€", 64)+"'", wide)
	add("TINYTEXT CHARACTER SET utf8mb4", ascii, 60, "''", wide)
	add("TEXT CHARACTER SET utf8mb4", any, 100, "''", "REPEAT('漢', 9000)")
	add("MEDIUMTEXT CHARACTER SET utf8mb4", any, 100, "''", "REPEAT('x', 70000)")
	add("LONGTEXT CHARACTER SET utf8mb4", any, 100, "''", "REPEAT('x', 70000)")
	add("VARCHAR(40) CHARACTER SET utf8mb3", "ab€ñ漢字", 40, "''", "'漢'")
	add("CHAR(40) CHARACTER SET utf8mb3", "ab€ñ漢字", 40, "''", "'漢'")
	add("VARCHAR(40) CHARACTER SET ascii", ascii, 40, "''", "'a'")
	add("CHAR(40) CHARACTER SET ascii COLLATE ascii_bin", ascii, 40, "''", "'a'")
	high := "_latin1 0x"
	for b := 0x80; b <= 0xff; b++ {
		high += fmt.Sprintf("%02x", b)
	}
	low := "_latin1 0x"
	for b := range 0x80 {
		low += fmt.Sprintf("%02x", b)
	}
	add("VARCHAR(200) CHARACTER SET latin1", western, 200, "''", high, low)
	add("CHAR(200) CHARACTER SET latin1", western, 200, "''", high, low)
	add("TEXT CHARACTER SET latin1", western, 100, "''", high, "REPEAT('ÿ', 60000)")
	add("VARCHAR(300) CHARACTER SET latin1 COLLATE latin1_bin", western, 200, "''", high, low)
	return columns
}

func byteColumns() (columns []testColumn) {
	add := func(definition string, most int, edges ...string) {
		columns = append(columns, testColumn{definition, edges, func(r *rand.Rand) string {
			b := make([]byte, r.IntN(most+1))
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			return fmt.Sprintf("x'%x'", b)
		}})
	}
	add("BINARY(1)", 1, "x''", "x'00'", "x'ff'")
	add("BINARY(16)", 16, "x''", "x'0000'", "x'ff00'", "x'00ff20'", "x'"+strings.Repeat("20", 16)+"'")
	add("BINARY(255)", 255, "x''", "x'01'")
	add("VARBINARY(16)", 16, "x''", "x'0000'", "x'2020'")
	add("VARBINARY(255)", 255, "x''", "x'00'")
	add("VARBINARY(256)", 256, "x''", "x'00'", "REPEAT(x'fe', 256)")
	add("TINYBLOB", 255, "x''", "x'00'")
	add("BLOB", 300, "x''", "REPEAT(x'fe', 65535)")
	add("MEDIUMBLOB", 300, "x''", "REPEAT(x'fe', 66000)")
	add("LONGBLOB", 300, "x''", "REPEAT(x'fe', 66000)")
	return columns
}

func labelColumns() (columns []testColumn) {
	add := func(definition string, edges ...string) {
		columns = append(columns, testColumn{definition, edges, func(r *rand.Rand) string { return edges[r.IntN(len(edges))] }})
	}
	add("ENUM('a','b','ç€','it''s') CHARACTER SET utf8mb4", "'a'", "'b'", "'ç€'", "'it''s'", "4", "3")
	add("ENUM('é','€','z') CHARACTER SET latin1", "'é'", "'€'", "'z'")
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("'v%d'", i)
	}
	add("ENUM("+strings.Join(many, ",")+")", "'v0'", "'v254'", "'v255'", "'v299'")
	add("SET('x','y','ü')", "''", "'x'", "'ü'", "'x,ü'", "'x,y,ü'")
	add("SET('é','€') CHARACTER SET latin1", "''", "'é'", "'é,€'")
	for _, n := range []int{8, 9, 16, 17, 24, 25, 32, 33, 40, 48, 56, 57, 64} {
		all := uint64(1)<<n - 1
		edges := []string{"0", "1", fmt.Sprint(all), fmt.Sprint(all>>1 + 1), fmt.Sprint(0x5555555555555555 & all)}
		columns = append(columns, testColumn{"SET(" + strings.Join(many[:n], ",") + ")", edges, func(r *rand.Rand) string { return fmt.Sprint(r.Uint64() & all) }})
	}
	return columns
}

func jsonColumns() []testColumn {
	edges := []string{
		`'null'`, `'true'`, `'false'`, `'0'`, `'-1'`, `'32767'`, `'-32768'`, `'32768'`, `'65535'`, `'65536'`, `'2147483647'`, `'-2147483648'`, `'4294967295'`, `'9223372036854775807'`, `'-9223372036854775808'`, `'18446744073709551615'`,
		`'1.0'`, `'-0.0'`, `CAST(-0e0 AS JSON)`, `'0.1'`, `'1e15'`, `'1e14'`, `'123456789012345678'`, `'1e16'`, `'1.5e16'`, `'12345678901234567e0'`, `'1e100'`, `'-1e100'`, `'1e-5'`, `'1e-14'`, `'1e-15'`, `'1.2345678901234567e-6'`, `'-1.2345678901234567e-6'`, `'1.2345678901234567e-7'`, `'1.7976931348623157e308'`, `'5e-324'`, `'2.2250738585072014e-308'`, `'123456.789'`, `'0.00001234'`,
		`'""'`, `'"a"'`, `'"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f€😀"'`, `'[]'`, `'{}'`, `'[[]]'`, `'{"":{}}'`, `'[1, 2.5, "x", null, true, {"a": [1]}]'`,
		`'{"b": 1, "a": 2, "aa": 3, "": 4, "ñ": 5, "q\\"": 6}'`,
		`CAST(CAST('12.50' AS DECIMAL(10,2)) AS JSON)`, `CAST(CAST('-0.001' AS DECIMAL(10,3)) AS JSON)`, `CAST(CAST('0' AS DECIMAL(10,3)) AS JSON)`, `JSON_ARRAY(12345678901234567890123456789012345.678901234567890123456789012345, -99999999999999999999, 0.5, .000000001, 100000000000000000000.0)`,
		`CAST(DATE'2024-02-29' AS JSON)`, `CAST(TIMESTAMP'2024-02-29 12:34:56.123456' AS JSON)`, `CAST(TIMESTAMP'1000-01-01 00:00:00' AS JSON)`, `CAST(TIME'-838:59:59' AS JSON)`, `CAST(TIME'00:00:00' AS JSON)`, `CAST(TIME'-00:00:00.000001' AS JSON)`, `CAST(TIME'123:04:05.5' AS JSON)`,
		`JSON_OBJECT('d', DATE'0001-01-01', 't', CURRENT_TIMESTAMP(6), 'b', b'10101')`,
		`CAST(x'00ff' AS JSON)`, `JSON_ARRAY(CAST(REPEAT('a', 56) AS BINARY), CAST(REPEAT('a', 57) AS BINARY), CAST(REPEAT('a', 58) AS BINARY), CAST(REPEAT('a', 114) AS BINARY), CAST('' AS BINARY))`, `JSON_OBJECT('blob', CAST(REPEAT(x'fb', 200) AS BINARY))`, `CAST(ST_GeomFromText('POINT(1 2)') AS JSON)`,
		`JSON_ARRAY(REPEAT('x', 60), REPEAT('y', 130), REPEAT('\n', 20000))`, `CONCAT('"', REPEAT('z', 100000), '"')`,
		`CONCAT('[', REPEAT('123456,', 20000), '7]')`, `CONCAT('{"k":', REPEAT('[', 98), REPEAT(']', 98), '}')`,
		`CONCAT('{', REPEAT('"a":1,', 10), '"', REPEAT('k', 300), '":70000, "u": 4294967295, "s": "', REPEAT('v', 70000), '"}')`,
		`JSON_SET('{"a": "aaaaaaaaaa", "b": [1, 2, 3]}', '$.a', 'b', '$.b[1]', 'x')`,
	}
	return []testColumn{{"JSON", edges, func(r *rand.Rand) string { return "'" + randomJSON(r, 0) + "'" }}}
}

// randomDoubles is a JSON array of doubles with every number of digits, most
// of them where an exponent begins to be needed.
func randomDoubles(r *rand.Rand) string {
	items := make([]string, 100)
	for i := range items {
		exponent := r.IntN(60) - 30
		if r.IntN(8) == 0 {
			exponent = r.IntN(600) - 300
		}
		items[i] = fmt.Sprintf("%s%d.%.*de%d", []string{"", "-"}[r.IntN(2)], r.IntN(10), r.IntN(17)+1, r.IntN(1e15), exponent)
	}
	return "[" + strings.Join(items, ",") + "]"
}

func randomJSON(r *rand.Rand, depth int) string {
	if depth == 0 && r.IntN(2) == 0 {
		return randomDoubles(r)
	}
	kinds := 9
	if depth > 4 {
		kinds = 7
	}
	switch r.IntN(kinds) {
	case 0:
		return []string{"null", "true", "false"}[r.IntN(3)]
	case 1:
		return fmt.Sprint(int64(r.Uint64()) >> r.UintN(64))
	case 2:
		return fmt.Sprint(r.Uint64())
	case 3:
		return fmt.Sprintf("%.*e", r.IntN(17), r.NormFloat64())
	case 4:
		return fmt.Sprintf("%.*e", r.IntN(17), r.NormFloat64()) + fmt.Sprint(r.IntN(280))
	case 5, 6:
		return `"` + strings.Repeat([]string{"a", "ñ", `\\n`, `\\"`, "漢"}[r.IntN(5)], r.IntN(150)) + `"`
	case 7:
		items := make([]string, r.IntN(5))
		for i := range items {
			items[i] = randomJSON(r, depth+1)
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	items := make([]string, r.IntN(5))
	for i := range items {
		items[i] = fmt.Sprintf(`"k%d":%s`, r.IntN(1000), randomJSON(r, depth+1))
	}
	return "{" + strings.Join(items, ",") + "}"
}
