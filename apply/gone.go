package apply

import (
	"context"
	"errors"
	"fmt"

	"duplex/spine"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// leaveGone takes out of wanted the images that the topics no longer have. Their rows can't be put back: they are left as
// they are, and the log says so.
func (r *repair) leaveGone(ctx context.Context, client *kgo.Client, wanted map[spine.Partition]map[int64]*repairRow) error {
	var names []string
	for at := range wanted {
		names = append(names, at.Topic)
	}
	first, err := kadm.NewClient(client).ListStartOffsets(ctx, names...)
	if err != nil {
		return fmt.Errorf("reading the starts of topics: %w", spine.Explain(err))
	}
	v := r.s.versions
	v.mu.Lock()
	defer v.mu.Unlock()
	for at, offsets := range wanted {
		start, ok := first.Lookup(at.Topic, at.Index)
		if ok && start.Err != nil && !errors.Is(start.Err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("reading the start of topic %s: %w", at.Topic, spine.Explain(start.Err))
		}
		there, lost := ok && start.Err == nil, 0
		for offset, row := range offsets {
			if there && offset >= start.Offset {
				continue
			}
			lost++
			row.gone = true
			v.index.Cleared(row.key)
			delete(offsets, offset)
		}
		if len(offsets) == 0 {
			delete(wanted, at)
		}
		if lost > 0 {
			r.s.st.cfg.Log.Error("rows were overwritten by older images, and the newer ones are no longer in the topic: the regions differ in them",
				"topic", at.Topic, "rows", lost, "mend", "compare the table in both regions and write the rows anew; give the topics a longer retention")
		}
	}
	return nil
}
