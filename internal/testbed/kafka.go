package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// Who may connect to a Kafka with option KafkaSecure.
const (
	KafkaUser     = "duplex"
	KafkaPassword = "duplex-secret"
)

// Kafka is a running cluster: every node is broker and controller. Nodes count from 0.
type Kafka struct {
	CAFile string // PEM file of the CA of the brokers' certificates; "" without option KafkaSecure

	bed   *Bed
	dir   string
	id    string // cluster id
	home  string // what is installed: libs, formatted storage, logging configuration
	nodes []*node
	once  sync.Once
}

// node is one broker. Its clients' listener alone is secured or behind a proxy; the nodes talk to each other, and tools to
// them, on listeners of their own.
type node struct {
	client, internal, controller *port
	proxy                        *Proxy // nil without option KafkaProxied
	proc                         *process
}

type kafkaSettings struct {
	nodes   int
	proxied bool
	secure  bool
	config  []string
	jvm     []string
}

// KafkaOption changes how a cluster is started.
type KafkaOption func(*kafkaSettings)

// KafkaNodes makes a cluster of n nodes instead of one: replication factor min(n, 3), of which all but one must be in sync.
func KafkaNodes(n int) KafkaOption { return func(s *kafkaSettings) { s.nodes = n } }

// KafkaProxied puts a Proxy in front of each broker (Kafka.Proxy) and has the brokers advertise the proxies, so that no
// client ever gets round them. The brokers reach each other directly.
func KafkaProxied() KafkaOption { return func(s *kafkaSettings) { s.proxied = true } }

// KafkaSecure demands TLS (CAFile) and SASL SCRAM-SHA-512 (KafkaUser, KafkaPassword) of clients.
func KafkaSecure() KafkaOption { return func(s *kafkaSettings) { s.secure = true } }

// KafkaConfig adds lines such as "log.segment.bytes=1048576" to server.properties; they win over the test bed's own.
func KafkaConfig(lines ...string) KafkaOption {
	return func(s *kafkaSettings) { s.config = append(s.config, lines...) }
}

// KafkaJVM adds flags to the brokers' JVM; they win over the test bed's own. A benchmark wants "-XX:TieredStopAtLevel=4".
func KafkaJVM(flags ...string) KafkaOption {
	return func(s *kafkaSettings) { s.jvm = append(s.jvm, flags...) }
}

// StartKafka starts a cluster, of one node unless KafkaNodes says otherwise, and waits until all its nodes serve.
func (b *Bed) StartKafka(ctx context.Context, options ...KafkaOption) (*Kafka, error) {
	if err := Install(ctx, b.cache, KafkaJars); err != nil {
		return nil, err
	}
	s := kafkaSettings{nodes: 1}
	for _, option := range options {
		option(&s)
	}
	dir, err := b.newDir("kafka")
	if err != nil {
		return nil, fmt.Errorf("starting Kafka: %w", err)
	}
	k := &Kafka{bed: b, dir: dir, id: newKafkaID(), home: filepath.Join(b.cache, string(KafkaJars))}
	b.add(k)
	if err := k.prepare(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("starting Kafka: %w", err), k.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range k.nodes {
		if err = n.proc.start(); err != nil {
			break
		}
	}
	for i := range k.nodes {
		if err == nil {
			group.Go(func() error { return k.await(ctx, i) })
		}
	}
	if err := errors.Join(err, group.Wait()); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Kafka is StartKafka for the duration of test t.
func (b *Bed) Kafka(t TB, options ...KafkaOption) *Kafka {
	t.Helper()
	k, err := b.StartKafka(t.Context(), options...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	closeWith(t, k)
	return k
}

// Brokers are the addresses that clients connect to.
func (k *Kafka) Brokers() []string {
	var all []string
	for _, n := range k.nodes {
		all = append(all, n.advertised())
	}
	return all
}

func (n *node) advertised() string {
	if n.proxy != nil {
		return n.proxy.Addr()
	}
	return n.client.address()
}

// Proxy is the proxy in front of broker i, nil without option KafkaProxied.
func (k *Kafka) Proxy(i int) *Proxy { return k.nodes[i].proxy }

// Start starts node i again after Stop or Kill, with its data, and waits until it serves.
func (k *Kafka) Start(i int) error {
	if err := k.nodes[i].proc.start(); err != nil {
		return err
	}
	return k.await(context.Background(), i)
}

// Stop ends node i in order: it first hands its partitions over.
func (k *Kafka) Stop(i int) error { return k.nodes[i].proc.stop() }

// Kill ends node i with SIGKILL.
func (k *Kafka) Kill(i int) error { return k.nodes[i].proc.kill() }

// Freeze stops node i with SIGSTOP until Thaw.
func (k *Kafka) Freeze(i int) error { return k.nodes[i].proc.freeze() }

// Thaw lets a frozen node go on.
func (k *Kafka) Thaw(i int) error { return k.nodes[i].proc.thaw() }

// PID is that of node i's JVM.
func (k *Kafka) PID(i int) int { return k.nodes[i].proc.pid() }

// Name is what it is and its addresses, for messages.
func (k *Kafka) Name() string { return "kafka at " + strings.Join(k.Brokers(), ",") }

// Tool runs one of Kafka's command line tools by its class, such as
// "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", with --bootstrap-server set, and returns what it printed.
func (k *Kafka) Tool(ctx context.Context, class string, args ...string) (string, error) {
	argv := append([]string{"-Xmx128m"}, javaFlags(k.dir)...)
	argv = append(argv, "-cp", kafkaClasses(k.home), class, "--bootstrap-server", strings.Join(k.internal(), ","))
	return run(ctx, k.dir, "java", append(argv, args...)...)
}

// internal are the addresses of the brokers without proxy, TLS and SASL.
func (k *Kafka) internal() []string {
	var all []string
	for _, n := range k.nodes {
		all = append(all, n.internal.address())
	}
	return all
}

// await waits until node i says that it and all others that run are in the cluster.
func (k *Kafka) await(ctx context.Context, i int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.nodes[i].internal.address()), kgo.RequestRetries(0))
	if err != nil {
		return fmt.Errorf("starting Kafka: %w", err)
	}
	defer client.Close()
	return k.nodes[i].proc.await(ctx, func(ctx context.Context) error {
		// Asked of the node itself: the client's own metadata may come from its cache.
		res, err := client.SeedBrokers()[0].Request(ctx, brokersOnly())
		if err != nil {
			return err
		}
		meta, ok := res.(*kmsg.MetadataResponse)
		if !ok {
			return fmt.Errorf("asking for metadata: the answer is a %T", res)
		}
		serving := map[int32]bool{}
		for _, broker := range meta.Brokers {
			serving[broker.NodeID] = true
		}
		for other, n := range k.nodes {
			if n.proc.running() && !serving[int32(other+1)] {
				return fmt.Errorf("node %d isn't in the cluster yet", other)
			}
		}
		return nil
	})
}

// brokersOnly asks for metadata without any topic.
func brokersOnly() kmsg.Request {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	return req
}

// Close kills the cluster for good.
func (k *Kafka) Close() error {
	var errs []error
	k.once.Do(func() {
		for _, n := range k.nodes {
			if n.proc != nil {
				errs = append(errs, n.proc.kill())
			}
			if n.proxy != nil {
				errs = append(errs, n.proxy.Close())
			}
			for _, p := range []*port{n.client, n.internal, n.controller} {
				p.release()
			}
		}
		errs = append(errs, os.RemoveAll(k.dir))
		k.bed.forget(k)
	})
	return errors.Join(errs...)
}

func (k *Kafka) logTail() string {
	var all strings.Builder
	for i, n := range k.nodes {
		fmt.Fprintf(&all, "node %d:\n%s\n", i, n.proc.logTail())
	}
	return all.String()
}
