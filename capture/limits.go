package capture

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// limits are what a Kafka takes, in bytes.
type limits struct {
	request int64            // the least socket.request.max.bytes of the brokers
	message map[string]int64 // max.message.bytes of topics
	asked   bool
}

// admit refuses a wide change that Kafka would not take. Of a message that is too
// large it says so itself, but at a request that is too large it hangs up, as
// often as one tries.
func (s *publishing) admit(ctx context.Context, t *table, r *kgo.Record) error {
	const overhead = 64 << 10 // of the request, and of key and headers
	size := int64(len(r.Value))
	if size > topics.MaxMessage-overhead {
		return tooWide(t, size, "a message may have at all", topics.MaxMessage, "keep such rows out of captured tables, or split them")
	}
	if err := s.limits.ask(ctx, s.publisher, t.topic); err != nil {
		return err
	}
	most := min(s.limits.request, s.limits.message[t.topic])
	if size+overhead <= most {
		return nil
	}
	packed := topics.PackedSize(r.Value)
	if message := s.limits.message[t.topic]; packed+overhead > message {
		return tooWide(t, packed, "max.message.bytes of topic "+t.topic, message,
			"kafka-configs.sh --alter --entity-type topics --entity-name "+t.topic+" --add-config max.message.bytes="+strconv.Itoa(topics.MaxMessage)+"; then restart")
	}
	if packed+overhead > s.limits.request {
		return tooWide(t, packed, "socket.request.max.bytes of the brokers", s.limits.request,
			"put socket.request.max.bytes="+strconv.Itoa(topics.MaxRequest)+" into each broker's server.properties, restart them one by one, then restart duplex")
	}
	return nil
}

func tooWide(t *table, size int64, limit string, most int64, mend string) error {
	return supervise.Permanent(fmt.Errorf("table %s: a change of a row has %d bytes, more than %s, %d; nothing of its transaction was published; mend: %s", t.collection, size, limit, most, mend))
}

// ask learns the limits, of each topic once. What can't be learned, as the
// account may not ask, is no limit: then Kafka refuses in its own way.
func (l *limits) ask(ctx context.Context, p *publisher, topic string) error {
	if _, ok := l.message[topic]; ok {
		return nil
	}
	adm := p.admin()
	if !l.asked {
		l.request, l.message, l.asked = math.MaxInt64, map[string]int64{}, true
		brokers, err := adm.ListBrokers(ctx)
		if err != nil {
			return fmt.Errorf("listing kafka's brokers: %w", explain(err))
		}
		if configs, err := adm.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...); err == nil {
			for _, broker := range configs {
				l.request = min(l.request, bound(broker, topics.RequestSize))
			}
		}
	}
	l.message[topic] = math.MaxInt64
	if configs, err := adm.DescribeTopicConfigs(ctx, topic); err == nil {
		for _, c := range configs {
			l.message[topic] = min(l.message[topic], bound(c, topics.MessageSize))
		}
	}
	return nil
}

func bound(resource kadm.ResourceConfig, name string) int64 {
	if n, ok := topics.Setting(resource, name); ok {
		return n
	}
	return math.MaxInt64
}
