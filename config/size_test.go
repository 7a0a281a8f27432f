package config

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := Size(rapid.Int64Min(0).Draw(t, "size"))
		if rapid.Bool().Draw(t, "round") {
			size = size >> 31 << 20
		}
		var back Size
		if err := back.UnmarshalText([]byte(size.String())); err != nil || back != size {
			t.Fatalf("%d is written %s and read %d, %v", size, size, back, err)
		}
	})
}

func TestSizeRefusals(t *testing.T) {
	for _, text := range []string{"", "MiB", "-1", "8MB", "8 mib", "1.5MiB", "9223372036854775807KiB", "99999999999999999999"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %d", text, s)
		}
	}
}
