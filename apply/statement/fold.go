package statement

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// fold is how much of a text its collation may ignore.
type fold uint8

const (
	foldNone   fold = iota
	foldSpaces      // trailing spaces at most
	foldAll         // case, accents, width and whatever else its language ignores
)

// foldOf returns what is to be left out of a string for its comparison.
func foldOf(collation string) fold {
	switch {
	case collation == "binary" || collation == "utf8mb4_0900_bin" || strings.HasSuffix(collation, "nopad_bin"):
		return foldNone
	case strings.HasSuffix(collation, "_bin"):
		return foldSpaces
	}
	return foldAll
}

// appendFolded appends what is left of a UTF-8 text when all is taken away that
// one of the servers' collations or another ignores: so that texts that any of
// them takes for equal give the same bytes. Texts that they all tell apart may
// give the same bytes too, which costs no more than a row written late.
//
// There are some three hundred collations, with rules for single letters of
// single languages; TestFoldIsCoarser asks servers about the usual ones. A pair
// of equal texts that is missed here loses nothing: between batches, which
// commit in order, the row locks keep the two in order; within one, the writer
// deletes late only what has the key to the byte. It costs a lock wait or, for
// a unique value, a batch tried again one transaction at a time.
func appendFolded(dst, text []byte) []byte {
	f := folding{dst: dst, last: -1}
	var decomposed [64]byte
	for len(text) > 0 {
		if text[0] < utf8.RuneSelf {
			f.letter(rune(text[0]))
			text = text[1:]
			continue
		}
		_, size := utf8.DecodeRune(text)
		for d := norm.NFKD.Append(decomposed[:0], text[:size]...); len(d) > 0; {
			r, n := utf8.DecodeRune(d)
			f.letter(r)
			d = d[n:]
		}
		text = text[size:]
	}
	for len(f.dst) > len(dst) && f.dst[len(f.dst)-1] == ' ' {
		f.dst = f.dst[:len(f.dst)-1]
	}
	return f.dst
}

// folding is a text being folded.
type folding struct {
	dst  []byte
	last rune
}

// letter adds what is left of one decomposed character.
func (f *folding) letter(r rune) {
	switch {
	case r < utf8.RuneSelf:
		f.add(ascii(r))
	case r == '·', unicode.In(r, unicode.M, unicode.Cf, unicode.Cc):
	case unicode.In(r, unicode.Hiragana, unicode.Katakana) || r == 'ー':
		f.add('か') // voiced, small, long or repeated: in a row they are one
	case unicode.Is(unicode.Nd, r):
		f.add('0' + digit(r))
	default:
		for _, l := range unlike(unicode.ToLower(unicode.ToUpper(r))) {
			f.add(ascii(l))
		}
	}
}

// digit returns the value of a digit of any script: they stand in rows of ten.
func digit(r rune) rune {
	for _, row := range unicode.Nd.R16 {
		if rune(row.Lo) <= r && r <= rune(row.Hi) {
			return (r - rune(row.Lo)) % 10
		}
	}
	return 0
}

// add adds a letter, unless it is as the last one: ß is ss to some, å is aa. An
// e after a vowel is nothing: to some, ä is æ, which is ae, and to others an a.
// So is the h of ch, which is a letter to Lithuanians, beside c.
func (f *folding) add(r rune) {
	switch {
	case r < 0, r == f.last, r == 'e' && (f.last == 'a' || f.last == 'u'), r == 'h' && f.last == 'c':
		return
	}
	f.dst = utf8.AppendRune(f.dst, r)
	f.last = r
}

// ascii is what a character of ASCII becomes, -1 for nothing. Others stay.
func ascii(r rune) rune {
	switch {
	case r < ' ' || r == 0x7f:
		return -1 // weighs nothing
	case 'A' <= r && r <= 'Z':
		r += 'a' - 'A'
	}
	switch r {
	case 'i', 'j', 'y', 'u', 'v', 'w': // one letter to Roman, Lithuanian or Swedish collations
		return 'u'
	case '~': // y to Chinese ones
		return 'u'
	case 'o', '[', '\\', ']': // ä, å, ö, ø and æ to latin1_swedish_ci and its like, as in seven-bit times
		return 'a'
	}
	return r
}

// unlike returns what collations make of a letter that Unicode doesn't
// decompose: itself, if it isn't one of those.
func unlike(r rune) string {
	switch r {
	case '〇':
		return "0"
	case 'ß', 'ſ':
		return "s"
	case 'æ':
		return "ae"
	case 'œ':
		return "oe"
	case 'ø':
		return "o"
	case 'đ', 'ð':
		return "d"
	case 'ħ':
		return "h"
	case 'ł':
		return "l"
	case 'ŧ':
		return "t"
	case 'þ':
		return "th"
	case 'ı':
		return "u"
	case 'ς':
		return "σ"
	}
	return string(r)
}
