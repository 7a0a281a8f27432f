package feed

import (
	"errors"
	"fmt"

	"duplex/spine"
	"duplex/supervise"
)

// ConfigError says what is wrong with a Config, all of it, each with its mend.
type ConfigError struct{ err error }

// Error names each setting.
func (e *ConfigError) Error() string { return "configuring feed: " + e.err.Error() }

func (e *ConfigError) Unwrap() error { return e.err }

// GapError says that the topics don't hold what the region's transaction topic
// says they must: something is lost, or the offsets were moved. It is never
// passed over.
type GapError struct {
	Region string
	// Detail tells what is missing.
	Detail string
}

// Error tells what is missing and the mend.
func (e *GapError) Error() string {
	return fmt.Sprintf("the topics of region %s have a gap: %s; mend: if the group's offsets were moved, move them back, or reset them all at once: "+
		"kafka-consumer-groups.sh --group <group> --reset-offsets --to-earliest --all-topics --execute; "+
		"if retention has passed what is missing, read the tables anew and begin a new group at Latest", e.Region, e.Detail)
}

// RenumberedError says that a region began to number its transactions anew,
// since its Kafka or the position of its capture was lost. Changes may have
// been lost with them.
type RenumberedError struct {
	Region string
	// Seq is the number that came, Last the one that was read before.
	Seq, Last int64
}

// Error tells the mend.
func (e *RenumberedError) Error() string {
	return fmt.Sprintf("region %s numbers its transactions anew: number %d was made after number %d; mend: read the tables anew, "+
		"and begin a new group", e.Region, e.Seq, e.Last)
}

// ResetError says that somebody else has changed the offsets of the group: an
// operator who wants a replay, or a second reader of the same group. Close
// the Reader and open it again to go on from the new offsets.
type ResetError struct{ Group string }

// Error tells which group.
func (e *ResetError) Error() string {
	return fmt.Sprintf("the offsets of consumer group %s were changed by somebody else; mend: after a reset by an operator, open the reader again; "+
		"otherwise give each program a group of its own", e.Group)
}

// RecordError says that a record can't be read: another program wrote it, or
// a version of Duplex that this one doesn't know.
type RecordError struct {
	Topic     string
	Partition int32
	Offset    int64
	err       error
}

// Error names the record and the cause, never a value.
func (e *RecordError) Error() string {
	return fmt.Sprintf("reading record %s[%d]@%d: %v", e.Topic, e.Partition, e.Offset, e.err)
}

func (e *RecordError) Unwrap() error { return e.err }

// Permanent reports whether trying again can't mend an error: a person must,
// or the program.
func Permanent(err error) bool {
	var cfg *ConfigError
	var gap *GapError
	var renumbered *RenumberedError
	return supervise.IsPermanent(err) || errors.As(err, &cfg) || errors.As(err, &gap) || errors.As(err, &renumbered)
}

// public turns an error of the inner packages into one of this.
func public(err error) error {
	var gap *spine.GapError
	var renumbered *spine.RenumberedError
	var reset *spine.ResetError
	var record *spine.RecordError
	switch {
	case errors.As(err, &record):
		return &RecordError{record.Topic, record.Partition, record.Offset, supervise.Permanent(record.Err)}
	case errors.As(err, &gap):
		return &GapError{string(gap.Source), gap.Text}
	case errors.As(err, &renumbered):
		return &RenumberedError{string(renumbered.Source), int64(renumbered.Seq), int64(renumbered.Applied)}
	case errors.As(err, &reset):
		return &ResetError{reset.Group}
	default:
		return err
	}
}
