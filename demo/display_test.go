package demo

import (
	"bytes"
	"strings"
	"testing"
)

func TestScreenDrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	s := newDisplay(&out, 20).(*screen)
	s.draw("", []string{"one", "two"})
	out.Reset()
	s.say("said")
	if got, want := out.String(), "\x1b[2F\x1b[Jsaid\none\ntwo\n"; got != want {
		t.Errorf("saying wrote %q, want %q", got, want)
	}
	out.Reset()
	s.settle()
	s.say("below")
	if got, want := out.String(), "\x1b[Jbelow\n"; got != want {
		t.Errorf("saying after the end wrote %q, want %q", got, want)
	}
}

func TestScreenNeverWraps(t *testing.T) {
	for _, line := range []string{"", strings.Repeat("x", 100), strings.Repeat("山", 100), "a" + strings.Repeat("🦊", 100), strings.Repeat("é", 100)} {
		got := clip(line, 19)
		n := 0
		for _, r := range got {
			n += columns(r)
		}
		if n > 19 || n < 18 && line != "" {
			t.Errorf("%q is clipped to %d columns, want 18 or 19", line, n)
		}
		if !strings.HasPrefix(line, got) {
			t.Errorf("%q isn't a beginning of %q", got, line)
		}
	}
}

func TestLinesArePlain(t *testing.T) {
	var out bytes.Buffer
	d := newDisplay(&out, 0)
	d.show(&snapshot{flows: [2]flow{{from: "east", to: "west"}, {from: "west", to: "east", trouble: "apply is retrying: why"}}})
	d.settle()
	if _, err := d.Write([]byte("a log\nof two lines\n")); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.ContainsRune(text, '\x1b') || strings.Count(text, "\n") != 3 || !strings.Contains(text, "apply is retrying: why") {
		t.Errorf("without a terminal it wrote %q", text)
	}
}
