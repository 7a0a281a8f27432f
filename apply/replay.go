package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/mysql"
	"duplex/schemas"
	"duplex/spine"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Replay has a stream with ordering transaction read a source's transactions again:
// it moves the group's offsets, of all topics to the same transaction.
type Replay struct {
	Process *config.Process // of the target region
	Task    string
	Source  change.Region
	From    From
	// DryRun finds out only.
	DryRun bool
}

// Replayed says what a replay does.
type Replayed struct {
	Task   string        `json:"task"`
	Source change.Region `json:"source"`
	Target change.Region `json:"target"`
	Group  string        `json:"group"`
	// First is the transaction from which on is read, and FirstCommit its commit time;
	// Offset is that of the spine. Where it isn't published yet it has no time.
	First       change.Seq `json:"first"`
	FirstCommit *time.Time `json:"first_commit,omitempty"`
	Offset      int64      `json:"offset"`
	// Applied is the last transaction that the target has; Transactions is how many from
	// First to that one have changes of the task: they are read again, and not
	// written again.
	Applied      change.Seq `json:"applied"`
	Transactions int64      `json:"transactions"`
	// Partitions is how many offsets are moved.
	Partitions int  `json:"partitions"`
	DryRun     bool `json:"dry_run"`
}

// From is a place in a region's topics: the beginning, a time, an offset of the spine or
// a transaction's number.
type From struct {
	text   string
	time   time.Time
	offset int64 // -1 if it isn't one
	seq    change.Seq
}

// ParseFrom reads beginning, a time as in RFC 3339, so long before now (-2h), offset:n or
// seq:n.
func ParseFrom(text string, now time.Time) (From, error) {
	f := From{text: text, offset: -1}
	kind, number, numbered := strings.Cut(text, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case text == "beginning":
		return f, nil
	case numbered && kind == "offset" && err == nil && n >= 0:
		f.offset = n
		return f, nil
	case numbered && kind == "seq" && err == nil && n > 0:
		f.seq = change.Seq(n)
		return f, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago < 0 {
		f.time = now.Add(ago)
		return f, nil
	}
	if f.time, err = time.Parse(time.RFC3339, text); err == nil {
		return f, nil
	}
	return f, fmt.Errorf("%q is no place to read from; mend: give beginning, a time (2026-01-31T08:00:00Z, or -2h for two hours ago), offset:<offset of the spine> or seq:<number of a transaction>", text)
}

// Run replays. It refuses to pass over what was never applied.
func (r *Replay) Run(ctx context.Context) (*Replayed, error) {
	target := r.Process.Region
	if r.Source == target {
		return nil, fmt.Errorf("%s is the region of the process file; mend: give the process file of the region that is to read again, and the other region as the source", r.Source)
	}
	done := &Replayed{Task: r.Task, Source: r.Source, Target: target, Group: topics.Group(r.Task, r.Source, target), DryRun: r.DryRun}
	var err error
	if done.Applied, err = r.applied(ctx); err != nil {
		return nil, err
	}
	kafka, _ := (&Config{Process: r.Process, Source: r.Source}).source()
	f, err := spine.NewFinder(kafka, r.Source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	saver := &spine.Committer{Admin: f.Admin(), Source: r.Source, Spine: f.Spine(), Group: done.Group}
	had, _, err := saver.Load(ctx)
	if err != nil {
		return nil, err
	}
	if len(had) == 0 {
		return nil, fmt.Errorf("consumer group %s has no offsets: apply has read nothing yet, or the names are wrong; mend: duplex status -c <process file> shows task and regions", done.Group)
	}
	wanted := func(topic string) bool {
		for at := range had {
			if at.Topic == topic && at != f.Spine() {
				return true
			}
		}
		return false
	}
	all, err := f.Partitions(ctx, wanted)
	if err != nil {
		return nil, err
	}
	cuts, err := r.find(ctx, f, all)
	if err != nil {
		return nil, err
	}
	if err := r.count(ctx, f, wanted, cuts[f.Spine()], done); err != nil {
		return nil, err
	}
	commit := kadm.Offsets{}
	for at, cut := range cuts {
		commit.Add(kadm.Offset{Topic: at.Topic, Partition: at.Index, At: cut.At, LeaderEpoch: -1})
	}
	done.Partitions = len(cuts)
	if r.DryRun {
		return done, nil
	}
	answers, err := f.Admin().CommitOffsets(ctx, done.Group, commit)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("setting the offsets of consumer group %s: %w", done.Group, spine.Explain(err))
	}
	return done, nil
}

// applied returns the last transaction that the target has.
func (r *Replay) applied(ctx context.Context) (seq change.Seq, err error) {
	db, err := mysql.Open(r.Process.MySQL, mysql.Reading)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	missing, err := mysql.SchemaMissing(ctx, db)
	if err != nil {
		return 0, err
	}
	none := fmt.Errorf("task %s was never applied from %s to %s; mend: duplex status -c <process file> shows task and regions", r.Task, r.Source, r.Process.Region)
	if missing {
		return 0, none
	}
	var workers, keyed int
	err = db.QueryRowContext(ctx, "SELECT COUNT(*), COALESCE(MAX(seq), 0), (SELECT COUNT(*) FROM duplex.offsets WHERE task = ? AND origin = ?) FROM duplex.progress WHERE task = ? AND origin = ?",
		r.Task, string(r.Source), r.Task, string(r.Source)).Scan(&workers, &seq, &keyed)
	switch {
	case err != nil:
		return 0, mysql.Classify(err)
	case workers == 0:
		return 0, none
	case keyed > 0:
		return 0, errors.New("the task has ordering key: duplex.offsets says how far each partition is applied, and apply reads on from there, wherever the group's offsets are: nothing can be read again")
	}
	return seq, nil
}

// find finds where the partitions are to be read from.
func (r *Replay) find(ctx context.Context, f *spine.Finder, all []spine.Partition) (map[spine.Partition]spine.Cut, error) {
	begins, err := f.Cut(ctx, []spine.Partition{f.Spine()}, func(*change.Stamp) bool { return true })
	if err != nil {
		return nil, err
	}
	begin := begins[f.Spine()]
	if begin.First.Seq == 0 {
		return nil, fmt.Errorf("topic %s holds no transaction of region %s", f.Spine().Topic, r.Source)
	}
	from, seq := r.From, r.From.seq
	gone := from.offset >= 0 && from.offset < begin.Start || seq > 0 && seq < begin.First.Seq || !from.time.IsZero() && from.time.Before(time.UnixMicro(begin.Commit)) && begin.First.Seq > 1
	if gone {
		return nil, fmt.Errorf("what is to be read from %s is no longer in the topics: they begin with transaction %d, at offset %d, committed at %s; mend: give a later place, or beginning; what was before needs a new snapshot",
			from.text, begin.First.Seq, begin.At, time.UnixMicro(begin.Commit).UTC().Format(time.RFC3339Nano))
	}
	reached := func(s *change.Stamp) bool { return s.Seq >= seq } // seq is 0 for the beginning
	switch {
	case from.offset >= 0:
		if seq, err = r.seqAt(ctx, f, begin); err != nil {
			return nil, err
		}
	case !from.time.IsZero():
		least := change.HLCAt(from.time)
		reached = func(s *change.Stamp) bool { return s.HLC >= least } // never smaller than the commit time
	}
	return f.Cut(ctx, all, reached)
}

// seqAt returns the number of the first transaction at the offset of the spine or
// after it.
func (r *Replay) seqAt(ctx context.Context, f *spine.Finder, begin spine.Cut) (seq change.Seq, err error) {
	if r.From.offset > begin.End {
		return 0, fmt.Errorf("topic %s ends at offset %d, before %d; mend: give an earlier place", f.Spine().Topic, begin.End, r.From.offset)
	}
	err = f.Ends(ctx, r.From.offset, begin.End, func(end *schemas.End) bool { seq = end.Stamp.Seq; return true })
	if err == nil && seq == 0 {
		last, err := f.LastBefore(ctx, f.Spine(), begin.Start, begin.End)
		return last.Seq + 1, err
	}
	return seq, err
}

// count counts what is read again. It fails if something would be skipped.
func (r *Replay) count(ctx context.Context, f *spine.Finder, wanted func(string) bool, cut spine.Cut, done *Replayed) error {
	done.Offset = cut.At
	if done.First = cut.First.Seq; done.First > 0 {
		at := time.UnixMicro(cut.Commit).UTC()
		done.FirstCommit = &at
	} else {
		last, err := f.LastBefore(ctx, f.Spine(), cut.Start, cut.End)
		if err != nil {
			return err
		}
		if done.First = last.Seq + 1; r.From.seq > done.First {
			return fmt.Errorf("transaction %d isn't published yet, %d is the last; mend: give an earlier one", r.From.seq, last.Seq)
		}
	}
	between := func(from int64, after change.Seq, until change.Seq) (n int64, err error) {
		err = f.Ends(ctx, from, cut.End, func(end *schemas.End) bool {
			if end.Stamp.Seq > until {
				return true
			}
			if end.Stamp.Seq > after && slices.ContainsFunc(end.Partitions, func(c schemas.PartitionCount) bool { return wanted(c.Topic) }) {
				n++
			}
			return end.Stamp.Seq == until
		})
		return n, err
	}
	var err error
	if done.First <= done.Applied+1 {
		done.Transactions, err = between(cut.At, done.First-1, done.Applied)
		return err
	}
	next, err := f.Cut(ctx, []spine.Partition{f.Spine()}, func(s *change.Stamp) bool { return s.Seq > done.Applied })
	if err != nil {
		return err
	}
	first := next[f.Spine()]
	skipped, err := between(first.At, done.Applied, done.First-1)
	switch {
	case err != nil:
		return err
	case first.First.Seq > done.Applied+1:
		return fmt.Errorf("transactions %d to %d are not applied in %s and no longer in the topics: a new snapshot is needed", done.Applied+1, first.First.Seq-1, done.Target)
	case skipped > 0:
		return fmt.Errorf("that would skip %d transactions that %s has not applied yet, the first of them %d: a replay goes back, never forward; mend: give an earlier place", skipped, done.Target, done.Applied+1)
	}
	return nil
}
