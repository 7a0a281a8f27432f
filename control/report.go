package control

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"duplex/change"
	"duplex/tasks"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// State is what a task is in a region, as its services report it or as it is shown.
type State string

// The states. Created, Paused, Stopped and Deleted are as wanted, once they are reached.
const (
	Created   State = "created"
	Checking  State = "checking" // something is to be waited for; the reason tells what
	Copying   State = "copying"  // streaming, and the initial copy isn't done
	Streaming State = "streaming"
	Paused    State = "paused"
	Stopped   State = "stopped"
	Failed    State = "failed" // it doesn't go on by itself
	Deleted   State = "deleted"
	// Silent is shown where nobody has reported for a while.
	Silent State = "silent"
)

// Beat is how often a process reports that nothing has changed.
const Beat = 3 * time.Second

// silence is for how long a process that lives may not have reported.
const silence = 4 * Beat

// Report is what one process says of a task in its region.
type Report struct {
	Task    string        `json:"task"`
	Region  change.Region `json:"region"`
	Process string        `json:"process"` // host and address of its status
	// Revision is that of the task which it goes by, Life its life; both 0 where a task file says what runs.
	Revision int64 `json:"revision"`
	Life     int   `json:"life"`
	// Capture and Apply are the services of the process, nil if it hasn't that one.
	Capture *Service `json:"capture,omitempty"`
	Apply   *Service `json:"apply,omitempty"`
	// AtMillis is when it was written, Unix milliseconds.
	AtMillis int64 `json:"at_ms"`
}

// Service is how one of the services of a task is.
type Service struct {
	State       State  `json:"state"`
	SinceMillis int64  `json:"since_ms"`
	Reason      string `json:"reason,omitempty"`
	// Captured tells, of capture, that the task's tables are captured as the revision says, since the
	// transaction after Since.
	Captured bool       `json:"captured,omitempty"`
	Since    change.Seq `json:"captured_since,omitempty"`
}

// Key is that of the report's record.
func (r *Report) Key() string {
	text, _ := json.Marshal([]string{r.Task, string(r.Region), r.Process}) // of texts only: it can't fail
	return string(text)
}

// Age is how old it is.
func (r *Report) Age(now time.Time) time.Duration { return now.Sub(time.UnixMilli(r.AtMillis)) }

// Silent reports whether whoever wrote it should have written another by now.
func (r *Report) Silent(now time.Time) bool { return r.Age(now) > silence }

func (b *Board) takeReport(rec *kgo.Record) error {
	if rec.Value == nil {
		delete(b.Reports, string(rec.Key))
		return nil
	}
	var r Report
	if err := json.Unmarshal(rec.Value, &r); err != nil {
		return fmt.Errorf("reading %s@%d: %w; mend: another program wrote it: write its key again with a null value", rec.Topic, rec.Offset, err)
	}
	b.Reports[string(rec.Key)] = r
	return nil
}

// Report writes reports.
func (s *Store) Report(ctx context.Context, reports []Report) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var records []*kgo.Record
	for i := range reports {
		value, err := json.Marshal(&reports[i])
		if err != nil {
			return fmt.Errorf("encoding a report: %w", err)
		}
		records = append(records, &kgo.Record{Topic: topics.Status, Key: []byte(reports[i].Key()), Value: value})
	}
	if err := s.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("reporting how tasks are: %w", err)
	}
	return nil
}

// Watch makes the topics if they aren't there, and calls changed with all there is, and again each time that there is more, until ctx ends or Kafka can't be read.
// The board is only lent.
func (s *Store) Watch(ctx context.Context, changed func(*Board)) error {
	if err := s.Ensure(ctx); err != nil {
		return err
	}
	ends, err := s.admin.ListEndOffsets(ctx, topics.Tasks, topics.Status)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("reading where topics end: %w", err)
	}
	board, next := newBoard(), map[string]int64{}
	start := map[int32]kgo.Offset{0: kgo.NewOffset().AtStart()}
	s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topics.Tasks: start, topics.Status: start})
	whole := func() bool {
		for _, topic := range []string{topics.Tasks, topics.Status} {
			if end, _ := ends.Lookup(topic, 0); next[topic] < end.Offset {
				return false
			}
		}
		return true
	}
	for {
		if whole() {
			changed(board)
		}
		fetches := s.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading tasks: %w", err)
		}
		var failed error
		fetches.EachRecord(func(rec *kgo.Record) {
			next[rec.Topic] = rec.Offset + 1
			if !rec.Attrs.IsControl() && failed == nil {
				failed = board.take(rec)
			}
		})
		if failed != nil {
			return failed
		}
	}
}

// Reached is what a state that was asked for is called once it is reached.
func Reached(w tasks.Wanted) State {
	switch w {
	case tasks.Paused:
		return Paused
	case tasks.Stopped:
		return Stopped
	case tasks.Deleted:
		return Deleted
	case tasks.Created:
		return Created
	}
	return Streaming
}
