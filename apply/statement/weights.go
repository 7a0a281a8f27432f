package statement

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"duplex/schemas"
)

// Weights tells texts apart as a collation of one server does: Append gives two of
// them the same bytes exactly if the server takes them for equal. They are
// the weights that the server itself gives (WEIGHT_STRING), so they are comparable only if one
// Weights gave them, or two of the same server.
//
// What characters of ASCII weigh is asked once, for each of them and each two of
// them: most keys have no others, and then no server is asked. Any other text
// is sent to the server as a whole. No collation has a contraction of three characters
// of ASCII of which no two beside each other are one (TestWeightsOnServers).
type Weights struct {
	ask      Ask
	charset  string
	selected string // what is asked of a text, with %s for that
	levels   []weightLevel
	// separated is set if the server gives all levels in one, zeros between them.
	separated bool
	// odd has a bit for each character that doesn't weigh what levels say;
	// oddAfter for each that doesn't behind a certain one.
	odd      asciiSet
	oddAfter [asciiSize]asciiSet

	mu          sync.Mutex
	recent, old map[string][]byte // what was asked of whole texts
	size        int               // of what recent has, in bytes
}

// Ask runs a SELECT on the server and returns what it shows.
type Ask func(query string) ([][][]byte, error)

// ErrWeightless says that a collation's weights don't tell texts apart.
var ErrWeightless = errors.New("the server gives no weights for it that tell texts apart")

const (
	asciiSize = 128
	// weightsKept bounds what is remembered of whole texts, in bytes. There are
	// two such halves.
	weightsKept = 1 << 20
	weightsCost = 64 // of one in a map, besides its bytes
)

// asciiSet is a set of characters.
type asciiSet [asciiSize / 64]uint64

func (s *asciiSet) add(c byte)      { s[c/64] |= 1 << (c % 64) }
func (s *asciiSet) has(c byte) bool { return s[c/64]>>(c%64)&1 != 0 }

// weightLevel is one of the levels on which a collation compares texts: letters, accents, case.
type weightLevel struct {
	ascii [asciiSize]weight
	// pad is what the shorter of two texts is filled up with; empty if it isn't.
	pad []byte
}

// weight is up to 8 bytes, the first one in the highest byte.
type weight struct {
	bytes uint64
	size  uint8
}

// LearnWeights asks a server for the weights of a collation. It fails with
// ErrWeightless for the few collations of which those tell nothing.
func LearnWeights(ask Ask, charset, collation string, dialect Dialect) (*Weights, error) {
	if weightless(collation) {
		return nil, ErrWeightless
	}
	w := &Weights{ask: ask, charset: charset, recent: map[string][]byte{}}
	column := "WEIGHT_STRING(%[1]s COLLATE " + collation
	w.selected = column + ")"
	if err := w.findLevels(column, dialect); err != nil {
		return nil, err
	}
	if err := w.learnPairs(); err != nil {
		return nil, err
	}
	if err := w.learnPad(collation); err != nil {
		return nil, err
	}
	return w, nil
}

// weightless reports whether the weights of a collation aren't those by which the
// server compares (found by TestWeightsOnServers). Most ideographs and kana of
// big5 weigh the same, in Thai NUL weighs nothing, in gb18030 ſ is an S; the Czech
// ones pass over a text several times.
func weightless(collation string) bool {
	for _, prefix := range []string{"big5_chinese_", "tis620_thai_", "gb18030_chinese_ci", "latin2_czech_cs", "cp1250_czech_cs"} {
		if strings.HasPrefix(collation, prefix) {
			return true
		}
	}
	return false
}

// findLevels finds how many levels there are and learns the weights of single characters.
func (w *Weights) findLevels(column string, dialect Dialect) error {
	list := numbers()
	if dialect == MariaDB {
		// It shows all levels in one, without a sign where one ends.
		all := column + " LEVEL 1), " + column + " LEVEL 2), " + column + " LEVEL 3)"
		found, err := w.ask("SELECT COUNT(*) FROM " + list + " a WHERE " + fmt.Sprintf(column+") <> "+column+" LEVEL 1)", w.converted("CHAR(a.n USING utf8mb4)")))
		if err != nil {
			return err
		}
		if len(found) != 1 || len(found[0]) != 1 {
			return errShort
		}
		if string(found[0][0]) != "0" {
			w.selected = all
		}
	}
	rows, err := w.ask("SELECT a.n, " + fmt.Sprintf(w.selected, w.converted("CHAR(a.n USING utf8mb4)")) + ", " + fmt.Sprintf(w.selected, w.converted("''")) + " FROM " + list + " a")
	if err != nil {
		return err
	}
	for _, row := range rows {
		half := 1 + (len(row)-1)/2
		c, err := number(row[0])
		if err != nil {
			return err
		}
		if w.levels == nil {
			n := half - 1
			if n == 1 {
				n += len(row[half]) / 2 // zeros only
			}
			w.separated, w.levels = n > half-1, make([]weightLevel, n)
		}
		parts, ok := w.split(row[1:half])
		for i := range parts {
			ok = ok && w.levels[i].ascii[c].set(parts[i])
		}
		if !ok {
			w.odd.add(c)
		}
	}
	if len(rows) != asciiSize {
		return errShort
	}
	return nil
}

var errShort = errors.New("asking for the weights of a collation: the server's answer lacks some")

// learnPairs finds which two characters don't weigh what each of them does.
func (w *Weights) learnPairs() error {
	list := numbers()
	rows, err := w.ask("SELECT a.n, b.n, " + fmt.Sprintf(w.selected, w.converted("CONCAT(CHAR(a.n USING utf8mb4), CHAR(b.n USING utf8mb4))")) + " FROM " + list + " a, " + list + " b")
	if err != nil {
		return err
	}
	var sum []byte
	odd := 0
	for _, row := range rows {
		a, err := number(row[0])
		if err != nil {
			return err
		}
		b, err := number(row[1])
		if err != nil {
			return err
		}
		parts, ok := w.split(row[2:])
		for i := range parts {
			l := &w.levels[i]
			sum = l.ascii[b].append(l.ascii[a].append(sum[:0]))
			ok = ok && bytes.Equal(sum, parts[i])
		}
		if !ok || w.odd.has(a) || w.odd.has(b) {
			w.oddAfter[a].add(b)
			odd++
		}
	}
	switch {
	case len(rows) != asciiSize*asciiSize:
		return errShort
	case odd > len(rows)/2: // made in a way that isn't known here
		return ErrWeightless
	}
	return nil
}

// learnPad finds out whether spaces at the end count.
func (w *Weights) learnPad(collation string) error {
	rows, err := w.ask(fmt.Sprintf("SELECT %s COLLATE %s = %s", w.converted("'a '"), collation, w.converted("'a'")))
	switch {
	case err != nil:
		return err
	case len(rows) != 1 || len(rows[0]) != 1:
		return errShort
	}
	padded := string(rows[0][0]) == "1"
	if padded && w.separated { // none is known
		return ErrWeightless
	}
	for i := range w.levels {
		// MariaDB fills up all levels but the first also where spaces count.
		if l := &w.levels[i]; padded || i > 0 && !w.separated {
			l.pad = l.ascii[' '].append(nil)
		}
	}
	return nil
}

func (w *Weights) converted(text string) string {
	return "CONVERT(" + text + " USING " + w.charset + ")"
}

// numbers is a table of the numbers of ASCII.
func numbers() string {
	var list strings.Builder
	list.WriteString("(SELECT 0 AS n")
	for n := 1; n < asciiSize; n++ {
		fmt.Fprintf(&list, " UNION ALL SELECT %d", n)
	}
	return list.String() + ")"
}

func number(text []byte) (byte, error) {
	n, err := strconv.ParseUint(string(text), 10, 7)
	return byte(n), err
}

// split returns the weights of each level.
func (w *Weights) split(columns [][]byte) (parts [][]byte, ok bool) {
	if !w.separated {
		return columns, len(columns) == len(w.levels)
	}
	all, from := columns[0], 0
	for i := 0; i+1 < len(all); i += 2 {
		if all[i] == 0 && all[i+1] == 0 {
			parts, from = append(parts, all[from:i]), i+2
		}
	}
	parts = append(parts, all[from:])
	return parts, len(parts) == len(w.levels)
}

func (w *weight) set(text []byte) bool {
	if len(text) > 8 {
		return false
	}
	var all [8]byte
	copy(all[:], text)
	w.bytes, w.size = binary.BigEndian.Uint64(all[:]), uint8(len(text))
	return true
}

func (w *weight) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(dst, w.bytes)[:len(dst)+int(w.size)]
}

// Append appends what a text in UTF-8 weighs. The error is that of Ask.
func (w *Weights) Append(dst, text []byte) ([]byte, error) {
	if !w.plain(text) {
		return w.appendAsked(dst, text)
	}
	for i := range w.levels {
		if i > 0 {
			dst = append(dst, 0, 0) // no weight is zero
		}
		l, at := &w.levels[i], len(dst)
		dst = slices.Grow(dst, 8*len(text)+8)
		out, from := dst[:cap(dst)], at
		for _, c := range text {
			weight := &l.ascii[c%asciiSize]
			binary.BigEndian.PutUint64(out[at:], weight.bytes)
			at += int(weight.size)
		}
		dst = l.trim(out[:at], from)
	}
	return dst, nil
}

// plain reports whether a text weighs what its characters do.
func (w *Weights) plain(text []byte) bool {
	odd := &w.odd
	for _, c := range text {
		if c >= asciiSize || odd.has(c) {
			return false
		}
		odd = &w.oddAfter[c]
	}
	return true
}

// trim takes away what padding would add, behind from.
func (l *weightLevel) trim(dst []byte, from int) []byte {
	if len(l.pad) == 0 {
		return dst
	}
	for len(dst)-from >= len(l.pad) && bytes.Equal(dst[len(dst)-len(l.pad):], l.pad) {
		dst = dst[:len(dst)-len(l.pad)]
	}
	return dst
}

// appendAsked is Append for a text of which only the server knows the weight.
func (w *Weights) appendAsked(dst, text []byte) ([]byte, error) {
	w.mu.Lock()
	known, ok := w.recent[string(text)]
	if !ok {
		if known, ok = w.old[string(text)]; ok {
			w.keep(text, known)
		}
	}
	w.mu.Unlock()
	if ok {
		return append(dst, known...), nil
	}
	literal, err := w.literal(text)
	if err != nil {
		return dst, err
	}
	rows, err := w.ask("SELECT " + fmt.Sprintf(w.selected, literal))
	if err != nil {
		return dst, err
	}
	if len(rows) != 1 {
		return dst, errShort
	}
	start := len(dst)
	if w.separated { // with kana there may be one level more
		dst = append(dst, rows[0][0]...)
	} else {
		for i, part := range rows[0] {
			if i > 0 {
				dst = append(dst, 0, 0)
			}
			at := len(dst)
			dst = w.levels[i].trim(append(dst, part...), at)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(text, bytes.Clone(dst[start:]))
	return dst, nil
}

// keep remembers what a text weighs, for some time.
func (w *Weights) keep(text, weight []byte) {
	if w.size > weightsKept {
		w.old, w.recent, w.size = w.recent, map[string][]byte{}, 0
	}
	w.recent[string(text)] = weight
	w.size += len(text) + len(weight) + weightsCost
}

// literal returns a text in the column's character set.
func (w *Weights) literal(text []byte) (string, error) {
	if len(text) == 0 || text[0] != schemas.RawText {
		return w.converted("_utf8mb4 " + string(appendHex(nil, text))), nil
	}
	charset, value, ok := bytes.Cut(text[1:], []byte{0})
	if !ok || !sameCharset(string(charset), w.charset) {
		return "", fmt.Errorf("weighing a text: it is malformed: %w", schemas.ErrExact)
	}
	return "_" + w.charset + " " + string(appendHex(nil, value)), nil
}
