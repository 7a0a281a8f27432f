package binlog

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// The character sets that are Unicode, and those two that are nearly so. Each
// function appends text as UTF-8, with U+FFFD for what isn't a character, and
// tells whether every server turns the result back into the same bytes.

// appendUTF8: MariaDB also keeps surrogates in it.
func appendUTF8(dst, text []byte) ([]byte, bool) {
	if utf8.Valid(text) {
		return append(dst, text...), true
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		dst, text = utf8.AppendRune(dst, r), text[n:]
	}
	return dst, false
}

// appendASCII: MariaDB also keeps bytes from 0x80 on in it.
func appendASCII(dst, text []byte) ([]byte, bool) {
	if isASCII(text) {
		return append(dst, text...), true
	}
	for _, b := range text {
		if b < 0x80 {
			dst = append(dst, b)
		} else {
			dst = utf8.AppendRune(dst, utf8.RuneError)
		}
	}
	return dst, false
}

// appendUCS2: every two bytes are a character, surrogates too.
func appendUCS2(dst, text []byte) (out []byte, exact bool) {
	exact = len(text)%2 == 0
	for ; len(text) >= 2; text = text[2:] {
		r := rune(binary.BigEndian.Uint16(text))
		if utf16.IsSurrogate(r) {
			exact = false
		}
		dst = utf8.AppendRune(dst, r) // U+FFFD for a surrogate
	}
	return dst, exact
}

func appendUTF16(dst, text []byte) ([]byte, bool) {
	return appendUTF16In(binary.BigEndian, dst, text)
}

func appendUTF16LE(dst, text []byte) ([]byte, bool) {
	return appendUTF16In(binary.LittleEndian, dst, text)
}

func appendUTF16In(order binary.ByteOrder, dst, text []byte) (out []byte, exact bool) {
	exact = len(text)%2 == 0
	for len(text) >= 2 {
		r, n := rune(order.Uint16(text)), 2
		if utf16.IsSurrogate(r) {
			if len(text) >= 4 {
				r, n = utf16.DecodeRune(r, rune(order.Uint16(text[2:]))), 4
			}
			if r == utf8.RuneError || n == 2 {
				r, n, exact = utf8.RuneError, 2, false
			}
		}
		dst, text = utf8.AppendRune(dst, r), text[n:]
	}
	return dst, exact
}

func appendUTF32(dst, text []byte) (out []byte, exact bool) {
	exact = len(text)%4 == 0
	for ; len(text) >= 4; text = text[4:] {
		r := rune(utf8.RuneError)
		if v := binary.BigEndian.Uint32(text); v <= utf8.MaxRune && utf8.ValidRune(rune(v)) {
			r = rune(v)
		} else {
			exact = false
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst, exact
}

// latin1 holds the UTF-8 of each byte of MySQL's latin1: that is Windows-1252,
// with the five bytes undefined there as the C1 controls of the same number.
var latin1 = latin1Table()

// utf8Char is a character of at most three bytes of UTF-8.
type utf8Char struct {
	bytes [3]byte
	size  uint8
}

func latin1Table() (table [256]utf8Char) {
	high := [32]rune{
		0x20ac, 0x81, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8d, 0x017d, 0x8f,
		0x90, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x9d, 0x017e, 0x0178,
	}
	for b := range table {
		r := rune(b)
		if b >= 0x80 && b < 0xa0 {
			r = high[b-0x80]
		}
		table[b].size = uint8(utf8.EncodeRune(table[b].bytes[:], r))
	}
	return table
}

// latin1Size is the number of bytes that text takes in UTF-8.
func latin1Size(text []byte) int {
	n := len(text)
	for _, b := range text {
		if b >= 0x80 {
			n += int(latin1[b].size) - 1
		}
	}
	return n
}

// appendLatin1 appends text, in latin1, as UTF-8.
func appendLatin1(dst, text []byte) []byte {
	for _, b := range text {
		if b < 0x80 {
			dst = append(dst, b)
			continue
		}
		c := &latin1[b]
		dst = append(dst, c.bytes[:c.size]...)
	}
	return dst
}

// isASCII tells whether all bytes of text are below 0x80.
func isASCII(text []byte) bool {
	for _, b := range text {
		if b >= 0x80 {
			return false
		}
	}
	return true
}
