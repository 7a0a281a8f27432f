package capture

import (
	"context"

	"duplex/capture/binlog"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

const (
	// A chunk is handed on when it has so many bytes of row images or so many
	// steps, or when nothing more has been read: small enough to keep all
	// workers busy, large enough that handing it on costs nothing.
	chunkBytes = 64 << 10
	chunkSteps = 256
	// pipelineBytes bounds the row images of the chunks that are not yet
	// published. Encoded they are up to three times as many.
	pipelineBytes = 4 << 20
	// pipelineChunks bounds their number.
	pipelineChunks = 64
)

// chunk is a run of consecutive steps of the binlog. Its rows are encoded by
// one worker, beside other chunks, and published in order.
type chunk struct {
	steps   []step
	records []encoded
	ends    int           // transactions that may have an END record
	bytes   int64         // of row images
	encoded int64         // bytes of the records
	wide    bool          // it has a wide row
	copied  bool          // its rows are of a copy
	done    chan struct{} // closed when the rows are encoded
}

// step is one event of the binlog with what the stages before publishing have
// found out.
type step struct {
	kind binlog.Kind
	txn  *transaction
	// rows and table are set on Rows; last is the index in the chunk's records
	// after those of the step.
	rows  *binlog.RowsEvent
	table *table
	last  int
	event *binlog.Event // set on DDL, Unread and Commit
	// version is, on rows that yielded a unique value, the header with the version
	// of their deletion.
	version *kgo.RecordHeader
	// err says why capture can't go on past what precedes the step.
	err error
}

// encoded is a record that lacks only what the rows ahead of it decide.
type encoded struct {
	record  *kgo.Record
	op      byte // 0: a tombstone
	cascade bool // the server changed other rows with it, and logged none
}

// pipeline connects stamping, encoding and publishing. A chunk goes to both
// channels at once: to whichever worker is free, and, in order, to publishing.
type pipeline struct {
	work  chan *chunk
	order chan *chunk
	room  *semaphore.Weighted
}

func newPipeline() *pipeline {
	return &pipeline{
		work:  make(chan *chunk, pipelineChunks),
		order: make(chan *chunk, pipelineChunks),
		room:  semaphore.NewWeighted(pipelineBytes),
	}
}

// put hands a chunk on, waiting for room.
func (p *pipeline) put(ctx context.Context, c *chunk) error {
	if err := p.room.Acquire(ctx, c.weight()); err != nil {
		return context.Cause(ctx)
	}
	for _, to := range []chan<- *chunk{p.work, p.order} {
		select {
		case to <- c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// published gives back the room of a chunk.
func (p *pipeline) published(c *chunk) { p.room.Release(c.weight()) }

// weight is what a chunk takes of the room; one that is larger goes alone.
func (c *chunk) weight() int64 { return min(c.bytes, pipelineBytes) }

func (c *chunk) full() bool { return c.bytes >= chunkBytes || len(c.steps) >= chunkSteps }
