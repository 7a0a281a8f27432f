package apply

import (
	"context"
	"errors"
	"testing"

	"duplex/change"
)

// waits reports whether the tail would wait before it reads of a batch.
func (k *known) waits(batch change.Seq) bool {
	k.t.Helper()
	ended, end := context.WithCancel(k.t.Context())
	end()
	_, err := k.awaitNoted(ended, change.Stamp{Origin: "west", Seq: batch})
	if err != nil && !errors.Is(err, context.Canceled) {
		k.t.Fatal(err)
	}
	return err != nil
}

func TestTailWaitsForWhatIsWritten(t *testing.T) {
	k := newKnown(t)
	if !k.waits(7) {
		t.Error("the tail reads of batch 7, of which nobody has told")
	}
	told := make(chan error)
	go func() {
		_, err := k.awaitNoted(t.Context(), change.Stamp{Origin: "west", Seq: 7})
		told <- err
	}()
	k.apply(7, 70)
	k.must(<-told)
	if k.waits(7) {
		t.Error("the tail waits for batch 7, which was told")
	}
	if !k.waits(8) {
		t.Error("the tail reads of batch 8, of which nobody has told")
	}
	if _, err := k.awaitNoted(t.Context(), change.Stamp{Origin: "east", Seq: 9}); err != nil {
		t.Errorf("the tail waits for a local transaction: %v", err)
	}
}

// TestTailReadsOnWhereTheTargetWentBack: what was applied before the target was
// restored isn't told before the tail has read it.
func TestTailReadsOnWhereTheTargetWentBack(t *testing.T) {
	k := newKnown(t)
	k.again = true
	if k.waits(7) {
		t.Error("the tail waits for a batch that the target has lost, which is applied again only when it has been read")
	}
	k.begin()
	if !k.waits(7) {
		t.Error("after that the tail reads of what nobody has told")
	}
}

// TestRestoredIsNotTakenForLater: the image of a repair isn't that of what came in after it.
func TestRestoredIsNotTakenForLater(t *testing.T) {
	k := newKnown(t)
	k.localWrite(1, 50, 11)
	k.apply(3, 30) // loses
	r := &repair{rows: []repairRow{{}}}
	id, err := k.id(k.table, k.key)
	k.must(err)
	known, _ := k.index.Of(id)
	r.rows[0] = repairRow{key: id, known: known, table: k.table, row: row{key: k.key}}
	k.must(k.index.Echo(id, k.digest("west", 3))) // over the local write
	if len(k.restore(r)) == 0 {
		t.Fatal("nothing is to be put back")
	}
	k.apply(9, 90)
	k.comeBy(3) // the repair
	k.comeBy(9)
	if n := k.due(); n > 0 {
		t.Errorf("%d rows are to be put back, though what came in last is the newest", n)
	}
}

// TestLearnerWaitsForTheTail: what was applied before a session is known again when the
// tail has read what it had seen, but that isn't waited for for ever.
func TestLearnerWaitsForTheTail(t *testing.T) {
	k := newKnown(t)
	seen := change.Stamp{Origin: "west", Seq: 3, Seen: change.Seen{{Region: "east", Seq: 5}}}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := k.awaitRead(ended, seen); !errors.Is(err, context.Canceled) {
		t.Errorf("a transaction is known again, though the tail hasn't read what it had seen: %v", err)
	}
	read := make(chan error)
	go func() { read <- k.awaitRead(t.Context(), seen) }()
	k.read(change.Stamp{Origin: "east", Seq: 5})
	k.must(<-read)
	k.must(k.awaitRead(ended, seen))

	seen.Seen[0].Seq = 6
	k.patience = 0
	k.must(k.awaitRead(ended, seen))
}
