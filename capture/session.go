package capture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"duplex/capture/binlog"
	"duplex/internal/failpoint"
	"duplex/mysql"
	"duplex/queue"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"

	"golang.org/x/sync/errgroup"
)

const (
	// queueBytes bounds what was read from the binlog and not yet published.
	queueBytes = 16 << 20
	// A Kafka transaction is committed when nothing more is ready, or when it
	// has grown so large or old.
	commitBytes = 16 << 20
	commitAge   = time.Second
	// appliedLinger is how long a Kafka transaction may wait for more if it
	// holds only what apply wrote here: no region waits for that, and each
	// commit costs the broker milliseconds of a core.
	appliedLinger = 20 * time.Millisecond
	// idleSave is how often a position is saved that moved without anything
	// being published.
	idleSave = 5 * time.Second
	// slowCommit is when a commit that Kafka doesn't answer shows in the state.
	slowCommit = 3 * time.Second
)

// session is one run of capture, from one connection to the database and one
// to Kafka until either fails. The path of a row is: binlog.Read on one
// goroutine, the queue, and publish on another.
type session struct {
	c         *Capture
	events    *queue.Queue[*binlog.Event]
	position  *binlog.Position
	stamper   stamper
	encoder   encoder
	publisher *publisher
	tables    tables
	positions *positionLog
	spine     string
	endID     int
	endKeyID  int
	endRecord schemas.End

	txn    transaction
	inTxn  bool
	urgent bool // the open Kafka transaction holds a local change or a canary
	moved  bool // the position, since it was last saved
	saved  time.Time
	headAt int64 // commit time, Unix µs, of the newest transaction in the open Kafka transaction

	published counts
}

// session runs one session of capture.
func (c *Capture) session(ctx context.Context) error {
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
	s := &session{
		c: c, publisher: publisher, positions: positions, events: queue.New[*binlog.Event](queueBytes),
		spine: topics.Spine(cfg.Region), saved: time.Now(),
		tables: tables{
			region: cfg.Region, engine: cfg.Engine, version: c.cfg.Version, kafka: cfg.Kafka,
			admin: publisher.admin(), registry: registry, known: map[*binlog.TableVersion]*table{},
		},
	}
	if err := s.prepareSpine(ctx, registry); err != nil {
		return err
	}
	if err := s.restore(ctx, server); err != nil {
		return err
	}
	c.queueBytes.Show(s.events.Bytes)
	c.service.Enter(supervise.Streaming, nil)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.read(ctx, server) })
	group.Go(func() error { return s.publish(ctx) })
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

func (s *session) prepareSpine(ctx context.Context, registry *schemas.Registry) (err error) {
	if err := topics.EnsureSpine(ctx, s.tables.admin, s.tables.kafka, s.spine); err != nil {
		return err
	}
	if s.endKeyID, err = registry.Register(ctx, s.spine+"-key", schemas.EndKeySchema); err != nil {
		return err
	}
	s.endID, err = registry.Register(ctx, s.spine+"-value", schemas.EndSchema)
	return err
}

// read turns the binlog into events for publish.
func (s *session) read(ctx context.Context, server *mysql.Server) error {
	cfg := s.c.cfg.Process
	tls, err := cfg.MySQL.TLSConfig()
	if err != nil {
		return supervise.Permanent(err)
	}
	err = binlog.Read(ctx, binlog.Config{
		Engine: cfg.Engine, Address: cfg.MySQL.Address,
		User: cfg.MySQL.User, Password: cfg.MySQL.Password.Reveal(), TLS: tls, ServerID: cfg.MySQL.ServerID,
		Collations: collations(server), Captured: s.c.cfg.Captured, Logger: s.c.cfg.Log,
	}, s.position, func(ev *binlog.Event) error { return s.events.Put(ctx, ev, ev.Size()) })
	return classifyRead(err)
}

func collations(server *mysql.Server) map[uint64]binlog.Collation {
	m := make(map[uint64]binlog.Collation, len(server.Collations))
	for id, c := range server.Collations {
		m[id] = binlog.Collation(c)
	}
	return m
}

// publish takes events in order, publishes their changes, and commits as soon
// as nothing more is ready: low delay when quiet, large batches when busy.
func (s *session) publish(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var events []*binlog.Event
	for {
		select {
		case <-ctx.Done():
			return s.drain(context.Cause(ctx))
		case <-tick.C:
		case <-s.lingered():
		case <-s.events.Filled():
		}
		events = s.events.Take(events)
		for _, ev := range events {
			if err := s.handle(ctx, ev); err != nil {
				return err
			}
			if !s.inTxn && (s.publisher.bytes >= commitBytes || s.publisher.open && time.Since(s.publisher.since) >= commitAge) {
				if err := s.commit(ctx); err != nil {
					return err
				}
			}
		}
		if !s.inTxn && s.due() {
			if err := s.commit(ctx); err != nil {
				return err
			}
		}
	}
}

// due reports whether to commit now that nothing more is ready.
func (s *session) due() bool {
	if !s.publisher.open {
		return s.moved && time.Since(s.saved) >= idleSave
	}
	return s.urgent || time.Since(s.publisher.since) >= appliedLinger
}

// lingered receives when a Kafka transaction that isn't urgent is due.
func (s *session) lingered() <-chan time.Time {
	if !s.publisher.open || s.inTxn {
		return nil
	}
	return time.After(time.Until(s.publisher.since.Add(appliedLinger)))
}

// drain commits the whole transactions that are published but not committed,
// so that a stop by the operator leaves nothing to be done twice.
func (s *session) drain(cause error) error {
	if s.inTxn || !s.publisher.open {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.commit(ctx); err != nil {
		// The caller only asks for an end; the error would be lost with it.
		s.c.cfg.Log.Warn("not committed at the stop, and published at the next start", "error", err)
	}
	return cause
}

func (s *session) handle(ctx context.Context, ev *binlog.Event) error {
	switch ev.Kind {
	case binlog.Begin:
		s.inTxn = true
		s.begin(ev)
	case binlog.Marker:
		if ev.Mark.Origin == s.stamper.region {
			return supervise.Permanent(fmt.Errorf("transaction %s is marked as coming from %s itself: an applier of this region wrote here; mend: give each process file its own region id and database", s.txn.gtid, ev.Mark.Origin))
		}
		s.mark(ev.Mark)
	case binlog.Canary:
		s.txn.canary, s.urgent = ev.Mark.Token, true
	case binlog.Rows:
		return s.rows(ctx, ev.Rows)
	case binlog.Commit:
		return s.finish(ctx, ev)
	case binlog.DDL:
		return s.ddl(ev)
	}
	return nil
}

// finish ends a source transaction: only now does the position include it.
func (s *session) finish(ctx context.Context, ev *binlog.Event) error {
	if s.inTxn {
		if err := s.end(ctx); err != nil {
			return err
		}
		s.inTxn = false
	}
	if err := s.position.Add(ev.GTID); err != nil {
		return supervise.Permanent(err)
	}
	s.moved, s.headAt = true, ev.CommitMicros
	return nil
}

// commit publishes the position and commits the Kafka transaction with it.
func (s *session) commit(ctx context.Context) error {
	r, err := s.positions.record(s.stamper.region, &schemas.Position{
		Engine: s.position.Engine(), Text: s.position.String(),
		Seq: s.stamper.seq, HLC: s.stamper.hlc, Seen: s.stamper.seen,
		UpdatedMillis: time.Now().UnixMilli(), Version: s.c.cfg.Version,
	})
	if err != nil {
		return err
	}
	if err := s.publisher.produce(ctx, r); err != nil {
		return err
	}
	failpoint.Hit("capture.produced")
	shown := make(chan struct{})
	slow := time.AfterFunc(slowCommit, func() {
		defer close(shown)
		s.c.service.Enter(supervise.Retrying, fmt.Errorf("kafka at %s has not committed for %s", strings.Join(s.c.cfg.Process.Kafka.Brokers, ","), slowCommit))
	})
	err = s.publisher.commit(ctx)
	if !slow.Stop() {
		<-shown // or it might say so after what follows
		if err == nil {
			s.c.service.Enter(supervise.Streaming, nil)
		}
	}
	if err != nil {
		return err
	}
	s.urgent, s.moved, s.saved = false, false, time.Now()
	s.c.committed(s)
	return nil
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
	text := err.Error()
	switch {
	case supervise.IsPermanent(err), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &unsupported), errors.As(err, &refused):
		return supervise.Permanent(err)
	case strings.Contains(text, "ERROR 1236"):
		hint := "mend: if the binlog was purged before it was read, copy the tables anew, delete the region's record of topic " + topics.Positions + " and restart; keep binlogs longer: SET PERSIST binlog_expire_logs_seconds = 604800"
		if strings.Contains(text, "server_uuid") || strings.Contains(text, "server_id") || strings.Contains(text, "server id") {
			hint = "mend: another replica or capture reads this server under the same id; give mysql.server_id of the process file a value of its own"
		}
		return supervise.Permanent(fmt.Errorf("%w; %s", err, hint))
	default:
		return err
	}
}
