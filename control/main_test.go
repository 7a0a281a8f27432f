package control_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"duplex/config"
	"duplex/control"
	"duplex/embedded"
	"duplex/internal/testbed"
	"duplex/tasks"
)

var bed *testbed.Bed

func TestMain(m *testing.M) { os.Exit(testbed.Main(m, &bed)) }

func kafkaConfig(brokers ...string) config.Kafka {
	return config.Kafka{Brokers: brokers, ReplicationFactor: 1, Partitions: 1, TLS: config.TLS{Mode: config.TLSOff}}
}

// onEveryKafka runs the test on a real Kafka and on the one for trials.
func onEveryKafka(t *testing.T, test func(*testing.T, config.Kafka)) {
	t.Run("kafka", func(t *testing.T) { test(t, kafkaConfig(bed.SharedKafka(t).Brokers()...)) })
	t.Run("embedded", func(t *testing.T) {
		k := startEmbedded(t, filepath.Join(t.TempDir(), "kafka"), "127.0.0.1:0")
		t.Cleanup(func() { k.Close() })
		test(t, kafkaConfig(k.Addr()))
	})
}

func startEmbedded(t *testing.T, dir, listen string) *embedded.Kafka {
	t.Helper()
	k, err := embedded.StartKafka(t.Context(), embedded.Options{Dir: dir, Listen: listen, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t *testing.T, cfg config.Kafka) *control.Store {
	t.Helper()
	s, err := control.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func read(t *testing.T, s *control.Store) *control.Board {
	t.Helper()
	b, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func spec(t *testing.T, name, more string) *tasks.Spec {
	t.Helper()
	s, err := tasks.Parse("task.yaml", []byte("task: "+name+"\nregions: [east, west]\ntables: {include: ['shop.*'], exclude: ['shop.tmp_*']}\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
