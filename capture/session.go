package capture

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"duplex/capture/binlog"
	"duplex/mysql"
	"duplex/queue"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"golang.org/x/sync/errgroup"
)

// queueBytes bounds what was read from the binlog and not yet stamped.
const queueBytes = 8 << 20

// session is one run of capture, from one connection to the database and one
// to Kafka until either fails. Its stages are the path of a row: reading,
// stamping, encoding on several workers, and publishing in order.
type session struct {
	c          *Capture
	server     *mysql.Server
	selection  *Selection
	stamping   stamping
	pipeline   *pipeline
	publishing publishing
	// foreignKeys are those that change rows unlogged, as they were when first
	// asked for since the last statement; nil if they haven't been.
	foreignKeys []mysql.ForeignKey
	// done is how far initial copies are, nil if there are none.
	done map[string]*copied
}

// session runs one session of capture. Where a transaction can't be taken and
// those before it were in the same Kafka transaction, a second one commits
// them by themselves and then stops at exactly that one.
func (c *Capture) session(ctx context.Context, wanted *Selection) error {
	if wanted == nil {
		c.service.Enter(supervise.Checking, errors.New("waiting to be told by Kafka which tables to capture"))
		<-ctx.Done()
		return context.Cause(ctx)
	}
	err := c.stream(ctx, wanted)
	var first *unfinished
	if errors.As(err, &first) {
		err = c.stream(ctx, wanted)
	}
	if errors.As(err, &first) {
		return first.cause
	}
	return err
}

func (c *Capture) stream(ctx context.Context, wanted *Selection) error {
	server, err := c.inspect(ctx)
	if err != nil {
		return err
	}
	cfg := c.cfg.Process
	registry, err := schemas.NewRegistry(cfg.Registry)
	if err != nil {
		return supervise.Permanent(err)
	}
	positions, err := newPositionLog(ctx, registry)
	if err != nil {
		return err
	}
	if err := c.checkNotReplaced(ctx); err != nil {
		return err
	}
	publisher, err := newPublisher(ctx, cfg.Kafka, cfg.Region)
	if err != nil {
		return err
	}
	defer publisher.close()
	if err := c.own(ctx, publisher); err != nil {
		return err
	}
	spine, err := newSpine(ctx, publisher.admin(), cfg.Kafka, cfg.Region, registry)
	if err != nil {
		return err
	}
	s := &session{c: c, server: server, pipeline: newPipeline()}
	schema, err := newSchemaLog(ctx, publisher.admin(), s, registry)
	if err != nil {
		return err
	}
	pulse, err := newPulse(ctx, publisher.admin(), cfg, registry)
	if err != nil {
		return err
	}
	s.stamping = stamping{
		events: queue.New[*binlog.Event](queueBytes), out: s.pipeline,
		tables: tables{
			region: cfg.Region, engine: cfg.Engine, version: c.cfg.Version, kafka: cfg.Kafka,
			admin: publisher.admin(), registry: registry, known: map[*binlog.TableVersion]*table{},
		},
	}
	s.publishing = publishing{
		c: c, in: s.pipeline, waiting: s.stamping.waiting,
		publisher: publisher, positions: positions, spine: spine, schema: schema, pulse: pulse, saved: time.Now(),
		wideGone: make(chan struct{}, 1), touched: s.touched,
	}
	begins, err := s.publishing.restore(ctx, server)
	if err != nil {
		return err
	}
	if err := s.take(ctx, wanted, server, begins); err != nil {
		return err
	}
	if err := s.prepareCopies(ctx); err != nil {
		return err
	}
	s.stamping.stamper = s.publishing.numbers
	c.queueBytes.Show(s.stamping.events.Bytes)
	c.service.Enter(supervise.Streaming, nil)
	return s.run(ctx)
}

// run runs the stages until one fails.
func (s *session) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.read(ctx) })
	group.Go(func() error { return s.stamping.run(ctx) })
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error { return encode(ctx, s.pipeline.work) })
	}
	group.Go(func() error { return s.publishing.run(ctx) })
	if s.done != nil {
		group.Go(func() error { return s.copyTables(ctx, s.done) })
	}
	return group.Wait()
}

// inspect asks the server for its facts and refuses one that can't be captured.
func (c *Capture) inspect(ctx context.Context) (*mysql.Server, error) {
	db, err := mysql.Open(c.cfg.Process.MySQL, mysql.Reading)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	server, err := mysql.Inspect(ctx, db)
	if err != nil {
		return nil, classify(err)
	}
	if server.Flavor == mysql.MySQL && server.GTIDMode != "ON" {
		return nil, supervise.Permanent(fmt.Errorf("gtid_mode is %s and must be ON; mend: SET PERSIST gtid_mode = ON (by way of OFF_PERMISSIVE and ON_PERMISSIVE)", server.GTIDMode))
	}
	return server, nil
}

// read turns the binlog into events. How it ended is an event too, so that all
// that was read before is published.
func (s *session) read(ctx context.Context) error {
	cfg := s.c.cfg.Process
	tls, err := cfg.MySQL.TLSConfig()
	if err != nil {
		return supervise.Permanent(err)
	}
	events := s.stamping.events
	err = binlog.Read(ctx, binlog.Config{
		Engine: cfg.Engine, Address: cfg.MySQL.Address,
		User: cfg.MySQL.User, Password: cfg.MySQL.Password.Reveal(), TLS: tls, ServerID: cfg.MySQL.ServerID,
		Collations: collations(s.server), Captured: s.captured, Describe: s.describe(ctx), Logger: s.c.cfg.Log,
	}, s.publishing.position, func(ev *binlog.Event) error { return s.put(ctx, ev) })
	s.stamping.ended = classifyRead(err)
	return events.Put(ctx, nil, 0)
}

func collations(server *mysql.Server) map[uint64]binlog.Collation {
	m := make(map[uint64]binlog.Collation, len(server.Collations))
	for id, c := range server.Collations {
		m[id] = binlog.Collation(c)
	}
	return m
}

// classify marks errors of the server that waiting doesn't mend.
func classify(err error) error {
	var connect *mysql.ConnectError
	fault := mysql.Classify(err)
	switch {
	case errors.As(err, &connect) && fault.Class == mysql.Stop && fault.Number != 0:
		return supervise.Permanent(err)
	case fault.Class == mysql.Stop && fault.Number != 0:
		return supervise.Permanent(fault)
	default:
		return err
	}
}

// classifyRead does the same for errors of the binlog stream.
func classifyRead(err error) error {
	var unsupported *binlog.UnsupportedError
	var refused *binlog.RefusedError
	var cut *binlog.CutError
	text := err.Error()
	switch {
	case supervise.IsPermanent(err), errors.Is(err, context.Canceled), errors.As(err, &cut):
		return err
	case errors.As(err, &unsupported), errors.As(err, &refused):
		return supervise.Permanent(err)
	case strings.Contains(text, "ERROR 1236"):
		return supervise.Permanent(fmt.Errorf("%w; mend: %s", err, mendOfDump(text)))
	default:
		return err
	}
}

// mendOfDump tells what mends the server's refusal to give its binlog. It has
// one number for all reasons.
func mendOfDump(text string) string {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
	}
	begin := "copy the tables anew, delete the region's record of topic " + topics.Positions + " and restart"
	switch {
	case has("server_uuid", "server_id", "server id"):
		return "another replica or capture reads this server under the same id; give mysql.server_id of the process file a value of its own"
	case has("not in the master's binlog"):
		return "the server lacks what was published before: it was restored from an older backup, reset, or is another server; copy the tables from a region that has them, then delete the region's record of topic " + topics.Positions + " and restart"
	case has("crc", "bogus data", "corrupt", "truncated", "log event entry exceeded"):
		return "the server's binlog is damaged: see its error log; " + begin
	default:
		return "if the binlog was purged before it was read, " + begin + "; keep binlogs longer: SET GLOBAL binlog_expire_logs_seconds = 604800, also in the server's option file"
	}
}
