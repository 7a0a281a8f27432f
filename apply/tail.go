package apply

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
)

// tail reads the topics of the own region, in the order of its binlog, and
// tells versions what its application has written and what of that which was
// applied has come by.
type tail struct {
	spec    *tasks.Spec
	log     *slog.Logger
	v       *versions
	config  config.Kafka
	from    config.Registry
	admin   *kadm.Client // of the own Kafka
	binders *binders
	// foreign returns what binds the topics of another region.
	foreign func(change.Region) (*binders, error)

	in      *spine.Consumer
	asm     *spine.Assembler
	decoded schemas.Decoded
	vague   []noted // of the transaction being read
	room    bool    // it made room for unique values
	copies  bool    // it is a chunk of an initial copy
	yielded []topics.Yielded
	rest    func() error   // tells what is left of it
	failed  error          // of rest
	wait    spine.Patience // of the head of the spine
	hlc     change.HLC     // the greatest of the END records

	mu     sync.Mutex
	pulses map[string]chan struct{} // by token
	marks  []tailMark               // oldest first
}

const (
	tailPause = time.Second // after a failure
	// tailLongPause is that after one that stays.
	tailLongPause = 30 * time.Second
	markEvery     = time.Second
	maxMarks      = 4096
	maxVague      = 10_000
)

// tailStart is where the tail begins.
type tailStart struct {
	offsets spine.Offsets
	// adrift is set if the partitions aren't aligned with the spine there: what
	// stands before the first transaction is passed over.
	adrift bool
	// local is the region's last transaction before them, 0 if that isn't known.
	local change.Seq
}

// keep runs the tail until ctx ends. Whatever is wrong with the region's own Kafka
// or topics, what comes in goes on being applied: conflicts are looked for when
// they can be read again, or, if they can't, from their end on.
func (t *tail) keep(ctx context.Context, start tailStart) error {
	for {
		err := t.run(ctx, start)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if full := t.v.failed(); full != nil {
			return full // versions can't go on, however often the tail begins anew
		}
		pause := tailPause
		if supervise.IsPermanent(err) {
			pause = tailLongPause
			t.log.Warn("the own topics can't be read on: conflicts with what this region wrote before their end are not looked for", "error", err)
			t.forgetMarks()
			if ends, err := t.ends(ctx); err == nil {
				start, pause = tailStart{offsets: ends, adrift: true}, tailPause
				t.v.leaped()
			}
		} else {
			t.log.Warn("the tail begins anew", "error", err, "after", pause)
			if m, ok := t.oldestMark(); ok {
				start = tailStart{offsets: m.offsets}
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// ends returns where the own topics end.
func (t *tail) ends(ctx context.Context) (spine.Offsets, error) {
	found, err := t.admin.ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", spine.Explain(err))
	}
	var names []string
	for topic := range found {
		if t.wanted()(topic) {
			names = append(names, topic)
		}
	}
	// The tables are asked first: what an END record promises that comes after the
	// end of the spine was published later still.
	at := spine.Offsets{}
	for _, topics := range [][]string{names, {topics.Spine(t.v.region)}} {
		if len(topics) == 0 {
			continue // it would mean all
		}
		listed, err := t.admin.ListCommittedOffsets(ctx, topics...)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("reading the ends of the own topics: %w", spine.Explain(err))
		}
		listed.Each(func(o kadm.ListedOffset) { at[spine.Partition{Topic: o.Topic, Index: o.Partition}] = o.Offset })
	}
	return at, nil
}

func (t *tail) run(ctx context.Context, start tailStart) error {
	client, err := spine.Connect(t.config)
	if err != nil {
		return err
	}
	defer client.Close()
	registry, err := schemas.NewRegistry(t.from)
	if err != nil {
		return supervise.Permanent(err)
	}
	t.vague, t.rest, t.failed = t.vague[:0], nil, nil
	t.binders.registry, t.binders.bound, t.binders.recent = registry, map[bindKey]*boundTable{}, nil
	t.asm = &spine.Assembler{Source: t.v.region, Task: t.spec.Task, Wanted: t.wanted(), Applied: spine.Unknown, Accept: t.accept, Passed: t.passed}
	t.in = spine.NewConsumer(client, registry, t.asm)
	t.asm.Same = func(r spine.Record, end *spine.Ending) (bool, error) {
		_, _, err := t.binders.decode(ctx, r, &t.decoded)
		if supervise.IsPermanent(err) {
			return true, nil // its table was altered since; its number is right
		}
		return err == nil && string(t.decoded.TxID) == end.ID, err
	}
	if err := t.begin(ctx, start); err != nil {
		return err
	}
	if err := t.in.Subscribe(ctx, t.in.Spine().Topic); err != nil {
		return err
	}
	if err := t.in.SubscribeWanted(ctx); err != nil {
		return err
	}
	marked := time.Time{}
	for {
		asked := time.Now()
		if err := t.receive(ctx); err != nil {
			return err
		}
		waited := time.Since(asked)
		if err := t.assemble(ctx); err != nil {
			return err
		}
		for _, in := range t.v.all {
			if err := in.handOn(ctx); err != nil {
				return err
			}
		}
		t.in.Resume()
		if time.Since(marked) > markEvery {
			t.mark()
			marked = time.Now()
		}
		// A part at each answer of Kafka; all when there is nothing else to do, or it would take minutes.
		for done := t.v.sweep(); !done && waited > tailPause/2; {
			done = t.v.sweep()
		}
	}
}

// receive waits a while for an answer of Kafka and accepts it.
func (t *tail) receive(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	fetches := t.in.Client.PollFetches(limited)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	defer clear(fetches) // or what is in it would stay in memory until the next one
	return t.in.Accept(ctx, fetches)
}

func (t *tail) wanted() func(string) bool {
	match, region := t.spec.Tables.Match, t.v.region
	return func(topic string) bool {
		r, db, table, ok := topics.ParseTable(topic)
		return ok && r == region && match(db, table)
	}
}

func (t *tail) accept(origin change.Region) bool {
	return origin == t.v.region || t.v.sources[origin] != nil
}

// begin sets where the partitions are read from: from where it was saved, or from
// the first record.
func (t *tail) begin(ctx context.Context, start tailStart) error {
	t.in.Start = start.offsets
	t.in.Adrift = func(p spine.Partition) bool { _, ok := start.offsets[p]; return start.adrift || !ok }
	if len(start.offsets) > 0 {
		return nil
	}
	first, err := t.in.Admin.ListStartOffsets(ctx, t.in.Spine().Topic)
	if err == nil {
		err = first.Error()
	}
	if err != nil {
		return fmt.Errorf("reading the start of the own topics: %w", spine.Explain(err))
	}
	if o, ok := first.Lookup(t.in.Spine().Topic, 0); ok && o.Offset > 0 {
		t.asm.Leave = 1 // it may lack changes that retention has taken
	}
	return nil
}

// assemble takes every transaction that there is.
func (t *tail) assemble(ctx context.Context) error {
	for {
		status, end, missing, err := t.asm.Next()
		if err != nil {
			return supervise.Permanent(err)
		}
		if status != spine.Waiting {
			t.wait = spine.Patience{}
		}
		switch {
		case status == spine.Nothing:
			return nil
		case status == spine.Unread:
			if err := t.in.Discover(ctx, missing); err != nil {
				return err
			}
		case status == spine.Waiting && t.asm.Stuck(end):
			t.room, t.yielded, t.copies = end.MakesRoom, end.Yielded, isCopy(end)
			if err := t.large(ctx, end.Stamp); err != nil {
				return err
			}
		case status == spine.Waiting:
			return permanentGap(t.wait.Lack(ctx, t.in, end.Stamp, t.asm.Lacking(end)))
		default:
			stamp := end.Stamp
			if err := t.awaitNoted(ctx, stamp); err != nil {
				return err
			}
			t.room, t.yielded, t.copies = end.MakesRoom, end.Yielded, isCopy(end)
			t.rest = func() error { return t.tellRest(ctx, &stamp) }
			err := t.asm.Take(func(r spine.Record) error { return t.note(ctx, r, &stamp) })
			if err = cmp.Or(err, t.failed); err != nil {
				return err
			}
		}
	}
}

// large takes a transaction that is larger than the inboxes. A row is in one
// partition, so they may be taken one after the other.
func (t *tail) large(ctx context.Context, stamp change.Stamp) error {
	if err := t.awaitNoted(ctx, stamp); err != nil {
		return err
	}
	t.rest = func() error { return t.tellRest(ctx, &stamp) }
	wait := spine.Patience{}
	more := func(p spine.Partition) error {
		if err := wait.Lack(ctx, t.in, stamp, p); err != nil {
			return err
		}
		t.in.Resume()
		return t.receive(ctx)
	}
	each := func(r spine.Record) error {
		wait = spine.Patience{}
		return t.note(ctx, r, &stamp)
	}
	if err := t.asm.TakeLarge(more, each); err != nil {
		return permanentGap(err)
	}
	return t.failed
}

// awaitNoted waits until versions knows what it will be told of.
func (t *tail) awaitNoted(ctx context.Context, stamp change.Stamp) error {
	if stamp.Origin == t.v.region && t.v.parted != nil {
		return t.v.awaitTold(ctx, stamp)
	}
	of := t.v.sources[stamp.Origin]
	if of == nil {
		return nil
	}
	in, err := of.awaitNoted(ctx, stamp)
	if err == nil && !in {
		t.log.Warn("the own topics tell of a transaction that isn't known here as applied; mend: if the source's topics were lost, none is needed; else compare the regions", "source", stamp.Origin, "seq", stamp.Seq)
	}
	return err
}

// note tells versions of one change.
func (t *tail) note(ctx context.Context, r spine.Record, s *change.Stamp) error {
	if t.copies {
		return nil // nobody wrote those rows
	}
	table, key, err := t.binders.keyed(ctx, r, &t.decoded)
	if supervise.IsPermanent(err) {
		t.binders.untracked(r.Topic, err)
		return nil
	}
	if err != nil {
		return err
	}
	if table.parts != nil {
		if s.Origin != t.v.region {
			return nil // what lies over what is told when either is (converge.Parted)
		}
		return t.v.localParts(table, key, &t.decoded, s, spine.Partition{Topic: r.Topic, Index: r.Partition}, r.Offset)
	}
	n := noted{table: table, key: key, order: t.decoded.TotalOrder, at: spine.Partition{Topic: r.Topic, Index: r.Partition}, offset: r.Offset, version: s.Version()}
	if table.ranking != nil {
		if n.rank, err = table.ranking.of(s.Origin, t.decoded.Before, t.decoded.After); err != nil {
			return table.unreadable(r.Record, err)
		}
	}
	if t.room {
		if n.version, err = versionOf(r, n.version); err != nil {
			return err
		}
	}
	if table.binder.ExactKey() {
		return t.tell(n, s)
	}
	if err := table.weigh(key); err != nil {
		return err
	}
	n.key = bytes.Clone(key) // or it would keep the whole answer of Kafka
	t.vague = append(t.vague, n)
	if len(t.vague) < maxVague {
		return nil
	}
	return t.tellVague(s) // of a large transaction; memory is bounded
}

// noted is a change that the tail has read.
type noted struct {
	table  *boundTable
	key    []byte
	order  int64 // within its transaction
	at     spine.Partition
	offset int64
	// version is that of the stamp, but for the deletion of a row that yielded a
	// unique value.
	version change.Version
	rank    int64 // in tables with a ranking
}

func (t *tail) tell(n noted, s *change.Stamp) error {
	if s.Origin == t.v.region && n.version != s.Version() {
		return t.v.yielded(n, *s)
	}
	if s.Origin == t.v.region {
		return t.v.local(n, *s)
	}
	return t.v.sources[s.Origin].echo(n, s)
}

// tellVague tells of the changes of a transaction whose keys differ in bytes and may
// be of one row to the server: they stand in several partitions, and their order counts.
func (t *tail) tellVague(s *change.Stamp) error {
	slices.SortStableFunc(t.vague, func(a, b noted) int { return cmp.Compare(a.order, b.order) })
	for _, n := range t.vague {
		if err := t.tell(n, s); err != nil {
			return err
		}
	}
	clear(t.vague)
	t.vague = t.vague[:0]
	return nil
}

// passed is told of each END record.
func (t *tail) passed(end *spine.Ending) {
	if !t.accept(end.Stamp.Origin) {
		return
	}
	if t.rest != nil {
		// Before versions takes it for read, or what is still to be told would seem settled.
		if t.failed, t.rest = t.rest(), nil; t.failed != nil {
			return
		}
	}
	if isBeat(end.Canary) {
		return // it has no number
	}
	t.hlc = max(t.hlc, end.Stamp.HLC)
	t.v.read(end.Stamp)
	if end.Canary == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if ch, ok := t.pulses[end.Canary]; ok {
		close(ch)
		delete(t.pulses, end.Canary)
	}
}

// expect returns what is closed when the tail reads the canary with that token.
func (t *tail) expect(token string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	ch := make(chan struct{})
	t.pulses[token] = ch
	return ch
}

func (t *tail) forget(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pulses, token)
}

// errTailLate says that the tail didn't come by in time.
var errTailLate = errors.New("the own topics of the region are behind: its capture is slow or doesn't run")
