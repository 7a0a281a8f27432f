package capture

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"duplex/supervise"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestAdmit: a change that Kafka would not take is refused with table, size,
// limit and mend; one that is small enough once packed isn't.
func TestAdmit(t *testing.T) {
	random := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{}).Read(random)
	packable := make([]byte, 5<<20)
	const topic = "east.shop.wide"
	for _, test := range []struct {
		name             string
		value            []byte
		request, message int64
		want             string
	}{
		{"no limits", random, math.MaxInt64, math.MaxInt64, ""},
		{"room", random, 6 << 20, 6 << 20, ""},
		{"packed", packable, 1 << 20, 1 << 20, ""},
		{"message", random, 6 << 20, 2 << 20, "table shop.wide: a change of a row has 5242880 bytes, more than max.message.bytes of topic east.shop.wide, 2097152"},
		{"request", random, 2 << 20, 6 << 20, "table shop.wide: a change of a row has 5242880 bytes, more than socket.request.max.bytes of the brokers, 2097152"},
		{"packed, too", packable, 1000, 4 << 20, "socket.request.max.bytes"},
		{"too large for anything", make([]byte, 160<<20), math.MaxInt64, math.MaxInt64, "more than a message may have at all"},
	} {
		s := &publishing{limits: limits{asked: true, request: test.request, message: map[string]int64{topic: test.message}}}
		err := s.admit(t.Context(), &table{topic: topic, collection: "shop.wide"}, &kgo.Record{Value: test.value})
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "; mend: ")):
			t.Errorf("%s: %v, which doesn't say %q", test.name, err, test.want)
		case err != nil && !supervise.IsPermanent(err):
			t.Errorf("%s: tried again for ever: %v", test.name, err)
		}
	}
}
