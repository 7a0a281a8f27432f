package binlog

import (
	"fmt"
	"unicode/utf8"
)

// charsetHint is the mend for a column in a character set not handled yet.
const charsetHint = "ALTER TABLE … MODIFY the column with CHARACTER SET utf8mb4"

// maxBytes is the most bytes that a character of the set takes.
func maxBytes(charset string) int {
	switch charset {
	case "utf8mb4":
		return 4
	case "utf8mb3", "utf8":
		return 3
	}
	return 1
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

// toUTF8 converts a label of an ENUM or SET.
func toUTF8(charset string, label []byte) (string, error) {
	switch charset {
	case "utf8mb4", "utf8mb3", "utf8":
		if !utf8.Valid(label) {
			return "", ErrCharset
		}
		return string(label), nil
	case "ascii", "binary":
		if !isASCII(label) {
			return "", ErrCharset
		}
		return string(label), nil
	case "latin1":
		return string(appendLatin1(nil, label)), nil
	}
	return "", fmt.Errorf("character set %s is not handled yet", charset)
}
