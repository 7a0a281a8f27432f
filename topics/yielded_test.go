package topics

import (
	"reflect"
	"testing"

	"duplex/change"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestVersionHeader(t *testing.T) {
	stamp := change.Stamp{Origin: "west", Seq: 7, HLC: 9}
	v := change.Version{HLC: 1<<62 + 5, Origin: "east"}
	r := &kgo.Record{Headers: append(Headers(stamp), VersionHeader(v))}
	if got, given, err := Version(r); got != v || !given || err != nil {
		t.Errorf("%v, %t, %v", got, given, err)
	}
	if _, given, err := Version(&kgo.Record{Headers: Headers(stamp)}); given || err != nil {
		t.Errorf("a record without one: %t, %v", given, err)
	}
	for _, text := range []string{"", "x east", "5", "5 ", "-1 east"} {
		r.Headers[HeaderCount].Value = []byte(text)
		if _, given, err := Version(r); !given || err == nil {
			t.Errorf("%q is taken for a version", text)
		}
	}
}

func TestYieldedHeader(t *testing.T) {
	for _, rows := range [][]Yielded{{}, {{"west.shop.t", 3, 4, []byte{0, 255, 10}, "east", 1 << 62}, {"east.shop.t", 1, 2, []byte("k"), "west", 5}}} {
		h, err := YieldedHeader(rows)
		if err != nil {
			t.Fatal(err)
		}
		got, is, err := YieldedRows(&kgo.Record{Headers: []kgo.RecordHeader{h}})
		if !reflect.DeepEqual(got, rows) || !is || err != nil {
			t.Errorf("%v, %t, %v; want %v", got, is, err, rows)
		}
	}
	if _, is, err := YieldedRows(&kgo.Record{}); is || err != nil {
		t.Errorf("a record without one: %t, %v", is, err)
	}
	if _, is, err := YieldedRows(&kgo.Record{Headers: []kgo.RecordHeader{{Key: HeaderYielded, Value: []byte("[")}}}); !is || err == nil {
		t.Error("half a header is read")
	}
}
