package binlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestJSONProperty: the text of any document is the one written by a plain
// recursion over its values, in both sizes of containers.
func TestJSONProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawJSON(t, 0)
		want := jsonText(v)
		for _, word := range []int{2, 4} {
			got, err := textOf([]byte("x"), jsonDocument(v, word))
			if err != nil || string(got) != "x"+want {
				t.Fatalf("got %s, %v; want %s", got, err, want)
			}
		}
		if !json.Valid([]byte(want)) {
			t.Fatalf("no JSON: %s", want)
		}
	})
}

func drawJSON(t *rapid.T, depth int) any {
	kinds := 10
	if depth > 3 {
		kinds = 8
	}
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.Int16().Draw(t, "int16")
	case 3:
		return rapid.Uint16().Draw(t, "uint16")
	case 4:
		return rapid.Int32().Draw(t, "int32")
	case 5:
		return rapid.Uint32().Draw(t, "uint32")
	case 6:
		return rapid.Int64().Draw(t, "int64")
	case 7:
		return rapid.Uint64().Draw(t, "uint64")
	case 8:
		return rapid.String().Draw(t, "string")
	case 9:
		items := make([]any, rapid.IntRange(0, 4).Draw(t, "items"))
		for i := range items {
			items[i] = drawJSON(t, depth+1)
		}
		return items
	}
	members := make([]member, rapid.IntRange(0, 4).Draw(t, "members"))
	for i := range members {
		members[i] = member{rapid.String().Draw(t, "key"), drawJSON(t, depth+1)}
	}
	return members
}

func jsonText(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return string(appendJSONString(nil, []byte(v)))
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = jsonText(v[i])
		}
		return "[" + strings.Join(items, ", ") + "]"
	case []member:
		items := make([]string, len(v))
		for i := range v {
			items[i] = jsonText(v[i].key) + ": " + jsonText(v[i].value)
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	return fmt.Sprint(v)
}

// TestJSONLength: the length before the text is right wherever the text takes
// more or fewer bytes than the document, also over a step of the varint.
func TestJSONLength(t *testing.T) {
	c, err := compileJSON(4)
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"x", "\x01", "ñ"} {
		for n := range 1200 {
			text := strings.Repeat(unit, n)
			document := jsonDocument(text, 2)
			src := slices.Concat([]byte{byte(len(document)), byte(len(document) >> 8), 0, 0}, document)
			out, taken, err := c.step(&c, []byte("ab"), src)
			want := string(appendJSONString(nil, []byte(text)))
			prefix := string(appendVarint(nil, len(want)))
			if err != nil || taken != len(src) || string(out) != "ab"+prefix+want {
				t.Fatalf("%d times %q: %d bytes, %v", n, unit, len(out), err)
			}
		}
	}
}

func appendVarint(dst []byte, v int) []byte {
	for v <<= 1; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// TestJSONHostile: documents made to blow up are refused, at no great cost.
func TestJSONHostile(t *testing.T) {
	deep := any([]any{})
	for range maxJSONDepth - 1 {
		deep = []any{deep}
	}
	if _, err := textOf(nil, jsonDocument(deep, 2)); err != nil {
		t.Errorf("100 levels: %v", err)
	}
	if _, err := textOf(nil, jsonDocument([]any{deep}, 2)); !errors.Is(err, ErrJSONDepth) {
		t.Errorf("101 levels: %v", err)
	}
	// Arrays of 1000 entries, each of which leads to the next array.
	const levels, entries = 50, 1000
	bomb := []byte{jsonSmallArray}
	for range levels {
		const size = 4 + 3*entries
		array := []byte{entries & 0xff, entries >> 8, 0xff, 0xff}
		for range entries {
			array = append(array, jsonSmallArray, size&0xff, size>>8)
		}
		bomb = append(bomb, array...)
	}
	bomb = append(bomb, make([]byte, 0x10000)...)
	if out, err := textOf(nil, bomb); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTruncated) {
		t.Errorf("bomb: %v, %d bytes", err, len(out))
	}
	// A value behind the end of its array.
	if _, err := textOf(nil, []byte{jsonSmallArray, 1, 0, 7, 0, jsonInt32, 7, 0, 1, 2, 3, 4}); !errors.Is(err, ErrTruncated) {
		t.Errorf("value behind its array: %v", err)
	}
	// An array that is its own entry.
	if _, err := textOf(nil, []byte{jsonSmallArray, 1, 0, 7, 0, jsonSmallArray, 0, 0}); !errors.Is(err, ErrMalformed) {
		t.Errorf("array in itself: %v", err)
	}
}

// TestJSONDoubles: the text is that of the same double.
func TestJSONDoubles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		text, err := appendJSONDouble(nil, v)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			if err == nil {
				t.Fatalf("%v became %s", v, text)
			}
			return
		}
		back, parseErr := strconv.ParseFloat(string(text), 64)
		if err != nil || parseErr != nil || math.Float64bits(back) != math.Float64bits(v) || !strings.ContainsAny(string(text), ".e") {
			t.Fatalf("%v became %s, %v", v, text, err)
		}
	})
}

// textOf is the text of a document.
func textOf(dst, document []byte) ([]byte, error) {
	r := jsonReader{budget: len(document)}
	return r.document(dst, document)
}
