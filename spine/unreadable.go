package spine

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// RecordError says that a record can't be read: another program may have written
// it.
type RecordError struct {
	Topic     string
	Partition int32
	Offset    int64
	Err       error
}

// Unreadable returns the RecordError of a record.
func Unreadable(r *kgo.Record, err error) error {
	return &RecordError{r.Topic, r.Partition, r.Offset, err}
}

// Error names the record as duplex resume takes it, and the cause.
func (e *RecordError) Error() string {
	return fmt.Sprintf("reading record %s:%d:%d: %v", e.Topic, e.Partition, e.Offset, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Permanent tells that waiting doesn't mend it.
func (e *RecordError) Permanent() bool { return true }
