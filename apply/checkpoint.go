package apply

import (
	"context"
	"fmt"

	"duplex/change"
	"duplex/spine"
)

// checkpoint is what is saved in Kafka: how far each partition is read, and, as
// metadata of the spine's, what that means. It is a hint for the next start:
// the truth is in duplex.progress.
type checkpoint struct {
	offsets spine.Offsets
	// seq is the last transaction of the source that is done with; written the
	// last that is in the target's duplex.progress. What lies between had
	// nothing for this task.
	seq, written change.Seq
	// had is the last that was once there, where the target went back.
	had change.Seq
	// local is the region's last transaction that all after it has seen.
	local change.Seq
	// own is the last of the region's own transactions that the tail had read when it was found
	// settled, 0 if that isn't known.
	own change.Seq
	// hlc is that of the last transaction of the source that is done with.
	hlc change.HLC
	// epoch is that of the conflicts which are to be recorded before it is settled,
	// 0 if they aren't all found.
	epoch int64
}

// metadata is the form of the spine's: seq and written. Where the target went back,
// metadataHad follows, and that and metadataOwn where own is known.
const (
	metadata    = "done %d written %d"
	metadataHad = " had %d"
	metadataOwn = " own %d"
)

// load reads the group's offsets. seq and written are 0 if the operator has
// reset them, which leaves no metadata.
func load(ctx context.Context, saver *spine.Committer) (checkpoint, error) {
	offsets, note, err := saver.Load(ctx)
	at := checkpoint{offsets: offsets}
	at.read(note)
	return at, err
}

// read reads what note gives.
func (c *checkpoint) read(note string) {
	_, _ = fmt.Sscanf(note, metadata+metadataHad+metadataOwn, &c.seq, &c.written, &c.had, &c.own) // a hint, like the offsets
}

func save(ctx context.Context, saver *spine.Committer, now checkpoint) error {
	return saver.Save(ctx, now.offsets, now.note())
}

func (c *checkpoint) note() string {
	had := c.had
	if had <= c.written {
		had = 0
	}
	switch {
	case c.own > 0:
		return fmt.Sprintf(metadata+metadataHad+metadataOwn, c.seq, c.written, had, c.own)
	case had > 0:
		return fmt.Sprintf(metadata+metadataHad, c.seq, c.written, had)
	}
	return fmt.Sprintf(metadata, c.seq, c.written)
}
