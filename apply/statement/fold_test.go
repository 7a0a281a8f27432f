package statement

import (
	"database/sql"
	"fmt"
	"slices"
	"strconv"
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
			mustExec(t, conn, "SET SESSION group_concat_max_len = 1000000")
			mustExec(t, conn, "CREATE TABLE d.texts (n INT PRIMARY KEY, v VARCHAR(4) CHARACTER SET utf8mb4)")
			all := folded()
			folds := map[string]string{}
			fold := func(text string) string { return folds[text] }
			for _, text := range all {
				folds[text] = string(appendFolded(nil, []byte(text)))
			}
			for from := 0; from < len(all); from += 5000 {
				var rows []string
				for n := from; n < min(from+5000, len(all)); n++ {
					rows = append(rows, fmt.Sprintf("(%d, x'%x')", n, all[n]))
				}
				mustExec(t, conn, "INSERT INTO d.texts VALUES "+strings.Join(rows, ","))
			}
			for _, c := range foldCollations(t, m, conn) {
				checkFold(t, conn, c, all, fold)
			}
		})
	}
}

// checkFold compares the characters that a collation, given with its character
// set, takes for equal.
func checkFold(t *testing.T, conn *sql.Conn, c [2]string, all []string, fold func(string) string) {
	rows, err := conn.QueryContext(t.Context(), fmt.Sprintf(`SELECT GROUP_CONCAT(n ORDER BY n) FROM d.texts
WHERE CONVERT(CONVERT(v USING %s) USING utf8mb4) COLLATE utf8mb4_bin = v
GROUP BY WEIGHT_STRING(CONVERT(v USING %[1]s) COLLATE %s) HAVING COUNT(*) > 1`, c[0], c[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	missed := 0
	for rows.Next() {
		var list string
		if err := rows.Scan(&list); err != nil {
			t.Fatal(err)
		}
		var first string
		for _, number := range strings.Split(list, ",") {
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = all[n]
			}
			a, b := fold(first), fold(all[n])
			switch {
			case a == b:
			case usual(first) && usual(all[n]):
				t.Errorf("%s: %q (%U) equals %q (%U), folded to %q and %q", c[1], first, []rune(first), all[n], []rune(all[n]), a, b)
			default:
				missed++
			}
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d of %d characters have an equal that is missed", c[1], missed, len(all))
}
