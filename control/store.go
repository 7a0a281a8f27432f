// Package control is the control plane: what is wanted of each task, and what the services report of it, on a
// region's Kafka.
//
// Topic duplex.tasks has a record for each task, duplex.status one for each task and process that
// serves it. Both are compacted, and have one partition each. A record of a task is written in a Kafka transaction
// under one well-known id: who begins one fences whoever was before, and reads the topic to its end only then. So nobody can
// write over what they haven't seen.
package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"duplex/config"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// transactionTimeout is how long Kafka waits for who began a change and died, unless another begins one.
	transactionTimeout = 10 * time.Second
	// writeTimeout bounds a change, and how long a reader waits for Kafka.
	writeTimeout = 30 * time.Second
)

// stored is a record of topic duplex.tasks.
type stored struct {
	Task     string       `json:"task"`
	Revision int64        `json:"revision"`
	Wanted   tasks.Wanted `json:"wanted"`
	Life     int          `json:"life"`
	Copies   int          `json:"copies,omitempty"`
	Started  bool         `json:"started,omitempty"`
	TablesAt int64        `json:"tables_at,omitempty"`
	Last     tasks.Action `json:"last_action"`
	AtMillis int64        `json:"at_ms"`
	// Token is of the change that wrote it.
	Token string `json:"token"`
	// Spec is the task file, with all defaults written out.
	Spec string `json:"specification"`
}

func encode(r *tasks.Record, token string) ([]byte, error) {
	spec, err := r.Spec.Encode()
	if err != nil {
		return nil, err
	}
	return json.Marshal(stored{r.Task, r.Revision, r.Wanted, r.Life, r.Copies, r.Started, r.TablesAt, r.Last, r.At.UnixMilli(), token, string(spec)})
}

func decode(rec *kgo.Record) (r *tasks.Record, token string, err error) {
	mend := "; mend: another program wrote it, or a newer version of Duplex: run that"
	var s stored
	if err := json.Unmarshal(rec.Value, &s); err != nil {
		return nil, "", fmt.Errorf("reading %s@%d: %w%s", rec.Topic, rec.Offset, err, mend)
	}
	spec, err := tasks.Parse(fmt.Sprintf("task %s on Kafka", s.Task), []byte(s.Spec))
	if err != nil {
		return nil, "", fmt.Errorf("reading %s@%d: %w%s", rec.Topic, rec.Offset, err, mend)
	}
	return &tasks.Record{Task: s.Task, Revision: s.Revision, Wanted: s.Wanted, Life: s.Life, Copies: s.Copies, Started: s.Started, TablesAt: s.TablesAt,
		Spec: spec, Last: s.Last, At: time.UnixMilli(s.AtMillis)}, s.Token, nil
}

// Board is what a Kafka has of tasks.
type Board struct {
	Tasks   map[string]*tasks.Record // deleted ones too
	Reports map[string]Report        // by key

	tokens map[string]string // by task
}

func newBoard() *Board {
	return &Board{map[string]*tasks.Record{}, map[string]Report{}, map[string]string{}}
}

// take takes in a record of one of the topics.
func (b *Board) take(rec *kgo.Record) error {
	if rec.Topic == topics.Status {
		return b.takeReport(rec)
	}
	if rec.Value == nil {
		delete(b.Tasks, string(rec.Key))
		return nil
	}
	r, token, err := decode(rec)
	if err == nil {
		b.Tasks[r.Task], b.tokens[r.Task] = r, token
	}
	return err
}

// Store is the control plane of one Kafka.
type Store struct {
	cfg    config.Kafka
	client *kgo.Client // that reads
	admin  *kadm.Client
}

// Open connects to a Kafka. Close closes it.
func Open(ctx context.Context, cfg config.Kafka) (*Store, error) {
	opts, err := topics.Client(cfg)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(writeTimeout))...)
	if err != nil {
		return nil, fmt.Errorf("configuring kafka client: %w", err)
	}
	s := &Store{cfg, client, kadm.NewClient(client)}
	ctx, cancel := context.WithTimeoutCause(ctx, writeTimeout, errors.New("reaching tasks: Kafka doesn't answer; mend: see that it runs, and that kafka.brokers of the process file names it"))
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, because(ctx, err)
	}
	return s, nil
}

// Ensure makes the topics if they aren't there.
func (s *Store) Ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, writeTimeout, errors.New("watching tasks: Kafka doesn't answer"))
	defer cancel()
	return because(ctx, topics.EnsureTasks(ctx, s.admin, s.cfg))
}

// because is err, or what ended ctx.
func because(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// Close ends its connections.
func (s *Store) Close() { s.client.Close() }

// Read reads all there is: nothing, where nobody has made a task yet.
func (s *Store) Read(ctx context.Context) (*Board, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, writeTimeout, errors.New("reading tasks: Kafka doesn't give its records"))
	defer cancel()
	// Kafka answers a commit before readers see it, so what is open is waited for.
	ends, err := s.admin.ListEndOffsets(ctx, topics.Tasks, topics.Status)
	if err == nil {
		err = ends.Error()
	}
	board := newBoard()
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return board, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading where topics end: %w", because(ctx, err))
	}
	next := map[string]int64{}
	start := map[string]map[int32]kgo.Offset{}
	for _, topic := range []string{topics.Tasks, topics.Status} {
		start[topic] = map[int32]kgo.Offset{0: kgo.NewOffset().AtStart()}
	}
	s.client.AddConsumePartitions(start)
	defer s.client.RemoveConsumePartitions(map[string][]int32{topics.Tasks: {0}, topics.Status: {0}})
	behind := func() bool {
		for topic := range start {
			if end, _ := ends.Lookup(topic, 0); next[topic] < end.Offset {
				return true
			}
		}
		return false
	}
	for behind() {
		fetches := s.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("reading tasks: %w", because(ctx, err))
		}
		var failed error
		fetches.EachRecord(func(rec *kgo.Record) {
			next[rec.Topic] = rec.Offset + 1
			if !rec.Attrs.IsControl() && failed == nil {
				failed = board.take(rec)
			}
		})
		if failed != nil {
			return nil, failed
		}
	}
	return board, nil
}

// ErrRaced says that others change tasks all the time.
var ErrRaced = errors.New("others are changing tasks at this moment; mend: repeat")

// tries is how often a change is tried that others come before.
const tries = 20

// Change writes what next makes of the board. Nobody writes between what it is given and what it returns: if somebody
// would have, nothing was written, and next is asked again. A record of a revision that is there already, or nil, is not written.
func (s *Store) Change(ctx context.Context, next func(*Board) (*tasks.Record, error)) error {
	// Kafka may take a change and not say so; then it is found by its token.
	token, last := rand.Text(), ""
	asked := func(b *Board) (*tasks.Record, error) {
		if last != "" && b.tokens[last] == token {
			return nil, nil
		}
		r, err := next(b)
		if err == nil && r != nil {
			last = r.Task
		}
		return r, err
	}
	for try := 1; ; try++ {
		err := s.change(ctx, token, asked)
		if !errors.Is(err, ErrRaced) || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(mathrand.N(time.Duration(try) * 50 * time.Millisecond)):
		}
	}
}

func (s *Store) change(ctx context.Context, token string, next func(*Board) (*tasks.Record, error)) error {
	if err := s.Ensure(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, writeTimeout, errors.New("writing a task: Kafka doesn't take the change"))
	defer cancel()
	opts, err := topics.Client(s.cfg)
	if err != nil {
		return err
	}
	writer, err := kgo.NewClient(append(opts, kgo.TransactionalID(topics.TasksWriter), kgo.TransactionTimeout(transactionTimeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(writeTimeout))...)
	if err != nil {
		return fmt.Errorf("configuring kafka client: %w", err)
	}
	defer writer.Close()
	if _, _, err := writer.ProducerID(ctx); err != nil {
		return explain(because(ctx, err))
	}
	// From here on nothing of who came before can be committed.
	board, err := s.Read(ctx)
	if err != nil {
		return err
	}
	had := map[string]int64{}
	for name, r := range board.Tasks {
		had[name] = r.Revision
	}
	r, err := next(board)
	if err != nil || r == nil || had[r.Task] >= r.Revision {
		return err
	}
	value, err := encode(r, token)
	if err != nil {
		return err
	}
	if err := writer.BeginTransaction(); err != nil {
		return explain(err)
	}
	if err := writer.ProduceSync(ctx, &kgo.Record{Topic: topics.Tasks, Key: []byte(r.Task), Value: value}).FirstErr(); err != nil {
		return explain(because(ctx, err))
	}
	return explain(writer.EndTransaction(ctx, kgo.TryCommit))
}

func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.ConcurrentTransactions), errors.Is(err, kerr.InvalidTxnState), errors.Is(err, kerr.InvalidProducerIDMapping),
		errors.Is(err, kerr.UnknownServerError): // which Kafka 4.3 says now and then where two begin at once
		return ErrRaced
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return fmt.Errorf("changing a task: %w; mend: allow the user of the process file WRITE on transactional id %s", err, topics.TasksWriter)
	}
	return fmt.Errorf("changing a task: %w", err)
}
