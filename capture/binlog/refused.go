package binlog

import "fmt"

// RefusedError says that the binlog holds something that can't be passed on
// rightly. Reading on would skip it, so reading again doesn't help: a person
// must mend the cause.
type RefusedError struct{ text string }

// Error tells what was found and the mend.
func (e *RefusedError) Error() string { return e.text }

func refuse(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...)}
}
