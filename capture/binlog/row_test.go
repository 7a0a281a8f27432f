package binlog

import (
	"bytes"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"duplex/schemas"
)

// TestDecodeEveryType decodes hand-made bytes of every type, and then the
// same row with each column NULL in turn.
func TestDecodeEveryType(t *testing.T) {
	m := allTypes()
	table, d := m.compile(t, madeCollations())
	nulls, image, want := allTypesImage()
	key := make([]Span, 1)
	src := slices.Concat(nulls, image, []byte("rest"))
	out, rest, err := d.Decode([]byte("ab"), src, m.present(), key, new(schemas.Exact))
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != "ab"+string(want) || string(rest) != "rest" {
		t.Errorf("got  %x, rest %q\nwant %x", out[2:], rest, want)
	}
	if key[0] != (Span{2, 12}) {
		t.Errorf("key at %v", key[0])
	}
	value, _ := codecs(t, table)
	if _, rest, err := value.NativeFromBinary(want); err != nil || len(rest) > 0 {
		t.Errorf("goavro: %v, %d bytes left", err, len(rest))
	}

	all := bytes.Repeat([]byte{0xff}, len(nulls))
	all[0] = 0xfe
	out, rest, err = d.Decode(nil, slices.Concat(all, image[:8]), m.present(), key, new(schemas.Exact))
	if want := string(want[:10]) + strings.Repeat("\x00", len(table.Columns)-1); err != nil || string(out) != want || len(rest) != 0 {
		t.Errorf("all NULL: got %x, %d left, %v", out, len(rest), err)
	}
}

// TestDecodeNullKey: a NULL in the primary key can't be, whatever TABLE_MAP
// says of the column.
func TestDecodeNullKey(t *testing.T) {
	for _, nullable := range []byte{0, 1} {
		m := allTypes()
		m.tm.NullBitmap[0] |= nullable
		_, d := m.compile(t, madeCollations())
		if _, _, err := d.Decode(nil, m.present(), m.present(), make([]Span, 1), new(schemas.Exact)); !errors.Is(err, ErrMalformed) {
			t.Errorf("nullable %d: %v", nullable, err)
		}
	}
}

// TestDecodePartialImage: an image without any one of the columns is refused.
func TestDecodePartialImage(t *testing.T) {
	m := allTypes()
	table, d := m.compile(t, madeCollations())
	nulls, image, _ := allTypesImage()
	src := slices.Concat(nulls, image)
	for i := range table.Columns {
		present := m.present()
		present[i/8] &^= 1 << (i % 8)
		if _, _, err := d.Decode(nil, src, present, make([]Span, 1), new(schemas.Exact)); !errors.Is(err, ErrPartialImage) {
			t.Errorf("without column %d: %v", i, err)
		}
	}
	if _, _, err := d.Decode(nil, src, m.present()[1:], make([]Span, 1), new(schemas.Exact)); !errors.Is(err, ErrTruncated) {
		t.Errorf("bitmap too short: %v", err)
	}
	if _, _, err := d.Decode(nil, src, m.present(), nil, new(schemas.Exact)); err == nil {
		t.Error("no room for the key, and no error")
	}
}

// TestDecodeTruncated cuts an image everywhere. The bytes after the cut are
// still in the buffer: reading on into them must not happen either.
func TestDecodeTruncated(t *testing.T) {
	m := allTypes()
	_, d := m.compile(t, madeCollations())
	nulls, image, _ := allTypesImage()
	src := slices.Concat(nulls, image)
	for n := range src {
		_, _, err := d.Decode(nil, src[:n], m.present(), make([]Span, 1), new(schemas.Exact))
		var value *ValueError
		if !errors.As(err, &value) || !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d of %d: %v", n, len(src), err)
		}
	}
}

// TestDecodeMalformed spoils one value of the image at a time.
func TestDecodeMalformed(t *testing.T) {
	m := allTypes()
	table, d := m.compile(t, madeCollations())
	for _, test := range []struct {
		column, value string
		want          error
	}{
		{"dec64", "\x80\x00\x00\x00\x00\x64", ErrMalformed}, // a hundred hundredths
		{"b1", "\x02", ErrMalformed},
		{"date", "\x3d\x64\x0f", nil}, // 1970-01-29
		{"date", "\xff\xff\xff", ErrMalformed},
		{"time0", "\x80\x00\x3c", ErrMalformed},
		{"time0", "\xff\xff\xff", ErrMalformed},
		{"time0", "\xb4\x6e\xfb", nil},          // 838:59:59
		{"time0", "\xb4\x70\x00", ErrMalformed}, // 839:00:00
		{"time0", "\x00\x00\x00", ErrMalformed},
		{"time2", "\x80\x00\x00\x64", ErrMalformed},
		{"time6", "\x80\x00\x00\x0f\x42\x40", ErrMalformed},
		{"dt0", "\x00\x00\x00\x00\x00", ErrMalformed},
		{"dt0", "\x99\x02\xc3\xf0\x00", ErrMalformed},
		{"dt6", "\x99\x02\xc2\x00\x00\x0f\x42\x40", ErrMalformed},
		{"ts3", "\x00\x00\x00\x01\xff\xff", ErrMalformed},
		{"otime", "\x3c\x00\x00", ErrMalformed},
		{"odt", "\xff\xff\xff\xff\xff\xff\xff\xff", ErrMalformed},
		{"bin", "\x05abcde", ErrMalformed},
		{"enum", "\x03", ErrMalformed},
		{"enum", "\x00", nil},
		{"set", "\x08", ErrMalformed},
		{"json", "\x01\x00\x00\x00\x05", ErrTruncated},
		{"json", "\x02\x00\x00\x00\x0d\x00", ErrMalformed},
	} {
		i := table.Column(test.column)
		nulls := bytes.Repeat([]byte{0xff}, len(m.present()))
		nulls[0] &^= 1
		nulls[i/8] &^= 1 << (i % 8)
		_, _, err := d.Decode(nil, slices.Concat(nulls, make([]byte, 8), []byte(test.value)), m.present(), make([]Span, 1), new(schemas.Exact))
		if !errors.Is(err, test.want) {
			t.Errorf("%s %x: got %v, want %v", test.column, test.value, err, test.want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "table d.t, column "+test.column+": ") {
			t.Errorf("%s: %v", test.column, err)
		}
	}
}

// TestDatesTheCalendarLacks: Debezium has NULL or 1970 for them; the exact form
// tells which they are.
func TestDatesTheCalendarLacks(t *testing.T) {
	for _, test := range []struct {
		typ   byte
		meta  uint16
		value string
		wire  string // of a NOT NULL column
		exact []byte
	}{
		{10, 0, "\x00\x00\x00", "\x00", schemas.AppendLong(nil, schemas.PackDate(0, 0, 0))},
		{10, 0, "\x5d\x64\x0f", "\x00", schemas.AppendLong(nil, schemas.PackDate(1970, 2, 29))},
		{18, 0, "\x80\x00\x00\x00\x00", "\x00", schemas.AppendLong(nil, schemas.PackDateTime(0, 0, 0, 0))},
		{18, 6, "\x99\x02\xc0\x10\x83\x00\x00\x07", "\x00", schemas.AppendLong(nil, schemas.PackDateTime(1970, 1, 0, 3723000007))},
		{12, 0, "\x00\x00\x00\x00\x00\x00\x00\x00", "\x00", schemas.AppendLong(nil, schemas.PackDateTime(0, 0, 0, 0))},
		{17, 0, "\x00\x00\x00\x00", "\x281970-01-01T00:00:00Z", schemas.AppendString(nil, schemas.ZeroTimestamp)},
		{17, 2, "\x00\x00\x00\x00\x00", "\x2e1970-01-01T00:00:00.00Z", schemas.AppendString(nil, schemas.ZeroTimestamp)},
		{7, 0, "\x00\x00\x00\x00", "\x281970-01-01T00:00:00Z", schemas.AppendString(nil, schemas.ZeroTimestamp)},
	} {
		for _, nullable := range []bool{false, true} {
			m := newMade().add("id", 1, 0).add("c", test.typ, test.meta)
			wire := test.wire
			if nullable {
				wire = "\x00"
			} else {
				m.tm.NullBitmap[0] = 0
			}
			_, d := m.compile(t, nil)
			exact := new(schemas.Exact)
			row, rest, err := d.Decode(nil, []byte("\x00\x01"+test.value), m.present(), make([]Span, 1), exact)
			if err != nil || string(row) != "\x02"+wire || len(rest) != 0 {
				t.Errorf("%d(%d) %x, nullable %t: %x, %d left, %v", test.typ, test.meta, test.value, nullable, row, len(rest), err)
			}
			want := new(schemas.Exact)
			want.Add(1, test.exact)
			if got, want := schemas.AppendExact(nil, exact, nil), schemas.AppendExact(nil, want, nil); !bytes.Equal(got, want) {
				t.Errorf("%d(%d) %x, nullable %t: exact %x, want %x", test.typ, test.meta, test.value, nullable, got, want)
			}
		}
	}
}

// TestSameKey: dates that are one to Debezium are two keys all the same.
func TestSameKey(t *testing.T) {
	m := newMade().add("day", 10, 0)
	_, d := m.compile(t, nil)
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"\x00\x00\x00", "\x00\x00\x00", true},
		{"\x00\x00\x00", "\x21\x64\x0f", false}, // 1970-01-01
		{"\x00\x00\x00", "\x01\x00\x00", false},
		{"\x22\x64\x0f", "\x21\x64\x0f", false},
		{"\x21\x64\x0f", "\x21\x64\x0f", true},
	} {
		var rows [2][]byte
		var keys [2][]Span
		var exact [2]schemas.Exact
		for i, value := range []string{test.a, test.b} {
			keys[i] = make([]Span, 1)
			var err error
			if rows[i], _, err = d.Decode(nil, []byte("\x00"+value), m.present(), keys[i], &exact[i]); err != nil {
				t.Fatal(err)
			}
		}
		if got := d.SameKey(rows[0], keys[0], &exact[0], rows[1], keys[1], &exact[1]); got != test.same {
			t.Errorf("%x and %x: same key %t", test.a, test.b, got)
		}
	}
}

// TestDecimalProperty: any number of any DECIMAL type, however wide, becomes
// the two's complement that math/big makes of it, and its text is right.
func TestDecimalProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		precision := rapid.IntRange(1, 65).Draw(t, "precision")
		scale := rapid.IntRange(0, min(precision, 38)).Draw(t, "scale")
		digits := rapid.StringMatching(`-?[0-9]{1,65}`).Draw(t, "digits")
		digits = digits[:min(len(digits), precision)]
		v, ok := new(big.Int).SetString(digits, 10)
		if !ok {
			t.Skip() // "-" alone
		}
		c, err := compileDecimal(&schemas.Column{Precision: precision, Scale: scale})
		if err != nil {
			t.Fatal(err)
		}
		packed := pack(v, precision, scale)
		want := twosComplement(v)
		out, n, err := c.step(&c, nil, packed)
		if err != nil || n != len(packed) || !bytes.Equal(out[1:], want) || int(out[0]) != 2*len(want) {
			t.Fatalf("%s as DECIMAL(%d,%d): %x, %d of %d bytes, %v; want %x", v, precision, scale, out, n, len(packed), err, want)
		}
		if text, err := c.decimal.appendText(nil, packed); err != nil || string(text) != withPoint(v, scale) {
			t.Fatalf("%s as DECIMAL(%d,%d): text %s, %v", v, precision, scale, text, err)
		}
	})
}

// TestDecimalWidths runs the edges of two's complement through all three
// widths of arithmetic.
func TestDecimalWidths(t *testing.T) {
	for bits := range uint(216) {
		power := new(big.Int).Lsh(big.NewInt(1), bits)
		for _, v := range []*big.Int{power, new(big.Int).Sub(power, big.NewInt(1)), new(big.Int).Neg(power), new(big.Int).Not(power)} {
			for _, precision := range []int{18, 19, 38, 39, 65} {
				if len(new(big.Int).Abs(v).String()) > precision {
					continue
				}
				c, err := compileDecimal(&schemas.Column{Precision: precision})
				if err != nil {
					t.Fatal(err)
				}
				out, _, err := c.step(&c, nil, pack(v, precision, 0))
				if want := twosComplement(v); err != nil || !bytes.Equal(out[1:], want) {
					t.Errorf("%s as DECIMAL(%d): %x, %v; want %x", v, precision, out, err, want)
				}
			}
		}
	}
}

// TestDecimalMinusZero: were there one, it is zero.
func TestDecimalMinusZero(t *testing.T) {
	for _, precision := range []int{4, 20, 40} {
		c, err := compileDecimal(&schemas.Column{Precision: precision, Scale: 2})
		if err != nil {
			t.Fatal(err)
		}
		packed := bytes.Repeat([]byte{0xff}, c.decimal.size)
		packed[0] = 0x7f
		if out, _, err := c.step(&c, nil, packed); err != nil || string(out) != "\x02\x00" {
			t.Errorf("DECIMAL(%d,2): %x, %v", precision, out, err)
		}
		if text, err := c.decimal.appendText(nil, packed); err != nil || string(text) != "0.00" {
			t.Errorf("DECIMAL(%d,2): text %s, %v", precision, text, err)
		}
	}
}

// TestCalendar goes through every day that a column can hold.
func TestCalendar(t *testing.T) {
	day := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	for want := day.Unix() / 86400; day.Year() < 10000; want, day = want+1, day.AddDate(0, 0, 1) {
		year, month, d := day.Date()
		if got, err := epochDays(int64(year), int64(month), int64(d)); err != nil || got != want {
			t.Fatalf("%s: day %d, %v; want %d", day.Format(time.DateOnly), got, err, want)
		}
		if want >= 0 && want <= 1<<32/86400 {
			if y, m, dd := civil(uint32(want)); int(y) != year || int(m) != int(month) || int(dd) != d {
				t.Fatalf("day %d: %d-%d-%d; want %s", want, y, m, dd, day.Format(time.DateOnly))
			}
		}
	}
}

// TestDecodeAllocatesNothing, once the buffers have grown.
func TestDecodeAllocatesNothing(t *testing.T) {
	m := allTypes()
	_, d := m.compile(t, madeCollations())
	nulls, image, _ := allTypesImage()
	document := jsonDocument([]any{nil, true, int32(70000), "text", []any{}, []member{{"a", int64(-1)}}}, 4)
	src := slices.Concat(nulls, image[:len(image)-7], []byte{byte(len(document)), 0, 0, 0}, document)
	dst, key, present, exact := make([]byte, 0, 1<<10), make([]Span, 1), m.present(), new(schemas.Exact)
	if n := testing.AllocsPerRun(100, func() {
		if _, _, err := d.Decode(dst, src, present, key, exact); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}
