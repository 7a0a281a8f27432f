// Package embedded runs a Kafka broker and a schema registry inside the
// process, so that a trial or the demo needs nothing but the databases.
//
// Both are franz-go's fakes, made for tests, with what they lack for keeping
// data: they outlive a crash of the process at any point (recovery.go), they
// bound their disk without losing offsets (retention.go), and schema ids stay
// the same over restarts (registry.go). They don't outlive a loss of power,
// and one node is all there is. Both listen on the loopback interface only,
// since they ask nobody for a password.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Banner is what a user must be told when anything here is used.
const Banner = "embedded broker: one node in this process, NOT FOR PRODUCTION: data outlives a crash of the process but not of the machine"

// Options tell where a service keeps its data and how it is reached.
type Options struct {
	Dir    string // made if absent; one process at a time may use it
	Listen string // 127.0.0.1:port; port 0 takes a free one
	// Retention is how long a broker's records are kept, 0 for ever. It holds
	// for all topics that aren't compacted, whatever they were created with.
	Retention time.Duration
	// MaxBytes is how much of a partition is kept, roughly; 0 for no bound.
	MaxBytes int64
	Log      *slog.Logger // nil for slog.Default()
}

func (o Options) logger() *slog.Logger {
	if o.Log == nil {
		return slog.Default()
	}
	return o.Log
}

// maxMessage is the largest batch of records that is taken: a change of a row
// of 64 MiB carries two images, and some room.
const maxMessage = 160 << 20

// Kafka is a running broker.
type Kafka struct {
	cluster  *kfake.Cluster
	listener net.Listener
	lock     *dirLock
	dir      string
	trimmer  *trimmer
	stop     context.CancelFunc
	stopped  chan struct{}
}

// StartKafka starts a broker with what its directory holds. The context bounds
// the start only; Close ends the broker.
func StartKafka(ctx context.Context, opts Options) (*Kafka, error) {
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	k := &Kafka{lock: lock, dir: opts.Dir, stopped: make(chan struct{})}
	if err := k.start(ctx, opts); err != nil {
		return nil, errors.Join(err, lock.unlock())
	}
	return k, nil
}

func (k *Kafka) start(ctx context.Context, opts Options) error {
	if err := k.mend(opts.logger()); err != nil {
		return fmt.Errorf("recovering embedded broker in %s: %w", opts.Dir, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("starting embedded broker: %w", err)
	}
	listener, err := listenLoopback(opts.Listen)
	if err != nil {
		return fmt.Errorf("starting embedded broker: %w", err)
	}
	k.listener = listener
	k.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.DataDir(opts.Dir),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return listener, nil }),
		kfake.WithLogger(brokerLog{opts.logger()}),
		kfake.BrokerConfigs(brokerSettings()),
	)
	if err != nil {
		return errors.Join(fmt.Errorf("starting embedded broker in %s: %w", opts.Dir, err), listener.Close())
	}
	k.cluster.ControlKey(int16(kmsg.CreateTopics), k.neutralizeCreate)
	k.cluster.ControlKey(int16(kmsg.AlterConfigs), k.neutralizeAlter)
	k.cluster.ControlKey(int16(kmsg.IncrementalAlterConfigs), k.neutralizeIncrementalAlter)
	k.cluster.ControlKey(int16(kmsg.EndTxn), k.refuseOldTransactions)

	background, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.trimmer = newTrimmer(k.cluster, k.Addr(), opts)
	go func() {
		defer close(k.stopped)
		k.trimmer.run(background)
	}()
	return nil
}

// brokerSettings turn off everything by which the broker would remove data by
// itself. Its retention may empty a partition, whose offsets then begin at 0
// again after a restart; its compaction deletes the old files before the new
// ones are written, and lets a transaction that is aborted later win over what
// was committed before. What may go is removed by retention.go.
func brokerSettings() map[string]string {
	const tenYears = 10 * 365 * 24 * time.Hour
	return map[string]string{
		"message.max.bytes":         strconv.Itoa(maxMessage),
		"log.segment.bytes":         strconv.Itoa(16 << 20), // disk is given back by whole segments
		"log.retention.ms":          "-1",
		"log.retention.bytes":       "-1",
		"log.cleaner.backoff.ms":    strconv.FormatInt(tenYears.Milliseconds(), 10),
		"offsets.retention.minutes": strconv.Itoa(int(tenYears.Minutes())),
	}
}

// mend brings the data of a broker that didn't end by Close into order, and
// notes that it is in use from now on.
func (k *Kafka) mend(log *slog.Logger) error {
	err := os.Remove(k.closedMark())
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	mended, err := recoverLogs(k.dir)
	if err != nil {
		return err
	}
	if mended > 0 {
		log.Warn("embedded broker ended without closing; its open transactions were settled", "dir", k.dir, "partitions", mended)
	}
	return nil
}

func (k *Kafka) closedMark() string { return filepath.Join(k.dir, "closed") }

// Addr returns the address that clients bootstrap from.
func (k *Kafka) Addr() string { return k.listener.Addr().String() }

// Close ends the broker and saves its state.
func (k *Kafka) Close() error {
	k.stop()
	<-k.stopped
	k.cluster.Close()
	if err := os.WriteFile(k.closedMark(), nil, 0o600); err != nil {
		return errors.Join(fmt.Errorf("closing embedded broker: %w", err), k.lock.unlock())
	}
	return k.lock.unlock()
}

// neutralizeCreate, neutralizeAlter and neutralizeIncrementalAlter change a
// request on its way to the broker: see brokerSettings. Settings that the
// broker doesn't know have no meaning for a single node and are left out.
func (k *Kafka) neutralizeCreate(r kmsg.Request) (kmsg.Response, error, bool) {
	req := r.(*kmsg.CreateTopicsRequest)
	for i := range req.Topics {
		var kept []kmsg.CreateTopicsRequestTopicConfig
		for _, c := range req.Topics[i].Configs {
			if value, ok := settingFor(c.Name, c.Value); ok {
				c.Value = value
				kept = append(kept, c)
			}
		}
		req.Topics[i].Configs = kept
	}
	return nil, nil, false
}

func (k *Kafka) neutralizeAlter(r kmsg.Request) (kmsg.Response, error, bool) {
	req := r.(*kmsg.AlterConfigsRequest)
	for i := range req.Resources {
		if req.Resources[i].ResourceType != kmsg.ConfigResourceTypeTopic {
			continue
		}
		var kept []kmsg.AlterConfigsRequestResourceConfig
		for _, c := range req.Resources[i].Configs {
			if value, ok := settingFor(c.Name, c.Value); ok {
				c.Value = value
				kept = append(kept, c)
			}
		}
		req.Resources[i].Configs = kept
	}
	return nil, nil, false
}

func (k *Kafka) neutralizeIncrementalAlter(r kmsg.Request) (kmsg.Response, error, bool) {
	req := r.(*kmsg.IncrementalAlterConfigsRequest)
	for i := range req.Resources {
		if req.Resources[i].ResourceType != kmsg.ConfigResourceTypeTopic {
			continue
		}
		var kept []kmsg.IncrementalAlterConfigsRequestResourceConfig
		for _, c := range req.Resources[i].Configs {
			if value, ok := settingFor(c.Name, c.Value); ok {
				c.Value = value
				kept = append(kept, c)
			}
		}
		req.Resources[i].Configs = kept
	}
	return nil, nil, false
}

func settingFor(name string, value *string) (*string, bool) {
	switch name {
	case "retention.ms", "retention.bytes":
		never := "-1"
		return &never, true
	case "cleanup.policy", "compression.type", "delete.retention.ms", "max.message.bytes", "message.timestamp.type", "min.insync.replicas", "segment.bytes":
		return value, true
	default:
		return nil, false
	}
}

// refuseOldTransactions turns away clients that keep one producer epoch over
// many transactions: the recovery tells transactions apart by their epoch.
func (k *Kafka) refuseOldTransactions(r kmsg.Request) (kmsg.Response, error, bool) {
	req := r.(*kmsg.EndTxnRequest)
	if req.Version >= 5 {
		return nil, nil, false
	}
	k.cluster.KeepControl()
	resp := req.ResponseKind().(*kmsg.EndTxnResponse)
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	return resp, nil, true
}

// listenLoopback listens on an address that only this machine can reach.
func listenLoopback(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host != "127.0.0.1" {
		return nil, fmt.Errorf("%q is not a loopback address: set embedded: {listen: \"127.0.0.1:<port>\"}", address)
	}
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("%w: set another port in embedded: {listen: \"127.0.0.1:<port>\"}, or end what uses this one", err)
	}
	return listener, nil
}

// brokerLog passes on what the broker finds wrong.
type brokerLog struct{ log *slog.Logger }

func (b brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		b.log.Error("embedded broker", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		b.log.Warn("embedded broker", "message", fmt.Sprintf(format, args...))
	}
}
