package mysql_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
)

func loadShop(t *testing.T, server *testbed.MySQL) []*schemas.Table {
	t.Helper()
	tables, err := mysql.LoadTables(t.Context(), open(t, plainConfig(server), mysql.Reading), func(db, _ string) bool { return db == "shop" })
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// Columns as they are on every server; Native is checked apart, as servers
// write display widths or not.
func TestLoadTables(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		exec(t, server.DB(), "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "CREATE DATABASE other", "CREATE TABLE other.t (id INT PRIMARY KEY)",
			"CREATE VIEW shop.v AS SELECT 1",
			"CREATE TABLE shop.`order``s` ("+
				"`b` INT NOT NULL, `a` BIGINT UNSIGNED NOT NULL, ti TINYINT(1) NOT NULL, sm SMALLINT UNSIGNED ZEROFILL, me MEDIUMINT, de DECIMAL(65,30) UNSIGNED,"+
				" fl FLOAT, `do` DOUBLE, bi BIT(17), ye YEAR, da DATE, tm TIME(3), dt DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6), ts TIMESTAMP NULL,"+
				" ch CHAR(10), vc VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin DEFAULT (UPPER('x')), tt TINYTEXT, lt LONGTEXT CHARACTER SET ascii COLLATE ascii_bin,"+
				" bn BINARY(16), vb VARBINARY(17), bl MEDIUMBLOB,"+
				" en ENUM('a','it''s','x,y','back\\\\slash','é unsigned','new\nline') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, se SET('one','two)'),"+
				" ge GEOMETRY, gv INT GENERATED ALWAYS AS (b+1) VIRTUAL, gs INT GENERATED ALWAYS AS (b+2) STORED, hi INT INVISIBLE,"+
				" PRIMARY KEY (a, b), UNIQUE KEY u2 (vc, da), UNIQUE KEY u1 (ch(4), me), KEY k (tt(3))) ENGINE=InnoDB",
			"CREATE TABLE shop.plain (x INT) ENGINE=MyISAM",
			"CREATE TABLE shop.prefixed (c VARCHAR(100), PRIMARY KEY (c(10)))")
		tables := loadShop(t, server)
		if len(tables) != 3 || tables[0].Name != "order`s" || tables[1].Name != "plain" || tables[2].Name != "prefixed" {
			t.Fatalf("tables: %v", tables)
		}
		general, now := "utf8mb4_general_ci", "CURRENT_TIMESTAMP"
		want := []schemas.Column{
			{Name: "b", Type: schemas.Int}, {Name: "a", Type: schemas.BigInt, Unsigned: true}, {Name: "ti", Type: schemas.TinyInt},
			{Name: "sm", Type: schemas.SmallInt, Unsigned: true, Nullable: true}, {Name: "me", Type: schemas.MediumInt, Nullable: true},
			{Name: "de", Type: schemas.Decimal, Unsigned: true, Nullable: true, Precision: 65, Scale: 30},
			{Name: "fl", Type: schemas.Float, Nullable: true}, {Name: "do", Type: schemas.Double, Nullable: true}, {Name: "bi", Type: schemas.Bit, Nullable: true, Length: 17},
			{Name: "ye", Type: schemas.Year, Nullable: true}, {Name: "da", Type: schemas.Date, Nullable: true}, {Name: "tm", Type: schemas.Time, Nullable: true, Scale: 3},
			{Name: "dt", Type: schemas.DateTime, Nullable: true, Scale: 6, Default: true, Literal: &now}, {Name: "ts", Type: schemas.Timestamp, Nullable: true},
			{Name: "ch", Type: schemas.Char, Nullable: true, Length: 40, Charset: "utf8mb4", Collation: general},
			{Name: "vc", Type: schemas.VarChar, Nullable: true, Length: 20, Default: true, Charset: "latin1", Collation: "latin1_bin"},
			{Name: "tt", Type: schemas.Text, Nullable: true, Charset: "utf8mb4", Collation: general},
			{Name: "lt", Type: schemas.Text, Nullable: true, Charset: "ascii", Collation: "ascii_bin"},
			{Name: "bn", Type: schemas.Binary, Nullable: true, Length: 16}, {Name: "vb", Type: schemas.VarBinary, Nullable: true, Length: 17}, {Name: "bl", Type: schemas.Blob, Nullable: true},
			{Name: "en", Type: schemas.Enum, Charset: "utf8mb4", Collation: "utf8mb4_bin", Values: []string{"a", "it's", "x,y", `back\slash`, "é unsigned", "new\nline"}},
			{Name: "se", Type: schemas.Set, Nullable: true, Charset: "utf8mb4", Collation: general, Values: []string{"one", "two)"}},
			{Name: "ge", Type: schemas.Geometry, Nullable: true},
			{Name: "gv", Type: schemas.Int, Nullable: true, Generated: true}, {Name: "gs", Type: schemas.Int, Nullable: true, Generated: true},
			{Name: "hi", Type: schemas.Int, Nullable: true, Invisible: true},
		}
		orders := tables[0]
		if len(orders.Columns) != len(want) {
			t.Fatalf("%d columns, want %d", len(orders.Columns), len(want))
		}
		for i, c := range orders.Columns {
			if c.Native == "" || !strings.HasPrefix(strings.ToLower(c.Native), nativePrefix(c.Type)) {
				t.Errorf("column %s: native type %q", c.Name, c.Native)
			}
			c.Native = ""
			if !reflect.DeepEqual(c, want[i]) {
				t.Errorf("got  %+v\nwant %+v", c, want[i])
			}
		}
		if !reflect.DeepEqual(orders.Key, []int{1, 0}) || orders.Engine != "InnoDB" {
			t.Errorf("key %v, engine %s", orders.Key, orders.Engine)
		}
		if wantUnique := []schemas.Index{{Name: "u1", Columns: []int{4}, Partial: true}, {Name: "u2", Columns: []int{15, 10}}}; !reflect.DeepEqual(orders.Unique, wantUnique) {
			t.Errorf("unique keys %+v", orders.Unique)
		}
		if tables[1].Engine != "MyISAM" || tables[1].Key != nil {
			t.Errorf("%+v", tables[1])
		}
		if p := tables[2]; !reflect.DeepEqual(p.Key, []int{0}) || len(p.Unique) != 1 || p.Unique[0].Name != "PRIMARY" || !p.Unique[0].Partial {
			t.Errorf("prefixed: %+v", p)
		}
	})
}

// The servers show defaults in different ways, which LoadTable evens out.
func TestLiteralDefaults(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *testbed.MySQL) {
		columns := []struct{ definition, want string }{ // want: "-" without a literal
			{"INT NOT NULL", "-"}, {"INT DEFAULT NULL", "-"}, {"INT DEFAULT -7", "-7"}, {"INT DEFAULT (1 + 1)", "-"},
			{"DECIMAL(10,2) DEFAULT 1.5", "1.50"}, {"DOUBLE DEFAULT 0.25", "0.25"}, {"BIT(4) DEFAULT b'101'", "b'101'"},
			{"VARCHAR(20) DEFAULT 'NULL'", "NULL"}, {"VARCHAR(20) DEFAULT ''", ""}, {`VARCHAR(20) DEFAULT 'it''s "\\"\n'`, "it's \"\\\"\n"}, {"VARCHAR(40) DEFAULT (UUID())", "-"},
			{"VARCHAR(20) DEFAULT 'current_timestamp()'", "current_timestamp()"},
			{"VARBINARY(9) DEFAULT 'ab'", "0x6162"}, {"ENUM('a','b') DEFAULT 'b'", "b"},
			{"DATE DEFAULT '2020-02-29'", "2020-02-29"}, {"TIME(3) DEFAULT '-01:00:00'", "-01:00:00.000"}, {"DATETIME DEFAULT NOW() ON UPDATE NOW()", "CURRENT_TIMESTAMP"},
			{"TIMESTAMP NULL DEFAULT '2020-02-29 01:02:03'", "2020-02-29 01:02:03"}, {"INT AS (1) STORED", "-"}, {"FLOAT(7,2) DEFAULT 2.5", "2.50"},
		}
		var definitions []string
		for i, c := range columns {
			definitions = append(definitions, fmt.Sprintf("c%d %s", i, c.definition))
		}
		session, err := server.DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		for _, s := range []string{"CREATE DATABASE shop", "SET time_zone = '+00:00'", "CREATE TABLE shop.t (" + strings.Join(definitions, ", ") + ")"} {
			if _, err := session.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
		db := open(t, plainConfig(server), mysql.Reading)
		table, err := mysql.LoadTable(t.Context(), db, "shop", "t")
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range columns {
			got := "-"
			if l := table.Columns[i].Literal; l != nil {
				got = *l
			}
			if got != c.want {
				t.Errorf("%s: got %s, want %s (column %+v)", c.definition, got, c.want, table.Columns[i])
			}
		}
		if f := table.Columns[len(columns)-1]; f.Precision != 7 || f.Scale != 2 {
			t.Errorf("FLOAT(7,2) has precision %d, scale %d", f.Precision, f.Scale)
		}
		if none, err := mysql.LoadTable(t.Context(), db, "shop", "absent"); none != nil || err != nil {
			t.Errorf("a table that isn't there: %v, %v", none, err)
		}
	})
}

func nativePrefix(t schemas.Type) string {
	switch t {
	case schemas.Text, schemas.Blob:
		return "" // tinytext, mediumblob, …
	}
	return t.String()
}

// An expression has no column; only MySQL has such keys.
func TestLoadTablesFunctionalKey(t *testing.T) {
	for _, version := range []testbed.Part{testbed.MySQL97, testbed.MySQL80} {
		t.Run(string(version), func(t *testing.T) {
			server := bed.SharedMySQL(t, version, "")
			exec(t, server.DB(), "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, a VARCHAR(10), UNIQUE KEY low ((LOWER(a)), id), j JSON)")
			table := loadShop(t, server)[0]
			if want := []schemas.Index{{Name: "low", Columns: []int{0}, Partial: true}}; !reflect.DeepEqual(table.Unique, want) {
				t.Errorf("got %+v", table.Unique)
			}
			if len(table.Columns) != 3 || table.Columns[2].Type != schemas.JSON || table.Columns[2].Charset != "" {
				t.Errorf("columns %+v", table.Columns)
			}
		})
	}
}

func TestLoadTablesOfMariaDB(t *testing.T) {
	server := bed.SharedMySQL(t, testbed.MariaDB118, "")
	exec(t, server.DB(), "CREATE DATABASE shop", "CREATE TABLE shop.t (id UUID PRIMARY KEY, i INET6, v VECTOR(3), z VARCHAR(9) COMPRESSED)")
	c := loadShop(t, server)[0].Columns
	if c[0].Type != schemas.UUID || c[0].Native != "uuid" || c[1].Type != schemas.INET6 || c[2].Type != schemas.Vector || !strings.Contains(c[3].Native, "COMPRESSED") {
		t.Errorf("columns %+v", c)
	}
}
