package feed

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"duplex/schemas"

	"pgregory.net/rapid"
)

// Each kind of column gives the Go type that the package's documentation
// names, and exactly the value.
func TestValues(t *testing.T) {
	text := func(s string) []byte { return schemas.AppendString(nil, s) }
	long := func(v int64) []byte { return schemas.AppendLong(nil, v) }
	raw := append([]byte{schemas.RawText}, "sjis\x00\x81\x60"...)
	for _, c := range []struct {
		field schemas.Field
		b     []byte
		want  any
	}{
		{schemas.Field{Kind: schemas.KindInt}, long(-5), int64(-5)},
		{schemas.Field{Kind: schemas.KindLong}, long(math.MinInt64), int64(math.MinInt64)},
		{schemas.Field{Kind: schemas.KindYear}, long(2155), int64(2155)},
		{schemas.Field{Kind: schemas.KindFloat}, schemas.AppendFloat(nil, 1.5), float32(1.5)},
		{schemas.Field{Kind: schemas.KindDouble}, schemas.AppendDouble(nil, math.MaxFloat64), math.MaxFloat64},
		{schemas.Field{Kind: schemas.KindBool}, []byte{1}, true},
		{schemas.Field{Kind: schemas.KindBits, Length: 9}, schemas.AppendBytes(nil, []byte{2, 1}), uint64(258)},
		{schemas.Field{Kind: schemas.KindBytes}, schemas.AppendBytes(nil, []byte{0, 255, 0}), []byte{0, 255, 0}},
		{schemas.Field{Kind: schemas.KindString}, text("grüß"), "grüß"},
		{schemas.Field{Kind: schemas.KindString}, schemas.AppendBytes(nil, raw), RawText{"sjis", []byte("\x81\x60")}},
		{schemas.Field{Kind: schemas.KindEnum}, text("a,b"), "a,b"},
		{schemas.Field{Kind: schemas.KindEnumSet}, text("a,b"), []string{"a", "b"}},
		{schemas.Field{Kind: schemas.KindEnumSet}, text(""), []string{}},
		{schemas.Field{Kind: schemas.KindJSON}, text(`{"a":1}`), json.RawMessage(`{"a":1}`)},
		{schemas.Field{Kind: schemas.KindJSON}, text("\xff[\xff\x081, \xff\xf6\x031.50]"), json.RawMessage(`[1, 1.50]`)},
		{schemas.Field{Kind: schemas.KindUUID}, text("123e4567-e89b-12d3-a456-426655440000"), "123e4567-e89b-12d3-a456-426655440000"},
		{schemas.Field{Kind: schemas.KindGeometry}, schemas.AppendGeometry(nil, schemas.KindGeometry, []byte("wkb"), 4326), Geometry{4326, []byte("wkb")}},
		{schemas.Field{Kind: schemas.KindPoint}, schemas.AppendGeometry(nil, schemas.KindPoint, []byte("0123456789abcdef01234"), 0), Geometry{0, []byte("0123456789abcdef01234")}},
		{schemas.Field{Kind: schemas.KindVector}, schemas.AppendVector(nil, []byte{0, 0, 128, 63, 0, 0, 0, 192}), []float32{1, -2}},
		{schemas.Field{Kind: schemas.KindDecimal, Scale: 2}, schemas.AppendBytes(nil, []byte{0xff}), Decimal("-0.01")},
		{schemas.Field{Kind: schemas.KindDecimal}, schemas.AppendBytes(nil, append([]byte{0}, bytes.Repeat([]byte{255}, 8)...)), Decimal("18446744073709551615")},
		{schemas.Field{Kind: schemas.KindDate}, long(-1), Date{1969, 12, 31}},
		{schemas.Field{Kind: schemas.KindDate}, long(schemas.PackDate(2024, 2, 0)), Date{2024, 2, 0}},
		{schemas.Field{Kind: schemas.KindMicroTime}, long(-3020399e6), -(838*time.Hour + 59*time.Minute + 59*time.Second)},
		{schemas.Field{Kind: schemas.KindTimestamp}, long(-1), DateTime{Date{1969, 12, 31}, 24*time.Hour - time.Millisecond}},
		{schemas.Field{Kind: schemas.KindMicroTimestamp}, long(86400e6 + 1), DateTime{Date{1970, 1, 2}, time.Microsecond}},
		{schemas.Field{Kind: schemas.KindMicroTimestamp}, long(schemas.PackDateTime(0, 0, 0, 1e6)), DateTime{Date{}, time.Second}},
		{schemas.Field{Kind: schemas.KindZonedTimestamp}, text("2038-01-19T03:14:07.999999Z"), time.Date(2038, 1, 19, 3, 14, 7, 999999000, time.UTC)},
		{schemas.Field{Kind: schemas.KindZonedTimestamp}, text(schemas.ZeroTimestamp), time.Time{}},
	} {
		got, err := decodeValue(&c.field, c.b)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v, error %v; want %#v", c.field.Kind, got, err, c.want)
		}
	}
}

// Every kind that a schema can have is in the package's table of kinds.
func TestEveryKindIsTold(t *testing.T) {
	for k := schemas.Invalid + 1; ; k++ {
		name, ok := kindName(k)
		if !ok {
			break
		}
		if !strings.Contains(documentation(t), name) {
			t.Errorf("doc.go doesn't tell kind %q", name)
		}
		f := schemas.Field{Kind: k, Length: 8, Precision: 1}
		for _, b := range [][]byte{{2, 'a'}, bytes.Repeat([]byte{0}, 40), schemas.AppendString(nil, "2024-01-01T00:00:00Z")} {
			if end, err := f.SkipValue(b, 0); err != nil || end > len(b) {
				continue
			}
			if _, err := decodeValue(&f, b); err == nil {
				ok = false
			}
		}
		if ok {
			t.Errorf("values of kind %q aren't read", name)
		}
	}
}

func kindName(k schemas.Kind) (name string, ok bool) {
	defer func() { ok = recover() == nil }()
	return k.String(), true
}

// A decimal is written with all digits of its scale, and is the same number.
func TestDecimals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 1, 28).Draw(t, "unscaled")
		scale := rapid.IntRange(0, 30).Draw(t, "scale")
		got := decimalOf(b, scale)
		n := new(big.Int).SetBytes(b)
		if b[0]&0x80 != 0 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
		}
		want := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		if got.Rat().Cmp(want) != 0 || string(got) != want.FloatString(scale) {
			t.Fatalf("%x with scale %d is %s, want %s", b, scale, got, want.FloatString(scale))
		}
	})
}

// A wall clock becomes a moment only where the calendar and the zone have it.
func TestDateTimeInAZone(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	at := func(y, m, d, h int) DateTime { return DateTime{Date{y, m, d}, time.Duration(h) * time.Hour} }
	for _, c := range []struct {
		d    DateTime
		zone *time.Location
		ok   bool
	}{
		{at(2024, 2, 29, 23), time.UTC, true},
		{at(2023, 2, 29, 0), time.UTC, false},
		{at(2024, 0, 1, 0), time.UTC, false},
		{at(2024, 3, 10, 2), newYork, false}, // the clocks skip that hour
		{at(2024, 3, 10, 3), newYork, true},
	} {
		if got, ok := c.d.Time(c.zone); ok != c.ok || ok && got.In(c.zone).Format(time.DateTime) != c.d.String()[:19] {
			t.Errorf("%s in %s: %s, %t", c.d, c.zone, got, ok)
		}
	}
}
