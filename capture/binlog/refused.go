package binlog

import "fmt"

// RefusedError says that the binlog holds something that can't be passed on
// rightly. Reading on would skip it, so reading again doesn't help: a person
// must mend the cause.
type RefusedError struct {
	text string
	kind error // what it is, where it matters to callers
}

// Error tells what was found and the mend.
func (e *RefusedError) Error() string { return e.text }

func (e *RefusedError) Unwrap() error { return e.kind }

// beginAnew is the mend where the binlog itself can't be used.
const beginAnew = "stop applications from writing, copy the captured tables of this region to the others, delete the region's record of topic duplex.positions, and restart: capture then begins at the present"

func refuse(format string, args ...any) error { return refused(format, args...) }

func refused(format string, args ...any) *RefusedError {
	return &RefusedError{text: fmt.Sprintf(format, args...)}
}
