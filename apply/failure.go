package apply

import (
	"errors"
	"fmt"
	"strings"

	"duplex/change"
	"duplex/mysql"
	"duplex/spine"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"
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

// Error names the transactions, the table, its key columns, the cause and the mend,
// never a value.
func (f *batchFailure) Error() string {
	what := fmt.Sprintf("writing transaction %d", f.last)
	if f.transactions > 1 {
		what = fmt.Sprintf("writing transactions %d to %d", f.first, f.last)
	}
	var table *tableError
	if errors.As(f.err, &table) {
		what += " to " + table.where()
	}
	server := mysql.Classify(f.err)
	sum, isSum := sumFailure(f.err)
	switch {
	case isSum:
		what += ": " + sum
	case server.Number != 0:
		what += ": " + server.Error()
	case table != nil:
		what += ": " + table.err.Error()
	default:
		what += ": " + f.err.Error()
	}
	if table != nil && server.Class == mysql.Stop && !strings.Contains(what, "mend:") {
		what += "; mend: make the table as SHOW CREATE TABLE shows it in the source region, with its triggers, then duplex resume"
	}
	return what
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
		return &oneByOne{err}, true
	}
	var skew *skewError
	if errors.As(err, &skew) {
		return err, false // time mends it
	}
	return supervise.Permanent(err), false
}

// oneByOne is the failure of several transactions, which are to be tried one by
// one: permanent as it may be for one of them, it isn't yet.
type oneByOne struct{ err error }

func (e *oneByOne) Error() string {
	return e.err.Error() + "; trying its transactions one by one"
}
func (e *oneByOne) Unwrap() error { return e.err }

// Permanent tells that the stream goes on.
func (e *oneByOne) Permanent() bool { return false }

// tableError says in which table a statement failed, and what its rows are told
// apart by.
type tableError struct {
	table string
	key   []string // names of the columns of the primary key
	err   error
}

func (e *tableError) where() string {
	if len(e.key) == 0 {
		return "table " + e.table
	}
	names := make([]string, len(e.key))
	for i, name := range e.key {
		names[i] = mysql.QuoteIdent(name)
	}
	return fmt.Sprintf("table %s (key %s)", e.table, strings.Join(names, ", "))
}

func (e *tableError) Error() string { return e.where() + ": " + e.err.Error() }
func (e *tableError) Unwrap() error { return e.err }

// failure is an error in writing to the table.
func (t *boundTable) failure(err error) error {
	var known *tableError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &tableError{t.name, t.keyNames(), err}
}

func (t *boundTable) keyNames() []string {
	if t.key == nil {
		return nil
	}
	names := make([]string, len(t.key.Fields))
	for i := range names {
		names[i] = t.key.Fields[i].Name
	}
	return names
}

func (k *kin) failure(err error) error {
	names := make([]string, len(k.table.Key))
	for i, at := range k.table.Key {
		names[i] = k.table.Columns[at].Name
	}
	return &tableError{k.table.String(), names, err}
}

// withMend adds how a stream whose topics lack something, or hold what another
// program wrote, goes on.
func (st *Stream) withMend(err error) error {
	task, source := st.cfg.Spec.Task, st.cfg.Source
	resume := fmt.Sprintf("duplex resume -c <process file of %s> --task %s", st.cfg.Process.Region, task)
	var gap *spine.GapError
	var record *spine.RecordError
	switch {
	case errors.As(err, &gap) && st.cfg.Spec.Apply.Ordering != tasks.OrderingKey:
		return fmt.Errorf("%w, then: kafka-consumer-groups.sh --group %s --reset-offsets --to-latest --all-topics --execute; "+
			"in this region's database: UPDATE duplex.progress SET n = n + 1, seq = <the seq of capture %s in duplex status> WHERE task = '%s' AND origin = '%[3]s'; and %[5]s",
			err, topics.Group(task, source, st.cfg.Process.Region), source, task, resume)
	case errors.As(err, &record):
		mend := "; mend:"
		if strings.Contains(err.Error(), mend) {
			mend = ","
		}
		return fmt.Errorf("%w%s if another program wrote it, keep that out of the topics of %s by an ACL and pass over the record: %s --pass %s:%d:%d",
			err, mend, source, resume, record.Topic, record.Partition, record.Offset)
	}
	return err
}
