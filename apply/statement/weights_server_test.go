package statement

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"duplex/internal/testbed"

	"pgregory.net/rapid"
)

// Two texts weigh the same exactly if the server takes them for equal, under every
// collation that a key may have.
func TestWeightsOnServers(t *testing.T) {
	for _, part := range serversUnderTest() {
		t.Run(string(part), func(t *testing.T) {
			t.Parallel()
			m := testbed.New(t).MySQL(t, part)
			conn := openApply(t, m)
			texts := rapid.SliceOfN(weighable(), 150, 150)
			for i, c := range weighed(t, m, conn) {
				t.Run(c[1], func(t *testing.T) {
					checkWeights(t, conn, dialectOf(m), c[0], c[1], append(texts.Example(rand.IntN(1<<30)+i), contractions()...))
				})
			}
		})
	}
}

// weighed returns the server's collations, with their character sets, but for
// binary ones: in the short test the usual ones and a few others.
func weighed(t *testing.T, m *testbed.MySQL, conn *sql.Conn) (all [][2]string) {
	from := "SELECT character_set_name, collation_name FROM information_schema.collations WHERE character_set_name IS NOT NULL AND"
	if m.IsMariaDB() {
		from = "SELECT character_set_name, full_collation_name FROM information_schema.collation_character_set_applicability WHERE"
	}
	for _, row := range query(t, conn, from+` collation_name NOT LIKE '%\_bin' AND collation_name <> 'binary'`) {
		all = append(all, [2]string{string(row[0]), string(row[1])})
	}
	if os.Getenv("DUPLEX_SOAK") != "" {
		return all
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	const others = 12
	n := 0
	return slices.DeleteFunc(all, func(c [2]string) bool {
		switch c[1] {
		case "utf8mb4_0900_ai_ci", "utf8mb4_0900_as_cs", "utf8mb4_ja_0900_as_cs", "utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_hu_0900_ai_ci",
			"utf8mb4_uca1400_ai_ci", "utf8mb4_uca1400_as_cs", "utf8mb4_uca1400_nopad_as_ci", "utf8mb4_uca1400_czech_ai_cs",
			"latin1_swedish_ci", "latin1_german2_ci", "utf8mb3_general_ci":
			return false
		}
		n++
		return n > others
	})
}

// weighable are texts of few characters, so that many are equal to some collation.
func weighable() *rapid.Generator[string] {
	sets := [][]string{
		{"a", "A", "á", "Ä", "å", "a\u0301", "\u0301", "aa", "æ", "ae"},
		{"s", "S", "ß", "ss", "ẞ", "ſ", "c", "C", "h", "H", "ch", "cH", "z", "dz", "dzs", "l", "L", "j", "n"},
		{"か", "が", "カ", "ｶ", "か\u3099", "ー", "あ", "ア", "ァ", "っ", "ゝ", "々", "한", "\u1112\u1161\u11ab"},
		{"😀", "😁", "\U00010400", "\U00010428", "Ⅳ", "IV", "ﬁ", "fi", "①", "1"},
		{" ", "  ", "\x00", "\t", "\u00a0", "\u200b", "\u00ad", "-", "\u3000", "'", "\\"},
		{"и", "И", "й", "и\u0306", "ё", "е", "ς", "σ", "Σ", "ά", "เ", "ก", "เก", "ا", "ٓ", "آ", "བ", "ྲ", "ཱ", "ྀ", "ি", "ক"},
	}
	var every []string
	for _, set := range sets {
		every = append(every, set...)
	}
	for c := 0x20; c < 0x7f; c++ {
		every = append(every, string(rune(c)))
	}
	part := rapid.OneOf(rapid.SampledFrom(append(sets, every)), rapid.Just(sets[4]))
	return rapid.Custom(func(t *rapid.T) string {
		text, from := "", part.Draw(t, "from")
		for range rapid.IntRange(0, 4).Draw(t, "length") {
			if rapid.IntRange(0, 4).Draw(t, "other") == 0 {
				from = part.Draw(t, "from")
			}
			text += rapid.SampledFrom(from).Draw(t, "letter")
		}
		return text
	})
}

// contractions are texts of ASCII that collations read as one letter.
func contractions() (texts []string) {
	for _, c := range []string{"cs", "ccs", "dz", "ddz", "dzs", "ddzs", "ggy", "lly", "nny", "ssz", "tty", "zzs", "ch", "ll", "lj", "nj", "aa", "rr", "th", "ij", "ae", "oe", "dd", "ff", "ng", "ph", "rh"} {
		texts = append(texts, c, strings.ToUpper(c), strings.ToUpper(c[:1])+c[1:], c+c, "x"+c+" ")
	}
	return texts
}

func checkWeights(t *testing.T, conn *sql.Conn, dialect Dialect, charset, collation string, texts []string) {
	ask := func(q string) ([][][]byte, error) { return query(t, conn, q), nil }
	w, err := LearnWeights(ask, charset, collation, dialect)
	if weightless(collation) {
		if !errors.Is(err, ErrWeightless) {
			t.Fatalf("learning gives %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	name := "d." + collation
	mustExec(t, conn, fmt.Sprintf("CREATE TEMPORARY TABLE %s (n INT PRIMARY KEY, v VARCHAR(40) CHARACTER SET %s COLLATE %s) ENGINE=InnoDB", name, charset, collation))
	defer mustExec(t, conn, "DROP TABLE "+name)
	var rows []string
	for n, text := range texts {
		rows = append(rows, fmt.Sprintf("SELECT %d AS n, _utf8mb4 x'%x' AS v", n, text))
	}
	has := query(t, conn, fmt.Sprintf("SELECT HEX(CONVERT(CONVERT(v USING %s) USING utf8mb4)) = HEX(v) FROM (%s) given ORDER BY n", charset, strings.Join(rows, " UNION ALL ")))
	rows = rows[:0]
	for n, text := range texts {
		if string(has[n][0]) == "1" { // what the character set lacks can't be in a key
			rows = append(rows, fmt.Sprintf("(%d, _utf8mb4 x'%x')", n, text))
		}
	}
	mustExec(t, conn, "INSERT INTO "+name+" VALUES "+strings.Join(rows, ","))
	mustExec(t, conn, fmt.Sprintf("CREATE TEMPORARY TABLE %s_2 (KEY v (v)) ENGINE=InnoDB SELECT * FROM %[1]s", name))
	defer mustExec(t, conn, fmt.Sprintf("DROP TABLE %s_2", name))
	// By an index: a hash join may take others for equal than a key does.
	equal := map[string]bool{}
	for _, row := range query(t, conn, fmt.Sprintf("SELECT a.n, b.n FROM %s a STRAIGHT_JOIN %[1]s_2 b FORCE INDEX (v) ON a.v = b.v", name)) {
		equal[string(row[0])+" "+string(row[1])] = true
	}
	weights := map[string][]byte{}
	for _, row := range query(t, conn, "SELECT n, CONVERT(v USING utf8mb4) FROM "+name) {
		weight, err := w.Append([]byte("before"), row[1])
		if err != nil {
			t.Fatal(err)
		}
		again, err := w.Append([]byte("before"), row[1])
		if err != nil || !bytes.Equal(weight, again) {
			t.Fatalf("%q weighs %x, then %x, %v", row[1], weight, again, err)
		}
		weights[string(row[0])] = weight
	}
	differ := 0
	for a, x := range weights {
		for b, y := range weights {
			if same := bytes.Equal(x, y); same != equal[a+" "+b] {
				differ++
				if differ < 5 {
					t.Errorf("%q and %q: equal to the server %t, weights %x and %x", texts[atoi(a)], texts[atoi(b)], !same, x, y)
				}
			}
		}
	}
	t.Logf("%d texts, %d pairs equal, %d differ", len(weights), len(equal)-len(weights), differ)
}

func atoi(text string) (n int) {
	fmt.Sscan(text, &n)
	return n
}
