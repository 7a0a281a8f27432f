package statement

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"duplex/schemas"
)

// collated is a server with one collation: of letters case doesn't matter, ch is
// one of them, é an e, and spaces at the end are nothing.
type collated struct {
	asked int // how often of a single text
	fails error
}

func (c *collated) weight(text string) []byte {
	text = strings.ReplaceAll(strings.ToLower(text), "é", "e")
	var out []byte
	for i := 0; i < len(text); i++ {
		if strings.HasPrefix(text[i:], "ch") {
			out = append(out, 2, 0)
			i++
			continue
		}
		out = append(out, 1, text[i])
	}
	return out
}

func (c *collated) ask(query string) (rows [][][]byte, err error) {
	number := func(n int) []byte { return []byte(strconv.Itoa(n)) }
	switch {
	case c.fails != nil:
		return nil, c.fails
	case strings.Contains(query, "b.n"):
		for a := range asciiSize {
			for b := range asciiSize {
				rows = append(rows, [][]byte{number(a), number(b), c.weight(string([]byte{byte(a), byte(b)}))})
			}
		}
	case strings.Contains(query, "a.n"):
		for a := range asciiSize {
			rows = append(rows, [][]byte{number(a), c.weight(string(rune(a))), nil})
		}
	case strings.Contains(query, " = "):
		rows = [][][]byte{{[]byte("1")}}
	default:
		c.asked++
		var text []byte
		_, literal, _ := strings.Cut(query, "x'")
		fmt.Sscanf(literal, "%x", &text)
		rows = [][][]byte{{c.weight(string(text))}}
	}
	return rows, nil
}

func learn(t testing.TB, c *collated) *Weights {
	t.Helper()
	w, err := LearnWeights(c.ask, "utf8mb4", "utf8mb4_made_up", MySQL)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// The server is asked only of texts that have a contraction or other characters
// than ASCII, and once of each.
func TestWeights(t *testing.T) {
	server := &collated{}
	w := learn(t, server)
	weigh := func(text string) string {
		t.Helper()
		out, err := w.Append([]byte("x"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, c := range []struct {
		a, b  string
		same  bool
		asked int
	}{
		{"row 7", "ROW 7  ", true, 0}, {"", "  ", true, 0}, {"a", "b", false, 0}, {"a b", "ab", false, 0},
		{"Café", "cafe", true, 1}, {"Café", "cafes", false, 1}, {"churn", "CHURN ", true, 3}, {"churn", "hcurn", false, 3},
	} {
		if same := weigh(c.a) == weigh(c.b); same != c.same || server.asked != c.asked {
			t.Errorf("%q and %q: the same %t, want %t; asked %d times, want %d", c.a, c.b, same, c.same, server.asked, c.asked)
		}
	}
	server.fails = errors.New("gone")
	if _, err := w.Append(nil, []byte("é")); !errors.Is(err, server.fails) {
		t.Errorf("the error is %v", err)
	}
	if weigh("Café") != weigh("cafe") {
		t.Error("what was asked before isn't known any more")
	}
	if _, err := LearnWeights(server.ask, "utf8mb4", "utf8mb4_made_up", MySQL); !errors.Is(err, server.fails) {
		t.Errorf("learning fails with %v", err)
	}
}

// What is remembered of whole texts is bounded, and what is asked for again stays.
func TestWeightsAreBounded(t *testing.T) {
	server := &collated{}
	w := learn(t, server)
	const n = 100_000
	for i := range n {
		for _, text := range []string{fmt.Sprint("é", i), "énough"} {
			if _, err := w.Append(nil, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if w.size > weightsKept+1000 {
			t.Fatalf("%d bytes are kept", w.size)
		}
	}
	if server.asked != n+1 || len(w.recent)+len(w.old) > n/2 {
		t.Errorf("asked %d times, %d are kept", server.asked, len(w.recent)+len(w.old))
	}
}

// Values of other types have one form each, whatever stands in the topics.
func TestKeysOfSeveralForms(t *testing.T) {
	w := learn(t, &collated{})
	text := func(s string) []byte { return schemas.AppendString(nil, s) }
	columns := []struct {
		native      schemas.Column // of the target
		kind        schemas.Kind
		same, other [][]byte
	}{
		{schemas.Column{Type: schemas.UUID}, schemas.KindUUID, [][]byte{text("123e4567-e89b-12d3-a456-426614174000"), text("123E4567E89B12D3A456426614174000")}, [][]byte{text("123e4567-e89b-12d3-a456-426614174001")}},
		{schemas.Column{Type: schemas.INET6}, schemas.KindString, [][]byte{text("2001:db8::1"), text("2001:0DB8:0:0:0:0:0:1")}, [][]byte{text("2001:db8::2"), text("::")}},
		{schemas.Column{Type: schemas.INET4}, schemas.KindString, [][]byte{text("192.0.2.1")}, [][]byte{text("192.0.2.2")}},
		{schemas.Column{Type: schemas.Enum, Values: []string{"i", "j"}, Charset: "utf8mb4", Collation: "utf8mb4_made_up"}, schemas.KindEnum, [][]byte{text("i"), text("I")}, [][]byte{text("j"), text("")}},
		{schemas.Column{Type: schemas.Set, Values: []string{"a", "b"}, Charset: "utf8mb4", Collation: "utf8mb4_made_up"}, schemas.KindEnumSet, [][]byte{text("a,b"), text("B,A")}, [][]byte{text("a"), text("ab"), text("")}},
	}
	for _, c := range columns {
		c.native.Name = "k"
		table := &schemas.Table{DB: "d", Name: "t", Columns: []schemas.Column{c.native}, Key: []int{0}}
		record := &schemas.Record{Fields: []schemas.Field{{Name: "k", Kind: c.kind}}}
		b, err := Compile(record, record, table, MariaDB)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Weigh(func(string, string) (*Weights, error) { return w, nil }); err != nil || !b.Identity() {
			t.Fatalf("%v, exact %t", err, b.Identity())
		}
		keys := map[string][]byte{}
		for i, value := range append(c.same, c.other...) {
			key, err := b.AppendConflictKey(nil, value)
			if err != nil {
				t.Fatal(err)
			}
			if first, known := keys[string(key)]; known != (i > 0 && i < len(c.same)) {
				t.Errorf("%s: %q is the same key as %q: %t", c.native.Type, value, first, known)
			}
			keys[string(key)] = value
			shown, _, _ := schemas.ReadBytes(value, 0)
			if again, err := b.AppendConflictKeyFromResult(nil, [][]byte{shown}); err != nil || !bytes.Equal(again, key) {
				t.Errorf("%s: shown as %q, the key is %q, %v; from the topics %q", c.native.Type, shown, again, err, key)
			}
		}
	}
}

// What a key costs the reader: as bytes, and as what it weighs.
func BenchmarkConflictKey(b *testing.B) {
	for _, collation := range []string{"utf8mb4_0900_bin", "utf8mb4_made_up"} {
		for _, value := range []string{"ORDER-2026-11-0004711", "Größe 4711"} {
			b.Run(collation+" "+value, func(b *testing.B) {
				column := schemas.Column{Name: "k", Type: schemas.VarChar, Length: 400, Charset: "utf8mb4", Collation: collation}
				record := &schemas.Record{Fields: []schemas.Field{{Name: "k", Kind: schemas.KindString}}}
				binder, err := Compile(record, record, &schemas.Table{DB: "d", Name: "t", Columns: []schemas.Column{column}, Key: []int{0}}, MySQL)
				if err != nil {
					b.Fatal(err)
				}
				w := learn(b, &collated{})
				if err := binder.Weigh(func(string, string) (*Weights, error) { return w, nil }); err != nil {
					b.Fatal(err)
				}
				key, dst := schemas.AppendString(nil, value), make([]byte, 0, 1024)
				b.ReportAllocs()
				for b.Loop() {
					if dst, err = binder.AppendConflictKey(dst[:0], key); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
