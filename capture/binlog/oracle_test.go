package binlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/linkedin/goavro/v2"

	"duplex/schemas"
)

// codecs are goavro's for the row and the key of a table.
func codecs(t testing.TB, table *schemas.Table) (value, key *goavro.Codec) {
	t.Helper()
	var out []*goavro.Codec
	valueSchema, err := schemas.ValueSchema(table, "east")
	if err != nil {
		t.Fatal(err)
	}
	keySchema, err := schemas.KeySchema(table, "east")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{valueSchema, keySchema} {
		bare, err := schemas.Bare(text)
		if err != nil {
			t.Fatal(err)
		}
		codec, err := goavro.NewCodec(bare)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, codec)
	}
	return out[0], out[1]
}

// field is a field of goavro's native record, out of its union.
func field(record any, name string) any {
	v := record.(map[string]any)[name]
	if union, ok := v.(map[string]any); ok {
		for _, v = range union {
			return v
		}
	}
	return v
}

// union puts a value of goavro's into the union of a nullable column.
func union(c *schemas.Column, v any) any {
	if !c.Nullable || v == nil {
		return v
	}
	switch v.(type) {
	case int32:
		return goavro.Union("int", v)
	case int64:
		return goavro.Union("long", v)
	case float32:
		return goavro.Union("float", v)
	case float64:
		return goavro.Union("double", v)
	case bool:
		return goavro.Union("boolean", v)
	case []byte:
		return goavro.Union("bytes", v)
	}
	return goavro.Union("string", v)
}

// fromGoMySQL turns what go-mysql's decoder gives into goavro's native value.
// Texts it gives in the character set of the column, labels as numbers and
// JSON in another form, and TIME in the format before MySQL 5.6 without its
// sign: for these, SELECT tells.
func fromGoMySQL(t *testing.T, c *schemas.Column, typ byte, v, selected any) any {
	t.Helper()
	if typ == gomysql.MYSQL_TYPE_TIME {
		v = plainText(selected)
	}
	switch c.Type {
	case schemas.TinyInt, schemas.SmallInt, schemas.MediumInt, schemas.Int, schemas.BigInt, schemas.Year:
		return integer(t, c, v)
	case schemas.Decimal:
		unscaled, ok := new(big.Int).SetString(strings.Replace(v.(string), ".", "", 1), 10)
		if !ok {
			t.Fatalf("go-mysql's decimal %q", v)
		}
		return twosComplement(unscaled)
	case schemas.Bit:
		if c.Length == 1 {
			return v.(int64) == 1
		}
		return binary.LittleEndian.AppendUint64(nil, uint64(v.(int64)))[:(c.Length+7)/8]
	case schemas.Date:
		return int32(parse(t, "2006-01-02", v.(string)).Unix() / 86400)
	case schemas.Time:
		return parseTime(t, v.(string))
	case schemas.DateTime:
		at := parse(t, "2006-01-02 15:04:05.999999", v.(string))
		if c.Scale <= 3 {
			return at.UnixMilli()
		}
		return at.UnixMicro()
	case schemas.Timestamp:
		return strings.Replace(v.(string), " ", "T", 1) + "Z"
	case schemas.Binary:
		return append([]byte(v.(string)), make([]byte, c.Length-len(v.(string)))...)
	case schemas.VarBinary:
		return []byte(v.(string))
	case schemas.Blob, schemas.Float, schemas.Double:
		return v
	}
	return plainText(selected)
}

func integer(t *testing.T, c *schemas.Column, v any) any {
	var n int64
	switch v := v.(type) {
	case int8:
		n = int64(v)
	case uint8:
		n = int64(v)
	case int16:
		n = int64(v)
	case uint16:
		n = int64(v)
	case int32:
		n = int64(v)
	case uint32:
		n = int64(v)
	case int:
		n = int64(v)
	case int64:
		n = v
	case uint64:
		return twosComplement(new(big.Int).SetUint64(v))
	default:
		t.Fatalf("go-mysql gives %T", v)
	}
	if c.Type == schemas.BigInt || c.Type == schemas.Int && c.Unsigned {
		return n
	}
	return int32(n)
}

// twosComplement is v in the fewest bytes, most significant first.
func twosComplement(v *big.Int) []byte {
	n := uint(1)
	for ; v.Cmp(new(big.Int).Lsh(big.NewInt(1), 8*n-1)) >= 0 || v.Cmp(new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 8*n-1))) < 0; n++ {
	}
	if v.Sign() < 0 {
		v = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), 8*n))
	}
	return v.FillBytes(make([]byte, n))
}

func parse(t *testing.T, layout, text string) time.Time {
	t.Helper()
	at, err := time.Parse(layout, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func parseTime(t *testing.T, text string) int64 {
	t.Helper()
	var hour, minute int64
	var second float64
	text, negative := strings.CutPrefix(text, "-")
	if _, err := fmt.Sscanf(text, "%d:%d:%g", &hour, &minute, &second); err != nil {
		t.Fatal(err)
	}
	micros := (hour*60+minute)*60*1e6 + int64(math.Round(second*1e6))
	if negative {
		return -micros
	}
	return micros
}

// asSelected writes goavro's native value as plainText writes a selected one.
func asSelected(c *schemas.Column, v any) string {
	switch c.Type {
	case schemas.BigInt, schemas.Decimal:
		if b, ok := v.([]byte); ok {
			n := new(big.Int).SetBytes(b)
			if b[0]&0x80 != 0 {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
			}
			return withPoint(n, c.Scale)
		}
	case schemas.Bit:
		if bit, ok := v.(bool); ok {
			return map[bool]string{false: "\x00", true: "\x01"}[bit]
		}
		b := bytes.Clone(v.([]byte))
		for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		return string(b)
	case schemas.Date:
		return time.Unix(int64(v.(int32))*86400, 0).UTC().Format("2006-01-02")
	case schemas.Time:
		return timeText(v.(int64), c.Scale)
	case schemas.DateTime:
		at := time.UnixMicro(v.(int64)).UTC()
		if c.Scale <= 3 {
			at = time.UnixMilli(v.(int64)).UTC()
		}
		return at.Format(("2006-01-02 15:04:05.000000")[:clockLength(c.Scale)])
	case schemas.Timestamp:
		return strings.TrimSuffix(strings.Replace(v.(string), "T", " ", 1), "Z")
	}
	return plainText(v)
}

func clockLength(digits int) int {
	if digits == 0 {
		return 19
	}
	return 20 + digits
}

func withPoint(n *big.Int, scale int) string {
	text := new(big.Int).Abs(n).String()
	if scale > 0 {
		text = strings.Repeat("0", max(0, scale+1-len(text))) + text
		text = text[:len(text)-scale] + "." + text[len(text)-scale:]
	}
	if n.Sign() < 0 {
		return "-" + text
	}
	return text
}

func timeText(micros int64, digits int) string {
	sign := ""
	if micros < 0 {
		sign, micros = "-", -micros
	}
	text := fmt.Sprintf("%s%02d:%02d:%02d", sign, micros/3600e6, micros/60e6%60, micros/1e6%60)
	if digits > 0 {
		text += fmt.Sprintf(".%06d", micros%1e6)[:digits+1]
	}
	return text
}

// plainText writes a number exactly and a text as it is.
func plainText(v any) string {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case float32:
		return fmt.Sprintf("float %08x", math.Float32bits(v))
	case float64:
		return fmt.Sprintf("double %016x", math.Float64bits(v))
	}
	return fmt.Sprint(v)
}
