package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"duplex/change"
	"duplex/config"
	"duplex/topics"
)

// answerTime is how long a Kafka or a registry may take to answer a question.
const answerTime = 10 * time.Second

// retryBackoff is the broker's setting that makes back-to-back transactions of
// one producer wait.
const retryBackoff = "add.partitions.to.txn.retry.backoff.ms"

// kafkaCheck checks the Kafka of one region as one process sees it.
type kafkaCheck struct {
	region change.Region
	cfg    config.Kafka
	// largest is the size of the largest change that the region may publish,
	// in bytes; 0 if it isn't known.
	largest int64
	found   []Finding
}

func (k *kafkaCheck) add(severity Severity, code, what, why, fix string) {
	k.found = append(k.found, Finding{Region: k.region, Code: code, Severity: severity, Where: strings.Join(k.cfg.Brokers, ", "), What: what, Why: why, Fix: fix})
}

// run returns what it found, and the number of brokers.
func (k *kafkaCheck) run(ctx context.Context) ([]Finding, int) {
	if k.cfg.IsEmbedded() {
		k.add(Warn, "embedded-kafka", "Kafka is embedded in the process", "it has one node and no replicas: it is for trials, not for production", "-- set kafka.brokers to a Kafka of three brokers or more\n")
		return k.found, 0
	}
	opts, err := topics.Client(k.cfg)
	if err != nil {
		k.unreachable(err)
		return k.found, 0
	}
	client, err := kgo.NewClient(append(opts, kgo.RetryTimeout(answerTime), kgo.RequestRetries(2))...)
	if err != nil {
		k.unreachable(err)
		return k.found, 0
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	admin := kadm.NewClient(client)
	brokers, err := admin.ListBrokers(ctx)
	if err != nil {
		k.unreachable(err)
		return k.found, 0
	}
	if k.cfg.ReplicationFactor > len(brokers) {
		k.add(Refuse, "replication-factor", fmt.Sprintf("kafka.replication_factor is %d and Kafka has %d brokers", k.cfg.ReplicationFactor, len(brokers)),
			"topics couldn't be created", fmt.Sprintf("-- start more brokers, or set kafka.replication_factor: %d in the process file of %s\n", len(brokers), k.region))
	}
	k.brokerSettings(ctx, admin, brokers.NodeIDs())
	k.topicSettings(ctx, admin)
	return k.found, len(brokers)
}

func (k *kafkaCheck) unreachable(err error) {
	if refused, ok := topics.Refused(err); ok {
		k.add(Refuse, "kafka-access", fmt.Sprintf("Kafka can't be used: %v", refused.Unwrap()), "changes travel through it", "-- "+refused.Mend+"\n")
		return
	}
	k.add(Refuse, "kafka", fmt.Sprintf("Kafka can't be reached: %v", err), "changes travel through it",
		"-- start Kafka, or correct kafka.brokers, kafka.tls and kafka.sasl in the process file; each broker's advertised.listeners must be reachable from here too\n")
}

func (k *kafkaCheck) brokerSettings(ctx context.Context, admin *kadm.Client, nodes []int32) {
	all, err := admin.DescribeBrokerConfigs(ctx, nodes...)
	if err != nil {
		k.add(Warn, "kafka-settings", fmt.Sprintf("the brokers' settings can't be read: %v", err), "some of them bear on delay and on the size of rows",
			"-- allow the user DescribeConfigs on the cluster\n")
		return
	}
	var slow, small []string
	for _, resource := range all {
		if resource.Err != nil {
			continue
		}
		if v, ok := topics.Setting(resource, retryBackoff); ok && v > 1 {
			slow = append(slow, resource.Name)
		}
		if v, ok := topics.Setting(resource, topics.RequestSize); ok && k.largest > 0 && v < k.largest {
			small = append(small, resource.Name)
		}
	}
	if len(slow) > 0 {
		slices.Sort(slow)
		k.add(Warn, "kafka-transaction-wait", fmt.Sprintf("%s isn't 1 on broker %s", retryBackoff, strings.Join(slow, ", ")),
			"a transaction that follows right after another waits for this long, 20 ms by default: with 1 a change arrives in 2 to 3 ms",
			"-- put "+retryBackoff+"=1 into each broker's server.properties and restart them one by one\n")
	}
	if len(small) > 0 {
		slices.Sort(small)
		k.add(Warn, "kafka-request-size", fmt.Sprintf("socket.request.max.bytes is less than %d on broker %s", k.largest, strings.Join(small, ", ")),
			"a table of the task has a column without a close limit, and an update of a row as large as max_allowed_packet takes twice that: unless it can be packed, publishing it would stop the capture",
			fmt.Sprintf("-- put socket.request.max.bytes=%d into each broker's server.properties and restart them one by one; or lower max_allowed_packet in MySQL\n", k.largest))
	}
}

// topicSettings looks at topics of the region that exist already, as somebody
// may have made them by hand.
func (k *kafkaCheck) topicSettings(ctx context.Context, admin *kadm.Client) {
	listed, err := admin.ListTopics(ctx)
	if err != nil {
		k.unreachable(err)
		return
	}
	var own []string
	for _, name := range listed.Names() {
		if _, _, _, ok := topics.ParseTable(name); ok && strings.HasPrefix(name, string(k.region)+".") || name == topics.Spine(k.region) {
			own = append(own, name)
		}
	}
	if len(own) == 0 {
		return
	}
	configs, err := admin.DescribeTopicConfigs(ctx, own...)
	if err != nil {
		k.unreachable(err)
		return
	}
	for _, resource := range configs {
		if size, ok := topics.Setting(resource, topics.MessageSize); ok && size < topics.MaxMessage {
			k.add(Warn, "topic-message-size", fmt.Sprintf("max.message.bytes of topic %s is %d and should be %d", resource.Name, size, topics.MaxMessage),
				"a larger row would stop the capture",
				fmt.Sprintf("-- kafka-configs.sh --alter --entity-type topics --entity-name %s --add-config max.message.bytes=%d\n", resource.Name, topics.MaxMessage))
		}
	}
}
