package statement

import (
	"errors"
	"math/bits"

	"duplex/schemas"
)

var (
	errRange    = errors.New("the date or time is out of the range that MySQL has")
	errFraction = errors.New("the time has a finer fraction of a second than the column keeps; mend: give the column as many digits as in the origin")
	errZoned    = errors.New("the timestamp is not of the form YYYY-MM-DDTHH:MM:SS[.ffffff]Z")
	errDecimal  = errors.New("the decimal has no or too many bytes")
)

// escapes holds the letter after the backslash for the bytes that need one in
// a quoted literal, 0 for all others. All of them are ASCII: in utf8mb4 they
// never are part of a longer character.
var escapes = [256]byte{0: '0', '\'': '\'', '\\': '\\', '\n': 'n', '\r': 'r', 0x1a: 'Z', '"': '"'}

// appendQuoted appends v in quotes.
func appendQuoted(dst, v []byte) []byte {
	dst = append(dst, '\'')
	done := 0
	for i, x := range v {
		if e := escapes[x]; e != 0 {
			dst = append(append(dst, v[done:i]...), '\\', e)
			done = i + 1
		}
	}
	return append(append(dst, v[done:]...), '\'')
}

const chunk = 1e19 // the greatest power of ten in a uint64

// appendDecimal appends a decimal from its unscaled value in two's complement,
// big endian, with digits digits after the point, at least scale.
func appendDecimal(dst, v []byte, scale, digits int) ([]byte, error) {
	if len(v) == 0 || len(v) > 32 { // 65 digits have 27 bytes
		return dst, errDecimal
	}
	var limbs [4]uint64 // little endian
	negative := v[0]&0x80 != 0
	n := (len(v) + 7) / 8
	if negative {
		for i := range n {
			limbs[i] = ^uint64(0)
		}
	}
	for i := range v {
		x := v[len(v)-1-i]
		shift := uint(i%8) * 8
		limbs[i/8] = limbs[i/8]&^(0xff<<shift) | uint64(x)<<shift
	}
	if negative {
		dst = append(dst, '-')
		carry := uint64(1)
		for i := range n {
			limbs[i], carry = bits.Add64(^limbs[i], 0, carry)
		}
	}
	var buf [96]byte
	at := len(buf)
	for n > 0 {
		var rest uint64
		for i := n - 1; i >= 0; i-- {
			limbs[i], rest = bits.Div64(rest, limbs[i], chunk)
		}
		for n > 0 && limbs[n-1] == 0 {
			n--
		}
		for range 19 {
			at--
			buf[at] = '0' + byte(rest%10)
			rest /= 10
		}
	}
	for len(buf)-at > scale+1 && buf[at] == '0' {
		at++
	}
	for len(buf)-at < scale+1 {
		at--
		buf[at] = '0'
	}
	point := len(buf) - scale
	dst = append(dst, buf[at:point]...)
	if digits > 0 {
		dst = append(append(dst, '.'), buf[point:]...)
		for range digits - scale {
			dst = append(dst, '0')
		}
	}
	return dst, nil
}

// appendDigits appends v with leading zeros to the given width.
func appendDigits(dst []byte, v uint64, width int) []byte {
	at := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := at + width - 1; i >= at; i-- {
		dst[i] = '0' + byte(v%10)
		v /= 10
	}
	return dst
}

const daysTo10000 = 2932897 // from 1970-01-01 to 10000-01-01

// appendDate appends a date, given in days since 1970, of the years 0 to 9999.
// In the exact form it may be one that the calendar lacks. The arithmetic is Howard Hinnant's: years begin in March, so that the leap
// day is the last, and 400 years have 146,097 days.
func appendDate(dst []byte, days int64) ([]byte, error) {
	const before = 719468 // from 0000-03-01 to 1970-01-01
	if year, month, day, ok := schemas.UnpackDate(days); ok {
		return appendCivil(dst, year, month, day), nil
	}
	if days < -before-60 || days >= daysTo10000 {
		return dst, errRange
	}
	z := days + before + 146097 // an era more, so that January of year 0 is positive
	era := z / 146097
	doe := z % 146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day := doy - (153*mp+2)/5 + 1
	month := mp + 3
	year := yoe + (era-1)*400
	if month > 12 {
		month -= 12
		year++
	}
	return appendCivil(dst, year, month, day), nil
}

func appendCivil(dst []byte, year, month, day int64) []byte {
	dst = append(appendDigits(dst, uint64(year), 4), '-')
	dst = append(appendDigits(dst, uint64(month), 2), '-')
	return appendDigits(dst, uint64(day), 2)
}

const (
	second = int64(1_000_000)
	hour   = 3600 * second
	day    = 24 * hour
	// exactBelow is below every wall clock that isn't of the exact form.
	exactBelow = -1 << 60
)

// appendDateTime appends a wall clock given in microseconds since 1970, or in
// the exact form.
func appendDateTime(dst []byte, micros int64, digits int) ([]byte, error) {
	if year, month, of, clock, ok := schemas.UnpackDateTime(micros); ok {
		return appendClock(append(appendCivil(dst, year, month, of), ' '), clock, digits)
	}
	days, rest := micros/day, micros%day
	if rest < 0 {
		days, rest = days-1, rest+day
	}
	dst, err := appendDate(dst, days)
	if err != nil {
		return dst, err
	}
	return appendClock(append(dst, ' '), rest, digits)
}

// appendTime appends a TIME given in signed microseconds.
func appendTime(dst []byte, micros int64, digits int) ([]byte, error) {
	if micros <= -839*hour || micros >= 839*hour {
		return dst, errRange
	}
	if micros < 0 {
		dst, micros = append(dst, '-'), -micros
	}
	return appendClock(dst, micros, digits)
}

// appendClock appends hours, minutes and seconds with a fraction of the given
// number of digits.
func appendClock(dst []byte, micros int64, digits int) ([]byte, error) {
	hours := uint64(micros / hour)
	width := 2
	if hours > 99 {
		width = 3
	}
	dst = append(appendDigits(dst, hours, width), ':')
	dst = append(appendDigits(dst, uint64(micros/(60*second)%60), 2), ':')
	dst = appendDigits(dst, uint64(micros/second%60), 2)
	fraction := uint64(micros % second)
	for range 6 - digits {
		if fraction%10 != 0 {
			return dst, errFraction
		}
		fraction /= 10
	}
	if digits > 0 {
		dst = appendDigits(append(dst, '.'), fraction, digits)
	}
	return dst, nil
}

// appendZoned appends a timestamp given as YYYY-MM-DDTHH:MM:SS[.ffffff]Z.
func appendZoned(dst, v []byte, digits int) ([]byte, error) {
	const form = "0000-00-00T00:00:00"
	if len(v) < len(form)+1 || v[len(v)-1] != 'Z' {
		return dst, errZoned
	}
	for i := range form {
		if form[i] == '0' && (v[i] < '0' || v[i] > '9') || form[i] != '0' && v[i] != form[i] {
			return dst, errZoned
		}
	}
	fraction := v[len(form) : len(v)-1]
	if len(fraction) > 0 {
		if fraction[0] != '.' || len(fraction) == 1 {
			return dst, errZoned
		}
		fraction = fraction[1:]
	}
	dst = append(append(append(dst, v[:10]...), ' '), v[11:19]...)
	if digits > 0 {
		dst = append(dst, '.')
	}
	for i, x := range fraction {
		switch {
		case x < '0' || x > '9':
			return dst, errZoned
		case i < digits:
			dst = append(dst, x)
		case x != '0':
			return dst, errFraction
		}
	}
	for range digits - len(fraction) {
		dst = append(dst, '0')
	}
	return dst, nil
}
