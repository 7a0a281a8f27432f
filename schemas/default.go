package schemas

import (
	"encoding/hex"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// NullLast reports whether null is the second type of the column's union. It
// is where the column's default, which must be of the first type, isn't NULL.
func (c *Column) NullLast() bool { return c.Nullable && preset(c) != "" }

// preset returns the column's default as JSON, in the form that its Avro type
// has it, or "" if there is none or Debezium doesn't show it. The forms are
// those of Debezium's MySqlDefaultValueConverter, as seen by running it.
func preset(c *Column) string {
	if c.Literal == nil || c.Generated {
		return ""
	}
	text := *c.Literal
	switch c.Type {
	case Char, VarChar, Text, Enum, Set:
		return quotedJSON(text)
	case Binary, VarBinary, Blob:
		return presetBytes(text, c)
	}
	text = strings.TrimSpace(text)
	switch c.Type {
	case TinyInt, SmallInt, MediumInt, Int, BigInt, Year:
		return presetInteger(text, c)
	case Decimal:
		return presetDecimal(text, c.Scale)
	case Float, Double:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return ""
		}
		number, err := json.Marshal(f)
		if err != nil {
			return ""
		}
		return string(number)
	case Bit:
		return presetBits(text, c)
	case Date, DateTime, Timestamp:
		return presetTime(text, c)
	case Time:
		return presetDuration(text)
	}
	return ""
}

func quotedJSON(text string) string { return string(appendJSON(nil, text)) }

// latin1JSON writes bytes as Avro has them in JSON: a character for each.
func latin1JSON(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return quotedJSON(string(runes))
}

func presetInteger(text string, c *Column) string {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return ""
	}
	if c.Type == BigInt && c.Unsigned {
		return latin1JSON(twosComplement(n))
	}
	return n.String()
}

// presetDecimal writes the unscaled value. The server has rounded it to the
// column's scale.
func presetDecimal(text string, scale int) string {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return ""
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
	if !r.IsInt() {
		return ""
	}
	return latin1JSON(twosComplement(r.Num()))
}

// twosComplement returns n in the fewest bytes that hold it, big endian.
func twosComplement(n *big.Int) []byte {
	if n.Sign() >= 0 {
		b := n.Bytes()
		if len(b) == 0 || b[0]&0x80 != 0 {
			b = append([]byte{0}, b...)
		}
		return b
	}
	size := new(big.Int).Not(n).BitLen()/8 + 1
	b := new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size))).Bytes()
	return b
}

// presetBytes reads the hexadecimal digits that MySQL shows. A BINARY is
// padded, as its values are.
func presetBytes(text string, c *Column) string {
	b := []byte(text)
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		var err error
		if b, err = hex.DecodeString(digits); err != nil {
			return ""
		}
	}
	if c.Type == Binary && len(b) < c.Length {
		b = append(b, make([]byte, c.Length-len(b))...)
	}
	return latin1JSON(b)
}

// presetBits reads b'101'. The bytes are little endian, as those of values.
func presetBits(text string, c *Column) string {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(text, "'"), "b'")
	if !ok {
		return ""
	}
	n, err := strconv.ParseUint("0"+digits, 2, 64)
	if err != nil {
		return ""
	}
	if c.Length == 1 {
		return strconv.FormatBool(n != 0)
	}
	b := make([]byte, (c.Length+7)/8)
	for i := range b {
		b[i] = byte(n >> (8 * i))
	}
	return latin1JSON(b)
}

// presetTime reads a date or a point in time. What no calendar has stands for
// 1970, but in a column that may be NULL for nothing. So does
// CURRENT_TIMESTAMP, but for nothing only in a TIMESTAMP.
func presetTime(text string, c *Column) string {
	at, err := time.Parse("2006-01-02 15:04:05.999999", text)
	if c.Type == Date {
		at, err = time.Parse(time.DateOnly, text)
	}
	if err != nil {
		if c.Nullable && (c.Type == Timestamp || text != "CURRENT_TIMESTAMP") {
			return ""
		}
		at = time.Unix(0, 0).UTC()
	}
	switch {
	case c.Type == Date:
		return strconv.FormatInt(floorDiv(at.Unix(), 86400), 10)
	case c.Type == Timestamp:
		layout := "2006-01-02T15:04:05"
		if c.Scale > 0 && err == nil {
			layout += "." + strings.Repeat("0", c.Scale)
		}
		return quotedJSON(at.Format(layout + "Z"))
	case c.Scale <= 3:
		return strconv.FormatInt(at.UnixMilli(), 10)
	default:
		return strconv.FormatInt(at.UnixMicro(), 10)
	}
}

// presetDuration reads [-]h:mm:ss[.ffffff] as microseconds.
func presetDuration(text string) string {
	text, negative := strings.CutPrefix(text, "-")
	clock, fraction, _ := strings.Cut(text, ".")
	parts := strings.Split(clock, ":")
	if len(parts) != 3 || len(fraction) > 6 {
		return ""
	}
	micros := int64(0)
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return ""
		}
		micros = micros*60 + int64(n)
	}
	f, err := strconv.ParseUint((fraction + "000000")[:6], 10, 31)
	if err != nil {
		return ""
	}
	micros = micros*1_000_000 + int64(f)
	if negative {
		micros = -micros
	}
	return strconv.FormatInt(micros, 10)
}
