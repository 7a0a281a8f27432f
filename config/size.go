package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is an amount of memory in bytes, written as a number with KiB, MiB or
// GiB, or without a unit for bytes.
type Size int64

// The units.
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
)

func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText gives the form that UnmarshalText reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads 8MiB, 64 KiB or 1048576.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := strings.TrimSpace(string(text)), Size(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/int64(unit) {
		return fmt.Errorf("%q is not a size: write a whole number with KiB, MiB or GiB, such as 8MiB", text)
	}
	*s = Size(n) * unit
	return nil
}

type sizeUnit struct {
	name string
	size Size
}

func sizeUnits() []sizeUnit { return []sizeUnit{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}} }
