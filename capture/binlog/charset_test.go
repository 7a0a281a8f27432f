package binlog

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"duplex/internal/testbed"
)

var update = flag.Bool("update", false, "write charsets/*.txt anew from what the servers say")

// saying is what a server makes of a code: UTF-8, and that turned back.
type saying struct{ utf8, back string }

// TestCharsets asks every server about every code of every character set, and
// compares the tables with the answers: a code is exact only where all servers
// agree on its character and turn that back into the code.
func TestCharsets(t *testing.T) {
	said := map[string]map[string][]saying{} // by character set and code
	knowing := map[string]int{}
	for _, part := range []testbed.Part{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011, testbed.MariaDB118} {
		s := startSource(t, part)
		for _, set := range s.charsets(t) {
			knowing[set]++
			if said[set] == nil {
				said[set] = map[string][]saying{}
			}
			for code, says := range s.codes(t, set) {
				said[set][code] = append(said[set][code], says)
			}
		}
	}
	for set, codes := range said {
		text := tableText(codes, knowing[set])
		file := "charsets/" + set + ".txt"
		if *update {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if want, err := charsetFiles.ReadFile(file); err != nil || !bytes.Equal(text, want) {
			t.Errorf("%s isn't what the servers say (%v): run with -update and look at the difference", file, err)
		}
		checkConversion(t, set, codes, knowing[set])
	}
	if !*update && len(said) != len(charsets) {
		t.Errorf("the servers have %d such character sets, there are tables of %d", len(said), len(charsets))
	}
}

// charsets are the server's sets that need a table.
func (s *source) charsets(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, row := range selectAll(t, s, "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME NOT LIKE 'utf%' AND CHARACTER_SET_NAME NOT IN ('ucs2', 'ascii', 'latin1', 'binary')") {
		names = append(names, row[0])
	}
	return names
}

// codes asks for all codes of one to four bytes.
func (s *source) codes(t *testing.T, set string) map[string]saying {
	t.Helper()
	s.exec(t, "CREATE TABLE IF NOT EXISTS d.byte (n INT PRIMARY KEY)")
	if len(selectAll(t, s, "SELECT n FROM d.byte LIMIT 1")) == 0 {
		all := make([]string, 256)
		for i := range all {
			all[i] = fmt.Sprintf("(%d)", i)
		}
		s.exec(t, "INSERT INTO d.byte VALUES "+strings.Join(all, ","))
	}
	out := map[string]saying{}
	ask := func(char, from string) {
		query := fmt.Sprintf("SELECT HEX(c), HEX(CONVERT(c USING utf8mb4)), HEX(CONVERT(CONVERT(c USING utf8mb4) USING %[1]s)) FROM (SELECT CHAR(%[2]s USING %[1]s) c FROM %[3]s) x WHERE CHAR_LENGTH(c) = 1", set, char, from)
		for _, row := range selectAll(t, s, query) {
			out[row[0]] = saying{row[1], row[2]}
		}
	}
	ask("a.n", "d.byte a")
	if maxBytes(set) >= 2 {
		ask("a.n, b.n", "d.byte a JOIN d.byte b WHERE a.n >= 128 AND b.n >= 48")
	}
	if maxBytes(set) == 3 {
		ask("143, a.n, b.n", "d.byte a JOIN d.byte b WHERE a.n >= 128 AND b.n >= 128")
	}
	if maxBytes(set) == 4 {
		ask("a.n, b.n, c.n, d.n", "d.byte a JOIN d.byte b JOIN d.byte c JOIN d.byte d WHERE a.n BETWEEN 129 AND 132 AND b.n BETWEEN 48 AND 57 AND c.n BETWEEN 129 AND 254 AND d.n BETWEEN 48 AND 57")
	}
	return out
}

func selectAll(t *testing.T, s *source, query string) (out [][]string) {
	t.Helper()
	rows, err := s.conn.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	for rows.Next() {
		row, into := make([]string, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// verdict is the character of a code, false where no server has one, and
// whether all servers turn it back into the code.
func verdict(code string, says []saying, servers int) (r rune, has, exact bool) {
	exact = len(says) == servers
	for _, say := range says {
		b, _ := hex.DecodeString(say.utf8)
		c, n := utf8.DecodeRune(b)
		if n != len(b) || c == utf8.RuneError || c == '?' && say.back != code {
			exact = false // the server has no character for it
			continue
		}
		if !has {
			r, has = c, true
		}
		exact = exact && c == r && say.back == code
	}
	return r, has, exact
}

// tableText writes the file of a character set.
func tableText(said map[string][]saying, servers int) []byte {
	const perLine = 64
	codes := slices.SortedFunc(maps.Keys(said), func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	var out bytes.Buffer
	var lastExact bool
	var last uint64
	n, size := perLine, 0
	for _, code := range codes {
		r, has, exact := verdict(code, said[code], servers)
		if !has {
			continue
		}
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			r += controls
		}
		at := place(code)
		if n >= perLine || exact != lastExact || at != last+1 || len(code) != size {
			if out.Len() > 0 {
				out.WriteByte('\n')
			}
			if !exact {
				out.WriteByte('~')
			}
			out.WriteString(code + " ")
			n = 0
		}
		out.WriteRune(r)
		n, last, lastExact, size = n+1, at, exact, len(code)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// place is where a code stands among those of its length.
func place(code string) uint64 {
	b, _ := hex.DecodeString(code)
	if len(b) == 4 {
		return uint64(linear(b[0], b[1], b[2], b[3]))
	}
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

// checkConversion converts every code by itself.
func checkConversion(t *testing.T, set string, codes map[string][]saying, servers int) {
	t.Helper()
	convert, err := conversion(set)
	if err != nil {
		t.Fatal(err)
	}
	exactOnes := 0
	for code, says := range codes {
		b, _ := hex.DecodeString(code)
		r, has, want := verdict(code, says, servers)
		if !has {
			r = utf8.RuneError
		}
		got, exact := convert(nil, b)
		first, _ := utf8.DecodeRune(got)
		if first != r || exact != want || has && len(got) != utf8.RuneLen(r) {
			t.Errorf("%s %s: %q, exact %t; want %q, exact %t", set, code, got, exact, r, want)
			return
		}
		if exact {
			exactOnes++
		}
	}
	t.Logf("%s: %d codes, %d exact", set, len(codes), exactOnes)
}
