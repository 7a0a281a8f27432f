package statement

import (
	"bytes"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"duplex/internal/testbed"
)

// oddCollations find characters equal that nobody else does: punctuation to
// letters, Ľ to ś, thousands of ideographs to one another. A fold that covered
// them would leave nothing.
var oddCollations = []string{"big5_chinese", "cp1250_general", "cp1251_bulgarian", "cp1251_ukrainian", "cp1257_lithuanian",
	"geostd8_general", "koi8u_general", "latin2_general", "latin2_hungarian", "macce_general", "utf8mb4_sv_0900_ai"}

// foldCollations returns the server's collations with their character sets, but
// for the binary and the odd ones, and those that differ from another only in
// how characters are stored or in padding.
func foldCollations(t *testing.T, m *testbed.MySQL, conn *sql.Conn) (all [][2]string) {
	rows, err := conn.QueryContext(t.Context(), `SELECT character_set_name, collation_name FROM information_schema.collations
WHERE collation_name NOT LIKE '%\_bin' AND collation_name <> 'binary' AND character_set_name NOT IN ('ucs2', 'utf16', 'utf16le', 'utf32', 'utf8mb3')
AND collation_name NOT LIKE '%nopad%'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c [2]string
		if err := rows.Scan(&c[0], &c[1]); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(oddCollations, func(odd string) bool { return strings.HasPrefix(c[1], odd) }) {
			all = append(all, c)
		}
	}
	if m.IsMariaDB() {
		all = append(all, [2]string{"utf8mb4", "utf8mb4_uca1400_ai_ci"}, [2]string{"utf8mb4", "utf8mb4_uca1400_as_ci"})
	}
	if rows.Err() != nil || len(all) < 50 {
		t.Fatalf("%d collations: %v", len(all), rows.Err())
	}
	return all
}

// folded are all characters of the basic plane that are assigned, and each pair
// of ASCII letters, of which a single one elsewhere may be the equal.
func folded() (all []string) {
	for r := rune(1); r < 0xffff; r++ {
		if unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cc) {
			all = append(all, string(r))
		}
	}
	for a := 'a'; a <= 'z'; a++ {
		for b := 'a'; b <= 'z'; b++ {
			all = append(all, string([]rune{a, b}))
		}
	}
	return all
}

// usual are the characters of which no pair may be missed: Western and Central
// European letters, modern Greek and Cyrillic, kana, Hangul, Chinese.
func usual(text string) bool {
	r := []rune(text)[0]
	return r < 0x180 || 0x386 <= r && r <= 0x3ce || 0x400 <= r && r < 0x460 || 0x3041 <= r && r < 0x3100 || 0x3400 <= r && r < 0xa000 || unicode.Is(unicode.Hangul, r)
}

// What a server's collation takes for equal is folded to the same, all usual
// characters of all collations that aren't odd.
func TestFoldIsCoarser(t *testing.T) {
	for _, part := range []testbed.Part{testbed.MySQL97, testbed.MariaDB118} {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			m := testbed.New(t).MySQL(t, part)
			conn := openApply(t, m)
			mustExec(t, conn, "CREATE TABLE d.texts (n INT PRIMARY KEY, v VARCHAR(4) CHARACTER SET utf8mb4)")
			all := folded()
			for from := 0; from < len(all); from += 5000 {
				var rows []string
				for n := from; n < min(from+5000, len(all)); n++ {
					rows = append(rows, fmt.Sprintf("(%d, x'%x')", n, all[n]))
				}
				mustExec(t, conn, "INSERT INTO d.texts VALUES "+strings.Join(rows, ","))
			}
			for _, c := range foldCollations(t, m, conn) {
				checkFold(t, conn, c[0], c[1], all)
			}
		})
	}
}

func checkFold(t *testing.T, conn *sql.Conn, charset, collation string, all []string) {
	rows, err := conn.QueryContext(t.Context(), fmt.Sprintf(`SELECT n, HEX(WEIGHT_STRING(CONVERT(v USING %s) COLLATE %s)) FROM d.texts
WHERE CONVERT(CONVERT(v USING %[1]s) USING utf8mb4) COLLATE utf8mb4_bin = v ORDER BY n`, charset, collation))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	first := map[string]string{}
	missed := 0
	for rows.Next() {
		var n int
		var weight string
		if err := rows.Scan(&n, &weight); err != nil {
			t.Fatal(err)
		}
		text := all[n]
		other, seen := first[weight]
		if !seen {
			first[weight] = text
			continue
		}
		a, b := appendFolded(nil, []byte(other)), appendFolded(nil, []byte(text))
		switch {
		case bytes.Equal(a, b):
		case usual(other) && usual(text):
			t.Errorf("%s: %q (%U) equals %q (%U), folded to %q and %q", collation, other, []rune(other), text, []rune(text), a, b)
		default:
			missed++
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d of %d characters have an equal that is missed", collation, missed, len(all))
}
