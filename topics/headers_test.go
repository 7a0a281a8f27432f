package topics

import (
	"math"
	"testing"

	"duplex/change"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// What Headers writes, Origin reads back, whatever else is in the record.
func TestHeaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stamp := change.Stamp{
			Origin: change.Region(rapid.StringMatching(`[a-z][a-z0-9-]{0,15}`).Draw(t, "origin")),
			Seq:    change.Seq(rapid.Int64Range(0, math.MaxInt64).Draw(t, "seq")),
			HLC:    change.HLC(rapid.Int64().Draw(t, "hlc")),
		}
		r := &kgo.Record{Headers: append(Headers(stamp), kgo.RecordHeader{Key: "trace", Value: []byte("x")})}
		origin, seq, err := Origin(r)
		if err != nil || string(origin) != string(stamp.Origin) || seq != stamp.Seq {
			t.Fatalf("%+v read back as %s, %d, %v", stamp, origin, seq, err)
		}
	})
}

// A record of somebody else is never taken for a change.
func TestForeignHeaders(t *testing.T) {
	header := func(k, v string) kgo.RecordHeader { return kgo.RecordHeader{Key: k, Value: []byte(v)} }
	for name, headers := range map[string][]kgo.RecordHeader{
		"none":            nil,
		"no seq":          {header("origin", "east")},
		"no origin":       {header("seq", "5")},
		"origin twice":    {header("origin", "east"), header("origin", "east")},
		"seq alone twice": {header("seq", "5"), header("seq", "5")},
		"seq twice":       {header("origin", "east"), header("seq", "5"), header("seq", "6")},
		"empty seq":       {header("origin", "east"), header("seq", "")},
		"negative seq":    {header("origin", "east"), header("seq", "-5")},
		"seq with text":   {header("origin", "east"), header("seq", "5x")},
		"too large":       {header("origin", "east"), header("seq", "9223372036854775808")},
		"far too large":   {header("origin", "east"), header("seq", "99999999999999999999")},
	} {
		if _, _, err := Origin(&kgo.Record{Topic: "t", Headers: headers}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
