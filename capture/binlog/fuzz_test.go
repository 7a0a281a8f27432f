package binlog

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	"duplex/schemas"
)

// FuzzDecode: no bytes make the row decoder panic, read past the image or
// write what goavro can't read.
func FuzzDecode(f *testing.F) {
	m := allTypes()
	table, d := m.compile(f, madeCollations())
	codec, _ := codecs(f, table)
	nulls, image, _ := allTypesImage()
	f.Add(slices.Concat(nulls, image))
	f.Add(slices.Concat(bytes.Repeat([]byte{0xfe}, len(nulls)), image))
	document := jsonDocument([]member{{"a", []any{nil, int32(70000), "x", opaque{246, "\x04\x02\x80\x01\x02"}}}}, 2)
	f.Add(slices.Concat(nulls, image[:len(image)-7], []byte{byte(len(document)), 0, 0, 0}, document))
	f.Fuzz(func(t *testing.T, src []byte) {
		key := make([]Span, 1)
		out, rest, err := d.Decode(nil, src, m.present(), key, new(schemas.Exact))
		if err != nil {
			return
		}
		longer, longerRest, longerErr := d.Decode(nil, slices.Concat(src, bytes.Repeat([]byte{1}, 64)), m.present(), make([]Span, 1), new(schemas.Exact))
		if longerErr != nil || !bytes.Equal(out, longer) || len(longerRest) != len(rest)+64 {
			t.Fatalf("what stands after the image changes it: %v", longerErr)
		}
		if !bytes.HasSuffix(src, rest) || key[0].From > key[0].To || key[0].To > len(out) {
			t.Fatalf("key %v, %d bytes left", key[0], len(rest))
		}
		if _, left, err := codec.NativeFromBinary(out); err != nil || len(left) != 0 {
			t.Fatalf("goavro: %v, %d bytes left of %x", err, len(left), out)
		}
	})
}

// FuzzJSON: any bytes give an error or JSON, not out of proportion to them.
func FuzzJSON(f *testing.F) {
	f.Add(jsonDocument([]member{{"a", []any{nil, true, int16(-1), uint16(1), "x\n"}}, {"bb", []member{}}}, 2))
	f.Add(jsonDocument([]any{int32(-70000), uint32(1 << 31), int64(-1 << 63), uint64(1 << 63), []any{[]any{}}}, 4))
	f.Add(jsonDocument(opaque{246, "\x04\x02\x80\x01\x02"}, 2))
	f.Add(jsonDocument(opaque{12, "\x00\x00\x00\x00\x00\x00\xc2\x19"}, 2))
	f.Add(jsonDocument(opaque{11, "\xff\xff\xff\xff\xff\xff\xff\xff"}, 2))
	f.Add(jsonDocument(opaque{252, "bytes"}, 2))
	f.Add([]byte{jsonDouble, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f})
	f.Fuzz(func(t *testing.T, document []byte) {
		out, err := textOf(nil, document)
		if err != nil {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("no JSON: %q", out)
		}
		if len(out) > 16*len(document)+16 {
			t.Fatalf("%d bytes of text from %d", len(out), len(document))
		}
	})
}
