package config

import (
	"errors"
	"fmt"
	"strings"
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
