package binlog

import "fmt"

// RefusedError says that the binlog holds something that can't be passed on
// rightly. Reading on would skip it, so reading again doesn't help: a person
// must mend the cause.
type RefusedError struct{ text string }

// Error tells what was found and the mend.
func (e *RefusedError) Error() string { return e.text }

// beginAnew is the mend where the binlog itself can't be used.
const beginAnew = "stop applications from writing, copy the captured tables of this region to the others, delete the region's record of topic duplex.positions, and restart: capture then begins at the present"

func refuse(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...)}
}
