package binlog

import (
	"bufio"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// charsetFiles has a table for each character set that isn't Unicode, in
// charsets/<name>.txt. TestCharsets made them by asking every server that we
// test with about every code, and compares them with the servers again.
//
// A line is a code in hex, a blank, and the characters of this code and those
// after it, as UTF-8. Before the codes that some server doesn't turn into that
// character and back stands a tilde: these travel in the exact form.
//
//go:embed charsets/*.txt
var charsetFiles embed.FS

// controls is where control characters stand in a file, in private use: so no
// editor breaks a line at them.
const controls = 0xf0000

// charset turns text of one character set into UTF-8.
type charset struct {
	// narrow has the characters of one byte, wide those of two, triple those of
	// three, the first of which is 0x8f, long those of four, by linear. 0 is for
	// codes that the set doesn't have.
	narrow [256]codePoint
	wide   []codePoint
	triple []codePoint
	long   []codePoint
	// ascii is set where the bytes below 0x80 are those of ASCII.
	ascii bool
}

// codePoint is a character and what is known of it.
type codePoint uint32

const (
	assigned codePoint = 1 << 31
	roughly  codePoint = 1 << 30 // not every server turns it back
	runeBits codePoint = 1<<21 - 1
)

// charsets are the tables, each read when the first table asks for it.
var charsets = func() map[string]func() (*charset, error) {
	entries, _ := charsetFiles.ReadDir("charsets") // embedded: it is there
	all := make(map[string]func() (*charset, error), len(entries))
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".txt")
		all[name] = sync.OnceValues(func() (*charset, error) { return readCharset(name) })
	}
	return all
}()

func readCharset(name string) (*charset, error) {
	f, err := charsetFiles.Open("charsets/" + name + ".txt")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := new(charset)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := c.line(lines.Text()); err != nil {
			return nil, fmt.Errorf("character set %s: %w", name, err)
		}
	}
	c.ascii = true
	for b := range 0x80 {
		c.ascii = c.ascii && c.narrow[b] == assigned|codePoint(b)
	}
	return c, lines.Err()
}

func (c *charset) line(text string) error {
	text, isRough := strings.CutPrefix(text, "~")
	flags := assigned
	if isRough {
		flags |= roughly
	}
	digits, characters, _ := strings.Cut(text, " ")
	code, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return fmt.Errorf("reading %q: %w", text, err)
	}
	table, at := c.table(len(digits)/2, uint32(code))
	for _, r := range characters {
		if r >= controls && r < controls+0x100 {
			r -= controls
		}
		if at >= len(table) {
			return fmt.Errorf("%q has too many characters", text)
		}
		table[at] = flags | codePoint(r)
		at++
	}
	return nil
}

// table returns where a code of that many bytes stands.
func (c *charset) table(size int, code uint32) ([]codePoint, int) {
	room := func(table *[]codePoint, n int) []codePoint {
		if *table == nil {
			*table = make([]codePoint, n)
		}
		return *table
	}
	switch size {
	case 1:
		return c.narrow[:], int(code)
	case 2:
		return room(&c.wide, 1<<16), int(code)
	case 3:
		return room(&c.triple, 1<<16), int(code & 0xffff)
	}
	return room(&c.long, gb18030BMP), linear(byte(code>>24), byte(code>>16), byte(code>>8), byte(code))
}

// In gb18030 the codes of four bytes are one row: first those of the basic
// plane that have no code of two bytes, and from gb18030Planes on all others.
const (
	gb18030BMP    = 39420
	gb18030Planes = 189000
)

func linear(a, b, c, d byte) int {
	return ((int(a)-0x81)*10+int(b)-0x30)*1260 + (int(c)-0x81)*10 + int(d) - 0x30
}

// next takes the character at the start of text, which isn't empty. A
// character that isn't there takes a byte.
func (c *charset) next(text []byte) (codePoint, int) {
	if p := c.narrow[text[0]]; p != 0 {
		return p, 1
	}
	switch {
	case len(text) >= 3 && text[0] == 0x8f && c.triple != nil:
		if p := c.triple[int(text[1])<<8|int(text[2])]; p != 0 {
			return p, 3
		}
	case len(text) >= 4 && c.long != nil && text[0] >= 0x81 && text[1]-0x30 < 10 && text[2]-0x81 < 126 && text[3]-0x30 < 10:
		return c.four(text), 4
	case len(text) >= 2 && c.wide != nil:
		if p := c.wide[int(text[0])<<8|int(text[1])]; p != 0 {
			return p, 2
		}
	}
	return 0, 1
}

func (c *charset) four(text []byte) codePoint {
	at := linear(text[0], text[1], text[2], text[3])
	switch {
	case at < len(c.long):
		return c.long[at]
	case at >= gb18030Planes && at < gb18030Planes+0x100000:
		return assigned | codePoint(at-gb18030Planes+0x10000)
	}
	return 0
}

// append appends text as UTF-8. exact tells that every server turns it back
// into the same bytes.
func (c *charset) append(dst, text []byte) (out []byte, exact bool) {
	exact = true
	for len(text) > 0 {
		p, n := c.next(text)
		text = text[n:]
		if p == 0 {
			p = roughly | utf8.RuneError
		}
		exact = exact && p&roughly == 0
		dst = utf8.AppendRune(dst, rune(p&runeBits))
	}
	return dst, exact
}

// maxBytes is the most bytes that a character of the set takes, as
// information_schema.CHARACTER_SETS tells it.
func maxBytes(charset string) int {
	switch charset {
	case "utf8mb4", "utf16", "utf16le", "utf32", "gb18030":
		return 4
	case "utf8mb3", "utf8", "ujis", "eucjpms":
		return 3
	case "ucs2", "big5", "gbk", "gb2312", "sjis", "cp932", "euckr":
		return 2
	}
	return 1
}

// conversion returns what turns text of a character set into UTF-8, nil for a
// set that we don't know.
func conversion(name string) (func(dst, text []byte) (out []byte, exact bool), error) {
	switch name {
	case "utf8mb4", "utf8mb3", "utf8":
		return appendUTF8, nil
	case "ascii", "binary":
		return appendASCII, nil
	case "latin1":
		return func(dst, text []byte) ([]byte, bool) { return appendLatin1(dst, text), true }, nil
	case "ucs2":
		return appendUCS2, nil
	case "utf16":
		return appendUTF16, nil
	case "utf16le":
		return appendUTF16LE, nil
	case "utf32":
		return appendUTF32, nil
	}
	read, ok := charsets[name]
	if !ok {
		return nil, &UnsupportedError{What: fmt.Sprintf("character set %q is not known here", name), Hint: charsetHint}
	}
	table, err := read()
	if err != nil {
		return nil, err
	}
	return table.append, nil
}

// charsetHint is the mend for a column in a character set that isn't known.
const charsetHint = "ALTER TABLE … MODIFY the column with CHARACTER SET utf8mb4"

// toUTF8 converts a label of an ENUM or SET.
func toUTF8(charset string, label []byte) (string, error) {
	convert, err := conversion(charset)
	if err != nil {
		return "", err
	}
	text, exact := convert(nil, label)
	if !exact {
		return "", ErrCharset
	}
	return string(text), nil
}
