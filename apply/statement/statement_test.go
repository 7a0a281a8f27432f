package statement

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"duplex/schemas"
)

// records returns the row and key types that capture would write for a table.
func records(t testing.TB, table *schemas.Table) (value, key *schemas.Record) {
	t.Helper()
	text, err := schemas.EnvelopeSchema(table, "east", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := schemas.ParseEnvelope(text)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = schemas.KeySchema(table, "east"); err != nil {
		t.Fatal(err)
	}
	if key, err = schemas.ParseKey(text); err != nil {
		t.Fatal(err)
	}
	return envelope.Value, key
}

// bind compiles a Binder between equal tables.
func bind(t testing.TB, table *schemas.Table, dialect Dialect) *Binder {
	t.Helper()
	value, key := records(t, table)
	b, err := Compile(value, key, table, dialect)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func orders() *schemas.Table {
	return &schemas.Table{DB: "shop", Name: "orders", Key: []int{0, 1}, Columns: []schemas.Column{
		{Name: "region", Type: schemas.Char, Length: 8, Charset: "utf8mb4", Collation: "utf8mb4_0900_ai_ci"},
		{Name: "id", Type: schemas.BigInt, Unsigned: true},
		{Name: "no`te", Type: schemas.VarChar, Nullable: true, Collation: "utf8mb4_bin"},
		{Name: "total", Type: schemas.Decimal, Precision: 10, Scale: 2, Generated: true, Nullable: true},
	}, Unique: []schemas.Index{{Name: "u", Columns: []int{2}}}}
}

func orderRow(region string, id byte, note string) []byte {
	row := schemas.AppendString(nil, region)
	row = schemas.AppendBytes(row, []byte{id})
	if note == "" {
		row = append(row, 0)
	} else {
		row = schemas.AppendString(append(row, 2), note)
	}
	return schemas.AppendBytes(append(row, 2), []byte{5})
}

func orderKey(region string, id byte) []byte {
	return schemas.AppendBytes(schemas.AppendString(nil, region), []byte{id})
}

func TestStatements(t *testing.T) {
	rows := [][]byte{orderRow("eu", 7, "it's"), orderRow("us", 8, "")}
	keys := [][]byte{orderKey("eu", 7), orderKey("us", 8)}
	const values = "INSERT INTO `shop`.`orders` (`region`,`id`,`no``te`) VALUES ('eu',7,'it\\'s'),('us',8,NULL)"
	for _, tt := range []struct {
		dialect                       Dialect
		insert, upsert, delete, locks string
	}{
		{MySQL, values, values + " AS duplex_row ON DUPLICATE KEY UPDATE `region`=duplex_row.`region`,`id`=duplex_row.`id`,`no``te`=duplex_row.`no``te`",
			"DELETE /*+ SET_VAR(range_optimizer_max_mem_size=0) */ FROM `shop`.`orders` WHERE (`region`,`id`) IN (('eu',7),('us',8))",
			"SELECT /*+ SET_VAR(range_optimizer_max_mem_size=0) */ `region`,`id` FROM `shop`.`orders` WHERE (`region`,`id`) IN (('eu',7),('us',8)) FOR UPDATE"},
		{MariaDB, values, values + " ON DUPLICATE KEY UPDATE `region`=VALUES(`region`),`id`=VALUES(`id`),`no``te`=VALUES(`no``te`)",
			"DELETE FROM `shop`.`orders` WHERE (`region`,`id`) IN (('eu',7),('us',8))",
			"SELECT `region`,`id` FROM `shop`.`orders` WHERE (`region`,`id`) IN (('eu',7),('us',8)) FOR UPDATE"},
	} {
		b := bind(t, orders(), tt.dialect)
		for _, got := range []struct {
			want string
			text func() ([]byte, error)
		}{
			{tt.insert, func() ([]byte, error) { return b.AppendInsert(nil, rows) }},
			{tt.upsert, func() ([]byte, error) { return b.AppendUpsert(nil, rows) }},
			{tt.delete, func() ([]byte, error) { return b.AppendDelete(nil, keys) }},
			{tt.locks, func() ([]byte, error) { return b.AppendSelectKeys(nil, keys) }},
		} {
			text, err := got.text()
			if err != nil || string(text) != got.want {
				t.Errorf("\n got %s, %v\nwant %s", text, err, got.want)
			}
		}
	}
}

// TestWideStatements: large values, and no others, become placeholders.
func TestWideStatements(t *testing.T) {
	b := bind(t, orders(), MySQL)
	note := strings.Repeat("it's? ", 1000)
	const values = "INSERT INTO `shop`.`orders` (`region`,`id`,`no``te`) VALUES ('e?u',7,"
	for _, tt := range []struct {
		row    []byte
		append func(dst, row []byte) ([]byte, []WideValue, error)
		want   string
		values []string
	}{
		{orderRow("e?u", 7, note), b.AppendWideInsert, values + "?)", []string{note}},
		{orderRow("e?u", 7, "short"), b.AppendWideInsert, values + "'short')", nil},
		{orderRow("e?u", 7, note), b.AppendWideUpsert, values + "?) AS duplex_row ON DUPLICATE KEY UPDATE `region`=duplex_row.`region`,`id`=duplex_row.`id`,`no``te`=duplex_row.`no``te`", []string{note}},
	} {
		text, wide, err := tt.append(nil, tt.row)
		var got []string
		for _, v := range wide {
			got = append(got, string(v.Value))
		}
		if err != nil || string(text) != tt.want || !slices.Equal(got, tt.values) {
			t.Errorf("\n got %s, %d values, %v\nwant %s", text, len(got), err, tt.want)
		}
	}
}

// MariaDB misses rows when a row constructor holds text of another character
// set than the column's.
func TestMariaDBComparesForeignTextByColumn(t *testing.T) {
	table := orders()
	table.Columns[0].Charset = "latin1"
	got, err := bind(t, table, MariaDB).AppendDelete(nil, [][]byte{orderKey("eu", 7), orderKey("us", 8)})
	if want := "DELETE FROM `shop`.`orders` WHERE (`region`='eu' AND `id`=7) OR (`region`='us' AND `id`=8)"; err != nil || string(got) != want {
		t.Errorf("\n got %s, %v\nwant %s", got, err, want)
	}
}

func TestExactKeyIsNotUpdated(t *testing.T) {
	table := &schemas.Table{DB: "d", Name: "DUPLEX_ROW", Key: []int{0}, Columns: []schemas.Column{{Name: "id", Type: schemas.Int}, {Name: "n", Type: schemas.Int, Nullable: true}}}
	b := bind(t, table, MySQL)
	got, err := b.AppendUpsert(nil, [][]byte{{2, 0}})
	if want := "INSERT INTO `d`.`DUPLEX_ROW` (`id`,`n`) VALUES (1,NULL) AS duplex_new_row ON DUPLICATE KEY UPDATE `n`=duplex_new_row.`n`"; err != nil || string(got) != want || !b.ExactKey() {
		t.Errorf("got %s, %v", got, err)
	}
	table.Columns = table.Columns[:1]
	got, err = bind(t, table, MySQL).AppendUpsert(nil, [][]byte{{2}})
	if want := "INSERT INTO `d`.`DUPLEX_ROW` (`id`) VALUES (1) AS duplex_new_row ON DUPLICATE KEY UPDATE `id`=duplex_new_row.`id`"; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	got, err = bind(t, table, MySQL).AppendSelectKeys(nil, [][]byte{{2}, {3}})
	if want := "SELECT /*+ SET_VAR(range_optimizer_max_mem_size=0) */ `id` FROM `d`.`DUPLEX_ROW` WHERE `id` IN (1,-2) FOR UPDATE"; err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestCompileNamesWhatDoesNotFit(t *testing.T) {
	source := &schemas.Table{DB: "d", Name: "t", Key: []int{0}, Columns: []schemas.Column{
		{Name: "id", Type: schemas.Int}, {Name: "price", Type: schemas.Decimal, Precision: 10, Scale: 2}, {Name: "at", Type: schemas.DateTime, Scale: 6}}}
	value, key := records(t, source)
	target := &schemas.Table{DB: "d", Name: "t", Key: []int{1}, Columns: []schemas.Column{
		{Name: "ID", Type: schemas.BigInt}, {Name: "PRICE", Type: schemas.Decimal, Precision: 10, Scale: 1, Native: "decimal(10,1)"}, {Name: "extra", Type: schemas.Int},
		{Name: "filled", Type: schemas.Int, Default: true}, {Name: "maybe", Type: schemas.Int, Nullable: true}}}
	_, err := Compile(value, key, target, MySQL)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"table d.t",
		"column `PRICE` is decimal(10,1) here, the origin's is decimal(10,2), which it can't hold exactly; mend: ALTER TABLE `d`.`t` MODIFY COLUMN `PRICE` decimal(10,2)",
		"column `at` is missing; mend: ALTER TABLE `d`.`t` ADD COLUMN `at` datetime(6)",
		"column `extra` is NOT NULL without default",
		"the origin's primary key is (`id`), here it is (`PRICE`); mend: ALTER TABLE `d`.`t` DROP PRIMARY KEY, ADD PRIMARY KEY (`id`)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	for _, not := range []string{"filled", "maybe"} {
		if strings.Contains(err.Error(), not) {
			t.Errorf("the error names %q:\n%v", not, err)
		}
	}
}

// literal writes one value into a column of the given types.
func literal(t testing.TB, source, target schemas.Column, value []byte) (string, error) {
	t.Helper()
	source.Name, target.Name = "v", "v"
	id := schemas.Column{Name: "id", Type: schemas.Int}
	row, key := records(t, &schemas.Table{DB: "d", Name: "t", Key: []int{0}, Columns: []schemas.Column{id, source}})
	b, err := Compile(row, key, &schemas.Table{DB: "d", Name: "t", Key: []int{0}, Columns: []schemas.Column{id, target}}, MySQL)
	if err != nil {
		return "", err
	}
	text, err := b.AppendInsert(nil, [][]byte{append([]byte{2}, value...)})
	_, after, _ := strings.Cut(string(text), "VALUES (1,")
	return strings.TrimSuffix(after, ")"), err
}

func TestLiterals(t *testing.T) {
	column := func(typ schemas.Type, numbers ...int) schemas.Column {
		c := schemas.Column{Type: typ}
		switch len(numbers) {
		case 1:
			c.Scale, c.Length = numbers[0], numbers[0]
		case 2:
			c.Precision, c.Scale = numbers[0], numbers[1]
		}
		return c
	}
	long := func(v int64) []byte { return schemas.AppendLong(nil, v) }
	str := func(s string) []byte { return schemas.AppendString(nil, s) }
	micros := func(s string) []byte {
		at, err := time.Parse("2006-01-02 15:04:05.999999", s)
		if err != nil {
			t.Fatal(err)
		}
		return long(at.UnixMicro())
	}
	for _, tt := range []struct {
		c    schemas.Column
		in   []byte
		want string // empty: refused
	}{
		{column(schemas.BigInt), long(math.MinInt64), "-9223372036854775808"},
		{schemas.Column{Type: schemas.BigInt, Unsigned: true}, schemas.AppendBytes(nil, []byte{0, 255, 255, 255, 255, 255, 255, 255, 255}), "18446744073709551615"},
		{column(schemas.Float), schemas.AppendFloat(nil, 0.1), "1.0000000149011612e-01"},
		{column(schemas.Double), schemas.AppendDouble(nil, math.Copysign(0, -1)), "-0e+00"},
		{column(schemas.Double), schemas.AppendDouble(nil, math.Inf(1)), ""},
		{column(schemas.Double), schemas.AppendDouble(nil, math.NaN()), ""},
		{column(schemas.Bit, 1), []byte{1}, "1"},
		{column(schemas.Bit, 64), schemas.AppendBytes(nil, []byte{1, 0, 0, 0, 0, 0, 0, 0x80}), "9223372036854775809"},
		{column(schemas.VarChar), str("a'b\\c\x00\n\r\x1a\"é😀"), `'a\'b\\c\0\n\r\Z\"é😀'`},
		{column(schemas.VarChar), str("\xff"), ""},
		{column(schemas.VarChar), str("\xc3"), ""},
		{column(schemas.Char), str("a "), ""},
		{column(schemas.JSON), str(`{"a": "b\""}`), `'{\"a\": \"b\\\"\"}'`},
		{column(schemas.VarBinary), str("\xff'\x00"), "_binary'\xff\\'\\0'"},
		{column(schemas.VarBinary), str(""), "''"},
		{column(schemas.Binary, 3), str("abc"), "_binary'abc'"},
		{column(schemas.Binary, 3), str("ab"), ""},
		{schemas.Column{Type: schemas.Enum}, str(""), "'0'"},
		{schemas.Column{Type: schemas.Enum}, str("a"), "'a'"},
		{column(schemas.Year), long(2155), "'2155'"},
		{column(schemas.Year), long(0), "'0000'"},
		{column(schemas.Date), long(0), "'1970-01-01'"},
		{column(schemas.Date), long(-1), "'1969-12-31'"},
		{column(schemas.Date), long(daysTo10000 - 1), "'9999-12-31'"},
		{column(schemas.Date), long(daysTo10000), ""},
		{column(schemas.Date), long(-719528), "'0000-01-01'"},
		{column(schemas.Date), long(-719529), ""},
		{column(schemas.Time, 6), long(-(838*3600+59*60+59)*1e6 - 1), "'-838:59:59.000001'"},
		{column(schemas.Time, 0), long(5e6), "'00:00:05'"},
		{column(schemas.Time, 0), long(5e6 + 1), ""},
		{column(schemas.Time, 6), long(839 * 3600 * 1e6), ""},
		{column(schemas.Time, 6), long(math.MinInt64), ""},
		{column(schemas.DateTime, 3), long(-1), "'1969-12-31 23:59:59.999'"},
		{column(schemas.DateTime, 6), micros("2024-02-29 12:34:56.000001"), "'2024-02-29 12:34:56.000001'"},
		{column(schemas.DateTime, 5), micros("2024-02-29 12:34:56.000001"), ""},
		{column(schemas.DateTime, 3), long(math.MaxInt64), ""},
		{column(schemas.DateTime, 6), long(math.MinInt64), ""},
		{column(schemas.Timestamp, 6), str("2018-06-20T13:37:03.12Z"), "'2018-06-20 13:37:03.120000'"},
		{column(schemas.Timestamp, 2), str("2018-06-20T13:37:03.120Z"), "'2018-06-20 13:37:03.12'"},
		{column(schemas.Timestamp, 0), str("2018-06-20T13:37:03Z"), "'2018-06-20 13:37:03'"},
		{column(schemas.Timestamp, 1), str("2018-06-20T13:37:03.125Z"), ""},
		{column(schemas.Timestamp, 6), str("2018-06-20T13:37:03'--Z"), ""},
		{column(schemas.Timestamp, 6), str("2018-06-20T13:37:03.1'Z"), ""},
		{column(schemas.Timestamp, 6), str("2018-06-20T13:37:03.1'"), ""},
		{column(schemas.Timestamp, 6), str("2018-06-20'13:37:03Z"), ""},
	} {
		tt.c.Values = []string{"a"}
		got, err := literal(t, tt.c, tt.c, tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s(%d) of %x: got %s, %v, want %s", tt.c.Type, tt.c.Scale, tt.in, got, err, tt.want)
		}
	}
	// FLOAT widens to DOUBLE, DECIMAL gets the zeros that its column prints.
	if got, err := literal(t, column(schemas.Decimal, 5, 1), column(schemas.Decimal, 9, 4), schemas.AppendBytes(nil, []byte{0xfb})); got != "-0.5000" {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := literal(t, column(schemas.Double), column(schemas.Float), schemas.AppendDouble(nil, 1)); err == nil {
		t.Error("DOUBLE is taken to fit FLOAT")
	}
	if _, err := literal(t, schemas.Column{Type: schemas.Int, Nullable: true}, schemas.Column{Type: schemas.Int}, []byte{0}); err == nil || !strings.Contains(err.Error(), "NOT NULL here") {
		t.Errorf("NULL for a NOT NULL column: %v", err)
	}
}

func TestDecimalAgainstBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Byte(), 1, 32).Draw(t, "value")
		scale := rapid.IntRange(0, 30).Draw(t, "scale")
		n := new(big.Int).SetBytes(v)
		if v[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
		}
		want := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(scale)
		got, err := appendDecimal(nil, v, scale, scale)
		if err != nil || string(got) != want {
			t.Fatalf("got %s, %v, want %s", got, err, want)
		}
	})
	for _, v := range [][]byte{nil, make([]byte, 33)} {
		if _, err := appendDecimal(nil, v, 0, 0); err == nil {
			t.Errorf("a decimal of %d bytes is taken", len(v))
		}
	}
}

func TestDateAgainstTime(t *testing.T) {
	start := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	first := start.Unix() / 86400
	for days := first; days < daysTo10000; days++ {
		got, err := appendDate(nil, days)
		if err != nil {
			t.Fatal(err)
		}
		if want := time.Unix(days*86400, 0).UTC().Format("2006-01-02"); string(got) != want {
			t.Fatalf("day %d: got %s, want %s", days, got, want)
		}
	}
	for _, days := range []int64{first - 1, daysTo10000, math.MaxInt64, math.MinInt64} {
		if got, err := appendDate(nil, days); err == nil {
			t.Errorf("day %d is written as %s", days, got)
		}
	}
}

// FuzzQuoted: whatever the bytes, a literal is exactly one string token.
func FuzzQuoted(f *testing.F) {
	f.Add("it's")
	f.Add(`\'; DROP TABLE t; --`)
	f.Add("\\")
	f.Add("\xbf\x27 OR 1=1")
	f.Fuzz(func(t *testing.T, s string) {
		for _, typ := range []schemas.Type{schemas.VarBinary, schemas.VarChar} {
			c := schemas.Column{Type: typ}
			text, err := literal(t, c, c, schemas.AppendString(nil, s))
			if err != nil {
				continue // invalid UTF-8 for VARCHAR
			}
			got, rest, ok := lexString(strings.TrimPrefix(text, "_binary"))
			if !ok || rest != "" || got != s {
				t.Fatalf("%q becomes %s, which is %q and then %q", s, text, got, rest)
			}
		}
	})
}

// lexString reads one quoted string as the server does in sql_mode without
// NO_BACKSLASH_ESCAPES.
func lexString(text string) (value, rest string, ok bool) {
	if text == "" || text[0] != '\'' {
		return "", text, false
	}
	var out strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			if at := strings.IndexByte("0nrZbt", text[i]); at >= 0 {
				out.WriteByte("\x00\n\r\x1a\b\t"[at])
			} else {
				out.WriteByte(text[i])
			}
		case c == '\'' && i+1 < len(text) && text[i+1] == '\'':
			i++
			out.WriteByte(c)
		case c == '\'':
			return out.String(), text[i+1:], true
		default:
			out.WriteByte(c)
		}
	}
	return "", "", false
}

// FuzzRow: hostile rows give a statement or an error, never a panic.
func FuzzRow(f *testing.F) {
	table := orders()
	for i, typ := range []schemas.Type{schemas.Float, schemas.Double, schemas.Bit, schemas.Date, schemas.Time, schemas.DateTime, schemas.Timestamp, schemas.Year, schemas.Decimal, schemas.Binary} {
		table.Columns = append(table.Columns, schemas.Column{Name: fmt.Sprint(typ, i), Type: typ, Length: 9, Precision: 9, Nullable: true})
	}
	b := bind(f, table, MySQL)
	f.Add(append(orderRow("eu", 7, "x"), make([]byte, 10)...), orderKey("eu", 7))
	f.Fuzz(func(t *testing.T, row, key []byte) {
		_, rowErr := b.AppendInsert(nil, [][]byte{row})
		if _, _, err := b.AppendUnique(nil, 0, row); err != nil && rowErr == nil {
			t.Fatalf("a row that can be written has no unique key: %v", err)
		}
		_, keyErr := b.AppendDelete(nil, [][]byte{key})
		for _, f := range []func([]byte, []byte) ([]byte, error){b.AppendKeyText, b.AppendConflictKey} {
			if _, err := f(nil, key); (err == nil) != (keyErr == nil) {
				t.Fatalf("DELETE gives %v, the key text %v", keyErr, err)
			}
		}
	})
}

func TestKeyTexts(t *testing.T) {
	b := bind(t, orders(), MySQL)
	if b.ExactKey() {
		t.Error("a key that ignores case is called exact")
	}
	text, err := b.AppendKeyText(nil, orderKey("eu", 7))
	if err != nil {
		t.Fatal(err)
	}
	result, err := b.AppendKeyTextFromResult(nil, [][]byte{[]byte("eu"), []byte("007")})
	if err != nil || string(text) != string(result) {
		t.Errorf("%q from the key, %q from the result, %v", text, result, err)
	}
	other, _ := b.AppendKeyText(nil, orderKey("EU", 7))
	if string(other) == string(text) {
		t.Error("two keys have one text")
	}
	one, _ := b.AppendConflictKey(nil, orderKey("EU", 7))
	two, _ := b.AppendConflictKey(nil, orderKey("eu", 7))
	three, _ := b.AppendConflictKey(nil, orderKey("eu", 8))
	if string(one) != string(two) || string(one) == string(three) {
		t.Errorf("conflict keys %q, %q, %q", one, two, three)
	}
}

func TestUniqueKeys(t *testing.T) {
	b := bind(t, orders(), MySQL)
	if len(b.Unique()) != 1 || b.Unique()[0].Name != "u" || len(b.Unique()[0].Fields) != 1 || b.Unique()[0].Fields[0] != 2 {
		t.Fatalf("unique keys %+v", b.Unique())
	}
	unique := func(note string) (string, bool) {
		out, null, err := b.AppendUnique([]byte("x"), 0, orderRow("eu", 7, note))
		if err != nil {
			t.Fatal(err)
		}
		return string(out), null
	}
	if _, null := unique(""); !null {
		t.Error("NULL clashes")
	}
	a, _ := unique("a")
	spaced, _ := unique("a  ")
	if b, null := unique("b"); null || a == b || a != spaced {
		t.Errorf("%q, %q, %q", a, spaced, b)
	}
}

func TestKeyTextIsInjective(t *testing.T) {
	table := &schemas.Table{DB: "d", Name: "t", Key: []int{0, 1}, Columns: []schemas.Column{{Name: "a", Type: schemas.VarBinary}, {Name: "b", Type: schemas.VarBinary}}}
	b := bind(t, table, MySQL)
	rapid.Check(t, func(t *rapid.T) {
		var keys, texts [2]string
		for i := range keys {
			key := []byte(nil)
			for range 2 {
				key = schemas.AppendString(key, rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, 'a'}), 0, 5, -1).Draw(t, "part"))
			}
			text, err := b.AppendKeyText(nil, key)
			if err != nil {
				t.Fatal(err)
			}
			keys[i], texts[i] = string(key), string(text)
		}
		if (keys[0] == keys[1]) != (texts[0] == texts[1]) {
			t.Fatalf("%q and %q become %q and %q", keys[0], keys[1], texts[0], texts[1])
		}
	})
}

// benchTable is the 12 column table that all measurements use.
func benchTable() *schemas.Table {
	return &schemas.Table{DB: "bench", Name: "orders", Key: []int{0}, Columns: []schemas.Column{
		{Name: "id", Type: schemas.BigInt, Unsigned: true}, {Name: "customer_id", Type: schemas.BigInt}, {Name: "status", Type: schemas.VarChar},
		{Name: "amount", Type: schemas.Decimal, Precision: 12, Scale: 2}, {Name: "tax", Type: schemas.Decimal, Precision: 12, Scale: 2},
		{Name: "qty", Type: schemas.Int}, {Name: "note", Type: schemas.VarChar, Nullable: true}, {Name: "email", Type: schemas.VarChar},
		{Name: "created_at", Type: schemas.DateTime, Scale: 6}, {Name: "updated_at", Type: schemas.Timestamp, Scale: 6},
		{Name: "flags", Type: schemas.TinyInt}, {Name: "score", Type: schemas.Double}}}
}

func benchRow(i int) []byte {
	row := schemas.AppendBytes(nil, binary.BigEndian.AppendUint32([]byte{0}, uint32(i)))
	row = schemas.AppendLong(row, int64(i)*7919)
	row = schemas.AppendString(row, "shipped")
	row = schemas.AppendBytes(row, []byte{1, 0x86, 0xa0})
	row = schemas.AppendBytes(row, []byte{0x12, 0x34})
	row = schemas.AppendLong(row, 12)
	row = schemas.AppendString(append(row, 2), "a note of some forty characters, no more")
	row = schemas.AppendString(row, "someone@example.org")
	row = schemas.AppendLong(row, 1718890623123456)
	row = schemas.AppendString(row, "2024-06-20T13:37:03.123456Z")
	row = schemas.AppendLong(row, 1)
	return schemas.AppendDouble(row, 0.5+float64(i)/3)
}

func BenchmarkAppendInsert(b *testing.B) {
	binder := bind(b, benchTable(), MySQL)
	rows := make([][]byte, 1000)
	for i := range rows {
		rows[i] = benchRow(i)
	}
	buf, err := binder.AppendInsert(nil, rows)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = binder.AppendInsert(buf[:0], rows); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(rows))*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
