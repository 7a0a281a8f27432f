package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"duplex/change"
	"duplex/schemas"
	"duplex/spine"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Reader reads whole transactions of one region, in the order in which they
// were committed there. One goroutine may use it.
type Reader struct {
	cfg     Config
	in      *spine.Consumer
	asm     *spine.Assembler
	saver   *spine.Committer
	decoder *Decoder
	current *Transaction
	fetched kgo.Fetches    // not yet accepted
	wait    spine.Patience // of the next transaction
	// failed is what ended the reading: its memory of where it stands can't be
	// trusted after that.
	failed error
}

// ErrNotPublished says that the region publishes nothing yet: its capture has
// never run with this Kafka, or Config.Region is not its id.
var ErrNotPublished = errors.New("the region has published nothing in this Kafka yet; mend: start its capture (duplex run or duplex capture), or correct Config.Region")

// Open finds the position and begins to read. A *ConfigError tells what is
// wrong with cfg. Close must be called at the end.
func Open(ctx context.Context, cfg Config) (*Reader, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	wanted, err := cfg.wanted()
	if err != nil {
		return nil, err
	}
	registry, err := schemas.NewRegistry(cfg.Registry.config())
	if err != nil {
		return nil, &ConfigError{err}
	}
	client, err := spine.Connect(cfg.kafka())
	if err != nil {
		return nil, &ConfigError{err}
	}
	r := &Reader{cfg: cfg, decoder: newDecoder(registry)}
	r.asm = &spine.Assembler{Source: change.Region(cfg.Region), Wanted: wanted, Accept: cfg.accept(), Applied: spine.Unknown}
	r.in = spine.NewConsumer(client, registry, r.asm)
	r.saver = &spine.Committer{Admin: r.in.Admin, Group: cfg.Group, Source: r.asm.Source, Spine: r.in.Spine()}
	if err := r.begin(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("opening feed of region %s: %w", cfg.Region, public(err))
	}
	return r, nil
}

// begin finds the position and subscribes.
func (r *Reader) begin(ctx context.Context) error {
	if err := r.position(ctx); err != nil {
		return err
	}
	err := r.in.Subscribe(ctx, topics.Spine(r.asm.Source))
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return ErrNotPublished
	}
	if err != nil {
		return err
	}
	return r.in.SubscribeWanted(ctx)
}

// Close ends the reading. What was not committed is read again next time.
func (r *Reader) Close() { r.in.Client.Close() }

// Next returns the next transaction that has changes of the tables read. It
// waits for one until ctx ends, which gives ctx's error and does no harm: Next
// may be called again. What is left of the transaction before is passed over.
//
// Kafka being away for a while is no error: Next waits. Any other error ends
// the reading.
func (r *Reader) Next(ctx context.Context) (*Transaction, error) {
	if err := r.finish(ctx); err != nil {
		return nil, err
	}
	for {
		r.in.Resume()
		t, err := r.assemble(ctx)
		if t != nil || err != nil {
			r.current = t
			return t, r.fail(ctx, err)
		}
		if err := r.receive(ctx); err != nil {
			return nil, r.fail(ctx, err)
		}
	}
}

// fail remembers an error that ends the reading; the end of ctx isn't one.
func (r *Reader) fail(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	err = fmt.Errorf("reading the feed of region %s: %w", r.cfg.Region, public(err))
	r.failed = err
	return err
}

// finish passes over the rest of the current transaction.
func (r *Reader) finish(ctx context.Context) error {
	if r.failed != nil {
		return r.failed
	}
	if r.current == nil {
		return nil
	}
	return r.fail(ctx, r.current.passOver(ctx))
}

// assemble returns the transaction at the head of the spine, nil if there is
// none yet that is whole. One that is too large for the memory is returned as
// soon as it begins: its changes are read as they are asked for.
func (r *Reader) assemble(ctx context.Context) (*Transaction, error) {
	r.asm.Same = func(record spine.Record, end *spine.Ending) (bool, error) {
		c, err := r.decoder.decode(ctx, record.Record)
		return err == nil && c.TransactionID == end.ID, err
	}
	for {
		status, end, missing, err := r.asm.Next()
		if err != nil {
			return nil, err
		}
		switch {
		case status == spine.Nothing:
			return nil, nil
		case status == spine.Unread:
			if err := r.in.Discover(ctx, missing); err != nil {
				return nil, err
			}
		case r.asm.Events(end) == 0:
			r.asm.Pass(end)
		case status == spine.Ready, r.asm.Stuck(end):
			r.wait = spine.Patience{}
			return newTransaction(r, end), nil
		default:
			return nil, r.wait.Lack(ctx, r.in, end.Stamp, r.asm.Lacking(end))
		}
	}
}

// receive waits a while for an answer of Kafka and accepts it. If ctx ends in
// the midst of that, what was fetched is kept for the next call.
func (r *Reader) receive(ctx context.Context) error {
	if r.fetched == nil {
		poll, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		r.fetched = r.in.Client.PollFetches(poll)
	}
	if err := r.in.Accept(ctx, r.fetched); err != nil {
		return err
	}
	r.fetched = nil
	return ctx.Err()
}

// Commit saves in the consumer group that everything up to the transaction
// that Next returned last, that one included, is dealt with. What is left of
// it is passed over. A *ResetError says that somebody else has moved the
// group's offsets; nothing is saved then.
func (r *Reader) Commit(ctx context.Context) error {
	if r.cfg.Group == "" {
		return &ConfigError{errors.New("field Group is empty, so there is nowhere to keep a position; mend: name a consumer group")}
	}
	if err := r.finish(ctx); err != nil {
		return err
	}
	if err := r.saver.Save(ctx, r.in.Taken(), note(r.asm)); err != nil {
		return fmt.Errorf("committing the position in the feed of region %s: %w", r.cfg.Region, public(err))
	}
	return nil
}
