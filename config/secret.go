package config

import (
	"fmt"
	"log/slog"
)

// Secret is a string that nothing prints: every way of formatting, logging or
// encoding it gives ***. Keep it in exported fields: package fmt doesn't ask
// the values of unexported ones how they want to be printed.
type Secret string

const hidden = "***"

// Reveal returns the secret itself, for the one place that sends it.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string               { return hidden }
func (s Secret) GoString() string             { return hidden }
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
func (s Secret) MarshalYAML() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }

// Format covers the verbs that would bypass String, such as %x and %d.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }
