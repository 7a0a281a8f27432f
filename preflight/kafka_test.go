package preflight_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"duplex/change"
	"duplex/config"
	"duplex/internal/testbed"
	"duplex/topics"
)

// with checks with the given Kafka and registry in both process files.
func (w *world) with(kafka config.Kafka, registry config.Registry) *world {
	inner := *w
	inner.procs = slices.Clone(w.procs)
	for i, p := range inner.procs {
		changed := *p
		changed.Kafka, changed.Registry = kafka, registry
		inner.procs[i] = &changed
	}
	return &inner
}

func plainKafka(brokers ...string) config.Kafka {
	return config.Kafka{Brokers: brokers, ReplicationFactor: 1, Partitions: 2, TLS: config.TLS{Mode: config.TLSOff}}
}

func TestKafkaAndRegistry(t *testing.T) {
	good := bed.Kafka(t)
	registry := config.Registry{URL: bed.Registry(t).URL()}
	w := newWorld(t, testbed.MySQL97, testbed.MySQL97)
	kafka := plainKafka(good.Brokers()...)
	both := func(finding string) []string { return []string{"east " + finding, "west " + finding} }

	w.step("good", func(w *world) { w.with(kafka, registry).expect() })
	w.step("large rows", func(w *world) {
		w.exec(east, "CREATE TABLE shop_eu.t (id INT PRIMARY KEY, l LONGBLOB)")
		w.exec(west, "CREATE TABLE shop_eu.t (id INT PRIMARY KEY, l LONGBLOB)")
		w.with(kafka, registry).expect()
		w.exec(east, "DROP TABLE shop_eu.t")
		w.exec(west, "DROP TABLE shop_eu.t")
	})
	w.step("replication factor", func(w *world) {
		k := kafka
		k.ReplicationFactor = 3
		w.with(k, registry).expect(both("replication-factor refuse")...)
	})
	w.step("unreachable", func(w *world) {
		w.with(plainKafka(unusedAddress(t)), registry).expect(both("kafka refuse")...)
	})
	w.step("registry", func(w *world) {
		for _, url := range []string{"http://" + unusedAddress(t), strings.TrimSuffix(registry.URL, "/apis/ccompat/v7"), registry.URL + "/nothing"} {
			w.with(kafka, config.Registry{URL: url}).expect(both("registry refuse")...)
		}
	})
	w.step("topic made by hand", func(w *world) {
		client, err := kgo.NewClient(kgo.SeedBrokers(good.Brokers()...))
		if err != nil {
			w.t.Fatal(err)
		}
		defer client.Close()
		for _, topic := range []string{topics.Spine("west"), "west.shop_eu.orders", "westeros.shop_eu.orders"} {
			size := "1000000"
			if _, err := kadm.NewClient(client).CreateTopic(w.t.Context(), 1, 1, map[string]*string{"max.message.bytes": &size}, topic); err != nil {
				w.t.Fatal(err)
			}
		}
		w.with(kafka, registry).expect("west topic-message-size warn", "west topic-message-size warn")
		if _, err := kadm.NewClient(client).DeleteTopics(w.t.Context(), topics.Spine("west"), "west.shop_eu.orders"); err != nil {
			w.t.Fatal(err)
		}
	})
	w.step("peer", func(w *world) {
		w = w.with(kafka, registry)
		w.procs[east].Peers = map[change.Region]config.Peer{"west": {Kafka: plainKafka(unusedAddress(t)), Registry: registry}}
		w.expect("east kafka refuse")
	})
}

func TestKafkaSettings(t *testing.T) {
	// Kafka's defaults: 100 MiB a request, and two images of 64 MiB don't fit.
	slow := bed.Kafka(t, testbed.KafkaSecure(), testbed.KafkaConfig("add.partitions.to.txn.retry.backoff.ms=20", "socket.request.max.bytes=104857600"))
	w := newWorld(t, testbed.MySQL97, testbed.MySQL97)
	k := plainKafka(slow.Brokers()...)
	k.TLS = config.TLS{Mode: config.TLSVerifyFull, CA: slow.CAFile}
	k.SASL = config.SASL{Mechanism: "SCRAM-SHA-512", User: testbed.KafkaUser, Password: testbed.KafkaPassword}
	embedded := config.Registry{URL: config.EmbeddedName}
	w.with(k, embedded).expect("east kafka-transaction-wait warn", "west kafka-transaction-wait warn")
	w.exec(east, "CREATE TABLE shop_eu.t (id INT PRIMARY KEY, l LONGBLOB)")
	w.exec(west, "CREATE TABLE shop_eu.t (id INT PRIMARY KEY, l LONGBLOB)")
	w.with(k, embedded).expect("east kafka-transaction-wait warn", "west kafka-transaction-wait warn", "east kafka-request-size warn", "west kafka-request-size warn")
	k.SASL.Password = "canary-secret"
	for _, f := range w.with(k, embedded).expect("east kafka-access refuse", "west kafka-access refuse") {
		if strings.Contains(f.What+f.Fix, "canary-secret") {
			t.Errorf("the finding holds the password: %+v", f)
		}
	}
}

func unusedAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
