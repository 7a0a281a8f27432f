package statement

import (
	"math"
	"slices"
	"strings"
	"testing"

	"duplex/schemas"
)

// What is greater to the server has the greater rank, in columns of every type that a rank is read from.
func TestRankGrowsWithValue(t *testing.T) {
	long := func(values ...int64) (all [][]byte) {
		for _, v := range values {
			all = append(all, schemas.AppendLong(nil, v))
		}
		return all
	}
	bytesOf := func(values ...string) (all [][]byte) {
		for _, v := range values {
			all = append(all, schemas.AppendBytes(nil, []byte(v)))
		}
		return all
	}
	for _, test := range []struct {
		field  schemas.Field
		typ    schemas.Type
		values [][]byte // ascending
	}{
		{schemas.Field{Kind: schemas.KindInt}, schemas.Int, long(-5, 0, 7)},
		{schemas.Field{Kind: schemas.KindLong}, schemas.BigInt, long(math.MinInt64+1, -1, math.MaxInt64)},
		{schemas.Field{Kind: schemas.KindDate}, schemas.Date, long(-400, 0, 20000)},
		{schemas.Field{Kind: schemas.KindTimestamp}, schemas.DateTime, long(exactBelow-1, -1000, 0, 1_800_000_000_000)},
		{schemas.Field{Kind: schemas.KindMicroTimestamp}, schemas.DateTime, long(-1, 0, 1_800_000_000_000_000)},
		{schemas.Field{Kind: schemas.KindZonedTimestamp}, schemas.Timestamp, bytesOf("0000-00-00T00:00:00Z", "1970-01-01T00:00:01Z", "2026-11-23T10:00:00Z", "2026-11-23T10:00:00.000001Z", "2026-11-23T10:00:00.1Z")},
		{schemas.Field{Kind: schemas.KindDecimal, Precision: 10, Scale: 2}, schemas.Decimal, bytesOf("\xff\x00", "\xff", "\x00", "\x7f", "\x01\x00")},
		{schemas.Field{Kind: schemas.KindDecimal, Precision: 20}, schemas.BigInt, bytesOf("\x00", "\x7f\xff\xff\xff\xff\xff\xff\xff", "\x00\x80\x00\x00\x00\x00\x00\x00\x00", "\x00\xff\xff\xff\xff\xff\xff\xff\xff")},
	} {
		test.field.Nullable, test.field.NullFirst = true, true
		first, at := schemas.Field{Kind: schemas.KindString}, test.field
		b := &Binder{row: []column{{field: &first, kind: first.Kind, name: "id"}, {field: &at, kind: at.Kind, name: "at", quoted: "`at`", typ: test.typ}, {field: &first, kind: first.Kind, name: "more"}}}
		rank, err := b.Rank("at")
		if err != nil {
			t.Fatal(err)
		}
		row := func(value []byte) []byte {
			return slices.Concat(schemas.AppendString(nil, "key"), value, schemas.AppendString(nil, "more"))
		}
		last, err := rank.Of(row([]byte{0}))
		if err != nil || last != math.MinInt64 {
			t.Errorf("%v: NULL has rank %d, %v", at.Kind, last, err)
		}
		for i, value := range test.values {
			got, err := rank.Of(row(append([]byte{2}, value...)))
			if err != nil || got < last || i > 0 && got == last {
				t.Errorf("%v: value %d has rank %d, the one before %d, %v", at.Kind, i, got, last, err)
			}
			last = got
		}
	}
}

func TestRankIsRefused(t *testing.T) {
	text, wide := schemas.Field{Kind: schemas.KindString}, schemas.Field{Kind: schemas.KindDecimal, Precision: 30}
	b := &Binder{row: []column{{field: &text, kind: text.Kind, name: "t", quoted: "`t`"}, {field: &wide, kind: wide.Kind, name: "d", quoted: "`d`", typ: schemas.Decimal}}}
	for name, says := range map[string]string{"t": "column `t`", "d": "decimal(30,0)", "none": "no column `none`"} {
		if _, err := b.Rank(name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
