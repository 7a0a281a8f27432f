// Package apply reads what another region published and writes it to the
// region's own database, each source transaction whole, in order, and once.
//
// A Stream is one direction of one task. The path of a row: the consumer reads
// the source region's topics and drops what its own region wrote; the
// assembler puts whole transactions together by the spine; consecutive
// transactions are merged into a batch that keeps the last image of each key;
// the pool runs batches at once whose keys are disjoint and commits them in
// the order of the source; a writer writes a batch in one database
// transaction, whose first row is the marker: checkpoint and loop mark in one.
package apply

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/conflicts"
	"duplex/supervise"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config says what to apply where.
type Config struct {
	Process *config.Process // of the target region
	Spec    *tasks.Spec
	Source  change.Region
	// Since tells, by region, the last transaction before the task's tables were captured there; nil where a
	// task begins with the topics.
	Since map[change.Region]change.Seq
	Log   *slog.Logger
}

// source returns the Kafka and registry that the source region publishes to.
func (c *Config) source() (config.Kafka, config.Registry) {
	if peer, ok := c.Process.Peers[c.Source]; ok {
		return peer.Kafka, peer.Registry
	}
	return c.Process.Kafka, c.Process.Registry
}

// Stream applies the changes of one region to another.
type Stream struct {
	cfg     Config
	arbiter *arbiter // nil if no other stream of the task comes into the region
	service *supervise.Service
	careful bool // the next session applies transactions one by one

	lags         lags
	ways         ways
	delay        delay
	tolls        tolls
	rows         atomic.Int64
	transactions atomic.Int64
	batches      atomic.Int64
	retries      atomic.Int64
	unlearnt     bool     // the next session can't read what was applied again for its versions
	told         sync.Map // topics of which untracked was logged
	yielded      atomic.Int64
	tally        tally // of conflicts
	repaired     atomic.Int64
	ahead        atomic.Int64 // nanoseconds that the newest transaction is dated ahead of now
	echoes       atomic.Int64 // changes of other origins left out
	queued       atomic.Int64 // bytes fetched and not yet assembled
	remembered   remembered
	partitions   atomic.Int64 // with ordering key: those that this process has

	mu  sync.Mutex
	seq change.Seq
	hlc change.HLC
	at  time.Time // of the last batch
	// passed are the records that an operator wants passed over, confirmations the
	// transactions left out; skipped are those that were.
	passed        map[Place]bool
	confirmations []Skip
	skipped       []Skip
}

// New makes a stream; Run runs it.
func New(cfg Config) *Stream {
	cfg.Log = cfg.Log.With("service", "apply", "task", cfg.Spec.Task, "source", cfg.Source, "target", cfg.Process.Region)
	return &Stream{cfg: cfg, service: supervise.New(cfg.Log)}
}

// NewStreams makes the streams of a task into a region, one from each other region. All
// of them must run in one process.
func NewStreams(cfg Config) (streams []*Stream) {
	for _, source := range cfg.Spec.Regions {
		if cfg.Source = source; source != cfg.Process.Region {
			streams = append(streams, New(cfg))
		}
	}
	if len(streams) > 1 && cfg.looksForConflicts() {
		cfg.Source = ""
		cfg.Log = cfg.Log.With("service", "apply", "task", cfg.Spec.Task, "target", cfg.Process.Region)
		a := &arbiter{cfg: cfg, streams: streams}
		for _, st := range streams {
			st.arbiter = a
		}
	}
	return streams
}

// Run applies until ctx ends. What is transient is tried again; what isn't stops it
// until Resume.
func (st *Stream) Run(ctx context.Context) { st.service.Keep(ctx, st.session) }

// Resume goes on if it is stopped, and reports whether it was. Records in pass, which
// another program wrote, are passed over from now on: counts still prove that no
// change is among them. Transactions in skip, if they are exactly those past which the
// group's offsets were moved, are left out for good.
func (st *Stream) Resume(pass []Place, skip []Skip) bool {
	if st.service.Status().State != supervise.Stopped {
		return false
	}
	st.confirm(skip)
	st.mu.Lock()
	for _, p := range pass {
		if st.passed == nil {
			st.passed = map[Place]bool{}
		}
		st.passed[p] = true
	}
	st.mu.Unlock()
	return st.service.Resume()
}

// passes reports whether a record is one of those passed over.
func (st *Stream) passes(r *kgo.Record) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.passed[Place{r.Topic, r.Partition, r.Offset}]
}

// workers returns how many connections write.
func (st *Stream) workers() int {
	if st.careful {
		return 1
	}
	return st.cfg.Spec.Apply.Threads
}

// wanted returns a function that tells whether a topic is of a table of the
// task; it remembers its answers.
func (st *Stream) wanted() func(topic string) bool {
	known := map[string]bool{}
	return func(topic string) bool {
		is, ok := known[topic]
		if !ok {
			region, db, table, parsed := topics.ParseTable(topic)
			is = parsed && region == st.cfg.Source && st.cfg.Spec.Tables.Match(db, table)
			known[topic] = is
		}
		return is
	}
}

// joinRound waits until no other process applies the task.
func (st *Stream) joinRound(ctx context.Context) (*round, error) {
	for {
		r, err := st.arbiter.join(ctx)
		if !errors.Is(err, errStandby) {
			return r, err
		}
		st.service.Enter(supervise.Checking, err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// awaitLease waits until no other applier of the task runs.
func (st *Stream) awaitLease(ctx context.Context, p *progress, target *sql.DB) (*lease, error) {
	for {
		lease, err := p.takeLease(ctx, target)
		if !errors.Is(err, errStandby) {
			return lease, err
		}
		st.service.Enter(supervise.Checking, err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// applied notes what had been applied before this session.
func (st *Stream) applied(seq change.Seq) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.seq = max(st.seq, seq)
}

// wrote counts a batch that is committed.
func (st *Stream) wrote(b *batch) {
	now := time.Now()
	st.lags.observe(now, b.commits)
	st.ways.observe(now, b.way)
	st.delay.observe(now, b.beats)
	st.tolls.add(b.toll)
	st.rows.Add(b.changes)
	st.transactions.Add(int64(len(b.commits)))
	st.batches.Add(1)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.seq, st.hlc, st.at = max(st.seq, b.seq), max(st.hlc, b.hlc), now
}

// Status is what a stream says of itself.
type Status struct {
	supervise.Status
	Task     string        `json:"task"`
	Source   change.Region `json:"source"`
	Target   change.Region `json:"target"`
	Ordering string        `json:"ordering"`
	// Seq is the last transaction of the source that was applied; with ordering
	// key, the last of which this process has applied anything.
	Seq change.Seq `json:"seq"`
	HLC change.HLC `json:"hlc"`
	// Rows, Transactions and Batches count what was applied since the process
	// began, Retries the batches tried again, Echoes the changes left out since
	// their origin isn't the source.
	Rows         int64 `json:"rows"`
	Transactions int64 `json:"transactions"`
	Batches      int64 `json:"batches"`
	// Inserts and so on count those rows by what the changes do, Copied those of initial copies;
	// Bytes is what they take in Kafka, unpacked.
	Inserts int64 `json:"inserts"`
	Updates int64 `json:"updates"`
	Deletes int64 `json:"deletes"`
	Copied  int64 `json:"copied"`
	Bytes   int64 `json:"bytes"`
	Retries int64 `json:"retries"`
	Echoes  int64 `json:"echoes_filtered"`
	// LocalWon and RemoteWon count rows that both regions had written without
	// knowing of each other, by whose write stays, when that is recorded in
	// duplex.conflicts; Repaired those put back after an
	// older write had come over them.
	LocalWon  int64 `json:"conflicts_local_won"`
	RemoteWon int64 `json:"conflicts_remote_won"`
	Repaired  int64 `json:"conflicts_repaired"`
	// Conflicts counts the same rows by table and rule.
	Conflicts []Conflicts `json:"conflicts,omitempty"`
	// Yielded counts rows that were deleted since another region gave their unique
	// value to a newer one.
	Yielded int64 `json:"conflicts_yielded"`
	// VersionBytes is the memory that the versions of rows take, of which it isn't
	// sure yet that no older write of another region is to come; SpilledVersions and
	// SpilledBytes tell what of them is on disk.
	VersionBytes    int64 `json:"version_bytes"`
	SpilledVersions int64 `json:"spilled_versions"`
	SpilledBytes    int64 `json:"spilled_bytes"`
	// ClockAheadMillis is how far the newest transaction was dated ahead of the
	// clock here when it came; negative if it was dated before.
	ClockAheadMillis float64 `json:"clock_ahead_ms"`
	// Lag is the time from commit in the source to visible in the target, of
	// the last 4,096 transactions.
	LagP50Millis float64 `json:"lag_p50_ms"`
	LagP95Millis float64 `json:"lag_p95_ms"`
	LagP99Millis float64 `json:"lag_p99_ms"`
	// LagParts tell where the lag comes from; with ordering key nothing.
	LagParts Parts `json:"lag_parts"`
	// Canary is the delay that the last canary measured, nil if none has come in this run: with
	// ordering key, or if the source's process writes none.
	Canary      *Canary    `json:"canary,omitempty"`
	LastApplied *time.Time `json:"last_applied,omitempty"`
	// Partitions is how many partitions of the topics this process has, with
	// ordering key.
	Partitions int64 `json:"partitions,omitempty"`
	QueueBytes int64 `json:"queue_bytes"`
	// Skipped are transactions that were left out for good, as an operator confirmed.
	Skipped []Skip `json:"skipped,omitempty"`
}

// Canary is what the last canary of the source tells.
type Canary struct {
	// DelayMillis is how long after its commit in the source all that was committed before it was visible in the target.
	DelayMillis float64 `json:"delay_ms"`
	// AgoMillis is how long ago that commit was: where it is much more than the pause between two canaries,
	// the stream is behind by that much.
	AgoMillis float64 `json:"ago_ms"`
}

// Status returns the present status.
func (st *Stream) Status() Status {
	q := st.lags.last(4096)
	st.mu.Lock()
	defer st.mu.Unlock()
	s := Status{
		Status: st.service.Status(), Task: st.cfg.Spec.Task, Source: st.cfg.Source, Target: st.cfg.Process.Region,
		Ordering: st.cfg.Spec.Apply.Ordering, Seq: st.seq, HLC: st.hlc,
		Rows: st.rows.Load(), Transactions: st.transactions.Load(), Batches: st.batches.Load(),
		Retries: st.retries.Load(), Echoes: st.echoes.Load(), LocalWon: st.tally.won(conflicts.Local), RemoteWon: st.tally.won(conflicts.Remote), Conflicts: st.tally.list(), Repaired: st.repaired.Load(), Yielded: st.yielded.Load(), ClockAheadMillis: millis(time.Duration(st.ahead.Load())),
		LagP50Millis: millis(q.P50), LagP95Millis: millis(q.P95), LagP99Millis: millis(q.P99),
		VersionBytes: st.remembered.memory.Load(), SpilledVersions: st.remembered.spilled.Load(), SpilledBytes: st.remembered.disk.Load(),
		QueueBytes: st.queued.Load(), Partitions: st.partitions.Load(),
	}
	t := &st.tolls
	s.Inserts, s.Updates, s.Deletes, s.Copied, s.Bytes = t.inserts.Load(), t.updates.Load(), t.deletes.Load(), t.copied.Load(), t.bytes.Load()
	s.LagParts = st.ways.show()
	if took, ago, any := st.delay.show(time.Now()); any {
		s.Canary = &Canary{millis(took), millis(ago)}
	}
	s.Skipped = slices.Clone(st.skipped)
	if !st.at.IsZero() {
		at := st.at
		s.LastApplied = &at
	}
	return s
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
