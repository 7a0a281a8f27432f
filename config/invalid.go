package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Invalid is one setting that can't be used: where it is, what is wrong with
// it and how to mend it. It never holds a secret.
type Invalid struct {
	// File, Line and Column tell the place, from 1; Line is 0 for a value that
	// has the right form and still can't be used.
	File         string
	Line, Column int
	// Source is that line of the file, secrets blanked out.
	Source string
	// Caret is the column in Source that the error points at, from 1.
	Caret int
	// Setting is the path of the setting, such as kafka.replication_factor.
	Setting string
	// Reason tells the offending value and what would be accepted.
	Reason string
	// Mend is what to do about it.
	Mend string
}

func (e *Invalid) Error() string {
	var b strings.Builder
	switch {
	case e.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	case e.File != "":
		fmt.Fprintf(&b, "%s: ", e.File)
	}
	if e.Setting != "" {
		fmt.Fprintf(&b, "%s: ", e.Setting)
	}
	b.WriteString(e.Reason)
	if e.Mend != "" {
		fmt.Fprintf(&b, ": %s", e.Mend)
	}
	if e.Source != "" {
		fmt.Fprintf(&b, "\n    %s\n    %s^", e.Source, strings.Repeat(" ", max(e.Caret-1, 0)))
	}
	return b.String()
}

// Find puts the place in where the file's content first has the text, if it has.
func (e *Invalid) Find(content []byte, text string) *Invalid {
	before, _, found := strings.Cut(string(content), text)
	if !found || text == "" {
		return e
	}
	start := strings.LastIndexByte(before, '\n') + 1
	line, _, _ := strings.Cut(string(content)[start:], "\n")
	e.Line, e.Column = strings.Count(before, "\n")+1, utf8.RuneCountInString(before[start:])+1
	e.Source, e.Caret = strings.TrimRight(line, "\r"), e.Column
	return e
}

// InFile names the file in each *Invalid that err joins, and returns them
// joined in one list; nil stays nil.
func InFile(name string, err error) error {
	var located []error
	for _, e := range separate(err) {
		if invalid := (*Invalid)(nil); errors.As(e, &invalid) {
			invalid.File = name
		}
		located = append(located, e)
	}
	return errors.Join(located...)
}

func separate(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil {
			return nil
		}
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, separate(e)...)
	}
	return all
}
