package testbed_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"duplex/internal/testbed"
)

func TestKafkaCarriesRecordsThroughItsProxy(t *testing.T) {
	began := time.Now()
	k := bed.Kafka(t, testbed.KafkaProxied())
	rss, err := testbed.PeakRSS(k.PID(0))
	check(t, err)
	t.Logf("one node started in %v, peak %d MB", time.Since(began).Round(time.Millisecond), rss>>20)
	client := kafkaClient(t, k)
	createTopic(t, client, "orders", 1)
	produce(t, client, "orders", "first")
	expect(t, consume(t, client, "orders", 1), "first")

	k.Proxy(0).HoldReplies()
	acknowledged := make(chan error, 1)
	client.Produce(t.Context(), &kgo.Record{Topic: "orders", Value: []byte("held")}, func(_ *kgo.Record, err error) { acknowledged <- err })
	select {
	case err := <-acknowledged:
		t.Errorf("a proxy that holds replies let an acknowledgement through: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	check(t, k.Proxy(0).Restore())
	check(t, <-acknowledged)

	check(t, k.Kill(0))
	check(t, k.Start(0))
	out, err := k.Tool(t.Context(), "org.apache.kafka.tools.TopicCommand", "--describe", "--topic", "orders")
	check(t, err)
	if !strings.Contains(out, "PartitionCount: 1") {
		t.Errorf("after kill and start the topic tool says %q", out)
	}
	expect(t, consume(t, client, "orders", 2), "first", "held")
}

func TestThreeNodesServeWithoutOne(t *testing.T) {
	began := time.Now()
	k := bed.Kafka(t, testbed.KafkaNodes(3))
	t.Logf("three nodes started in %v", time.Since(began).Round(time.Millisecond))
	client := kafkaClient(t, k)
	createTopic(t, client, "orders", 3)
	produce(t, client, "orders", "before")
	check(t, k.Kill(1))
	killed := time.Now()
	for i := range 20 {
		produce(t, client, "orders", fmt.Sprint(i))
	}
	t.Logf("20 records acknowledged by all %v after the kill", time.Since(killed).Round(time.Millisecond))
	check(t, k.Start(1))
	if n := len(consume(t, client, "orders", 21)); n != 21 {
		t.Errorf("%d records, want 21", n)
	}
}

func TestSecureKafkaWantsPasswordAndCertificate(t *testing.T) {
	k := bed.Kafka(t, testbed.KafkaSecure())
	pem, err := os.ReadFile(k.CAFile)
	check(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	auth := func(password string) kgo.Opt {
		return kgo.SASL(scram.Auth{User: testbed.KafkaUser, Pass: password}.AsSha512Mechanism())
	}
	client := kafkaClient(t, k, kgo.DialTLSConfig(&tls.Config{RootCAs: pool}), auth(testbed.KafkaPassword))
	createTopic(t, client, "orders", 1)
	produce(t, client, "orders", "secret")
	expect(t, consume(t, client, "orders", 1), "secret")

	for name, opts := range map[string][]kgo.Opt{
		"wrong password": {kgo.DialTLSConfig(&tls.Config{RootCAs: pool}), auth("wrong")},
		"unknown CA":     {kgo.DialTLSConfig(&tls.Config{}), auth(testbed.KafkaPassword)},
		"no TLS":         {auth(testbed.KafkaPassword)},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if err := kafkaClient(t, k, append(opts, kgo.RequestRetries(0))...).Ping(ctx); err == nil {
			t.Errorf("a client with %s gets in", name)
		}
		cancel()
	}
}

func kafkaClient(t *testing.T, k *testbed.Kafka, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	// franz-go would otherwise wait 5 s before it looks again for a topic just created.
	opts = append(opts, kgo.SeedBrokers(k.Brokers()...), kgo.MetadataMinAge(100*time.Millisecond))
	client, err := kgo.NewClient(opts...)
	check(t, err)
	t.Cleanup(client.Close)
	return client
}

func createTopic(t *testing.T, client *kgo.Client, topic string, factor int16) {
	t.Helper()
	res, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, factor, nil, topic)
	check(t, err)
	check(t, res.Err)
}

func produce(t *testing.T, client *kgo.Client, topic, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	check(t, client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr())
}

// consume reads a topic from its start until it has at least n values.
func consume(t *testing.T, client *kgo.Client, topic string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}})
	defer client.RemoveConsumePartitions(map[string][]int32{topic: {0}})
	var values []string
	for len(values) < n {
		fetches := client.PollFetches(ctx)
		check(t, ctx.Err())
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read %q, want %q", got, want)
	}
}
