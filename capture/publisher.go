package capture

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"duplex/change"
	"duplex/config"
	"duplex/internal/failpoint"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

const (
	// transactionTimeout is how long Kafka lets a transaction stay open. A
	// transaction of any size must fit; a dead capture's is aborted by its
	// successor at once, not after this time.
	transactionTimeout = 10 * time.Minute
	// deliveryTimeout is how long a record may wait for Kafka before the
	// session is given up and shown as retrying.
	deliveryTimeout = 30 * time.Second
	// maxInFlight bounds what waits for Kafka, in bytes; what is larger goes
	// alone. It also bounds a batch, which a reader must unpack whole.
	maxInFlight = 6 << 20
)

// publisher writes records to Kafka in transactions. One transaction holds
// whole source transactions and the position after them (promise 1), so what
// a reader sees and where capture goes on can't disagree. It is used by one
// goroutine.
type publisher struct {
	client   *kgo.Client
	inFlight *semaphore.Weighted
	open     bool  // a Kafka transaction is
	bytes    int64 // produced in it
	since    time.Time
	failed   atomic.Pointer[error] // the first record that was refused
}

// newPublisher connects as the region's one capture. It fences whoever was
// that before: their open transaction is aborted, and they can't commit again.
func newPublisher(ctx context.Context, cfg config.Kafka, region change.Region) (*publisher, error) {
	opts, err := topics.Client(cfg)
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	compressor, err := topics.Compressor()
	if err != nil {
		return nil, supervise.Permanent(err)
	}
	client, err := kgo.NewClient(append(opts,
		kgo.TransactionalID(topics.TransactionalID(region)),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.RecordDeliveryTimeout(deliveryTimeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.WithCompressor(compressor),
		kgo.ProducerBatchMaxBytesFn(func(string) int32 { return topics.MaxMessage }),
		kgo.MaxBufferedRecords(maxInFlight), // ours is the bound: inFlight
		kgo.BrokerMaxWriteBytes(topics.MaxRequest),
		kgo.ProducerLinger(0),
	)...)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("configuring kafka client: %w", err))
	}
	init, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	if _, _, err := client.ProducerID(init); err != nil {
		client.Close()
		return nil, fmt.Errorf("becoming the capture of region %s in kafka: %w", region, explain(err))
	}
	return &publisher{client: client, inFlight: semaphore.NewWeighted(maxInFlight)}, nil
}

func (p *publisher) close() { p.client.Close() }

func (p *publisher) admin() *kadm.Client { return kadm.NewClient(p.client) }

// lot is a number of records that take their room in flight together. Taken
// and given back for each, it would cost as much as encoding them.
type lot struct {
	publisher *publisher
	size      int64
	left      atomic.Int64             // records that Kafka doesn't have yet
	places    int64                    // records not yet produced
	done      func(*kgo.Record, error) // produced: made once, not for each record
	gone      chan<- struct{}          // of a wide row: told when Kafka has it
}

// reserve waits for room for so many records of so many bytes in all.
func (p *publisher) reserve(ctx context.Context, records int, bytes int64) (*lot, error) {
	const overhead = 100 // of each record
	l := &lot{publisher: p, size: min(bytes+int64(records)*overhead, maxInFlight), places: int64(records)}
	l.left.Store(l.places)
	l.done = l.produced
	if err := p.inFlight.Acquire(ctx, l.size); err != nil {
		return nil, context.Cause(ctx)
	}
	return l, nil
}

// produce adds a record of the lot to the open transaction, opening one if none
// is.
func (l *lot) produce(ctx context.Context, r *kgo.Record) error {
	if err := l.publisher.add(ctx, r, l.done); err != nil {
		return err
	}
	l.places--
	return nil
}

func (l *lot) produced(r *kgo.Record, err error) {
	l.give(1)
	l.publisher.produced(r, err)
}

// close gives back the places of records that don't come after all.
func (l *lot) close() {
	if l.places > 0 {
		l.give(l.places)
	}
}

func (l *lot) give(records int64) {
	if l.left.Add(-records) == 0 {
		l.publisher.inFlight.Release(l.size)
		if l.gone != nil {
			l.gone <- struct{}{} // has room: there is one wide row at a time
		}
	}
}

// produce adds a record by itself: a position, a statement, a heartbeat. It
// waits for no room: a lot may have all of it whose other records come later.
func (p *publisher) produce(ctx context.Context, r *kgo.Record) error {
	return p.add(ctx, r, p.produced)
}

// add adds a record to the open transaction, opening one if none is.
func (p *publisher) add(ctx context.Context, r *kgo.Record, done func(*kgo.Record, error)) error {
	if !p.open {
		if err := p.client.BeginTransaction(); err != nil {
			return fmt.Errorf("beginning kafka transaction: %w", explain(err))
		}
		p.open, p.bytes, p.since = true, 0, time.Now()
	}
	if failed := p.failed.Load(); failed != nil {
		return *failed
	}
	p.bytes += int64(len(r.Key) + len(r.Value))
	p.client.Produce(ctx, r, done)
	return nil
}

func (p *publisher) produced(r *kgo.Record, err error) {
	if err == nil {
		return
	}
	err = fmt.Errorf("publishing %d bytes to topic %s: %w", len(r.Value), r.Topic, explain(err))
	if errors.Is(err, kgo.ErrRecordTimeout) && len(r.Value) > wideBytes {
		err = fmt.Errorf("%w; if the brokers' %s is less than that, raise it", err, topics.RequestSize)
	}
	p.failed.CompareAndSwap(nil, &err)
}

// commit makes all that was produced visible, at once.
func (p *publisher) commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*deliveryTimeout)
	defer cancel()
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("flushing to kafka: %w", err)
	}
	if failed := p.failed.Load(); failed != nil {
		return *failed
	}
	failpoint.Hit("capture.before-commit")
	if err := p.client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		// Whether it was committed is not known. The next session asks Kafka
		// for the position, which tells.
		return fmt.Errorf("committing kafka transaction: %w", explain(err))
	}
	failpoint.Hit("capture.after-commit")
	p.open = false
	return nil
}

// explain adds the mend to those of Kafka's errors that an operator can mend,
// and marks those that waiting doesn't.
func explain(err error) error {
	if refused, ok := topics.Refused(err); ok {
		return supervise.Permanent(refused)
	}
	switch {
	case errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.TransactionalIDNotFound):
		// Another capture, or a transaction that was open too long: the next
		// session finds out which.
		return fmt.Errorf("kafka has given this capture's place away: %w", err)
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return supervise.Permanent(fmt.Errorf("the topic was deleted while capture wrote to it: %w; mend: find out what was lost with it, compare the regions, then restart: the topic is made anew", err))
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return supervise.Permanent(fmt.Errorf("a row is larger than kafka takes: %w; mend: raise the topic's max.message.bytes and the brokers' replica.fetch.max.bytes and restart", err))
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.TransactionalIDAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("%w; mend: allow the user WRITE, CREATE and DESCRIBE on the region's topics and on its transactional id", err)
	case errors.Is(err, kerr.InvalidTransactionTimeout):
		return supervise.Permanent(fmt.Errorf("%w; mend: set the brokers' transaction.max.timeout.ms to at least %d", err, transactionTimeout.Milliseconds()))
	default:
		return err
	}
}
