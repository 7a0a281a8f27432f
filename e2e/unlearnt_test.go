package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestVersionsGone: records that are read only for the versions of rows, those of
// the region's own topics and those of what was applied before, may be gone by
// retention. What comes in goes on being applied; the log says what isn't known.
func TestVersionsGone(t *testing.T) {
	p := newSmall(t, mysqlPair, "gone")
	captures := p.start("capture")
	applies := p.start("apply")
	west, capture := applies[1], captures[1]
	rows := 0
	insert := func(s *side) {
		rows++
		mustExec(t, s.mysql.DB(), fmt.Sprintf("INSERT INTO shop.t VALUES (%d, 'x')", rows))
	}
	arrived := func() {
		t.Helper()
		for _, s := range p.sides() {
			eventually(t, stallLimit, func() error { return hasRows(s, "shop.t", rows) })
		}
	}
	said := func(what string) {
		t.Helper()
		eventually(t, stallLimit, func() error {
			if log := west.LogTail(200); !strings.Contains(log, what) {
				return fmt.Errorf("the log doesn't say %q", what)
			}
			return nil
		})
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	insert(p.east)
	insert(p.west)
	arrived()

	// West's capture publishes nothing, so that what apply writes isn't settled.
	capture.Term()
	for range 20 {
		insert(p.east)
	}
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.t", rows) })
	west.Kill()
	empty(t, client, p.east.region+".shop.t")
	capture.Start()
	west.Start()
	west.WaitStreaming()
	insert(p.east)
	arrived()
	said("going on without knowing its versions")

	// And the own topics, of which more is read than was seen by the other region.
	west.Kill()
	insert(p.west)
	arrived()
	empty(t, client, p.west.region+".shop.t")
	west.Start()
	west.WaitStreaming()
	insert(p.east)
	insert(p.west)
	arrived()
	said("the own topics can't be read on")
	stop(append(captures, applies...))
}

// empty deletes all records of a topic.
func empty(t *testing.T, client *kgo.Client, topic string) {
	t.Helper()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(t.Context(), topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	deleted, err := admin.DeleteRecords(t.Context(), ends.Offsets())
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}
