package e2e_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/go-sql-driver/mysql"

	"duplex/internal/testbed"
)

// valued is a column type and values for it, as SQL. only, if given, is the
// pair of servers that has the type and can hold the values.
type valued struct {
	definition string
	values     []string
	only       string
}

// everyType are the columns of the table of TestTypes. What only one server can
// hold is in TestRoundTrip of package capture/binlog, with many more values.
func everyType() []valued {
	const wide = "'añ€😀 \\\\ \\' \\n\\0'"
	of := func(definition string, values ...string) valued {
		return valued{definition: definition, values: values}
	}
	columns := []valued{
		of("TINYINT", "-128", "127", "0"), of("TINYINT UNSIGNED ZEROFILL", "0", "255"), of("SMALLINT", "-32768", "32767"), of("SMALLINT UNSIGNED", "65535"), of("MEDIUMINT", "-8388608", "8388607"),
		of("MEDIUMINT UNSIGNED", "16777215"), of("INT", "-2147483648", "2147483647"), of("INT UNSIGNED", "4294967295"), of("BIGINT", "-9223372036854775808", "9223372036854775807"),
		of("BIGINT UNSIGNED", "18446744073709551615", "9223372036854775808", "0"), of("DECIMAL(65,30)", "99999999999999999999999999999999999.999999999999999999999999999999", "-0.000000000000000000000000000001", "0"),
		of("DECIMAL(5,2) UNSIGNED", "999.99", "0.05"), of("FLOAT", "3.402823466e38", "-1.17549435e-38", "0.1", "1e-45"), of("DOUBLE", "1.7976931348623157e308", "-2.2250738585072014e-308", "0.1", "4.9e-324"),
		{definition: "DOUBLE", values: []string{"-0e0", "0"}, only: "mysql"}, of("FLOAT(7,3)", "9999.999", "-0.001"),
		of("BIT(1)", "0", "1"), of("BIT(33)", "0", "8589934591"), of("BIT(64)", "18446744073709551615", "1"), of("YEAR", "0", "1901", "2155"),
		of("DATE", "'0000-00-00'", "'2023-02-30'", "'1970-01-01'", "'9999-12-31'", "'2024-05-00'", "'0000-01-01'"), of("TIME(6)", "'-838:59:59'", "'-00:00:00.000001'", "'838:59:58.999999'"), of("TIME", "'00:00:00'", "'-01:00:00'"),
		of("DATETIME(6)", "'0000-00-00 00:00:00'", "'2023-02-31 23:59:59.999999'", "'1969-12-31 23:59:59.999999'", "'9999-12-31 23:59:59'"), of("DATETIME", "'2024-00-00 01:02:03'", "'1000-01-01 00:00:00'"),
		of("TIMESTAMP(6) NULL DEFAULT NULL", "0", "'1970-01-01 00:00:01.000001'", "'2038-01-19 03:14:07.999999'"), of("TIMESTAMP NULL DEFAULT NULL", "0", "'2024-10-27 01:30:00'"),
		of("CHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "''", wide), of("VARCHAR(300) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "'a  '", wide), of("LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "REPEAT('漢', 9000)", "''"),
		of("VARCHAR(30) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin", "'añ€'"), of("VARCHAR(30) CHARACTER SET ascii", "'abc'"), of("TEXT CHARACTER SET latin1", "x'80818d8f909d9fff'", "'é'"),
		of("VARCHAR(30) CHARACTER SET ucs2 COLLATE ucs2_bin", "x'd80000610100'", "'漢'"), of("VARCHAR(30) CHARACTER SET utf16 COLLATE utf16_bin", "'😀a'"), of("CHAR(9) CHARACTER SET utf32 COLLATE utf32_bin", "'😀a'"), of("VARCHAR(9) CHARACTER SET utf16le", "'😀a'"),
	}
	for set, values := range map[string][]string{
		"big5": {"x'a140a440'", "'漢字'"}, "gbk": {"x'8180fefe'", "'漢字'"}, "gb2312": {"'汉字'"}, "sjis": {"x'5c7e8197'", "'漢字'"}, "cp932": {"x'fa54ed408790'", "'漢字'"}, "ujis": {"x'8fa2b7a1c1'", "'漢字'"},
		"eucjpms": {"x'8ff3f3adb5'", "'漢字'"}, "euckr": {"'한글'"}, "latin2": {"'Łódź'"}, "latin5": {"'İğ'"}, "latin7": {"x'a1ff'"}, "cp1250": {"'Łódź'", "x'8183'"}, "cp1251": {"'Жук'", "x'98'"}, "cp1256": {"x'80ff'"},
		"cp1257": {"x'81a1'", "'ąž'"}, "cp850": {"'é│'"}, "cp852": {"'Ł'"}, "cp866": {"'Ж'"}, "koi8r": {"'Ж'"}, "koi8u": {"'Ї'"}, "greek": {"'Ω'", "x'd2'"}, "hebrew": {"'א'", "x'a1'"}, "tis620": {"'ก'", "x'80'"}, "armscii8": {"x'a1b2ff'"},
		"geostd8": {"x'c0e5'"}, "macroman": {"'é'"}, "macce": {"'Ł'"}, "keybcs2": {"'č'"}, "dec8": {"x'a0ff'"}, "hp8": {"x'a1b0ff'"}, "swe7": {"x'5b5c5d'"},
	} {
		columns = append(columns, of("VARCHAR(30) CHARACTER SET "+set, values...))
	}
	return append(columns,
		of("BINARY(9)", "x'00'", "x'61000000'", "x'ff'"), of("VARBINARY(300)", "x''", "x'0020'", "REPEAT(x'fe27', 150)"), of("LONGBLOB", "REPEAT(x'005c27ff', 20000)", "x''"),
		of("ENUM('a','','é')", "'a'", "''", "3"), of("SET('','a','b')", "0", "1", "2", "3", "7"), of("ENUM('Ж','0') CHARACTER SET cp1251", "1", "2"), valued{definition: "ENUM('a','')", values: []string{"'0'"}, only: "mysql"},
		of("GEOMETRY", "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1))')", "ST_GeomFromText('POINT(1 2)', 4326)"), of("POINT", "x'110f000001010000000000000000000040ffffffffffffef7f'"), of("MULTIPOLYGON", "ST_GeomFromText('MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))')"),
		valued{definition: "JSON", only: "mysql", values: []string{`'{"b": 1, "a": [1.5, 18446744073709551615, -0.0, 1.7976931348623157e308, 0.38235008560814987]}'`, `JSON_ARRAY(1.10, CAST(7 AS UNSIGNED), x'00ff', CAST('0000-00-00' AS DATE), TIMESTAMP'2024-01-02 03:04:05')`, `'null'`}},
		valued{definition: "UUID", only: "mariadb", values: []string{"'123e4567-e89b-12d3-a456-426655440000'", "'00000000-0000-0000-0000-000000000000'"}}, valued{definition: "INET6", only: "mariadb", values: []string{"'::1.2.3.4'", "'fe80::'"}}, valued{definition: "INET4", only: "mariadb", values: []string{"'1.2.3.0'"}},
		valued{definition: "TEXT COMPRESSED CHARACTER SET cp1251", only: "mariadb", values: []string{"REPEAT('Ж', 20000)", "''"}}, valued{definition: "VARBINARY(300) COMPRESSED", only: "mariadb", values: []string{"REPEAT(x'00', 300)", "x'01'"}},
		of("INT INVISIBLE", "7", "-7"),
	)
}

// TestTypes: rows with every type, written on both sides, travel to the other,
// are changed there and travel back; in the end both servers' binlogs have the
// same row images, byte for byte (promise 8). Half of the primary key is a
// date, of which Debezium's form makes one what is two keys.
func TestTypes(t *testing.T) { onEveryPair(t, testTypes) }

func testTypes(t *testing.T, e engines) {
	const each = 550 // rows of each side, with two dates each: 2,200
	p := newPairOf(t, e, "types", nil)
	var columns []valued
	create := "CREATE TABLE shop.types (id INT NOT NULL, day DATE NOT NULL, n INT NOT NULL, virt INT AS (n + 1) VIRTUAL, kept VARCHAR(20) CHARACTER SET ascii AS (CONCAT('x', n)) STORED"
	for _, c := range everyType() {
		if c.only != "" && c.only != e.name {
			continue
		}
		create += fmt.Sprintf(", c%d %s", len(columns), c.definition)
		columns = append(columns, c)
	}
	create += ", PRIMARY KEY (day, id), UNIQUE KEY (n, day, id)) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	var conns []*sql.Conn
	for _, s := range p.sides() {
		conn, err := s.mysql.DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, statement := range []string{"SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO'", create} {
			execOn(t, conn, statement)
		}
		conns = append(conns, conn)
	}
	processes := p.start("run")
	for i, conn := range conns {
		for first := 0; first < each; first += 50 {
			var inserts []string
			for row := first; row < first+50; row++ {
				inserts = append(inserts, insertEveryType(columns, i*each+row))
			}
			transact(t, conn, inserts...)
		}
	}
	for _, s := range p.sides() {
		eventually(t, stallLimit, func() error { return hasRows(s, "shop.types", 4*each) })
	}
	// Back: each side changes the rows of the other, one in three moves.
	for i, conn := range conns {
		from := (1 - i) * each
		transact(t, conn, fmt.Sprintf("UPDATE shop.types SET n = n + 1000000 WHERE id BETWEEN %d AND %d", from, from+each-1))
		transact(t, conn, fmt.Sprintf("UPDATE shop.types SET day = '2024-00-00' WHERE day = '0000-00-00' AND id %% 3 = 0 AND id BETWEEN %d AND %d", from, from+each-1))
	}
	for _, s := range p.sides() {
		eventually(t, stallLimit, func() error {
			var behind int
			if err := s.mysql.DB().QueryRow("SELECT COUNT(*) FROM shop.types WHERE n < 1000000 OR CAST(day AS CHAR) = '0000-00-00' AND id % 3 = 0").Scan(&behind); err != nil {
				return final(err)
			}
			if behind > 0 {
				return fmt.Errorf("%d rows of %s aren't changed yet", behind, s.region)
			}
			return nil
		})
	}
	stop(processes)
	compareStrings(t, p)
	dropGenerated(t, p, conns)
	east, west := rowImages(t, p.east, conns[0], len(columns)+3), rowImages(t, p.west, conns[1], len(columns)+3)
	if len(east) != 4*each || len(west) != 4*each {
		t.Errorf("%d images in east, %d in west", len(east), len(west))
	}
	different := 0
	for i := range min(len(east), len(west)) {
		if !bytes.Equal(east[i], west[i]) {
			if different++; different < 3 {
				at := 0
				for at < min(len(east[i]), len(west[i])) && east[i][at] == west[i][at] {
					at++
				}
				t.Errorf("image %d differs from byte %d on:\n%.200x\n%.200x", i, at, east[i][at:], west[i][at:])
			}
		}
	}
	t.Logf("%d columns, %d rows, %d images differ", len(columns)+3, len(east), different)
}

// dropGenerated compares the generated columns in SQL and drops them: MariaDB
// leaves them out of the binlog's images.
func dropGenerated(t *testing.T, p *pair, conns []*sql.Conn) {
	t.Helper()
	for i, s := range p.sides() {
		var wrong int
		if err := conns[i].QueryRowContext(t.Context(), "SELECT COUNT(*) FROM shop.types WHERE NOT (virt <=> n + 1 AND kept <=> CONCAT('x', n))").Scan(&wrong); err != nil || wrong > 0 {
			t.Fatalf("%d rows of %s have other values in generated columns, %v", wrong, s.region, err)
		}
		execOn(t, conns[i], "ALTER TABLE shop.types DROP COLUMN virt, DROP COLUMN kept")
	}
}

// insertEveryType inserts one row for each of two dates that are one date to
// Debezium.
func insertEveryType(columns []valued, row int) string {
	names, values := "", ""
	for i, c := range columns {
		value := "NULL"
		if (row+i)%5 != 0 {
			value = c.values[(row/5+row+i)%len(c.values)]
		}
		names, values = names+fmt.Sprintf(", c%d", i), values+", "+value
	}
	return fmt.Sprintf("INSERT INTO shop.types (id, day, n%s) VALUES (%d, '0000-00-00', %[2]d%s), (%[2]d, '1970-01-01', %[2]d%[3]s)", names, row, values)
}

func execOn(t *testing.T, conn *sql.Conn, statement string) {
	t.Helper()
	if _, err := conn.ExecContext(context.Background(), statement); err != nil {
		t.Fatalf("%.300s: %v", statement, err)
	}
}

// transact executes the statements in one transaction, from its beginning again
// where the server rolled it back because apply writes the same table at the
// same time: a lock wait, a deadlock, MariaDB's snapshot isolation.
func transact(t *testing.T, conn *sql.Conn, statements ...string) {
	t.Helper()
	once := func() error {
		for _, statement := range slices.Concat([]string{"BEGIN"}, statements, []string{"COMMIT"}) {
			if _, err := conn.ExecContext(context.Background(), statement); err != nil {
				return fmt.Errorf("%.300s: %w", statement, err)
			}
		}
		return nil
	}
	for {
		err := once()
		var fault *mysql.MySQLError
		if err == nil {
			return
		}
		if !errors.As(err, &fault) || !slices.Contains([]uint16{1020, 1205, 1213}, fault.Number) {
			t.Fatal(err)
		}
		execOn(t, conn, "ROLLBACK")
	}
}

// rowImages deletes the rows of shop.types one by one, by their key, and returns
// what the binlog has of each.
func rowImages(t *testing.T, s *side, conn *sql.Conn, columns int) [][]byte {
	t.Helper()
	rows, err := conn.QueryContext(t.Context(), "SELECT id, CAST(day AS CHAR) FROM shop.types ORDER BY day, id")
	if err != nil {
		t.Fatal(err)
	}
	var deletes []string
	for rows.Next() {
		var id int
		var day string
		if err := rows.Scan(&id, &day); err != nil {
			t.Fatal(err)
		}
		deletes = append(deletes, fmt.Sprintf("DELETE FROM shop.types WHERE id = %d AND day = '%s'", id, day))
	}
	rows.Close()
	var images [][]byte
	deletedImages(t, s, conn, "types", columns, deletes, func(image []byte) { images = append(images, bytes.Clone(image)) })
	return images
}

// deletedImages runs statements that each delete one row of a table of schema
// shop, and shows keep what the binlog has of each.
func deletedImages(t *testing.T, s *side, conn *sql.Conn, table string, columns int, deletes []string, keep func(image []byte)) {
	t.Helper()
	execOn(t, conn, "FLUSH BINARY LOGS")
	_, from := binlogRange(t, s.mysql)
	from.Pos = 4
	execOn(t, conn, "BEGIN")
	for _, statement := range deletes {
		execOn(t, conn, statement)
	}
	execOn(t, conn, "COMMIT")
	_, end := binlogRange(t, s.mysql)
	readImages(t, s.mysql, from, end, table, func(image []byte) {
		if columns%8 != 0 { // bits for no column: the servers differ in them
			image[(columns+7)/8-1] |= 0xff << (columns % 8)
		}
		keep(image)
	})
}

// readImages shows keep the data of the events that delete rows of a table.
func readImages(t *testing.T, m *testbed.MySQL, from, end gomysql.Position, table string, keep func(image []byte)) {
	t.Helper()
	stream, closed := openBinlog(t, m, from, func(ev *replication.RowsEvent, data []byte) error {
		pos, err := ev.DecodeHeader(data)
		if err == nil && string(ev.Table.Table) == table {
			keep(data[pos:])
		}
		return err
	})
	defer closed()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		ev, err := stream.GetEvent(ctx)
		if err != nil {
			t.Fatalf("reading the binlog of %s: %v", m.Name(), err)
		}
		if _, ok := ev.Event.(*replication.RotateEvent); !ok && ev.Header.LogPos >= end.Pos && ev.Header.EventType != replication.FORMAT_DESCRIPTION_EVENT {
			return
		}
	}
}
