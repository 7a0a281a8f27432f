package binlog

import (
	"encoding/binary"
	"math/big"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"

	"duplex/schemas"
)

// made is a table made by hand: column types and metadata as in TABLE_MAP, and
// what a server would put into a row image.
type made struct {
	tm *replication.TableMapEvent
}

func newMade() *made {
	return &made{tm: &replication.TableMapEvent{Schema: []byte("d"), Table: []byte("t"), PrimaryKey: []uint64{0}, PrimaryKeyPrefix: []uint64{0}}}
}

// add adds a nullable column; the key's is added as NOT NULL by itself.
func (m *made) add(name string, typ byte, meta uint16) *made {
	i := int(m.tm.ColumnCount)
	m.tm.ColumnCount++
	m.tm.ColumnName = append(m.tm.ColumnName, []byte(name))
	m.tm.ColumnType = append(m.tm.ColumnType, typ)
	m.tm.ColumnMeta = append(m.tm.ColumnMeta, meta)
	if i%8 == 0 {
		m.tm.NullBitmap = append(m.tm.NullBitmap, 0)
	}
	if i > 0 {
		m.tm.NullBitmap[i/8] |= 1 << (i % 8)
	}
	return m
}

func (m *made) compile(t testing.TB, collations map[uint64]Collation) (*schemas.Table, *RowDecoder) {
	t.Helper()
	table, err := TableFromMap(m.tm, collations)
	if err != nil {
		t.Fatal(err)
	}
	d, err := CompileRow(table, m.tm)
	if err != nil {
		t.Fatal(err)
	}
	return table, d
}

// present is a bitmap with all columns.
func (m *made) present() []byte {
	return []byte(strings.Repeat("\xff", (int(m.tm.ColumnCount)+7)/8))
}

// allTypes is a table with a column of every kind of step.
func allTypes() *made {
	m := newMade()
	m.add("id", 8, 0) // BIGINT UNSIGNED: the first bit of the signs
	for _, typ := range []byte{1, 2, 9, 3, 8} {
		m.add("s"+string('a'+typ), typ, 0)
		m.add("u"+string('a'+typ), typ, 0)
	}
	m.tm.SignednessBitmap = []byte{0b10101010, 0b10100000, 0}
	m.add("dec64", 246, 12<<8|2).add("dec128", 246, 38<<8|10).add("dec256", 246, 65<<8|30)
	m.add("f", 4, 4).add("d", 5, 8).add("y", 13, 0)
	m.add("b1", 16, 0x0001).add("b9", 16, 0x0101)
	m.add("date", 10, 0).add("time0", 19, 0).add("time2", 19, 2).add("time4", 19, 4).add("time6", 19, 6)
	m.add("dt0", 18, 0).add("dt6", 18, 6).add("ts0", 17, 0).add("ts3", 17, 3)
	m.add("otime", 11, 0).add("odt", 12, 0).add("ots", 7, 0)
	m.add("vc", 15, 40).add("vc2", 15, 1000).add("l1", 15, 40).add("as", 15, 40).add("text", 252, 2)
	m.add("bin", 254, 0xfe00|4).add("vb", 15, 40).add("blob3", 252, 3)
	m.tm.ColumnCharset = []uint64{255, 255, 8, 11, 255, 63, 63, 63}
	m.add("enum", 254, 0xf701).add("set", 254, 0xf801)
	m.tm.EnumStrValue = [][][]byte{{[]byte("a"), []byte("bc")}}
	m.tm.SetStrValue = [][][]byte{{[]byte("x"), []byte("yz"), []byte("ü")}}
	m.tm.EnumSetDefaultCharset = []uint64{255}
	m.add("json", 245, 4)
	return m
}

func madeCollations() map[uint64]Collation {
	return map[uint64]Collation{255: {"utf8mb4_0900_ai_ci", "utf8mb4"}, 8: {"latin1_swedish_ci", "latin1"}, 11: {"ascii_general_ci", "ascii"}, 63: {"binary", "binary"}}
}

// allTypesImage is an image of allTypes with a value in each column, and a
// piece for each: its bytes, and the Avro they become.
func allTypesImage() (nulls, image, want []byte) {
	columns := allTypesValues()
	nulls = make([]byte, (len(columns)+7)/8)
	for i, c := range columns {
		image = append(image, c.value...)
		if i > 0 {
			want = append(want, 2)
		}
		want = append(want, c.avro...)
	}
	return nulls, image, want
}

// allTypesValues are the values of that image, as the binlog has them and in
// Avro.
func allTypesValues() []struct{ value, avro string } {
	return []struct{ value, avro string }{
		{"\xff\xff\xff\xff\xff\xff\xff\xff", "\x12\x00\xff\xff\xff\xff\xff\xff\xff\xff"},
		{"\x80", "\xff\x01"}, {"\xff", "\xfe\x03"}, // TINYINT -128, 255
		{"\x00\x80", "\xff\xff\x03"}, {"\xff\xff", "\xfe\xff\x07"},
		{"\x00\x00\x80", "\xff\xff\xff\x07"}, {"\xff\xff\xff", "\xfe\xff\xff\x0f"},
		{"\x00\x00\x00\x80", "\xff\xff\xff\xff\x0f"}, {"\xff\xff\xff\xff", "\xfe\xff\xff\xff\x1f"},
		{"\x00\x00\x00\x00\x00\x00\x00\x80", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}, {"\x7f\x00\x00\x00\x00\x00\x00\x00", "\x02\x7f"},
		{string(pack(big.NewInt(-129), 12, 2)), "\x04\xff\x7f"},
		{string(pack(big.NewInt(128), 38, 10)), "\x04\x00\x80"},
		{string(pack(big.NewInt(-1), 65, 30)), "\x02\xff"},
		{"\x00\x00\x80\x3f", "\x00\x00\x80\x3f"}, {"\x00\x00\x00\x00\x00\x00\xf0\x3f", "\x00\x00\x00\x00\x00\x00\xf0\x3f"},
		{"\x7c", "\xd0\x1f"}, // 2024
		{"\x01", "\x01"}, {"\x01\x02", "\x04\x02\x01"},
		{"\x21\x64\x0f", "\x00"}, // 1970-01-01
		{"\x80\x00\x01", "\x80\x89\x7a"}, {"\x7f\xff\xff\xff", "\x9f\x9c\x01"}, {"\x80\x00\x00\x00\x01", "\xc8\x01"}, {"\x7f\xff\xff\xff\xff\xff", "\x01"},
		{"\x99\x02\xc2\x00\x00", "\x00"}, {"\x99\x02\xc2\x00\x00\x00\x00\x01", "\x02"}, // 1970-01-01, and a microsecond
		{"\x00\x00\x00\x01", "\x281970-01-01T00:00:01Z"}, {"\xff\xff\xff\xff\x27\x06", "\x302106-02-07T06:28:15.999Z"},
		{"\xff\xff\xff", "\xff\x88\x7a"}, {"\x40\xab\x85\xc9\xea\x11\x00\x00", "\x00"}, {"\x02\x00\x00\x00", "\x281970-01-01T00:00:02Z"},
		{"\x03a\xc3\xb1", "\x06a\xc3\xb1"}, {"\x02\x00ab", "\x04ab"}, {"\x02a\x80", "\x08a\xe2\x82\xac"}, {"\x01a", "\x02a"}, {"\x01\x00x", "\x02x"},
		{"\x01a", "\x08a\x00\x00\x00"}, {"\x02\xff\x00", "\x04\xff\x00"}, {"\x01\x00\x00\xfe", "\x02\xfe"},
		{"\x02", "\x04bc"}, {"\x05", "\x08x,ü"},
		{"\x03\x00\x00\x00\x05\xff\xff", "\x04-1"},
	}
}

// pack is the server's decimal2bin, from the unscaled number.
func pack(v *big.Int, precision, scale int) []byte {
	digits := new(big.Int).Abs(v).String()
	digits = strings.Repeat("0", max(0, precision-len(digits))) + digits
	size := [...]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}
	var out []byte
	group := func(text string) {
		n, _ := new(big.Int).SetString("0"+text, 10)
		out = append(out, n.FillBytes(make([]byte, size[len(text)]))...)
	}
	integer, fraction := digits[:precision-scale], digits[precision-scale:]
	group(integer[:len(integer)%9])
	for integer = integer[len(integer)%9:]; integer != ""; integer = integer[9:] {
		group(integer[:9])
	}
	for ; len(fraction) >= 9; fraction = fraction[9:] {
		group(fraction[:9])
	}
	group(fraction)
	if v.Sign() < 0 {
		for i := range out {
			out[i] ^= 0xff
		}
	}
	out[0] ^= 0x80
	return out
}

// jsonDocument makes the server's binary form of a value: nil, bool, int64,
// uint64, float64, string, opaque, []any or members.
func jsonDocument(v any, word int) []byte {
	typ, body := jsonValue(v, word)
	return append([]byte{typ}, body...)
}

type member struct {
	key   string
	value any
}

type opaque struct {
	typ  byte
	data string
}

func jsonValue(v any, word int) (typ byte, body []byte) {
	switch v := v.(type) {
	case nil:
		return jsonLiteral, []byte{0}
	case bool:
		return jsonLiteral, []byte{map[bool]byte{true: 1, false: 2}[v]}
	case int16:
		return jsonInt16, binary.LittleEndian.AppendUint16(nil, uint16(v))
	case uint16:
		return jsonUint16, binary.LittleEndian.AppendUint16(nil, v)
	case int32:
		return jsonInt32, binary.LittleEndian.AppendUint32(nil, uint32(v))
	case uint32:
		return jsonUint32, binary.LittleEndian.AppendUint32(nil, v)
	case int64:
		return jsonInt64, binary.LittleEndian.AppendUint64(nil, uint64(v))
	case uint64:
		return jsonUint64, binary.LittleEndian.AppendUint64(nil, v)
	case string:
		return jsonString, append(binary.AppendUvarint(nil, uint64(len(v))), v...)
	case opaque:
		return jsonOpaque, append(binary.AppendUvarint([]byte{v.typ}, uint64(len(v.data))), v.data...)
	case []any:
		members := make([]member, len(v))
		for i := range v {
			members[i].value = v[i]
		}
		return byte(jsonSmallArray + (word-2)/2), jsonContainer(members, word, 0)
	case []member:
		return byte(jsonSmallObject + (word-2)/2), jsonContainer(v, word, word+2)
	}
	panic("no such value")
}

func jsonContainer(members []member, word, keyEntry int) []byte {
	put := func(b []byte, v int) {
		if word == 2 {
			binary.LittleEndian.PutUint16(b, uint16(v))
			return
		}
		binary.LittleEndian.PutUint32(b, uint32(v))
	}
	values := 2*word + len(members)*keyEntry
	out := make([]byte, values+len(members)*(1+word))
	put(out, len(members))
	if keyEntry > 0 {
		for i, m := range members {
			put(out[2*word+i*keyEntry:], len(out))
			binary.LittleEndian.PutUint16(out[2*word+i*keyEntry+word:], uint16(len(m.key)))
			out = append(out, m.key...)
		}
	}
	for i, m := range members {
		typ, body := jsonValue(m.value, word)
		at := values + i*(1+word)
		out[at] = typ
		inline := typ == jsonLiteral || typ == jsonInt16 || typ == jsonUint16 || word == 4 && (typ == jsonInt32 || typ == jsonUint32)
		if inline {
			copy(out[at+1:], body)
			continue
		}
		put(out[at+1:], len(out))
		out = append(out, body...)
	}
	put(out[word:], len(out))
	return out
}
