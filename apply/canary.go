package apply

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A canary that doesn't come back is followed by another, since a capture that
// has never run begins after the first. The pause between them doubles.
const (
	firstPatience = time.Second
	lastPatience  = 30 * time.Second
)

// proveMark proves that the region's own capture knows an apply transaction by
// its marker, before a row is written: a canary transaction must come back on
// the region's own spine as of the source's origin (promise 2). It waits while
// the capture doesn't run.
func (st *Stream) proveMark(ctx context.Context, target *sql.DB, p *progress) error {
	st.service.Enter(supervise.Checking, fmt.Errorf("waiting for the capture of region %s to return the canary", st.cfg.Process.Region))
	c := &canary{stream: st, target: target, progress: p, sent: map[string]bool{}}
	defer c.close()
	for patience := firstPatience; ; patience = min(2*patience, lastPatience) {
		if err := c.open(ctx); err != nil {
			if supervise.IsPermanent(err) || ctx.Err() != nil {
				return err
			}
			st.service.Enter(supervise.Checking, err)
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(250 * time.Millisecond):
			}
			continue
		}
		token := rand.Text()
		if err := c.write(ctx, token); err != nil {
			return err
		}
		end, err := c.await(ctx, patience)
		switch {
		case err != nil:
			return err
		case end == nil:
			continue
		case end.Stamp.Origin != p.origin:
			return supervise.Permanent(fmt.Errorf("the canary came back as a change of region %s, not of %s: what is applied here would echo; mend: the capture and the apply of region %s must use the same database, and no trigger, proxy or filter may take duplex.progress out of its binlog (check binlog-do-db and binlog-ignore-db)", end.Stamp.Origin, p.origin, st.cfg.Process.Region))
		default:
			return nil
		}
	}
}

type canary struct {
	stream   *Stream
	target   *sql.DB
	progress *progress
	client   *kgo.Client
	registry *schemas.Registry
	worker   int             // whose row is the marker
	sent     map[string]bool // tokens
}

func (c *canary) close() {
	if c.client != nil {
		c.client.Close()
	}
}

// open begins to read the own spine from its end.
func (c *canary) open(ctx context.Context) error {
	if c.client != nil {
		return nil
	}
	cfg := c.stream.cfg.Process
	registry, err := schemas.NewRegistry(cfg.Registry)
	if err != nil {
		return supervise.Permanent(err)
	}
	opts, err := topics.Client(cfg.Kafka)
	if err != nil {
		return supervise.Permanent(err)
	}
	own := topics.Spine(cfg.Region)
	probe, err := kgo.NewClient(opts...)
	if err != nil {
		return supervise.Permanent(fmt.Errorf("configuring kafka client: %w", err))
	}
	defer probe.Close()
	ends, err := kadm.NewClient(probe).ListEndOffsets(ctx, own)
	if err == nil {
		err = ends.Error()
	}
	end, ok := ends.Lookup(own, 0)
	if err != nil || !ok {
		return fmt.Errorf("waiting for the capture of region %s to run: its topic %s can't be read: %w", cfg.Region, own, err)
	}
	c.client, err = kgo.NewClient(append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{own: {0: kgo.NewOffset().At(end.Offset)}}))...)
	if err != nil {
		return supervise.Permanent(fmt.Errorf("configuring kafka client: %w", err))
	}
	c.registry = registry
	return nil
}

// write commits a canary transaction: the marker, and the token.
func (c *canary) write(ctx context.Context, token string) error {
	tx, err := c.target.BeginTx(ctx, nil)
	if err != nil {
		return classify(err)
	}
	defer tx.Rollback()
	p := c.progress
	result, err := tx.ExecContext(ctx, "UPDATE duplex.progress SET n = n + 1 WHERE task = ? AND origin = ? AND worker = ? AND epoch = ?", p.task, string(p.origin), p.first+c.worker, p.epoch)
	if err != nil {
		return classify(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errFenced
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO duplex.canary (task, origin, token) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE token = VALUES(token)", p.task, string(p.origin), token)
	if err != nil {
		return classify(err)
	}
	c.sent[token] = true
	if err := tx.Commit(); err != nil {
		return classify(err)
	}
	return nil
}

// await reads the spine until a token comes back; nil if it takes too long.
func (c *canary) await(ctx context.Context, patience time.Duration) (*schemas.End, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		fetches := c.client.PollFetches(limited)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case limited.Err() != nil:
			return nil, nil
		}
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("waiting for the canary: %w", err)
		}
		for _, r := range fetches.Records() {
			id, value, err := schemas.ReadHeader(r.Value)
			if err == nil {
				err = spine.CheckEnd(ctx, c.registry, id)
			}
			var end schemas.End
			if err == nil {
				err = schemas.ReadEnd(value, &end)
			}
			if err != nil {
				return nil, fmt.Errorf("waiting for the canary: reading %s@%d: %w", r.Topic, r.Offset, err)
			}
			if c.sent[end.Canary] {
				return &end, nil
			}
		}
	}
}
