package demo

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// display is where the demo tells what happens: a terminal, whose live view is
// drawn anew in place, or a log of plain lines.
type display interface {
	// say prints a line that stays.
	say(line string)
	// show shows the present state, which the next call replaces.
	show(*snapshot)
	// settle leaves the state shown last where it is; what follows comes below.
	settle()
	// Write says each line of a text; the program's log goes there.
	io.Writer
}

func newDisplay(out io.Writer, width int) display {
	if width > 0 {
		return &screen{lines: lines{out: out}, width: width}
	}
	return &lines{out: out}
}

// lines is the display without a terminal: one line for each state.
type lines struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *lines) say(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.out, line)
}

func (l *lines) show(s *snapshot) { l.say(s.line()) }

func (l *lines) settle() {}

// Write implements io.Writer.
func (l *lines) Write(text []byte) (int, error) { return sayAll(l, text) }

// screen is the display on a terminal.
type screen struct {
	lines
	width int
	frame []string // on the screen, below all that was said
}

func (s *screen) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draw(line+"\n", s.frame)
}

func (s *screen) show(state *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draw("", state.frame())
}

func (s *screen) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frame = nil
}

// Write implements io.Writer.
func (s *screen) Write(text []byte) (int, error) { return sayAll(s, text) }

// draw puts said and, below it, frame where the present frame is. All of it
// goes out by one write, so that nothing flickers.
func (s *screen) draw(said string, frame []string) {
	const up, clearBelow = "\x1b[%dF", "\x1b[J"
	var b strings.Builder
	if len(s.frame) > 0 {
		fmt.Fprintf(&b, up, len(s.frame))
	}
	b.WriteString(clearBelow + said)
	for _, line := range frame {
		b.WriteString(clip(line, s.width-1) + "\n") // a line that wraps would count as two
	}
	s.frame = frame
	_, _ = io.WriteString(s.out, b.String()) // a terminal that is gone needs no view
}

// clip cuts a line that has more than width columns, counting wide characters
// as two.
func clip(line string, width int) string {
	for i, r := range line {
		if width -= columns(r); width < 0 {
			return line[:i]
		}
	}
	return line
}

// columns returns how many columns a terminal gives the character: East Asian
// and emoji take two.
func columns(r rune) int {
	if r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 || r >= 0xf900 && r <= 0xfaff ||
		r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0x1f300 && r <= 0x1faff) {
		return 2
	}
	return 1
}

// pad fills text up to width columns.
func pad(text string, width int) string {
	n := 0
	for _, r := range text {
		n += columns(r)
	}
	return text + strings.Repeat(" ", max(0, width-n))
}

func sayAll(d display, text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if !utf8.Valid(line) {
			line = bytes.ToValidUTF8(line, []byte("�"))
		}
		d.say(string(line))
	}
	return len(text), nil
}
