// Package capture reads a region's binlog and publishes every committed
// change of the captured tables to the region's Kafka, stamped with its
// origin.
//
// The path of a row: binlog.Read decodes headers and splits the stream into
// events; stamping stamps each transaction and cuts the stream into chunks;
// encoders, several at once, decode the row images of a chunk straight into
// Avro; publishing takes the chunks in order, numbers the changes, and adds
// them to a Kafka transaction that is committed together with the position
// after it. What a
// reader sees of a region and where its capture would go on can therefore
// never disagree, and a second capture of the same region is fenced by Kafka.
package capture

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/supervise"
)

// Config says what to capture.
type Config struct {
	Process *config.Process
	// Tables are those that are published; without any, capture waits for Select.
	Tables *Selection
	// AcceptDDL holds the GTIDs of statements that removed rows and that the
	// operator has run in the other regions too.
	AcceptDDL []string
	// Version of the program, shown in every record's source block.
	Version string
	Log     *slog.Logger
}

// Capture publishes the changes of one region.
type Capture struct {
	cfg     Config
	service *supervise.Service

	instance string // of this process, in the owner records it writes
	owned    bool   // it has written one
	// suspect is the GTID of a transaction that capture couldn't take: what
	// lies before it is committed by itself.
	suspect string

	queueBytes   queueGauge
	rows         atomic.Int64 // local changes published
	applied      atomic.Int64 // changes published that apply had written here
	transactions atomic.Int64
	commits      atomic.Int64

	mu        sync.Mutex
	selecting selecting // but for saved, which the session alone uses
	progress  progress
	copies    *copyProgress // nil if nothing is copied
}

// progress is what the last committed Kafka transaction held.
type progress struct {
	position string
	seq      change.Seq
	hlc      change.HLC
	seen     change.Seen
	headAt   int64 // commit time, Unix µs, of the newest source transaction
	lag      time.Duration
	ddlGTID  string
	ddl      string
	// statements counts those on captured tables.
	statements int64
}

// New makes a capture; Run runs it.
func New(cfg Config) *Capture {
	cfg.Log = cfg.Log.With("service", "capture", "region", cfg.Process.Region)
	c := &Capture{cfg: cfg, service: supervise.New(cfg.Log), instance: rand.Text(), selecting: selecting{changed: make(chan struct{})}}
	if cfg.Tables != nil {
		c.Select(*cfg.Tables)
	}
	return c
}

// Run captures until ctx ends. What is transient is tried again; what isn't stops it
// until Resume.
func (c *Capture) Run(ctx context.Context) { c.service.Keep(ctx, c.reselecting) }

// Resume goes on if it is stopped, and reports whether it was.
func (c *Capture) Resume() bool { return c.service.Resume() }

// Status is what capture says of itself.
type Status struct {
	supervise.Status
	Region   change.Region           `json:"region"`
	Position string                  `json:"position"`
	Seq      change.Seq              `json:"seq"`
	HLC      change.HLC              `json:"hlc"`
	Seen     map[change.Region]int64 `json:"seen,omitempty"`
	// Rows counts changes of the region's own application, Applied those that
	// apply had written here for other regions, both since the process began.
	Rows         int64 `json:"rows"`
	Applied      int64 `json:"applied_rows"`
	Transactions int64 `json:"transactions"`
	// LagMillis is how long after its commit the newest transaction was
	// published; QueueBytes what is read and not yet published.
	LagMillis  int64 `json:"lag_ms"`
	QueueBytes int64 `json:"queue_bytes"`
	// DDL counts statements on captured tables, since the process began; LastDDL is the last.
	DDL     int64  `json:"ddl"`
	LastDDL string `json:"last_ddl,omitempty"`
	// Copy is how far the initial copies from this region are, nil if there are none.
	Copy *CopyStatus `json:"copy,omitempty"`
}

// Status returns the present status.
func (c *Capture) Status() Status {
	c.mu.Lock()
	p := c.progress
	var copied *CopyStatus
	if c.copies != nil {
		copied = c.copies.show()
	}
	c.mu.Unlock()
	s := Status{
		Status: c.service.Status(), Region: c.cfg.Process.Region,
		Position: p.position, Seq: p.seq, HLC: p.hlc,
		Rows: c.rows.Load(), Applied: c.applied.Load(), Transactions: c.transactions.Load(),
		LagMillis: p.lag.Milliseconds(), QueueBytes: c.queueBytes.Load(), Copy: copied,
	}
	for _, e := range p.seen.Regions() {
		if s.Seen == nil {
			s.Seen = map[change.Region]int64{}
		}
		s.Seen[e.Region] = int64(e.Seq)
	}
	if s.DDL = p.statements; p.ddlGTID != "" {
		s.LastDDL = p.ddlGTID + " " + p.ddl
	}
	return s
}

// committed notes what a session has made durable.
func (c *Capture) committed(s *publishing) {
	c.commits.Add(1)
	c.rows.Add(s.published.rows)
	c.applied.Add(s.published.applied)
	c.transactions.Add(s.published.transactions)
	s.published = counts{}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.position = s.position.String()
	c.progress.seq, c.progress.hlc, c.progress.seen = s.numbers.Seq, s.numbers.HLC, s.numbers.Seen
	if s.headAt != c.progress.headAt {
		c.progress.headAt = s.headAt
		c.progress.lag = time.Since(time.UnixMicro(s.headAt))
	}
}

func (c *Capture) noteDDL(gtid, statement string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress.ddlGTID, c.progress.ddl = gtid, statement
	c.progress.statements++
}

// counts are what the open Kafka transaction holds. They are added to the
// totals when it is committed: what is aborted is published again.
type counts struct{ rows, applied, transactions int64 }

// add counts a published transaction.
func (c *counts) add(txn *transaction) {
	if txn.total == 0 && txn.canary != "" {
		return
	}
	c.transactions++
	if txn.marked {
		c.applied += txn.total
	} else {
		c.rows += txn.total
	}
}

// queueGauge shows the size of the present session's queue.
type queueGauge struct{ queue atomic.Pointer[sized] }

type sized struct{ bytes func() int64 }

// Show makes Load report bytes.
func (g *queueGauge) Show(bytes func() int64) { g.queue.Store(&sized{bytes}) }

// Load returns the bytes waiting, 0 before the first session.
func (g *queueGauge) Load() int64 {
	if q := g.queue.Load(); q != nil {
		return q.bytes()
	}
	return 0
}
