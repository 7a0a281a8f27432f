package capture

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"duplex/capture/snapshot"
	"duplex/change"
	"duplex/config"
	"duplex/supervise"
	"duplex/topics"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Copy asks for the rows that tables of a task have before the task begins.
type Copy struct {
	Task    string
	Match   func(db, table string) bool
	Threads int // connections that read at once
	Rows    int // of a chunk
	// PerSecond bounds the rows read in a second, 0 for no bound.
	PerSecond int
}

// copied is how far the copy of one table is: a record of topic duplex.copies, in the
// Kafka transaction that has the rows. So whoever goes on copies nothing twice and leaves
// nothing out.
type copied struct {
	Task  string `json:"task"`
	DB    string `json:"database"`
	Table string `json:"table"`
	// Key names the columns of the primary key, Last is that of the last row done.
	Key  []string     `json:"key"`
	Last snapshot.Key `json:"last,omitempty"` // base64
	Rows int64        `json:"rows"`
	Done bool         `json:"done"`
	// UpdatedMillis is the time of writing, Unix milliseconds.
	UpdatedMillis int64 `json:"updated_ms"`
}

func (p *copied) name() string { return p.DB + "." + p.Table }

// copyKey is the key of a table's record.
func copyKey(region change.Region, task, db, table string) string {
	text, _ := json.Marshal([]string{string(region), task, db, table}) // of texts only: it can't fail
	return string(text)
}

func (p *copied) record(region change.Region) *kgo.Record {
	p.UpdatedMillis = time.Now().UnixMilli()
	value, _ := json.Marshal(p) // of texts and numbers only: it can't fail
	return &kgo.Record{Topic: topics.Copies, Key: []byte(copyKey(region, p.Task, p.DB, p.Table)), Value: value}
}

// loadCopied reads how far the region's copies are, by key. It must be called after the
// publisher took over.
func loadCopied(ctx context.Context, cfg config.Kafka) (map[string]*copied, error) {
	t, err := openTail(cfg, topics.Copies)
	if err != nil {
		return nil, err
	}
	defer t.close()
	if err := topics.EnsureCopies(ctx, t.admin, cfg); err != nil {
		return nil, err
	}
	start, end, err := t.bounds(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]*copied{}
	var failed error
	err = t.visit(ctx, start, end, func(r *kgo.Record) {
		p := new(copied)
		if r.Value == nil {
			delete(all, string(r.Key)) // somebody wants the table copied again
		} else if err := json.Unmarshal(r.Value, p); err != nil && failed == nil {
			failed = supervise.Permanent(fmt.Errorf("reading %s@%d: %w; mend: write the key %s again with a null value, and its table is copied again", r.Topic, r.Offset, err, r.Key))
		} else {
			all[string(r.Key)] = p
		}
	})
	if err == nil {
		err = failed
	}
	return all, err
}

// CopyStatus is how far the copies are.
type CopyStatus struct {
	State string `json:"state"` // copying or done
	// Tables and Rows are of all tables, TablesDone and RowsDone those that are copied. How many rows there
	// are is what the server estimates.
	Tables     int   `json:"tables"`
	TablesDone int   `json:"tables_done"`
	Rows       int64 `json:"rows_estimated"`
	RowsDone   int64 `json:"rows_done"`
	// Table is the one being copied.
	Table string `json:"table,omitempty"`
	// SecondsLeft is estimated from what was copied in the last minute or so, -1 if nothing was.
	SecondsLeft int64  `json:"seconds_left"`
	Again       int64  `json:"chunks_again,omitempty"` // that were read again
	Error       string `json:"error,omitempty"`        // why it waits
}

// copyProgress is CopyStatus while copying. It is guarded by Capture.mu.
type copyProgress struct {
	status CopyStatus
	left   map[string]int   // tables, by task
	sizes  map[string]int64 // estimated rows, by task and table
	done   map[string]int64
	rate   float64 // rows a second
	at     time.Time
	since  int64 // rows since then
}

func (p *copyProgress) show() *CopyStatus {
	s := p.status
	s.Rows, s.RowsDone = 0, 0
	for _, table := range slices.Collect(maps.Keys(p.sizes)) {
		s.RowsDone += p.done[table]
		s.Rows += max(p.sizes[table], p.done[table])
	}
	s.SecondsLeft = -1
	switch {
	case s.State == copyDone:
		s.Rows, s.SecondsLeft = s.RowsDone, 0
	case p.rate > 0:
		s.SecondsLeft = int64(float64(s.Rows-s.RowsDone) / p.rate)
	}
	return &s
}

const (
	copyCopying = "copying"
	copyDone    = "done"
)

// add notes rows, and how fast they come.
func (p *copyProgress) add(table string, rows int64, now time.Time) {
	p.done[table] += rows
	p.since += rows
	if elapsed := now.Sub(p.at).Seconds(); elapsed >= 1 {
		rate := float64(p.since) / elapsed
		if p.rate > 0 {
			rate = 0.9*p.rate + 0.1*rate
		}
		p.rate, p.at, p.since = rate, now, 0
	}
}

// Copied reports whether all tables of a copy are copied.
func (c *Capture) Copied(task string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.copies == nil {
		return false
	}
	left, listed := c.copies.left[task]
	return listed && left == 0
}

// copying changes the status.
func (c *Capture) copying(change func(*copyProgress)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.copies == nil {
		c.copies = &copyProgress{left: map[string]int{}, sizes: map[string]int64{}, done: map[string]int64{}, at: time.Now()}
	}
	change(c.copies)
}
