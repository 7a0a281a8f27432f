package binlog

import (
	"encoding/binary"
	"fmt"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"duplex/schemas"
)

// compileTemporal picks the step of TIME, DATETIME and TIMESTAMP. The types
// without a 2 are those of columns made before MySQL 5.6, or by MariaDB with
// mysql56_temporal_format off: decimal numbers of whole seconds.
//
// Of those MariaDB makes with a fraction the binlog doesn't tell the digits,
// and so not the size: they must be refused before, by their comment
// "mariadb-5.3" in information_schema.COLUMNS.COLUMN_TYPE.
func compileTemporal(c *schemas.Column, typ byte) (column, error) {
	if c.Scale < 0 || c.Scale > 6 {
		return column{}, &UnsupportedError{What: fmt.Sprintf("its TABLE_MAP event is malformed: %d digits of a fraction of a second", c.Scale)}
	}
	out := column{digits: c.Scale, size: (c.Scale + 1) / 2, rough: roughDateTime}
	switch typ {
	case gomysql.MYSQL_TYPE_TIME:
		out.step = stepOldTime
	case gomysql.MYSQL_TYPE_DATETIME:
		out.size = 8
		out.step, out.read = stepOldDateTime, readOldDateTime
	case gomysql.MYSQL_TYPE_TIMESTAMP:
		out.size = 4
		out.step, out.rough = stepOldTimestamp, roughTimestamp
	case gomysql.MYSQL_TYPE_TIME2:
		out.size += 3
		out.step = stepTime
	case gomysql.MYSQL_TYPE_DATETIME2:
		out.size += 5
		out.step, out.read = stepDateTimeMillis, readDateTime
		if c.Scale > 3 {
			out.step = stepDateTimeMicros
		}
	case gomysql.MYSQL_TYPE_TIMESTAMP2:
		out.size += 4
		out.step, out.rough = stepTimestamp, roughTimestamp
	default:
		return column{}, &UnsupportedError{What: fmt.Sprintf("%s columns of binlog type %d are not handled yet", c.Type, typ)}
	}
	return out, nil
}

// fraction reads the fraction of a second, in microseconds, that stands big
// endian in as many bytes as its digits need, two digits a byte.
func fraction(src []byte, digits int) int64 {
	switch (digits + 1) / 2 {
	case 1:
		return int64(src[0]) * 10000
	case 2:
		return int64(binary.BigEndian.Uint16(src)) * 100
	case 3:
		return int64(src[0])<<16 | int64(src[1])<<8 | int64(src[2])
	}
	return 0
}

// stepDate: day, month and year in 5, 4 and 15 bits from the lowest.
func stepDate(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 3 {
		return nil, 0, ErrTruncated
	}
	v := int64(uint24(src))
	days, err := epochDays(v>>9, v>>5&15, v&31)
	if err != nil {
		return nil, 0, err
	}
	return binary.AppendVarint(dst, days), 3, nil
}

// roughDate: a DATE that the calendar lacks is NULL or 1970-01-01 to Debezium.
func roughDate(c *column, dst, exact, src []byte) (out, exactOut []byte, n int, err error) {
	v := int64(uint24(src))
	if v>>9 > 9999 || v>>5&15 > 12 {
		return nil, nil, 0, ErrMalformed
	}
	return c.stand(dst, "\x00"), binary.AppendVarint(exact, schemas.PackDate(v>>9, v>>5&15, v&31)), 3, nil
}

// stepTime: sign and magnitude made one number whose order is that of the
// times: an offset, hours, minutes and seconds in 10, 6 and 6 bits, and the
// fraction, which of a negative time counts down from the next whole second.
func stepTime(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < c.size {
		return nil, 0, ErrTruncated
	}
	packed := (int64(src[0])<<16 | int64(src[1])<<8 | int64(src[2])) - 0x800000
	micros := fraction(src[3:], c.digits)
	negative := packed < 0
	if negative {
		if micros != 0 {
			packed++
			unit := [...]int64{1: 10000 << 8, 2: 100 << 16, 3: 1 << 24}[(c.digits+1)/2]
			micros = unit - micros
		}
		packed = -packed
	}
	hour, minute, second := packed>>12, packed>>6&63, packed&63
	if hour > 838 || minute > 59 || second > 59 || micros > 999999 {
		return nil, 0, ErrMalformed
	}
	micros += ((hour*60+minute)*60 + second) * 1e6
	if negative {
		micros = -micros
	}
	return binary.AppendVarint(dst, micros), c.size, nil
}

// stepOldTime: the number hhmmss with its sign, three bytes.
func stepOldTime(_ *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 3 {
		return nil, 0, ErrTruncated
	}
	v := int64(int32(uint24(src)<<8) >> 8)
	hour, minute, second := v/10000, v/100%100, v%100
	if hour < -838 || hour > 838 || minute < -59 || minute > 59 || second < -59 || second > 59 {
		return nil, 0, ErrMalformed
	}
	return binary.AppendVarint(dst, ((hour*60+minute)*60+second)*1e6), 3, nil
}

// dateTime is a DATETIME as the server keeps it: the date may be one that the
// calendar lacks.
type dateTime struct{ year, month, day, clock int64 } // clock: µs since midnight

// micros is the wall clock, read as UTC, in microseconds since 1970.
func (t dateTime) micros() (int64, error) {
	days, err := epochDays(t.year, t.month, t.day)
	return days*86400e6 + t.clock, err
}

func stepDateTimeMillis(c *column, dst, src []byte) ([]byte, int, error) {
	t, err := readDateTime(c, src)
	if err != nil {
		return nil, 0, err
	}
	micros, err := t.micros()
	if err != nil {
		return nil, 0, err
	}
	// Three digits of a fraction are whole milliseconds: nothing is lost. Of
	// times before 1970 neither.
	return binary.AppendVarint(dst, micros/1000), c.size, nil
}

func stepDateTimeMicros(c *column, dst, src []byte) ([]byte, int, error) {
	t, err := readDateTime(c, src)
	if err != nil {
		return nil, 0, err
	}
	micros, err := t.micros()
	if err != nil {
		return nil, 0, err
	}
	return binary.AppendVarint(dst, micros), c.size, nil
}

// roughDateTime: a DATETIME that the calendar lacks is NULL or 1970 to Debezium.
func roughDateTime(c *column, dst, exact, src []byte) (out, exactOut []byte, n int, err error) {
	t, err := c.read(c, src)
	if err != nil {
		return nil, nil, 0, err
	}
	if t.year > 9999 || t.month > 12 {
		return nil, nil, 0, ErrMalformed
	}
	return c.stand(dst, "\x00"), binary.AppendVarint(exact, schemas.PackDateTime(t.year, t.month, t.day, t.clock)), c.size, nil
}

// readDateTime reads a DATETIME: an offset, year and month as one number to
// base 13, day, hour, minute and second in 5, 5, 6 and 6 bits, and the
// fraction.
func readDateTime(c *column, src []byte) (t dateTime, err error) {
	if len(src) < c.size {
		return t, ErrTruncated
	}
	packed := int64(src[0])<<32 | int64(binary.BigEndian.Uint32(src[1:]))
	packed -= 0x8000000000
	micros := fraction(src[5:], c.digits)
	hour, minute, second := packed>>12&31, packed>>6&63, packed&63
	if packed < 0 || micros > 999999 || hour > 23 || minute > 59 || second > 59 {
		return t, ErrMalformed
	}
	month := packed >> 22
	return dateTime{month / 13, month % 13, packed >> 17 & 31, ((hour*60+minute)*60+second)*1e6 + micros}, nil
}

// readOldDateTime: the number YYYYMMDDhhmmss, eight bytes.
func readOldDateTime(_ *column, src []byte) (t dateTime, err error) {
	if len(src) < 8 {
		return t, ErrTruncated
	}
	v := binary.LittleEndian.Uint64(src)
	if v > 99991231235959 {
		return t, ErrMalformed
	}
	date, clock := int64(v/1000000), int64(v%1000000)
	hour, minute, second := clock/10000, clock/100%100, clock%100
	if hour > 23 || minute > 59 || second > 59 || date/100%100 > 12 || date%100 > 31 {
		return t, ErrMalformed
	}
	return dateTime{date / 10000, date / 100 % 100, date % 100, ((hour*60+minute)*60 + second) * 1e6}, nil
}

func stepOldDateTime(c *column, dst, src []byte) ([]byte, int, error) {
	t, err := readOldDateTime(c, src)
	if err != nil {
		return nil, 0, err
	}
	micros, err := t.micros()
	if err != nil {
		return nil, 0, err
	}
	return binary.AppendVarint(dst, micros/1000), 8, nil
}

func stepTimestamp(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < c.size {
		return nil, 0, ErrTruncated
	}
	micros := fraction(src[4:], c.digits)
	if micros > 999999 {
		return nil, 0, ErrMalformed
	}
	dst, err := appendZoned(dst, binary.BigEndian.Uint32(src), uint32(micros), c.digits)
	return dst, c.size, err
}

func stepOldTimestamp(c *column, dst, src []byte) ([]byte, int, error) {
	if len(src) < 4 {
		return nil, 0, ErrTruncated
	}
	dst, err := appendZoned(dst, binary.LittleEndian.Uint32(src), 0, c.digits)
	return dst, c.size, err
}

// roughTimestamp: TIMESTAMP '0000-00-00 00:00:00' is NULL or 1970 to Debezium.
func roughTimestamp(c *column, dst, exact, src []byte) (out, exactOut []byte, n int, err error) {
	epoch := "1970-01-01T00:00:00"
	if c.digits > 0 {
		epoch += "." + strings.Repeat("0", c.digits)
	}
	epoch += "Z"
	return c.stand(dst, string(rune(len(epoch)<<1))+epoch), schemas.AppendString(exact, schemas.ZeroTimestamp), c.size, nil
}

// appendZoned appends seconds since 1970 and a fraction as an Avro string
// like 2018-06-20T13:37:03.120Z, with that many digits of the fraction. No
// TIMESTAMP can be 1970-01-01T00:00:00: the server means 0000-00-00 by it.
func appendZoned(dst []byte, seconds, micros uint32, digits int) ([]byte, error) {
	if seconds == 0 {
		return nil, errInexact
	}
	length := len("2018-06-20T13:37:03Z")
	if digits > 0 {
		length += 1 + digits
	}
	year, month, day := civil(seconds / 86400)
	clock := seconds % 86400
	dst = append(dst, byte(length<<1))
	dst = appendPair(dst, year/100)
	dst = appendPair(dst, year%100)
	dst = append(dst, '-')
	dst = appendPair(dst, month)
	dst = append(dst, '-')
	dst = appendPair(dst, day)
	dst = append(dst, 'T')
	dst = appendPair(dst, clock/3600)
	dst = append(dst, ':')
	dst = appendPair(dst, clock/60%60)
	dst = append(dst, ':')
	dst = appendPair(dst, clock%60)
	if digits > 0 {
		dst = append(dst, '.')
		dst = appendDigits(dst, micros, 6)
		dst = dst[:len(dst)-6+digits]
	}
	return append(dst, 'Z'), nil
}

func appendPair(dst []byte, v uint32) []byte {
	return append(dst, byte('0'+v/10), byte('0'+v%10))
}

// epochDays is a date in days since 1970-01-01 by the Gregorian calendar, also
// before its time, as the server counts. errInexact tells that the calendar
// doesn't have it: its month or day is zero, or it is a 31 February. (The year
// 0000 is one like any other.)
//
// Years run from March here, so that the leap day is the last: the days before
// a month are then (153*m+2)/5, and the 400 years have 146097 days.
func epochDays(year, month, day int64) (int64, error) {
	if month == 0 || day == 0 || year > 9999 || month > 12 || day > daysIn(year, month) {
		return 0, errInexact
	}
	if month <= 2 {
		year--
	}
	year += 400 // that it isn't negative
	of := year % 400
	sinceMarch := (month + 9) % 12
	return (year/400-1)*146097 + of*365 + of/4 - of/100 + (153*sinceMarch+2)/5 + day - 1 - 719468, nil
}

func daysIn(year, month int64) int64 {
	if month == 2 {
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 30 + (month+month>>3)&1
}

// civil is the inverse of epochDays for days since 1970.
func civil(days uint32) (year, month, day uint32) {
	days += 719468
	era := days / 146097
	of := days % 146097
	yearOf := (of - of/1460 + of/36524 - of/146096) / 365
	dayOf := of - (365*yearOf + yearOf/4 - yearOf/100)
	m := (5*dayOf + 2) / 153
	day = dayOf - (153*m+2)/5 + 1
	month = m + 3
	if month > 12 {
		month -= 12
	}
	year = era*400 + yearOf
	if month <= 2 {
		year++
	}
	return year, month, day
}
