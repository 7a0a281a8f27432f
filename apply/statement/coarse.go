package statement

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"

	"duplex/schemas"
)

// appendCoarse appends bytes that are equal for all values that the server takes
// for equal.
func (c *column) appendCoarse(dst, b []byte, at int) ([]byte, int, error) {
	if c.weights != nil && c.kind == schemas.KindString {
		v, at, err := c.readString(b, at)
		if err == nil {
			dst, err = c.weights.Append(dst, v)
		}
		return dst, at, err
	}
	mark := len(dst)
	dst, at, err := c.appendText(dst, b, at)
	if err == nil && c.kind != schemas.KindBytes {
		dst, err = c.coarsen(dst, mark)
	}
	return dst, at, err
}

// coarsen turns the text from mark on, also one that the server has shown, into
// bytes that are equal for all values that the server takes for equal.
func (c *column) coarsen(dst []byte, mark int) ([]byte, error) {
	text := dst[mark:]
	switch {
	case c.typ >= schemas.UUID:
		return appendAddress(dst[:mark], text, c.typ), nil
	case c.kind == schemas.KindFloat || c.kind == schemas.KindDouble:
		if string(text) == negativeZero {
			dst = append(dst[:mark], text[1:]...)
		}
	case c.fold == foldAll:
		return c.weigh(dst, mark)
	case c.fold == foldSpaces:
		// Most of the _bin collations ignore trailing spaces.
		dst = bytes.TrimRight(dst, " ")
		dst = dst[:max(len(dst), mark)]
	}
	return dst, nil
}

// weigh turns the text from mark on into what it weighs, or, where that isn't
// known, into what no collation ignores of it.
func (c *column) weigh(dst []byte, mark int) (_ []byte, err error) {
	text, end := dst[mark:], len(dst)
	switch {
	case c.weights == nil && c.isRaw(text):
		return dst[:mark], nil
	case c.weights == nil:
		dst = appendFolded(dst, text)
	case c.isRaw(text) && c.kind != schemas.KindString: // the number of a label
		return dst, nil
	case c.kind == schemas.KindEnumSet:
		dst, err = c.weighSet(dst, text)
	default:
		dst, err = c.weights.Append(dst, text)
	}
	return dst[:mark+copy(dst[mark:], dst[end:])], err
}

// weighSet appends what the labels of a SET weigh. Their order may be another in the origin.
func (c *column) weighSet(dst, text []byte) ([]byte, error) {
	var weights [][]byte
	for label := range bytes.SplitSeq(text, []byte{','}) {
		weight, err := c.weights.Append(nil, label)
		if err != nil {
			return dst, err
		}
		weights = append(weights, weight)
	}
	slices.SortFunc(weights, bytes.Compare)
	for _, weight := range weights {
		dst = append(append(dst, byte(len(weight)>>8), byte(len(weight))), weight...)
	}
	return dst, nil
}

// appendAddress appends the bytes of a UUID, INET4 or INET6: as a text they have
// several forms. A text that isn't one stays, and the server refuses it.
func appendAddress(dst, text []byte, typ schemas.Type) []byte {
	var value [16]byte
	if typ == schemas.UUID {
		digits := bytes.ReplaceAll(text, []byte{'-'}, nil)
		if len(digits) == hex.EncodedLen(len(value)) {
			if _, err := hex.Decode(value[:], digits); err == nil {
				return append(dst, value[:]...)
			}
		}
	} else if addr, err := netip.ParseAddr(string(text)); err == nil {
		if typ == schemas.INET4 && addr.Is4() {
			return append(dst, addr.AsSlice()...)
		}
		value = addr.As16()
		return append(dst, value[:]...)
	}
	return append(dst, text...)
}
