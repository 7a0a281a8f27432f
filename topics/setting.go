package topics

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// The settings of Kafka that bound how large a row may be: of a topic, the
// bytes of a batch as it is sent; of a broker, those of a request.
const (
	MessageSize = "max.message.bytes"
	RequestSize = "socket.request.max.bytes"
)

// MaxRequest is the largest request that Duplex sends, in bytes.
const MaxRequest = MaxMessage + 1<<20

// Setting returns a setting that is a number; ok is false if the resource
// hasn't it.
func Setting(resource kadm.ResourceConfig, name string) (n int64, ok bool) {
	for _, c := range resource.Configs {
		if c.Key == name && c.Value != nil {
			n, err := strconv.ParseInt(*c.Value, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
