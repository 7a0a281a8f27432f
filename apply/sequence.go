package apply

import (
	"errors"

	"duplex/schemas"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sequence is changes in the order of the source where that matters: along with
// some of them the source's server changed other rows, those that there were at
// that moment. What lies between two of them is merged. It is pure.
type sequence struct {
	steps []sequenceStep
	// moving is the delete that an update of the primary key comes as; its insert
	// is next.
	moving *sequenceStep
}

// sequenceStep is changes that are merged, or one, in its halves if need be, and
// what the source's server changed along with it.
type sequenceStep struct {
	merged
	cascade *cascade
}

// errHalfMove says that the topics don't hold the two halves of a moved row one
// after the other.
var errHalfMove = errors.New("an update of a primary key isn't there as a delete with the insert right after it: something other than Duplex writes to the topics; mend: find the producer and keep it out by an ACL")

// add adds the next change. r is its record, k what else it changes, nil for
// nothing; c's slices are kept.
func (q *sequence) add(t *boundTable, key []byte, c *schemas.Decoded, r *kgo.Record, k *kin) error {
	switch {
	case q.moving != nil:
		return q.moved(t, key, c, r)
	case k == nil:
		q.merge(t, key, c.Before, c.After)
		return nil
	}
	st := &sequenceStep{newMerged(0), &cascade{kin: k}}
	st.merge(t, key, c.Before, c.After)
	var err error
	if st.cascade.before, err = k.valuesOf(t.binder, c.Before); err != nil {
		return err
	}
	if c.After == nil && topics.Moved(r, topics.HeaderNewKey) {
		q.moving = st
		return nil
	}
	if st.cascade.after, err = k.valuesOf(t.binder, c.After); err != nil {
		return err
	}
	q.steps = append(q.steps, *st)
	return nil
}

// moved adds the insert of a moved row to its delete.
func (q *sequence) moved(t *boundTable, key []byte, c *schemas.Decoded, r *kgo.Record) error {
	st := q.moving
	if st.tables[0].table != t || c.After == nil || !topics.Moved(r, topics.HeaderOldKey) {
		return errHalfMove
	}
	st.merge(t, key, c.Before, c.After)
	var err error
	if st.cascade.after, err = st.cascade.kin.valuesOf(t.binder, c.After); err != nil {
		return err
	}
	q.moving, q.steps = nil, append(q.steps, *st)
	return nil
}

// merge adds a change that has no cascade and returns its row.
func (q *sequence) merge(t *boundTable, key, before, after []byte) *row {
	n := len(q.steps)
	if n == 0 || q.steps[n-1].cascade != nil {
		q.steps = append(q.steps, sequenceStep{merged: newMerged(0)})
		n++
	}
	r, _ := q.steps[n-1].merged.merge(t, key, before, after)
	return r
}

// take returns the steps and goes on with none. Half a move stays.
func (q *sequence) take() []sequenceStep {
	steps := q.steps
	q.steps = nil
	return steps
}
