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
	// hlc is that of the last transaction of the source that is done with.
	hlc change.HLC
	// epoch is that of the conflicts which are to be recorded before it is settled,
	// 0 if they aren't all found.
	epoch int64
}

// metadata is the form of the spine's: seq and written. Where the target went back,
// metadataHad follows.
const (
	metadata    = "done %d written %d"
	metadataHad = " had %d"
)

// load reads the group's offsets. seq and written are 0 if the operator has
// reset them, which leaves no metadata.
func load(ctx context.Context, saver *spine.Committer) (checkpoint, error) {
	offsets, note, err := saver.Load(ctx)
	at := checkpoint{offsets: offsets}
	_, _ = fmt.Sscanf(note, metadata+metadataHad, &at.seq, &at.written, &at.had) // a hint, like the offsets
	return at, err
}

func save(ctx context.Context, saver *spine.Committer, now checkpoint) error {
	return saver.Save(ctx, now.offsets, now.note())
}

func (c *checkpoint) note() string {
	if c.had > c.written {
		return fmt.Sprintf(metadata+metadataHad, c.seq, c.written, c.had)
	}
	return fmt.Sprintf(metadata, c.seq, c.written)
}
