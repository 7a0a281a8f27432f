package schemas

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func exactRecord() *Record {
	return &Record{Name: "Value", Fields: []Field{
		{Name: "id", Kind: KindInt},
		{Name: "day", Kind: KindDate, Nullable: true, NullFirst: true},
		{Name: "at", Kind: KindMicroTimestamp},
		{Name: "text", Kind: KindString, Nullable: true},
	}}
}

// TestRestore puts exact values into rows where others stood, NULL too.
func TestRestore(t *testing.T) {
	r := &EnvelopeReader{Value: exactRecord()}
	before := []byte("\x02\x00\x00\x00\x02x")        // 1, NULL, 0, "x"
	after := []byte("\x04\x02\x02\x00\x00\x04\xef?") // 2, a day, 0, "…"
	var b, a Exact
	b.Add(1, AppendLong(nil, PackDate(0, 0, 0)))
	b.Add(2, AppendLong(nil, PackDateTime(2021, 2, 31, 1)))
	a.Add(3, AppendString(nil, "\xffgbk\x00\x81"))
	c := Decoded{Before: before, After: after}
	if err := r.Restore(&c, AppendExact(nil, &b, &a)); err != nil {
		t.Fatal(err)
	}
	want := append(AppendLong([]byte("\x02\x02"), PackDate(0, 0, 0)), AppendLong(nil, PackDateTime(2021, 2, 31, 1))...)
	if want = append(want, "\x00\x02x"...); !bytes.Equal(c.Before, want) {
		t.Errorf("before %x, want %x", c.Before, want)
	}
	if want := "\x04\x02\x02\x00\x00\x0c\xffgbk\x00\x81"; string(c.After) != want {
		t.Errorf("after %x, want %x", c.After, want)
	}
	key, err := r.Value.AppendKey(nil, &Record{Fields: []Field{{Name: "text"}, {Name: "ID"}}}, c.After)
	if err != nil || string(key) != "\x0c\xffgbk\x00\x81\x04" {
		t.Errorf("key %x, %v", key, err)
	}
	if AppendExact(nil, nil, &Exact{}) != nil {
		t.Error("a header for rows that are exact")
	}
}

// TestRestoreRefuses what isn't a header: it is somebody else's input.
func TestRestoreRefuses(t *testing.T) {
	r := &EnvelopeReader{Value: exactRecord()}
	for _, header := range []string{"", "\x00", "\x02", "\x01c\x00", "\x01a", "\x01a\x05", "\x01a\x01\x00", "\x01a\x02\x00\x00", "\x01a\x03\x04\x01\x00", "\x01a\x04\x01\x02\x80\x80", "\x01a\x04\x01\x02\x00\x00",
		"\x01a\x06\x02\x01\x00\x01\x01\x00", "\x01b\x03\x01\x01\x00", "\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		c := Decoded{After: []byte("\x04\x00\x00\x02")}
		if err := r.Restore(&c, []byte(header)); !errors.Is(err, ErrExact) {
			t.Errorf("%x: %v", header, err)
		}
	}
}

// TestPackedDates: whatever month and day, the packed date is unlike any that
// the calendar has, and unpacks to itself.
func TestPackedDates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		y, m, d := rapid.Int64Range(0, 9999).Draw(t, "year"), rapid.Int64Range(0, 12).Draw(t, "month"), rapid.Int64Range(0, 31).Draw(t, "day")
		clock := rapid.Int64Range(0, 86400e6-1).Draw(t, "clock")
		v := PackDate(y, m, d)
		if y2, m2, d2, ok := UnpackDate(v); v > -1<<20 || v < -1<<31 || !ok || y2 != y || m2 != m || d2 != d {
			t.Fatalf("%d-%d-%d: %d", y, m, d, v)
		}
		v = PackDateTime(y, m, d, clock)
		if y2, m2, d2, c2, ok := UnpackDateTime(v); v > -1<<60 || !ok || y2 != y || m2 != m || d2 != d || c2 != clock {
			t.Fatalf("%d-%d-%d %d: %d", y, m, d, clock, v)
		}
		days := rapid.Int64Range(-719528, 2932896).Draw(t, "days")
		if _, _, _, ok := UnpackDate(days); ok {
			t.Fatalf("day %d is taken for packed", days)
		}
		if _, _, _, _, ok := UnpackDateTime(days * 86400e6); ok {
			t.Fatalf("day %d is taken for packed", days)
		}
	})
}

// FuzzRestore: no header makes Restore panic, or a row that doesn't split.
func FuzzRestore(f *testing.F) {
	r := &EnvelopeReader{Value: exactRecord()}
	var e Exact
	e.Add(1, AppendLong(nil, PackDate(0, 0, 0)))
	e.Add(3, AppendString(nil, "\xffgbk\x00\x81"))
	f.Add(AppendExact(nil, &e, &e))
	f.Fuzz(func(t *testing.T, header []byte) {
		c := Decoded{Before: []byte("\x04\x00\x00\x02"), After: []byte("\x04\x00\x00\x02")}
		if err := r.Restore(&c, header); err != nil {
			return
		}
		for _, row := range [][]byte{c.Before, c.After} {
			if err := r.Value.Split(row, make([]Span, 4)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
