package testbed_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"duplex/internal/testbed"
)

func TestSharedKafkaIsEmptied(t *testing.T) {
	var address string
	t.Run("first", func(t *testing.T) {
		k := bed.SharedKafka(t)
		address = k.Brokers()[0]
		client := kafkaClient(t, k, kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("orders"))
		createTopic(t, client, "orders", 1)
		produce(t, client, "orders", "x")
		check(t, client.PollFetches(t.Context()).Err())
		check(t, client.CommitUncommittedOffsets(t.Context()))
	})
	t.Run("second", func(t *testing.T) {
		k := bed.SharedKafka(t)
		if k.Brokers()[0] != address {
			t.Error("the second test got another broker")
		}
		admin := kadm.NewClient(kafkaClient(t, k))
		topics, err := admin.ListTopics(t.Context())
		check(t, err)
		groups, err := admin.ListGroups(t.Context())
		check(t, err)
		if len(topics)+len(groups) != 0 {
			t.Errorf("the second test got the first one's topics %q and groups %q", topics.Names(), groups.Groups())
		}
	})
}

func TestSharedRegistryIsEmptied(t *testing.T) {
	record := func(field string) sr.Schema {
		return sr.Schema{Schema: `{"type":"record","name":"r","fields":[{"name":"id","type":"` + field + `"}]}`}
	}
	t.Run("first", func(t *testing.T) {
		client, err := sr.NewClient(sr.URLs(bed.SharedRegistry(t).URL()))
		check(t, err)
		check(t, client.SetCompatibility(t.Context(), sr.SetCompatibility{Level: sr.CompatBackward})[0].Err)
		_, err = client.CreateSchema(t.Context(), "orders-value", record("long"))
		check(t, err)
		var refused *sr.ResponseError
		if _, err := client.CreateSchema(t.Context(), "orders-value", record("string")); !errors.As(err, &refused) || refused.StatusCode != 409 {
			t.Errorf("an incompatible schema: %v, want 409", err)
		}
	})
	t.Run("second", func(t *testing.T) {
		client, err := sr.NewClient(sr.URLs(bed.SharedRegistry(t).URL()))
		check(t, err)
		subjects, err := client.Subjects(t.Context())
		check(t, err)
		if len(subjects) != 0 {
			t.Errorf("the second test got the first one's subjects %q", subjects)
		}
		_, err = client.CreateSchema(t.Context(), "orders-value", record("string"))
		check(t, err)
	})
}

// TestServersDieWithAKilledProcess runs this test binary once more, which starts servers and waits to be killed.
func TestServersDieWithAKilledProcess(t *testing.T) {
	if os.Getenv("TESTBED_CHILD") != "" {
		// Started from goroutines that end at once: their threads must not take the servers with them.
		pids := make(chan int)
		go func() { pids <- bed.MySQL(t, testbed.AnyMySQL).PID() }()
		go func() { pids <- bed.Registry(t).PID() }()
		os.Stdout.WriteString("pids " + strconv.Itoa(<-pids) + " " + strconv.Itoa(<-pids) + "\n")
		select {}
	}
	child := exec.Command(os.Args[0], "-test.run=^TestServersDieWithAKilledProcess$")
	child.Env = append(os.Environ(), "TESTBED_CHILD=1")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	check(t, err)
	check(t, child.Start())
	defer child.Process.Kill()
	var pids []int
	for lines := bufio.NewScanner(out); len(pids) == 0 && lines.Scan(); {
		if list, ok := strings.CutPrefix(lines.Text(), "pids "); ok {
			for _, s := range strings.Fields(list) {
				pid, err := strconv.Atoi(s)
				check(t, err)
				pids = append(pids, pid)
			}
		}
	}
	if len(pids) != 2 {
		t.Fatalf("the child process started servers %v, want 2", pids)
	}
	time.Sleep(100 * time.Millisecond) // long enough for a server to die with a thread, were it to
	for _, pid := range pids {
		check(t, syscall.Kill(pid, 0))
	}
	check(t, child.Process.Kill())
	_ = child.Wait()
	for _, pid := range pids {
		for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("server %d outlives the process that started it", pid)
			}
		}
	}
}

// alive is false for a zombie too: init may be slow to reap it.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	return !strings.Contains(string(stat), ") Z ")
}
