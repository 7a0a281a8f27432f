package apply

import (
	"errors"
	"fmt"

	"duplex/change"
	"duplex/mysql"
	"duplex/supervise"
)

// batchFailure says that a batch can't be written.
type batchFailure struct {
	first, last  change.Seq
	transactions int
	err          error
}

func batchError(b *batch, err error) error {
	return &batchFailure{b.seq - change.Seq(len(b.commits)) + 1, b.seq, len(b.commits), err}
}

// Error names the transactions, the table and the cause, never a value.
func (f *batchFailure) Error() string {
	what := fmt.Sprintf("writing transaction %d", f.last)
	if f.transactions > 1 {
		what = fmt.Sprintf("writing transactions %d to %d", f.first, f.last)
	}
	var table *tableError
	if errors.As(f.err, &table) {
		what += " to table " + table.table
	}
	var server mysql.Fault
	if server = mysql.Classify(f.err); server.Number != 0 {
		return what + ": " + server.Error()
	}
	if table != nil {
		return what + ": " + table.err.Error()
	}
	return what + ": " + f.err.Error()
}

func (f *batchFailure) Unwrap() error { return f.err }

// verdict decides what a session's error means for the next one. An error
// that a person must mend stops the stream at exactly its transaction: if the
// batch held several, they are tried again one by one first.
func verdict(err error) (final error, carefully bool) {
	var failure *batchFailure
	if !errors.As(err, &failure) || errors.Is(err, errFenced) {
		return err, false
	}
	if mysql.Classify(failure.err).Class != mysql.Stop {
		return err, false
	}
	if failure.transactions > 1 {
		return fmt.Errorf("%w; trying its transactions one by one", err), true
	}
	var skew *skewError
	if errors.As(err, &skew) {
		return err, false // time mends it
	}
	return supervise.Permanent(err), false
}
