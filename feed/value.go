package feed

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	"duplex/schemas"
)

// Decimal is an exact number as SQL writes it, with all digits of its scale:
// "12.30". BIGINT UNSIGNED is one too.
type Decimal string

// Rat returns the number.
func (d Decimal) Rat() *big.Rat {
	r, _ := new(big.Rat).SetString(string(d)) // what decode made always parses
	return r
}

// Date is a DATE. Parts of it may be zero, as in 0000-00-00: MySQL allows it.
type Date struct{ Year, Month, Day int }

// String returns YYYY-MM-DD.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// Time returns the start of the day in a zone. ok is false if the calendar has
// no such day.
func (d Date) Time(zone *time.Location) (t time.Time, ok bool) {
	t = time.Date(d.Year, time.Month(d.Month), d.Day, 0, 0, 0, 0, zone)
	year, month, day := t.Date()
	return t, year == d.Year && int(month) == d.Month && day == d.Day
}

// DateTime is a DATETIME: what a clock on the wall shows, in no zone. Parts of
// its date may be zero.
type DateTime struct {
	Date
	// Clock is the time since midnight, in microseconds.
	Clock time.Duration
}

// String returns YYYY-MM-DD HH:MM:SS.ffffff.
func (d DateTime) String() string {
	us := d.Clock.Microseconds()
	return fmt.Sprintf("%s %02d:%02d:%02d.%06d", d.Date, us/3600e6, us/60e6%60, us/1e6%60, us%1e6)
}

// Time returns the moment when clocks of a zone show d. ok is false if the
// calendar has no such day, or that zone no such hour.
func (d DateTime) Time(zone *time.Location) (t time.Time, ok bool) {
	us := d.Clock.Microseconds()
	hour, minute, second := int(us/3600e6), int(us/60e6%60), int(us/1e6%60)
	t = time.Date(d.Year, time.Month(d.Month), d.Day, hour, minute, second, int(us%1e6)*1000, zone)
	year, month, day := t.Date()
	h, m, _ := t.Clock()
	return t, year == d.Year && int(month) == d.Month && day == d.Day && h == hour && m == minute
}

// RawText is a text that UTF-8 can't hold without loss: bytes that are invalid
// in the column's character set, or characters that Unicode lacks. Of an ENUM
// or SET with a label ” that a text can't tell from none it is the value's
// number in digits, without a character set.
type RawText struct {
	Charset string // MySQL's name of it
	Bytes   []byte // in that character set
}

// String returns the bytes that are ASCII, and ? for each other.
func (r RawText) String() string {
	return strings.Map(func(c rune) rune {
		if c > 0x7e {
			return '?'
		}
		return c
	}, string(bytes.ToValidUTF8(r.Bytes, []byte("?"))))
}

// Geometry is a POINT or any other GEOMETRY.
type Geometry struct {
	// SRID is the number of its spatial reference system, 0 for none.
	SRID uint32
	// WKB is its Well-Known Binary, longitude before latitude.
	WKB []byte
}

var errValue = errors.New("the value is none that its column can have")

// decodeValue reads a value that is no NULL; b is all of it.
func decodeValue(f *schemas.Field, b []byte) (any, error) {
	switch f.Kind {
	case schemas.KindInt, schemas.KindLong, schemas.KindYear:
		v, _, err := schemas.ReadLong(b, 0)
		return v, err
	case schemas.KindFloat:
		return math.Float32frombits(binary.LittleEndian.Uint32(b)), nil
	case schemas.KindDouble:
		return math.Float64frombits(binary.LittleEndian.Uint64(b)), nil
	case schemas.KindBool:
		return b[0] == 1, nil
	case schemas.KindDate, schemas.KindMicroTime, schemas.KindTimestamp, schemas.KindMicroTimestamp:
		v, _, err := schemas.ReadLong(b, 0)
		if err != nil {
			return nil, err
		}
		return decodeTemporal(f.Kind, v), nil
	case schemas.KindPoint, schemas.KindGeometry:
		wkb, srid, _, err := schemas.ReadGeometry(f.Kind, b, 0)
		return Geometry{srid, bytes.Clone(wkb)}, err
	case schemas.KindVector:
		return decodeVector(b)
	}
	v, _, err := schemas.ReadBytes(b, 0)
	if err != nil {
		return nil, err
	}
	return decodeBytes(f, v)
}

func decodeVector(b []byte) ([]float32, error) {
	raw, _, err := schemas.ReadVector(b, 0)
	if err != nil {
		return nil, err
	}
	floats := make([]float32, len(raw)/4)
	for i := range floats {
		floats[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return floats, nil
}

func decodeTemporal(kind schemas.Kind, v int64) any {
	switch kind {
	case schemas.KindDate:
		if year, month, day, ok := schemas.UnpackDate(v); ok {
			return Date{int(year), int(month), int(day)}
		}
		return dateOf(v)
	case schemas.KindMicroTime:
		return time.Duration(v) * time.Microsecond
	}
	if year, month, day, clock, ok := schemas.UnpackDateTime(v); ok {
		return DateTime{Date{int(year), int(month), int(day)}, time.Duration(clock) * time.Microsecond}
	}
	day := int64(86400e6) // microseconds
	if kind == schemas.KindTimestamp {
		day = 86400e3
	}
	days, rest := v/day, v%day
	if rest < 0 {
		days, rest = days-1, rest+day
	}
	return DateTime{dateOf(days), time.Duration(rest) * (24 * time.Hour / time.Duration(day))}
}

func dateOf(days int64) Date {
	year, month, day := time.Unix(days*86400, 0).UTC().Date()
	return Date{year, int(month), day}
}

func decodeBytes(f *schemas.Field, v []byte) (any, error) {
	switch f.Kind {
	case schemas.KindBytes:
		return bytes.Clone(v), nil
	case schemas.KindString, schemas.KindEnum, schemas.KindEnumSet, schemas.KindJSON, schemas.KindUUID:
		return decodeText(f.Kind, v)
	case schemas.KindDecimal:
		return decimalOf(v, f.Scale), nil
	case schemas.KindZonedTimestamp:
		if string(v) == schemas.ZeroTimestamp {
			return time.Time{}, nil
		}
		t, err := time.Parse(time.RFC3339Nano, string(v))
		if err != nil {
			return nil, errValue // without the value
		}
		return t.UTC(), nil
	case schemas.KindBits:
		var n uint64
		for i, b := range v {
			if b != 0 && i > 7 {
				return nil, errValue
			}
			n |= uint64(b) << (8 * i)
		}
		return n, nil
	default:
		return nil, fmt.Errorf("columns of kind %s aren't read by this version of package feed", f.Kind)
	}
}

func decodeText(kind schemas.Kind, v []byte) (any, error) {
	switch {
	case kind == schemas.KindJSON && len(v) > 0 && v[0] == schemas.RawText:
		plain, _ := schemas.UntypedJSON(v[1:])
		return json.RawMessage(bytes.Clone(plain)), nil
	case len(v) > 0 && v[0] == schemas.RawText:
		charset, text, ok := bytes.Cut(v[1:], []byte{0})
		if !ok {
			return nil, errValue
		}
		return RawText{string(charset), bytes.Clone(text)}, nil
	case kind == schemas.KindJSON:
		return json.RawMessage(bytes.Clone(v)), nil
	case kind == schemas.KindEnumSet && len(v) == 0:
		return []string{}, nil
	case kind == schemas.KindEnumSet:
		return strings.Split(string(v), ","), nil
	}
	return string(v), nil
}

// decimalOf writes an unscaled two's complement number.
func decimalOf(v []byte, scale int) Decimal {
	n := new(big.Int).SetBytes(v)
	if len(v) > 0 && v[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
	}
	digits := n.Text(10)
	if scale == 0 {
		return Decimal(digits)
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	at := len(digits) - scale
	return Decimal(sign + digits[:at] + "." + digits[at:])
}
