package feed

import (
	"context"
	"fmt"
	"time"

	"duplex/change"
	"duplex/spine"

	"github.com/twmb/franz-go/pkg/kadm"
)

// noteForm is what a commit leaves beside the spine's offset: the last of the
// region's own transactions that was read, its seq and hlc.
const noteForm = "feed seq %d hlc %d"

func note(asm *spine.Assembler) string {
	return fmt.Sprintf(noteForm, asm.Applied, asm.Newest.HLC)
}

// skew is how far the clocks of the capture and of the brokers may be apart:
// records bear the time of the first, the marks of their commits of the others.
const skew = 10 * time.Second

// longest is how long a transaction may take to be published, and some more:
// capture's limit in Kafka is ten minutes.
const longest = 11 * time.Minute

// position finds where each partition is read from. A position that Commit
// left holds for all partitions at once. Any other is true for the spine only:
// in the partitions of the tables, what precedes the first transaction that
// comes out is passed over.
func (r *Reader) position(ctx context.Context) error {
	if r.cfg.Group != "" {
		saved, text, err := r.saver.Load(ctx)
		if err != nil {
			return err
		}
		if _, ok := saved[r.in.Spine()]; ok {
			r.resume(saved, text)
			return nil
		}
	}
	tables, err := r.tableTopics(ctx)
	if err != nil {
		return err
	}
	switch start := r.cfg.Start; {
	case start.latest:
		err = r.latest(ctx, tables)
	case !start.at.IsZero():
		err = r.since(ctx, tables, start.at)
	default:
		err = r.earliest(ctx, tables)
	}
	if err != nil {
		return fmt.Errorf("finding where to begin: %w", spine.Explain(err))
	}
	return nil
}

// resume goes on from what Commit left, or from where an operator has moved
// the group, which leaves no note.
func (r *Reader) resume(saved spine.Offsets, text string) {
	var seq, hlc int64
	_, err := fmt.Sscanf(text, noteForm, &seq, &hlc)
	committed := err == nil
	if committed {
		r.asm.Applied = change.Seq(seq)
		r.asm.Newest = change.Stamp{Origin: r.asm.Source, Seq: change.Seq(seq), HLC: change.HLC(hlc)}
	}
	r.in.Start = saved
	// Kafka forgets the offset of a partition in which nothing was committed for
	// days, while it keeps the others'.
	r.in.Adrift = func(p spine.Partition) bool { _, ok := saved[p]; return !committed || !ok }
}

// tableTopics lists the topics there are of the tables that are read.
func (r *Reader) tableTopics(ctx context.Context) (names []string, err error) {
	found, err := r.in.Admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", spine.Explain(err))
	}
	for name := range found {
		if r.asm.Wanted(name) {
			names = append(names, name)
		}
	}
	if !found.Has(r.in.Spine().Topic) {
		return nil, ErrNotPublished
	}
	return names, nil
}

// startAt sets where the partitions that were listed begin, and that they are
// not aligned with the spine yet.
func (r *Reader) startAt(tables kadm.ListedOffsets, end int64) {
	r.in.Start = spine.Offsets{r.in.Spine(): end}
	tables.Each(func(o kadm.ListedOffset) {
		r.in.Start[spine.Partition{Topic: o.Topic, Index: o.Partition}] = o.Offset
	})
	start := r.in.Start
	r.in.Adrift = func(p spine.Partition) bool { _, ok := start[p]; return ok }
}

// latest begins at the end. The tables are asked first: what an END record
// promises that comes after the end of the spine was published later still.
func (r *Reader) latest(ctx context.Context, names []string) error {
	tables, err := listed(ctx, names, r.in.Admin.ListCommittedOffsets)
	if err != nil {
		return err
	}
	own, err := listed(ctx, []string{r.in.Spine().Topic}, r.in.Admin.ListCommittedOffsets)
	if err != nil {
		return err
	}
	r.startAt(tables, own[r.in.Spine().Topic][0].Offset)
	return nil
}

// since begins with the first END record of t or later. Its changes may have
// been published before t, but not long before.
func (r *Reader) since(ctx context.Context, names []string, t time.Time) error {
	own, err := listed(ctx, []string{r.in.Spine().Topic}, after(r.in.Admin, t))
	if err != nil {
		return err
	}
	tables, err := listed(ctx, names, after(r.in.Admin, t.Add(-longest)))
	if err != nil {
		return err
	}
	r.startAt(tables, own[r.in.Spine().Topic][0].Offset)
	return nil
}

// earliest begins with the first record of all, if nothing is gone. Where
// retention has taken something, let t be the time of the youngest of all first
// records. Capture publishes one transaction after the other: of all that end
// after t only the first can have begun before t and lack changes.
func (r *Reader) earliest(ctx context.Context, names []string) error {
	all := append([]string{r.in.Spine().Topic}, names...)
	starts, err := listed(ctx, all, r.in.Admin.ListStartOffsets)
	if err != nil {
		return err
	}
	var cut []string
	for topic, partitions := range starts {
		for _, o := range partitions {
			if o.Offset > 0 {
				cut = append(cut, topic)
				break
			}
		}
	}
	if len(cut) == 0 {
		return nil // every partition from its start
	}
	firsts, err := listed(ctx, cut, after(r.in.Admin, time.UnixMilli(0)))
	if err != nil {
		return err
	}
	youngest := int64(0)
	firsts.Each(func(o kadm.ListedOffset) {
		if starts[o.Topic][o.Partition].Offset > 0 {
			youngest = max(youngest, o.Timestamp)
		}
	})
	r.asm.Leave = 1
	return r.since(ctx, names, time.UnixMilli(youngest).Add(skew))
}

type listing func(ctx context.Context, names ...string) (kadm.ListedOffsets, error)

// after lists the first offset of each partition that is of t or later, the
// end of the partition if there is none.
func after(admin *kadm.Client, t time.Time) listing {
	return func(ctx context.Context, names ...string) (kadm.ListedOffsets, error) {
		return admin.ListOffsetsAfterMilli(ctx, t.UnixMilli(), names...)
	}
}

// listed asks for the offsets of topics, none of which may fail.
func listed(ctx context.Context, names []string, ask listing) (kadm.ListedOffsets, error) {
	if len(names) == 0 {
		return nil, nil // the client would list every topic there is
	}
	found, err := ask(ctx, names...)
	if err == nil {
		err = found.Error()
	}
	return found, err
}
