package capture

import (
	"context"
	"fmt"
	"time"

	"duplex/capture/binlog"
	"duplex/capture/snapshot"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"
)

// part is a chunk of a table on its way to its place in the stream. The copier makes it;
// publishing waits until the stream has passed its second mark and hands it to stamping,
// which puts it between two transactions; when it comes back to publishing, encoded, what
// has changed since its window was opened is left out.
type part struct {
	chunk  *snapshot.Chunk
	window *snapshot.Window
	high   *binlog.Position // of chunk.High
	after  copied           // the table's record once it is published
	placed bool             // it was handed to stamping
	spoilt bool
	left   int64 // rows that were left out
	wide   bool
	// published receives when it is published, or must be read again; of a wide one when Kafka has it.
	// outcome is that for its reader, once placer knows.
	published, outcome chan outcome
}

type outcome struct{ again bool }

// placing is the part of publishing that copies.
type placing struct {
	windows *snapshot.Windows
	open    chan opening
	drop    chan *snapshot.Window // windows whose chunk couldn't be read
	ready   chan *part
	inject  chan *part // to stamping
	pending *part
	// unsaved are wide parts that Kafka doesn't have yet.
	unsaved []*part
}

// opening asks for a window on a table.
type opening struct {
	table string
	reply chan opened
}

type opened struct {
	window *snapshot.Window
	// seen is what the stream has passed: the first mark.
	seen string
}

func newPlacing() *placing {
	return &placing{windows: snapshot.NewWindows(), open: make(chan opening), drop: make(chan *snapshot.Window), ready: make(chan *part), inject: make(chan *part, 1)}
}

// openings and parts are what to wait for; nil channels if there is nothing, or no time for it. A window
// opens between transactions: of an open one rows may have been passed that no SELECT sees yet.
func (s *publishing) openings() <-chan opening {
	if s.placing == nil || s.inTxn {
		return nil
	}
	return s.placing.open
}

func (s *publishing) drops() <-chan *snapshot.Window {
	if s.placing == nil {
		return nil
	}
	return s.placing.drop
}

func (s *publishing) parts() <-chan *part {
	if s.placing == nil || s.placing.pending != nil {
		return nil
	}
	return s.placing.ready
}

func (s *publishing) openWindow(o opening) {
	o.reply <- opened{s.placing.windows.Open(o.table), s.position.String()}
}

// place hands the pending part to stamping once the stream has passed its second mark.
func (s *publishing) place() {
	p := s.placing
	if p == nil || p.pending == nil || p.pending.placed || s.inTxn || !s.position.Covers(p.pending.high) {
		return
	}
	p.pending.placed = true
	p.inject <- p.pending // has room: there is one
}

// beginPart decides whether the chunk counts.
func (s *publishing) beginPart(p *part) { p.spoilt = p.window.Spoilt() }

// keep leaves out the rows of a chunk that were changed.
func (p *part) keep(records []encoded) []encoded {
	if p.spoilt {
		return nil
	}
	kept := records[:0]
	for _, e := range records {
		if p.window.Changed(e.record.Key) {
			p.left++
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

// note notes changes of the stream, for the windows on their table.
func (p *placing) note(t *table, records []encoded) {
	watched := p.windows.Watches(t.collection)
	for i := range records {
		e := &records[i]
		if watched && e.op != 0 {
			p.windows.Changed(t.collection, e.record.Key)
		}
		for i := 0; e.cascade && i < len(t.cascaded); i++ {
			p.windows.SpoilTable(t.cascaded[i]) // the stream doesn't tell which of its rows
		}
	}
}

// finishPart ends a chunk's transaction: its END record, and how far the copy is.
func (s *publishing) finishPart(ctx context.Context, txn *transaction) error {
	p := txn.part
	s.numbers.Pass(txn.source.Stamp)
	if err := s.end(ctx, txn); err != nil {
		return err
	}
	s.placing.windows.Close(p.window)
	s.placing.pending = nil
	s.moved = true
	if p.spoilt {
		p.published <- outcome{again: true}
		return nil
	}
	if err := s.publisher.produce(ctx, p.after.record(s.numbers.Region)); err != nil {
		return err
	}
	s.c.copying(func(c *copyProgress) { c.add(p.after.Task+" "+p.after.name(), txn.total+p.left, time.Now()) })
	if p.wide {
		s.placing.unsaved = append(s.placing.unsaved, p)
		return nil
	}
	p.published <- outcome{}
	return nil
}

// committed tells of wide parts that Kafka has them.
func (p *placing) committed() {
	if p == nil {
		return
	}
	for _, part := range p.unsaved {
		part.published <- outcome{}
	}
	p.unsaved = p.unsaved[:0]
}

// put puts a chunk into the stream: a transaction of the region's own, which changed
// nothing.
func (s *stamping) put(ctx context.Context, p *part) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	now := time.Now()
	// Nothing was written. So the clock isn't set forward, or what the stream still has of earlier
	// would seem to be of now.
	when := time.UnixMilli(0)
	if s.stamper.HLC == 0 {
		when = now
	}
	stamp := s.stamper.Local(when)
	txn := &transaction{gtid: topics.CopyID(stamp.Origin, stamp.Seq), part: p}
	txn.tables = txn.oneTable[:0]
	txn.source = schemas.Source{TsMicros: now.UnixMicro(), ServerID: s.serverID, Snapshot: "incremental"}
	s.transactions.stamp(txn, stamp)
	table, err := s.tables.of(ctx, p.chunk.Table.Version())
	if err != nil {
		return err
	}
	if err := s.append(ctx, step{kind: binlog.Begin, txn: txn}); err != nil {
		return err
	}
	for _, images := range p.chunk.Images {
		rows := &binlog.RowsEvent{Table: p.chunk.Table.Version(), Op: binlog.Copied, Images: images, Present: p.chunk.Present, File: s.file, Pos: s.pos}
		if err := s.append(ctx, step{kind: binlog.Rows, txn: txn, rows: rows, table: table}); err != nil {
			return err
		}
	}
	p.chunk.Images = nil
	if err := s.append(ctx, step{kind: binlog.Commit, txn: txn}); err != nil {
		return err
	}
	return s.flush(ctx)
}

// parseHigh reads the second mark of a chunk.
func parseHigh(engine, set string) (*binlog.Position, error) {
	p, err := binlog.ParsePosition(engine, set)
	if err != nil {
		return nil, supervise.Permanent(fmt.Errorf("reading what the server has executed: %w", err))
	}
	return p, nil
}
