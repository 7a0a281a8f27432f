package apply

import (
	"log/slog"
	"testing"

	"duplex/converge"
	"duplex/spine"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A row whose newest image retention has taken is left as it is, told of, and not looked at for ever.
func TestImagesThatAreGone(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "east.shop.a"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 10 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "east.shop.a", Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), kadm.Offsets{"east.shop.a": {0: {Topic: "east.shop.a", At: 8}}}); err != nil {
		t.Fatal(err)
	}
	k := newKnown(t)
	k.apply(5, 10)
	k.localWrite(1, 20, 7)
	k.comeBy(5)
	id, err := k.id(k.table, k.key)
	k.must(err)
	if k.due() != 1 {
		t.Fatal("the row isn't to be put back")
	}
	at := spine.Partition{Topic: "east.shop.a"}
	lost, left := &repairRow{key: id}, &repairRow{}
	wanted := map[spine.Partition]map[int64]*repairRow{at: {7: lost, 8: left}, {Topic: "east.shop.gone"}: {1: {}}}
	r := &repair{s: &session{versions: k.inbound, st: &Stream{cfg: Config{Log: slog.New(slog.DiscardHandler)}}}}
	if err := r.leaveGone(t.Context(), client, wanted); err != nil {
		t.Fatal(err)
	}
	if len(wanted) != 1 || len(wanted[at]) != 1 || wanted[at][8] == nil {
		t.Errorf("left to be read: %v", wanted)
	}
	if k.due() != 0 {
		t.Error("the row is still to be put back")
	}
	// A row made of parts that lacks one is given up, too, and no other.
	m := &partsMend{images: map[converge.Place]*repairRow{1: lost, 2: left}}
	if !m.lacks(converge.Right{Whole: true, Exist: 1}) || !m.lacks(converge.Right{Parts: []converge.Part{{Place: 2}, {Place: 1}}}) || m.lacks(converge.Right{Whole: true, Exist: 2}) {
		t.Error("what lacks an image isn't told from what doesn't")
	}
}
