package topics

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"duplex/config"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// MaxMessage is the largest record that Duplex's topics take, in bytes.
const MaxMessage = 160 << 20

// EnsureTable makes the topic of a table's changes if it isn't there and
// returns its number of partitions.
func EnsureTable(ctx context.Context, adm *kadm.Client, cfg config.Kafka, name string) (int32, error) {
	return ensure(ctx, adm, cfg, name, int32(cfg.Partitions), map[string]string{
		"cleanup.policy": "delete",
		"retention.ms":   strconv.FormatInt(cfg.Retention.Milliseconds(), 10),
		MessageSize:      strconv.Itoa(MaxMessage),
	})
}

// EnsureOrdered makes a topic of one partition, which is what puts its records
// in order, if it isn't there: the spine, or the one of statements or
// heartbeats.
func EnsureOrdered(ctx context.Context, adm *kadm.Client, cfg config.Kafka, name string) error {
	n, err := ensure(ctx, adm, cfg, name, 1, map[string]string{
		"cleanup.policy": "delete",
		"retention.ms":   strconv.FormatInt(cfg.Retention.Milliseconds(), 10),
		MessageSize:      strconv.Itoa(MaxMessage),
	})
	if err == nil && n != 1 {
		return fmt.Errorf("topic %s has %d partitions and must have one; mend: delete the topic and restart the capture", name, n)
	}
	return err
}

// EnsurePositions makes the topic of capture positions if it isn't there. Its
// segments are small, so that compaction keeps the reading of it at start short.
func EnsurePositions(ctx context.Context, adm *kadm.Client, cfg config.Kafka) error {
	return ensureCompacted(ctx, adm, cfg, Positions)
}

// EnsureCopies makes the topic of initial copies if it isn't there.
func EnsureCopies(ctx context.Context, adm *kadm.Client, cfg config.Kafka) error {
	return ensureCompacted(ctx, adm, cfg, Copies)
}

// EnsureTasks makes the topics of tasks and of their status if they aren't there.
func EnsureTasks(ctx context.Context, adm *kadm.Client, cfg config.Kafka) error {
	return errors.Join(ensureCompacted(ctx, adm, cfg, Tasks), ensureCompacted(ctx, adm, cfg, Status))
}

func ensureCompacted(ctx context.Context, adm *kadm.Client, cfg config.Kafka, name string) error {
	n, err := ensure(ctx, adm, cfg, name, 1, map[string]string{
		"cleanup.policy":            "compact",
		"segment.bytes":             strconv.Itoa(16 << 20),
		"segment.ms":                "600000",
		"min.cleanable.dirty.ratio": "0.1",
	})
	if err == nil && n != 1 {
		return fmt.Errorf("topic %s has %d partitions and must have one; mend: delete the topic while all of Duplex is stopped", name, n)
	}
	return err
}

func ensure(ctx context.Context, adm *kadm.Client, cfg config.Kafka, name string, partitions int32, settings map[string]string) (int32, error) {
	found, err := adm.ListTopics(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("looking for topic %s: %w", name, err)
	}
	if d, ok := found[name]; ok && d.Err == nil {
		return int32(len(d.Partitions)), nil
	}
	values := make(map[string]*string, len(settings))
	for k, v := range settings {
		values[k] = &v
	}
	_, err = adm.CreateTopic(ctx, partitions, int16(cfg.ReplicationFactor), values, name)
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists):
		// Somebody else made it just now, maybe with other partitions.
		return ensure(ctx, adm, cfg, name, partitions, settings)
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return 0, fmt.Errorf("creating topic %s: %w; mend: kafka.replication_factor is %d; set it to at most the number of brokers", name, err, cfg.ReplicationFactor)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return 0, fmt.Errorf("creating topic %s: %w; mend: allow the user CREATE, DESCRIBE, READ and WRITE on topics of this prefix", name, err)
	case err != nil:
		return 0, fmt.Errorf("creating topic %s: %w", name, err)
	}
	return partitions, awaitLeaders(ctx, adm, name)
}

// awaitLeaders waits until a topic just made can be used: brokers answer
// "unknown topic" for a moment after they said it was created.
func awaitLeaders(ctx context.Context, adm *kadm.Client, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		offsets, err := adm.ListEndOffsets(ctx, name)
		if err == nil {
			err = offsets.Error()
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the new topic %s: %w", name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
