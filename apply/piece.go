package apply

import (
	"context"
	"slices"

	"duplex/apply/statement"
	"duplex/schemas"
	"duplex/supervise"
	"duplex/topics"
)

// piece is records of one partition that follow each other.
type piece struct {
	tenure  *tenure
	records []keyed
	next    int64 // the offset after the last, those left out included
}

func (p *piece) size() (n int64) {
	for i := range p.records {
		n += p.records[i].Size()
	}
	return n
}

// merge makes a batch of the current pieces: of each key the last image.
func (l *lane) merge(ctx context.Context) (*batch, []move, error) {
	l.mu.Lock()
	pieces := l.current
	var moves []move
	for i := range pieces {
		t := pieces[i].tenure
		if !slices.ContainsFunc(moves, func(m move) bool { return m.partition == t.partition }) {
			moves = append(moves, move{t.partition, t.standing, t.standing})
		}
	}
	l.mu.Unlock()
	b := &batch{merged: newMerged(0)}
	var decoded schemas.Decoded
	for i := range pieces {
		p := &pieces[i]
		at := slices.IndexFunc(moves, func(m move) bool { return m.partition == p.tenure.partition })
		for _, r := range p.records {
			if err := l.add(ctx, b, r, &decoded, &moves[at].to); err != nil {
				return nil, nil, err
			}
		}
		moves[at].to.next = p.next
	}
	b.sortTables()
	return b, moves, nil
}

// add adds one change to a batch, and notes it as the last of its partition.
func (l *lane) add(ctx context.Context, b *batch, r keyed, decoded *schemas.Decoded, to *standing) error {
	t, key, err := l.s.binders.decode(ctx, r.Record, decoded)
	if err != nil {
		return err
	}
	b.toll.add(decoded.Op, r.Size())
	if err := l.s.st.checkClock(r.Seq, r.hlc); err != nil {
		// It is tried alone then, when what comes before is written.
		return &batchFailure{r.Seq, r.Seq, int(b.changes) + 1, err}
	}
	if t.unordered != nil {
		return supervise.Permanent(t.unordered)
	}
	if err := t.binder.CheckKeyOrder(key, l.w.keyText[:0]); err != nil {
		return supervise.Permanent(err)
	}
	if topics.Cascade(r.Record.Record) != nil {
		return supervise.Permanent(&statement.Unordered{Table: t.name, What: "the source's server changed rows of other tables along with one of its rows, by a foreign key, and didn't log it",
			Why: "they would have to be changed together, in the order of the source"})
	}
	if r.Seq != to.seq || len(b.commits) == 0 {
		b.commits = append(b.commits, decoded.TsMicros)
	}
	to.seq, to.hlc, to.keySchema = r.Seq, r.hlc, t.keyID
	b.seq, b.hlc = max(b.seq, r.Seq), max(b.hlc, r.hlc)
	b.changes++
	b.bytes += r.Size()
	b.merge(t, key, decoded.Before, decoded.After)
	return nil
}
