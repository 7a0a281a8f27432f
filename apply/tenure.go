package apply

import (
	"fmt"

	"duplex/change"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// tenure is the time for which this process has a partition.
type tenure struct {
	partition spine.Partition
	lane      *lane

	from int64 // where it is read from
	// Of the goroutine that reads: what the last record read was.
	seq change.Seq
	hlc change.HLC
	// forward is where somebody has moved the group's offsets to by hand, ahead of
	// what is applied; 0 if nobody has.
	forward int64

	// Guarded by the lane.
	standing standing // as duplex.offsets has it
	fetched  int64    // the offset after the last record read, those left out included
	waiting  int      // records read and not yet written
	over     bool     // another process has the partition now
	// schema is the id of the key schema that changes are written of; barrier is
	// what the first of another schema waits for.
	schema  int
	barrier *barrier
}

// keyed is one change of a partition.
type keyed struct {
	spine.Record
	hlc       change.HLC
	keySchema int // id in the registry
}

// sift returns which records of a fetch are to be applied, and the offset after
// its last record.
func (s *share) sift(t *tenure, fetched []*kgo.Record) (records []keyed, next int64, err error) {
	for _, r := range fetched {
		next = r.Offset + 1
		if r.Attrs.IsControl() || r.Value == nil || r.Offset < t.from || s.st.passes(r) {
			continue // a commit marker, a tombstone, applied already, or another program's
		}
		origin, seq, err := topics.Origin(r)
		if err != nil {
			return nil, 0, spine.Unreadable(r, err)
		}
		if string(origin) != string(s.source) {
			s.st.echoes.Add(1) // promise 2: what another region wrote comes by its own topics
			continue
		}
		hlc, err := topics.Clock(r)
		if err != nil {
			return nil, 0, spine.Unreadable(r, err)
		}
		passed, err := s.follow(t, r, seq, hlc)
		if err != nil {
			return nil, 0, supervise.Permanent(err)
		}
		id, _, err := schemas.ReadHeader(r.Key)
		if err != nil {
			return nil, 0, supervise.Permanent(fmt.Errorf("reading key of %s[%d]@%d: %w", r.Topic, r.Partition, r.Offset, err))
		}
		if !passed {
			records = append(records, keyed{spine.Record{Record: r, Origin: s.source, Seq: seq}, hlc, id})
		}
	}
	return records, next, nil
}

// follow proves that a change can follow the one before it in its partition, and
// reports whether it was applied before the task had ordering key. Within one
// numbering a smaller seq has a smaller hlc.
func (s *share) follow(t *tenure, r *kgo.Record, seq change.Seq, hlc change.HLC) (passed bool, err error) {
	switch {
	case (seq < t.seq || seq <= s.floor.Seq) && hlc > t.hlc:
		return false, &spine.RenumberedError{Source: s.source, Seq: seq, Applied: max(t.seq, s.floor.Seq)}
	case seq <= s.floor.Seq:
		return true, nil
	case seq < t.seq:
		return false, &spine.GapError{Source: s.source, Text: fmt.Sprintf("record %s:%d:%d is of transaction %d and follows one of %d", r.Topic, r.Partition, r.Offset, seq, t.seq)}
	case r.Offset < t.forward:
		return false, &spine.GapError{Source: s.source, Text: fmt.Sprintf("the offset of %s[%d] in the consumer group was moved to %d, and the change at %d was never applied", r.Topic, r.Partition, t.forward, r.Offset)}
	}
	t.seq, t.hlc = seq, hlc
	return false, nil
}
