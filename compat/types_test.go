package compat_test

import (
	"fmt"
	"strings"

	"duplex/internal/testbed"
)

// typed is a column type with values of it, as SQL literals, and a literal
// default where the type may have one. Rows take the values in turn.
type typed struct {
	name, sql string
	literal   string // of DEFAULT; empty: none is tested
	values    []string
}

// types are the types of columns that capture carries and Debezium's
// connector too. What Debezium can't carry is in exactTypes of TYPES.md.
func types(version testbed.Part) []typed {
	list := []typed{
		{"c_tinyint", "TINYINT", "7", []string{"-128", "127", "0"}},
		{"c_bool", "BOOLEAN", "TRUE", []string{"TRUE", "FALSE", "2"}},
		{"c_tinyint_u", "TINYINT UNSIGNED", "200", []string{"0", "255"}},
		{"c_smallint", "SMALLINT", "-7", []string{"-32768", "32767"}},
		{"c_smallint_u", "SMALLINT UNSIGNED", "65535", []string{"0", "65535"}},
		{"c_mediumint", "MEDIUMINT", "-8388608", []string{"-8388608", "8388607"}},
		{"c_mediumint_u", "MEDIUMINT UNSIGNED", "16777215", []string{"0", "16777215"}},
		{"c_int", "INT", "0", []string{"-2147483648", "2147483647"}},
		{"c_int_u", "INT UNSIGNED", "4294967295", []string{"0", "4294967295"}},
		{"c_int_z", "INT(6) UNSIGNED ZEROFILL", "42", []string{"0", "42"}},
		{"c_bigint", "BIGINT", "-9223372036854775808", []string{"-9223372036854775808", "9223372036854775807"}},
		{"c_bigint_u", "BIGINT UNSIGNED", "18446744073709551615", []string{"0", "128", "255", "18446744073709551615", "9223372036854775808"}},
		{"c_dec_10_2", "DECIMAL(10,2)", "0.00", []string{"0", "-0.01", "1.28", "-1.28", "99999999.99", "-99999999.99"}},
		{"c_dec_5_0", "DECIMAL(5,0)", "-129", []string{"127", "128", "-128", "-129", "255", "256"}},
		{"c_dec_65_30", "DECIMAL(65,30)", "1.5", []string{"99999999999999999999999999999999999.999999999999999999999999999999", "-0.000000000000000000000000000001"}},
		{"c_float", "FLOAT", "1.5", []string{"0", "1.1", "-3.402823e38", "1.17549e-38"}},
		{"c_float_7_2", "FLOAT(7,2)", "2.25", []string{"1.1", "-12345.67", "0"}},
		{"c_float_53", "FLOAT(53)", "0.1", []string{"1.1", "-1e300"}},
		{"c_double", "DOUBLE", "1e10", []string{"0", "1.1", "-1.7976931348623157e308", "2.2250738585072014e-308"}},
		{"c_double_10_3", "DOUBLE(10,3)", "-2.125", []string{"1.1", "-1234567.891"}},
		{"c_bit1", "BIT(1)", "b'1'", []string{"b'0'", "b'1'"}},
		{"c_bit10", "BIT(10)", "b'1000000001'", []string{"b'0'", "b'1000000011'"}},
		{"c_bit64", "BIT(64)", "b'1'", []string{"b'0'", "0xff00ff00ff00ff01"}},
		{"c_year", "YEAR", "2001", []string{"1901", "2155", "0"}},
		{"c_date", "DATE", "'1969-12-31'", []string{"'1000-01-01'", "'9999-12-31'", "'1970-01-01'"}},
		{"c_time", "TIME", "'01:02:03'", []string{"'-838:59:59'", "'838:59:59'", "'00:00:00'"}},
		{"c_time6", "TIME(6)", "'-00:00:00.000001'", []string{"'-838:59:58.999999'", "'00:00:00.000001'"}},
		{"c_datetime", "DATETIME", "'1969-12-31 23:59:59'", []string{"'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'"}},
		{"c_datetime_now", "DATETIME", "CURRENT_TIMESTAMP", []string{"'2026-01-02 03:04:05'"}},
		{"c_datetime3", "DATETIME(3)", "'2020-02-29 01:02:03.456'", []string{"'1969-12-31 23:59:59.999'"}},
		{"c_datetime6", "DATETIME(6)", "'2020-02-29 01:02:03.456789'", []string{"'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'"}},
		{"c_datetime6_now", "DATETIME(6)", "CURRENT_TIMESTAMP(6)", []string{"'2026-01-02 03:04:05.000006'"}},
		{"c_timestamp", "TIMESTAMP", "'2020-02-29 01:02:03'", []string{"'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"}},
		{"c_timestamp_now", "TIMESTAMP", "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", []string{"'2026-01-02 03:04:05'"}},
		{"c_timestamp3", "TIMESTAMP(3)", "'2020-02-29 01:02:03.120'", []string{"'2018-06-20 13:37:03.120'"}},
		{"c_timestamp6", "TIMESTAMP(6)", "CURRENT_TIMESTAMP(6)", []string{"'2018-06-20 13:37:03.000001'", "'2018-06-20 13:37:03.000000'"}},
		{"c_char", "CHAR(8)", "'abc'", []string{"''", "'abc'", "'é漢𝄞'"}},
		{"c_varchar", "VARCHAR(80)", "'漢 and é'", []string{"''", "'NULL'", "'  spaces  '", "'漢字𝄞'"}},
		{"c_quoted", "VARCHAR(80)", "'it''s \"so\", \\\\ and é'", []string{"'x'"}},
		{"c_varchar_l1", "VARCHAR(40) CHARACTER SET latin1", "'ü'", []string{"'äöü€'"}},
		{"c_tinytext", "TINYTEXT", "", []string{"''", "'t'"}},
		{"c_text", "TEXT", "", []string{"REPEAT('é', 1000)", "'t'"}},
		{"c_longtext", "LONGTEXT", "", []string{"REPEAT('x', 70000)"}},
		{"c_binary", "BINARY(6)", "'ab'", []string{"0x00", "0x616200", "0xffffffffffff"}},
		{"c_varbinary", "VARBINARY(16)", "'ab'", []string{"''", "0x00", "0xff00fe"}},
		{"c_blob", "BLOB", "", []string{"''", "0xff00fe00"}},
		{"c_enum", "ENUM('a','b','it''s','d e')", "'b'", []string{"'a'", "'it''s'", "'d e'"}},
		{"c_set", "SET('x','y','z')", "'x,z'", []string{"''", "'x'", "'z,x'", "'x,y,z'"}},
		{"c_json", "JSON", "", []string{`'{"b":1,"aa":[true,null,"é\\n"],"c":{"d":1.5}}'`, `'[]'`, `'"text"'`, `'-7'`, `'18446744073709551615'`, `CAST(1.10 AS JSON)`, `'-0.0'`}},
		{"c_json_odd", "JSON", "", []string{`CAST(TIME'-10:11:12.5' AS JSON)`, `CAST(TIMESTAMP'2026-01-02 03:04:05' AS JSON)`, `CAST(0x00ff AS JSON)`, `'1e100'`}},
		{"c_point", "POINT", "", []string{"POINT(1, -2.5)", "ST_PointFromText('POINT(10 20)', 4326)"}},
		{"c_geometry", "GEOMETRY", "", []string{"POINT(3, 4)", "ST_GeomFromText('POLYGON((0 0, 1 0, 1 1, 0 0))')", "ST_GeomFromText('LINESTRING(10 20, 30 40)', 4326)", "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1))')"}},
	}
	if version == testbed.MySQL97 {
		list = append(list, typed{"c_vector", "VECTOR(3)", "", []string{"STRING_TO_VECTOR('[1, -2.5, 0]')", "STRING_TO_VECTOR('[3.5, 0.001, -7]')"}})
	}
	return list
}

// tables returns the statements that make a table of all types: one of columns
// that may be NULL, one of columns that may not, and one of each with defaults.
func tables(version testbed.Part) []string {
	var statements []string
	for _, table := range []string{"nullable", "required", "nullable_default", "required_default"} {
		columns := []string{"id INT NOT NULL PRIMARY KEY"}
		for _, t := range types(version) {
			column := t.name + " " + t.sql
			if strings.HasPrefix(table, "nullable") {
				column += " NULL"
			} else {
				column += " NOT NULL"
			}
			if strings.HasSuffix(table, "default") {
				if t.literal == "" {
					continue
				}
				column += " DEFAULT " + t.literal
			} else if strings.HasPrefix(t.sql, "TIMESTAMP") && table == "nullable" {
				column += " DEFAULT NULL"
			}
			columns = append(columns, column)
		}
		statements = append(statements, fmt.Sprintf("CREATE TABLE shop.%s (%s)", table, strings.Join(columns, ", ")))
	}
	return statements
}

// changes returns statements that insert, update and delete rows with every
// value in every table of tables.
func changes(version testbed.Part) []string {
	rows := 0
	for _, t := range types(version) {
		rows = max(rows, len(t.values))
	}
	var statements []string
	for _, table := range []string{"nullable", "required", "nullable_default", "required_default"} {
		row := func(id int) string {
			values := []string{fmt.Sprint(id)}
			for _, t := range types(version) {
				if strings.HasSuffix(table, "default") && t.literal == "" {
					continue
				}
				values = append(values, t.values[id%len(t.values)])
			}
			return strings.Join(values, ", ")
		}
		for id := range rows {
			statements = append(statements, fmt.Sprintf("INSERT INTO shop.%s VALUES (%s)", table, row(id)))
		}
		statements = append(statements, fmt.Sprintf("REPLACE INTO shop.%s VALUES (%s)", table, row(rows)))
		var nulls []string
		for _, t := range types(version) {
			if !strings.HasSuffix(table, "default") || t.literal != "" {
				nulls = append(nulls, t.name+" = NULL")
			}
		}
		if strings.HasPrefix(table, "nullable") {
			statements = append(statements, fmt.Sprintf("UPDATE shop.%s SET %s WHERE id = 1", table, strings.Join(nulls, ", ")))
		}
		if strings.HasSuffix(table, "default") {
			statements = append(statements, fmt.Sprintf("INSERT INTO shop.%s (id) VALUES (1000)", table))
		}
		statements = append(statements, fmt.Sprintf("DELETE FROM shop.%s WHERE id = 0", table))
	}
	return statements
}
