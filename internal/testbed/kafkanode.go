package testbed

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// prepare claims the ports of all nodes, writes their configuration and formats their storage.
func (k *Kafka) prepare(ctx context.Context, s kafkaSettings) error {
	for range s.nodes {
		n, err := k.newNode(s)
		if err != nil {
			return err
		}
		k.nodes = append(k.nodes, n)
	}
	var certs certificates
	if s.secure {
		var err error
		if certs, err = writeCertificates(k.dir); err != nil {
			return err
		}
		k.CAFile = certs.ca
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, n := range k.nodes {
		dir := filepath.Join(k.dir, fmt.Sprintf("n%d", i))
		lines := k.properties(i, filepath.Join(dir, "data"))
		if s.secure {
			lines = append(lines, secureProperties(certs)...)
		}
		lines = append(lines, s.config...)
		n.proc = k.process(i, dir, s.jvm)
		group.Go(func() error {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "server.properties"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
				return err
			}
			return k.format(ctx, i, dir, s)
		})
	}
	return group.Wait()
}

func (k *Kafka) newNode(s kafkaSettings) (*node, error) {
	var ports []*port
	for range 3 {
		p, err := claimPort()
		if err != nil {
			for _, p := range ports {
				p.release()
			}
			return nil, err
		}
		ports = append(ports, p)
	}
	n := &node{client: ports[0], internal: ports[1], controller: ports[2]}
	if s.proxied {
		proxy, err := k.bed.StartProxy(n.client.address())
		if err != nil {
			for _, p := range ports {
				p.release()
			}
			return nil, err
		}
		n.proxy = proxy
	}
	return n, nil
}

func (k *Kafka) process(i int, dir string, jvm []string) *process {
	argv := append([]string{"java", "-Xms64m", "-Xmx1g"}, javaFlags(dir)...)
	argv = append(argv, "-Dlog4j2.configurationFile="+filepath.Join(k.home, "log4j2.xml"))
	argv = append(argv, jvm...)
	argv = append(argv, "-cp", kafkaClasses(k.home), "kafka.Kafka", filepath.Join(dir, "server.properties"))
	return &process{
		name: fmt.Sprintf("kafka node %d at %s", i, k.nodes[i].client.address()),
		argv: argv, dir: dir, log: filepath.Join(dir, "kafka.log"),
	}
}

// properties are the settings of node i. They are small where Kafka's defaults are for thousands of partitions, and quick
// where the defaults wait: a test has few of both to spare.
func (k *Kafka) properties(i int, data string) []string {
	n := k.nodes[i]
	var voters []string
	for j, other := range k.nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", j+1, other.controller.address()))
	}
	factor := min(len(k.nodes), 3)
	inSync := max(factor-1, 1)
	// A node that was killed comes back only once the cluster has given up its former life. One node has nothing else to
	// lose by a short session; with three, a machine that is slow for a moment would move leaders about.
	session, heartbeat := 6000, 2000
	if len(k.nodes) == 1 {
		session, heartbeat = 2500, 500
	}
	return []string{
		"process.roles=broker,controller",
		fmt.Sprintf("node.id=%d", i+1),
		"controller.quorum.voters=" + strings.Join(voters, ","),
		fmt.Sprintf("listeners=CLIENT://%s,INTERNAL://%s,CONTROLLER://%s", n.client.address(), n.internal.address(), n.controller.address()),
		fmt.Sprintf("advertised.listeners=CLIENT://%s,INTERNAL://%s", n.advertised(), n.internal.address()),
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name=INTERNAL",
		"log.dirs=" + data,
		"auto.create.topics.enable=false",
		fmt.Sprintf("default.replication.factor=%d", factor),
		fmt.Sprintf("min.insync.replicas=%d", inSync),
		fmt.Sprintf("offsets.topic.replication.factor=%d", factor),
		"offsets.topic.num.partitions=5",
		fmt.Sprintf("transaction.state.log.replication.factor=%d", factor),
		fmt.Sprintf("transaction.state.log.min.isr=%d", inSync),
		"transaction.state.log.num.partitions=5",
		fmt.Sprintf("share.coordinator.state.topic.replication.factor=%d", factor),
		fmt.Sprintf("share.coordinator.state.topic.min.isr=%d", inSync),
		"share.coordinator.state.topic.num.partitions=1",
		// By default back-to-back transactions of one producer wait 20 ms each.
		"add.partitions.to.txn.retry.backoff.ms=1",
		"socket.request.max.bytes=168820736", // an update of a row of 64 MiB
		"group.initial.rebalance.delay.ms=0",
		fmt.Sprintf("broker.session.timeout.ms=%d", session),
		fmt.Sprintf("broker.heartbeat.interval.ms=%d", heartbeat),
		"num.network.threads=2",
		"num.io.threads=4",
		"log.cleaner.dedupe.buffer.size=16777216",
	}
}

func secureProperties(c certificates) []string {
	return []string{
		"listener.security.protocol.map=CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"listener.name.client.ssl.keystore.type=PEM",
		"listener.name.client.ssl.keystore.location=" + c.bundle,
		"listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512",
		"listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
	}
}

// format makes node i's storage. Kafka's own tool takes a JVM and a second for each node, so a copy of what it once made
// is given this node's identity instead, except where users have to go into it.
func (k *Kafka) format(ctx context.Context, i int, dir string, s kafkaSettings) error {
	data := filepath.Join(dir, "data")
	if s.secure {
		user := fmt.Sprintf("SCRAM-SHA-512=[name=%s,password=%s]", KafkaUser, KafkaPassword)
		return formatStorage(ctx, k.home, dir, k.id, "--add-scram", user)
	}
	if err := os.CopyFS(data, os.DirFS(filepath.Join(k.home, "data"))); err != nil {
		return fmt.Errorf("copying formatted storage: %w", err)
	}
	meta := fmt.Sprintf("version=1\nnode.id=%d\ndirectory.id=%s\ncluster.id=%s\n", i+1, newKafkaID(), k.id)
	return os.WriteFile(filepath.Join(data, "meta.properties"), []byte(meta), 0o644)
}

// kafkaClasses is the class path of an installed Kafka; the JVM expands the star.
func kafkaClasses(home string) string { return filepath.Join(home, "libs", "*") }

// formatTemplate formats the storage that each node's begins as a copy of.
func formatTemplate(ctx context.Context, home string) error {
	lines := []string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@127.0.0.1:19093",
		"listeners=PLAINTEXT://127.0.0.1:19092,CONTROLLER://127.0.0.1:19093", "controller.listener.names=CONTROLLER",
		"log.dirs=" + filepath.Join(home, "data"),
	}
	if err := os.WriteFile(filepath.Join(home, "server.properties"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return formatStorage(ctx, home, home, newKafkaID())
}

// formatStorage runs Kafka's tool on the configuration in dir.
func formatStorage(ctx context.Context, home, dir, cluster string, args ...string) error {
	argv := append([]string{"-Xmx128m"}, javaFlags(dir)...)
	argv = append(argv, "-cp", kafkaClasses(home), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", filepath.Join(dir, "server.properties"))
	if _, err := run(ctx, dir, "java", append(argv, args...)...); err != nil {
		return fmt.Errorf("formatting storage: %w", err)
	}
	return nil
}

// newKafkaID is a random id as Kafka writes them: 16 bytes in URL-safe base64, not beginning with a dash, which its tools
// would take for an option.
func newKafkaID() string {
	var id [16]byte
	rand.Read(id[:])
	id[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(id[:])
}
