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
	// local is the region's last transaction that all after it has seen.
	local change.Seq
}

// metadata is the form of the spine's: seq and written.
const metadata = "done %d written %d"

// load reads the group's offsets. seq and written are 0 if the operator has
// reset them, which leaves no metadata.
func load(ctx context.Context, saver *spine.Committer) (checkpoint, error) {
	offsets, note, err := saver.Load(ctx)
	at := checkpoint{offsets: offsets}
	_, _ = fmt.Sscanf(note, metadata, &at.seq, &at.written) // a hint, like the offsets
	return at, err
}

func save(ctx context.Context, saver *spine.Committer, now checkpoint) error {
	return saver.Save(ctx, now.offsets, fmt.Sprintf(metadata, now.seq, now.written))
}
