package e2e_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"duplex/change"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFirstPlaceIsOne: an apply that saved its place before it had applied anything, and
// is then killed before it knows of its first batch that it came over a newer local
// write, finds that out after its restart (promise 4).
func TestFirstPlaceIsOne(t *testing.T) {
	p := newPair(t, "firstplace", nil)
	for _, s := range p.sides() {
		mustExec(t, s.mysql.DB(), "CREATE TABLE shop.notes (id INT PRIMARY KEY, note VARCHAR(20))")
	}
	captures, applies := p.start("capture"), p.start("apply")
	waitPlaced(t, p, p.east, p.west)

	for _, capture := range captures {
		capture.Signal(syscall.SIGSTOP)
	}
	mustExec(t, p.east.mysql.DB(), "INSERT INTO shop.notes VALUES (1, 'older')")
	time.Sleep(20 * time.Millisecond) // so that it is older
	mustExec(t, p.west.mysql.DB(), "INSERT INTO shop.notes VALUES (1, 'newer')")
	captures[0].Signal(syscall.SIGCONT)
	eventually(t, stallLimit, func() error { return hasRows(p.west, "shop.notes WHERE note = 'older'", 1) })
	applies[1].Kill()
	captures[1].Signal(syscall.SIGCONT)
	applies[1].Start()
	applies[1].WaitStreaming()
	eventually(t, stallLimit, func() error {
		return errors.Join(hasRows(p.east, "shop.notes WHERE note = 'newer'", 1), hasRows(p.west, "shop.notes WHERE note = 'newer'", 1))
	})
	stop(append(captures, applies...))
}

// waitPlaced waits until the apply of target has saved a place in source's topics.
func waitPlaced(t *testing.T, p *pair, source, target *side) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(p.kafka.Brokers()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	group := topics.Group(p.taskName, change.Region(source.region), change.Region(target.region))
	eventually(t, stallLimit, func() error {
		found, err := kadm.NewClient(client).FetchOffsets(t.Context(), group)
		if err != nil {
			return err
		}
		if _, ok := found.Lookup(topics.Spine(change.Region(source.region)), 0); !ok {
			return fmt.Errorf("group %s has no offset of the spine", group)
		}
		return nil
	})
}
