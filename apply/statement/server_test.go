package statement

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"duplex/config"
	"duplex/internal/testbed"
	"duplex/mysql"
	"duplex/schemas"
)

// typed is one column type with values: as they stand on the wire, and as the
// server has to show them.
type typed struct {
	native string // in CREATE TABLE
	column schemas.Column
	show   string // expression that shows v exactly; v itself if empty
	values []shown
	noKey  bool // the type can't be a primary key
}

type shown struct {
	wire []byte
	text string
}

func long(vs ...int64) (out []shown) {
	for _, v := range vs {
		out = append(out, shown{schemas.AppendLong(nil, v), strconv.FormatInt(v, 10)})
	}
	return out
}

func wall(texts map[int64]string) (out []shown) {
	for v, text := range texts {
		out = append(out, shown{schemas.AppendLong(nil, v), text})
	}
	return out
}

// plainStrings are shown as they are on the wire; what is shown is in hex
// where the expression says so.
func plainStrings(values ...string) (out []shown) {
	for _, v := range values {
		out = append(out, shown{schemas.AppendString(nil, v), v})
	}
	return out
}

func inHex(values ...string) (out []shown) {
	for _, v := range values {
		out = append(out, shown{schemas.AppendString(nil, v), strings.ToUpper(hex.EncodeToString([]byte(v)))})
	}
	return out
}

func doubles(r *rand.Rand) (out []shown) {
	for _, v := range []float64{0, math.Copysign(0, -1), 1, 0.1, -math.MaxFloat64, 2.2250738585072014e-308, math.Pi, 1e22, 9007199254740993} {
		out = append(out, shown{schemas.AppendDouble(nil, v), strconv.FormatFloat(v, 'e', -1, 64)})
	}
	for range 50 {
		if v := math.Float64frombits(r.Uint64()); !math.IsNaN(v) && !math.IsInf(v, 0) && math.Abs(v) > 3e-308 {
			out = append(out, shown{schemas.AppendDouble(nil, v), strconv.FormatFloat(v, 'e', -1, 64)})
		}
	}
	return out
}

func floats(r *rand.Rand) (out []shown) {
	for _, v := range []float32{0, 1, 0.1, 16777216, math.MaxFloat32, 1.17549435e-38, -3.4028233e38} {
		out = append(out, shown{schemas.AppendFloat(nil, v), strconv.FormatFloat(float64(v), 'e', -1, 64)})
	}
	for range 50 {
		if v := math.Float32frombits(r.Uint32()); !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) && math.Abs(float64(v)) > 1.2e-38 {
			out = append(out, shown{schemas.AppendFloat(nil, v), strconv.FormatFloat(float64(v), 'e', -1, 64)})
		}
	}
	return out
}

func decimals(values ...string) (out []shown) {
	for _, text := range values {
		out = append(out, shown{schemas.AppendBytes(nil, twosComplement(strings.Replace(text, ".", "", 1))), text})
	}
	return out
}

func bitValues(n int, values ...uint64) (out []shown) {
	for _, v := range values {
		wire := binary.LittleEndian.AppendUint64(nil, v)[:(n+7)/8]
		out = append(out, shown{schemas.AppendBytes(nil, wire), strconv.FormatUint(v, 10)})
	}
	return out
}

const hostile = "it's \\ \"quoted\" `x` \x00\x01\n\r\t\x1a;-- /* ? %s é € 😀 \u0085"

func allTypes() []typed {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	const hexText = "HEX(CONVERT(v USING utf8mb4))"
	column := func(t schemas.Type, length, precision, scale int) schemas.Column {
		return schemas.Column{Type: t, Length: length, Precision: precision, Scale: scale}
	}
	unsigned := func(t schemas.Type) schemas.Column { return schemas.Column{Type: t, Unsigned: true} }
	return []typed{
		{native: "TINYINT", column: column(schemas.TinyInt, 0, 0, 0), values: long(-128, 0, 127)},
		{native: "INT UNSIGNED ZEROFILL", column: unsigned(schemas.Int), show: "v+0", values: long(0, 42, 4294967295)},
		{native: "BIGINT", column: column(schemas.BigInt, 0, 0, 0), values: long(math.MinInt64, -1, 0, math.MaxInt64)},
		{native: "BIGINT UNSIGNED", column: unsigned(schemas.BigInt), values: decimals("0", "9223372036854775808", "18446744073709551615")},
		{native: "DECIMAL(65,30)", column: column(schemas.Decimal, 0, 65, 30), values: decimals("0.000000000000000000000000000000",
			"99999999999999999999999999999999999.999999999999999999999999999999", "-99999999999999999999999999999999999.999999999999999999999999999999", "-0.000000000000000000000000000001")},
		{native: "DECIMAL(5,2)", column: column(schemas.Decimal, 0, 5, 2), values: decimals("0.05", "-0.05", "-1.28", "327.68", "-999.99")},
		{native: "DECIMAL(10,0)", column: column(schemas.Decimal, 0, 10, 0), values: decimals("0", "-1", "9999999999")},
		{native: "FLOAT", column: column(schemas.Float, 0, 0, 0), show: "v+0e0", values: floats(r)},
		{native: "DOUBLE", column: column(schemas.Double, 0, 0, 0), values: doubles(r)},
		{native: "BIT(1)", column: column(schemas.Bit, 1, 0, 0), show: "v+0", values: []shown{{[]byte{0}, "0"}, {[]byte{1}, "1"}}},
		{native: "BIT(13)", column: column(schemas.Bit, 13, 0, 0), show: "v+0", values: bitValues(13, 0, 1, 256, 8191)},
		{native: "BIT(64)", column: column(schemas.Bit, 64, 0, 0), show: "v+0", values: bitValues(64, 0, 1<<63, math.MaxUint64)},
		{native: "YEAR", column: column(schemas.Year, 0, 0, 0), show: "CONCAT(v)", values: wall(map[int64]string{0: "0000", 1901: "1901", 2000: "2000", 2001: "2001", 2155: "2155"})},
		{native: "DATE", column: column(schemas.Date, 0, 0, 0), values: wall(map[int64]string{0: "1970-01-01", -1: "1969-12-31", 19782: "2024-02-29", daysTo10000 - 1: "9999-12-31", -719162: "0001-01-01"})},
		{native: "TIME(6)", column: column(schemas.Time, 0, 0, 6), values: wall(map[int64]string{0: "00:00:00.000000", -1: "-00:00:00.000001", 3020399 * 1e6: "838:59:59.000000", -3020399 * 1e6: "-838:59:59.000000", 3723000004: "01:02:03.000004"})},
		{native: "TIME", column: column(schemas.Time, 0, 0, 0), values: wall(map[int64]string{0: "00:00:00", -3020399 * 1e6: "-838:59:59"})},
		{native: "DATETIME", column: column(schemas.DateTime, 0, 0, 0), values: wall(map[int64]string{0: "1970-01-01 00:00:00", 253402300799000: "9999-12-31 23:59:59"})},
		{native: "DATETIME(3)", column: column(schemas.DateTime, 0, 0, 3), values: wall(map[int64]string{-1: "1969-12-31 23:59:59.999"})},
		{native: "DATETIME(6)", column: column(schemas.DateTime, 0, 0, 6), values: wall(map[int64]string{-1: "1969-12-31 23:59:59.999999", 253402300799999999: "9999-12-31 23:59:59.999999"})},
		{native: "TIMESTAMP(2)", column: column(schemas.Timestamp, 0, 0, 2), values: []shown{
			{schemas.AppendString(nil, "1970-01-01T00:00:01.00Z"), "1970-01-01 00:00:01.00"}, {schemas.AppendString(nil, "2038-01-19T03:14:07.99Z"), "2038-01-19 03:14:07.99"},
			{schemas.AppendString(nil, "2024-10-27T00:30:00.50Z"), "2024-10-27 00:30:00.50"}, {schemas.AppendString(nil, "2024-10-27T01:30:00.50Z"), "2024-10-27 01:30:00.50"}}},
		{native: "CHAR(60) CHARACTER SET utf8mb4", column: column(schemas.Char, 240, 0, 0), show: hexText, values: inHex("", "a", "A", hostile)},
		{native: "VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", column: column(schemas.VarChar, 400, 0, 0), show: hexText, values: inHex("", " a b", "A", "é", hostile)},
		{native: "VARCHAR(100) CHARACTER SET latin1", column: column(schemas.VarChar, 100, 0, 0), show: hexText, values: inHex("", "é€\u0081ÿ'\\")},
		{native: "VARCHAR(100) CHARACTER SET ascii", column: column(schemas.VarChar, 100, 0, 0), show: hexText, values: inHex("", "a\x00'\\\x7f")},
		{native: "MEDIUMTEXT CHARACTER SET utf8mb4", noKey: true, column: column(schemas.Text, 0, 0, 0), show: hexText, values: inHex("", strings.Repeat(hostile, 3000))},
		{native: "BINARY(4)", column: column(schemas.Binary, 4, 0, 0), show: "HEX(v)", values: inHex("\x00\x00\x00\x00", "a\x00\x00\x00", "\xff'\\\x00")},
		{native: "VARBINARY(300)", column: column(schemas.VarBinary, 300, 0, 0), show: "HEX(v)", values: inHex("", "\x00", "a ", string(all))},
		{native: "LONGBLOB", noKey: true, column: column(schemas.Blob, 0, 0, 0), show: "HEX(v)", values: inHex("", strings.Repeat(string(all), 500))},
		{native: "ENUM('a','b''c','é,\\\\')", column: column(schemas.Enum, 0, 0, 0), values: plainStrings("", "a", "b'c", `é,\`)},
		{native: "SET('a','b','é')", column: column(schemas.Set, 0, 0, 0), values: plainStrings("", "a", "a,é", "a,b,é")},
		{native: "JSON", noKey: true, column: column(schemas.JSON, 0, 0, 0), values: plainStrings(`{"a": "it's \\ \"q\" é😀"}`, `[1, -1, 1.5, 1.0, 18446744073709551615, null, true]`, `"x"`, `null`, jsonNumbers())},
	}
}

// jsonNumbers is a document of doubles that MySQL 8.0 reads wrongly from a
// text, deep in objects and arrays with awkward names, as servers print it.
func jsonNumbers() string {
	r := rand.New(rand.NewPCG(7, 7))
	list := []string{"1.7976931348623157e308", "-2.2250738585072014e-308", "9.007199254740992e15", "0.1", "12"}
	for range 500 {
		v := math.Abs(r.NormFloat64())
		if v > 1e-3 {
			list = append(list, strconv.FormatFloat(v, 'f', -1, 64))
		}
	}
	all := strings.Join(list, ", ")
	return `{"": 0.38235008560814987, "{]\n": 1.5637707953656421, "a\"'\\": [[], {}, {"é.[0]": {"$": [` + all + `]}}, 0.9411703007599073, "0.9411703007599073"]}`
}

// differAt returns where two texts begin to differ.
func differAt(a, b string) int {
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	return at
}

// twosComplement turns decimal digits into the bytes of a decimal on the wire.
func twosComplement(digits string) []byte {
	n, ok := newInt(digits)
	if !ok {
		panic("no number: " + digits)
	}
	for size := 1; ; size++ {
		if b, ok := fixed(n, size); ok {
			return b
		}
	}
}

func serversUnderTest() []testbed.Part {
	return []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118}
}

// without leaves out the values that a server has no way to hold: MariaDB
// stores minus zero as zero, and has no invalid ENUM in strict mode.
func (typ *typed) without(part testbed.Part) *typed {
	if part != testbed.MariaDB1011 && part != testbed.MariaDB118 {
		return typ
	}
	less := *typ
	less.values = nil
	for _, v := range typ.values {
		if v.text != negativeZero && (typ.column.Type != schemas.Enum || v.text != "") {
			less.values = append(less.values, v)
		}
	}
	return &less
}

func dialectOf(m *testbed.MySQL) Dialect {
	if m.IsMariaDB() {
		return MariaDB
	}
	return MySQL
}

// openApply opens the session that apply uses, on one connection.
func openApply(t *testing.T, m *testbed.MySQL) *sql.Conn {
	t.Helper()
	db, err := mysql.Open(config.MySQL{Address: m.Addr, User: "root", TLS: config.TLS{Mode: config.TLSOff}}, mysql.Applying)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	mustExec(t, conn, "CREATE DATABASE d")
	return conn
}

func mustExec(t testing.TB, conn *sql.Conn, statement string) int64 {
	t.Helper()
	result, err := conn.ExecContext(context.Background(), statement)
	if err != nil {
		t.Fatalf("%.500s: %v", statement, err)
	}
	n, _ := result.RowsAffected()
	return n
}

// loadTable returns the table as the target's information_schema has it.
func loadTable(t *testing.T, conn *sql.Conn, m *testbed.MySQL, name string) *schemas.Table {
	t.Helper()
	tables, err := mysql.LoadTables(t.Context(), m.DB(), func(db, table string) bool { return db == "d" && table == name })
	if err != nil || len(tables) != 1 {
		t.Fatalf("loading table %s: %d tables, %v", name, len(tables), err)
	}
	return tables[0]
}

// Every value of every type has to arrive exactly, by INSERT and by upsert.
func TestValuesOnServers(t *testing.T) {
	for _, part := range serversUnderTest() {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			m := testbed.New(t).MySQL(t, part)
			conn := openApply(t, m)
			for i, typ := range allTypes() {
				t.Run(typ.native, func(t *testing.T) { checkType(t, m, conn, fmt.Sprintf("t%d", i), typ.without(part)) })
			}
		})
	}
}

func checkType(t *testing.T, m *testbed.MySQL, conn *sql.Conn, name string, typ *typed) {
	mustExec(t, conn, fmt.Sprintf("CREATE TABLE d.%s (id INT PRIMARY KEY, v %s)", name, typ.native))
	source := typ.column
	source.Name, source.Nullable = "v", true
	value, key := records(t, &schemas.Table{DB: "d", Name: name, Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.Int}, source}})
	b, err := Compile(value, key, loadTable(t, conn, m, name), dialectOf(m))
	if err != nil {
		t.Fatal(err)
	}
	rows := [][]byte{append(schemas.AppendLong(nil, 0), 0)}
	for i, v := range typ.values {
		row := append(schemas.AppendLong(nil, int64(i+1)), 2)
		rows = append(rows, append(row, v.wire...))
	}
	show := typ.show
	if show == "" {
		show = "v"
	}
	check := func(verb string, statement []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, conn, string(statement))
		got := query(t, conn, fmt.Sprintf("SELECT %s FROM d.%s ORDER BY id", show, name))
		if len(got) != len(rows) || got[0][0] != nil {
			t.Fatalf("%s: %d of %d rows, the first %q", verb, len(got), len(rows), got[0])
		}
		for i, v := range typ.values {
			if text := canonical(typ, got[i+1][0]); text != v.text {
				at := differAt(text, v.text)
				t.Errorf("%s: %.80q arrives, %.80q was sent, from byte %d on", verb, text[at:], v.text[at:], at)
			}
		}
	}
	statement, err := b.AppendInsert(nil, rows)
	check("INSERT", statement, err)
	mustExec(t, conn, fmt.Sprintf("UPDATE d.%s SET v = NULL", name))
	statement, err = b.AppendUpsert(nil, rows)
	check("upsert of rows that exist", statement, err)
	mustExec(t, conn, fmt.Sprintf("DELETE FROM d.%s", name))
	check("upsert of new rows", statement, err)
}

// canonical makes numbers that may be printed in several ways comparable.
func canonical(typ *typed, text []byte) string {
	if typ.column.Type == schemas.Float || typ.column.Type == schemas.Double {
		if v, err := strconv.ParseFloat(string(text), 64); err == nil {
			return strconv.FormatFloat(v, 'e', -1, 64)
		}
	}
	return string(text)
}

func query(t testing.TB, conn *sql.Conn, statement string) (out [][][]byte) {
	t.Helper()
	rows, err := conn.QueryContext(context.Background(), statement)
	if err != nil {
		t.Fatalf("%.500s: %v", statement, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		raw, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range raw {
			into[i] = &raw[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		row := make([][]byte, len(columns))
		for i := range raw {
			row[i] = bytes.Clone(raw[i])
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Rows are found by their key, whatever its type; the text of a found key is
// that of the key asked for; and DELETE removes all of them.
func TestKeysOnServers(t *testing.T) {
	for _, part := range serversUnderTest() {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			m := testbed.New(t).MySQL(t, part)
			conn := openApply(t, m)
			for i, typ := range allTypes() {
				if !typ.noKey {
					t.Run(typ.native, func(t *testing.T) { checkKeyType(t, m, conn, fmt.Sprintf("k%d", i), typ.without(part)) })
				}
			}
		})
	}
}

func checkKeyType(t *testing.T, m *testbed.MySQL, conn *sql.Conn, name string, typ *typed) {
	mustExec(t, conn, fmt.Sprintf("CREATE TABLE d.%s (v %s, n INT, PRIMARY KEY (n, v))", name, typ.native))
	source := typ.column
	source.Name = "v"
	number := schemas.Column{Name: "n", Type: schemas.Int}
	value, key := records(t, &schemas.Table{DB: "d", Name: name, Key: []int{1, 0}, Columns: []schemas.Column{source, number}})
	b, err := Compile(value, key, loadTable(t, conn, m, name), dialectOf(m))
	if err != nil {
		t.Fatal(err)
	}
	var rows, keys [][]byte
	want, same := map[string]bool{}, map[string]bool{} // key texts, and keys in the index
	for i, v := range typ.values {
		n := schemas.AppendLong(nil, int64(i))
		rows = append(rows, append(bytes.Clone(v.wire), n...))
		keys = append(keys, append(n, v.wire...))
		text, err := b.AppendKeyText(nil, keys[i])
		if err != nil {
			t.Fatal(err)
		}
		want[string(text)] = true
		coarse, err := b.AppendConflictKey(nil, keys[i])
		if err != nil {
			t.Fatal(err)
		}
		same[string(coarse)] = true
	}
	statement, err := b.AppendInsert(nil, rows)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, string(statement))
	if statement, err = b.AppendSelectKeys(nil, keys); err != nil {
		t.Fatal(err)
	}
	found := query(t, conn, string(statement))
	if len(found) != len(keys) {
		t.Errorf("%d of %d rows are found", len(found), len(keys))
	}
	for _, cols := range found {
		text, err := b.AppendKeyTextFromResult(nil, cols)
		if err != nil || !want[string(text)] {
			t.Errorf("the server gives %q, which becomes %q, %v", cols, text, err)
		}
		delete(want, string(text))
		if coarse, err := b.AppendConflictKeyFromResult(nil, cols); err != nil || b.Shown() && !same[string(coarse)] {
			t.Errorf("the server gives %q, which in the index becomes %q, %v", cols, coarse, err)
		}
	}
	if statement, err = b.AppendDelete(nil, keys); err != nil {
		t.Fatal(err)
	}
	if n := mustExec(t, conn, string(statement)); n != int64(len(keys)) {
		t.Errorf("%d of %d rows are deleted", n, len(keys))
	}
}

// Who has a unique value is found by it, whatever its type, and what its key then is in
// the index is what it was from the topics.
func TestHoldersOnServers(t *testing.T) {
	for _, part := range serversUnderTest() {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			m := testbed.New(t).MySQL(t, part)
			conn := openApply(t, m)
			for i, typ := range allTypes() {
				if !typ.noKey && typ.column.Type != schemas.Float { // a literal of which equals no FLOAT
					t.Run(typ.native, func(t *testing.T) { checkHolder(t, m, conn, fmt.Sprintf("h%d", i), typ.without(part)) })
				}
			}
		})
	}
}

func checkHolder(t *testing.T, m *testbed.MySQL, conn *sql.Conn, name string, typ *typed) {
	mustExec(t, conn, fmt.Sprintf("CREATE TABLE d.%s (v %s NOT NULL, n INT PRIMARY KEY, m INT, UNIQUE (v), UNIQUE (m, v))", name, typ.native))
	source := typ.column
	source.Name = "v"
	number, nullable := schemas.Column{Name: "n", Type: schemas.Int}, schemas.Column{Name: "m", Type: schemas.Int, Nullable: true}
	value, key := records(t, &schemas.Table{DB: "d", Name: name, Key: []int{1}, Columns: []schemas.Column{source, number, nullable}})
	b, err := Compile(value, key, loadTable(t, conn, m, name), dialectOf(m))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range typ.values {
		n := schemas.AppendLong(nil, int64(i))
		row := append(append(bytes.Clone(v.wire), n...), append([]byte{2}, schemas.AppendLong(nil, 7)...)...)
		statement, err := b.AppendInsert(nil, [][]byte{row})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(t.Context(), string(statement)); err != nil {
			continue // equal to another value, by its collation
		}
		want, err := b.AppendConflictKey(nil, n)
		if err != nil {
			t.Fatal(err)
		}
		for u := range b.Unique() {
			text, null, err := b.AppendSelectHolder(nil, u, row)
			if null || err != nil {
				t.Fatalf("null %t, %v", null, err)
			}
			found := query(t, conn, string(text))
			if len(found) != 1 {
				t.Fatalf("%d rows by %s", len(found), text)
			}
			if _, null, err := b.AppendSelectHolder(nil, u, append(append(bytes.Clone(v.wire), n...), 0)); null != (len(b.Unique()[u].Fields) == 2) || err != nil {
				t.Errorf("a row with a NULL: null %t, %v", null, err)
			}
			if got, err := b.AppendConflictKeyFromResult(nil, found[0]); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s gives key %q, %v; want %q", text, got, err, want)
			}
		}
		if i%2 == 1 {
			continue
		}
		text, _, err := b.AppendDeleteHolder(nil, 0, row)
		if err != nil {
			t.Fatal(err)
		}
		if n := mustExec(t, conn, string(text)); n != 1 {
			t.Errorf("%d rows deleted by %s", n, text)
		}
	}
}

// A batch finds its rows by the primary key, never by reading the table: with
// FOR UPDATE that would lock all of it.
func TestKeysAreLookedUp(t *testing.T) {
	for _, part := range serversUnderTest() {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			m := testbed.New(t).MySQL(t, part)
			conn := openApply(t, m)
			for name, key := range map[string]string{"t": "a, b", "one": "b"} {
				for _, charset := range []string{"utf8mb4", "latin1"} {
					t.Run(name+" "+charset, func(t *testing.T) { checkLookup(t, m, conn, name+charset, charset, key) })
				}
			}
		})
	}
}

func checkLookup(t *testing.T, m *testbed.MySQL, conn *sql.Conn, name, charset, key string) {
	mustExec(t, conn, fmt.Sprintf("CREATE TABLE d.%s (a INT, b VARCHAR(20) CHARACTER SET %s, n INT, PRIMARY KEY (%s))", name, charset, key))
	b := bind(t, loadTable(t, conn, m, name), dialectOf(m))
	var rows, keys [][]byte
	for i := range 20000 {
		number, text := schemas.AppendLong(nil, int64(i%100)), schemas.AppendString(nil, fmt.Sprint("é€", i))
		nullable := number
		if key == "b" {
			nullable = append([]byte{2}, number...) // a is no part of the key
		}
		rows = append(rows, append(append(nullable, text...), 0))
		if i%10 == 0 {
			if key == "b" {
				number = nil
			}
			keys = append(keys, append(number, text...))
		}
	}
	statement, err := b.AppendInsert(nil, rows)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, string(statement))
	mustExec(t, conn, "ANALYZE TABLE d."+name)
	for verb, write := range map[string]func([]byte, [][]byte) ([]byte, error){"SELECT": b.AppendSelectKeys, "DELETE": b.AppendDelete} {
		for _, n := range []int{1, 2, 30, len(keys)} {
			statement, err := write([]byte("EXPLAIN FORMAT=TRADITIONAL "), keys[:n])
			if err != nil {
				t.Fatal(err)
			}
			plan := ""
			for _, step := range query(t, conn, string(statement)) {
				plan += string(bytes.Join(step, []byte(" "))) + "\n"
			}
			// MariaDB may join with the list instead: then the table is read by eq_ref.
			if !regexp.MustCompile(" (range|eq_ref|const) PRIMARY ").MatchString(plan) {
				t.Errorf("%s of %d keys: %s", verb, n, plan)
			}
		}
	}
	if statement, err = b.AppendSelectKeys(nil, keys); err != nil {
		t.Fatal(err)
	}
	if found := query(t, conn, string(statement)); len(found) != len(keys) {
		t.Errorf("SELECT finds %d of %d rows", len(found), len(keys))
	}
	if statement, err = b.AppendDelete(nil, keys); err != nil {
		t.Fatal(err)
	}
	if n := mustExec(t, conn, string(statement)); n != int64(len(keys)) {
		t.Errorf("DELETE finds %d of %d rows", n, len(keys))
	}
}
