package statement

import (
	"bytes"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"duplex/internal/testbed"
)

// foldCollations are those that most tables have.
func foldCollations(m *testbed.MySQL) []string {
	all := []string{"utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_unicode_520_ci"}
	if m.IsMariaDB() {
		return append(all, "utf8mb4_uca1400_ai_ci", "utf8mb4_uca1400_as_ci")
	}
	return append(all, "utf8mb4_0900_ai_ci", "utf8mb4_0900_as_ci", "utf8mb4_0900_as_cs", "utf8mb4_zh_0900_as_cs", "utf8mb4_ja_0900_as_cs")
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
// characters of all the usual collations.
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
			for _, collation := range foldCollations(m) {
				checkFold(t, conn, collation, all)
			}
		})
	}
}

func checkFold(t *testing.T, conn *sql.Conn, collation string, all []string) {
	rows, err := conn.QueryContext(t.Context(), "SELECT n, HEX(WEIGHT_STRING(v COLLATE "+collation+")) FROM d.texts ORDER BY n")
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
