package apply

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"duplex/change"
	"duplex/converge"
	"duplex/schemas"
	"duplex/spine"
	"duplex/supervise"
)

// The offsets of a task's group are a hint, and a wish if somebody else has set them:
// Kafka's own tool moves each partition where it likes. What is applied, and what of
// that isn't settled, is known without them; by its number each is found in the
// topics. So a reset makes apply read more again, and never less than it must, and
// what lies before a place to which it was moved forward isn't skipped by that.

// placing is finding where a session reads on.
type placing struct {
	s       *session
	f       *spine.Finder
	applied change.Seq
	saved   checkpoint // of the group
	kept    checkpoint // by ourselves
	// base is the last transaction that is done with: what lies between applied and
	// it had nothing for the task.
	base change.Seq
	all  []spine.Partition
	// next is where the transactions after base begin.
	next map[spine.Partition]spine.Cut
}

// had returns the last transaction that the target ever had, as far as is known, if it
// has it no more; otherwise 0.
func (p *placing) had() change.Seq {
	had := max(p.saved.written, p.saved.had, p.kept.written, p.kept.had)
	if had > p.applied {
		return had
	}
	return 0
}

// astray reports whether the group's offsets aren't where this stream left them, or
// don't fit what the target has.
func (p *placing) astray() bool {
	if len(p.s.saver.Moved) > 0 || p.back() {
		return true
	}
	_, spined := p.saved.offsets[p.s.in.Spine()]
	return !spined && (len(p.saved.offsets) > 0 || p.kept.seq > 0)
}

// back reports whether the target has lost what it had: it was restored from a
// backup, whose progress came with it, or somebody has set that back.
func (p *placing) back() bool { return max(p.saved.written, p.kept.written) > p.applied }

// place finds where to read on, by the numbers of the transactions. It fails if that
// would skip any that were not applied.
func (p *placing) place(ctx context.Context) error {
	s := p.s
	kafka, _ := s.st.cfg.source()
	var err error
	if p.f, err = spine.NewFinder(kafka, s.st.cfg.Source); err != nil {
		return err
	}
	defer p.f.Close()
	if p.all, err = p.f.Partitions(ctx, s.asm.Wanted); err != nil {
		return err
	}
	p.base = p.applied
	for _, c := range [2]checkpoint{p.saved, p.kept} {
		if c.written <= p.applied {
			p.base = max(p.base, c.seq)
		}
	}
	if p.next, err = p.after(ctx, p.base); err != nil {
		return err
	}
	if at := p.next[p.f.Spine()]; at.First.Seq > p.base+1 {
		return supervise.Permanent(s.asm.Gap("transactions %d to %d are not applied here and no longer in the topics: a new snapshot is needed", p.base+1, at.First.Seq-1))
	}
	if err := p.refuseSkip(ctx); err != nil {
		return err
	}
	return p.start(ctx)
}

// after finds where the transactions after one begin.
func (p *placing) after(ctx context.Context, seq change.Seq) (map[spine.Partition]spine.Cut, error) {
	return p.f.Cut(ctx, p.all, func(s *change.Stamp) bool { return s.Seq > seq })
}

// refuseSkip fails if partitions were moved past what wasn't applied, unless that is
// confirmed. A transaction of which a part is skipped is skipped whole, and so are all
// before it.
func (p *placing) refuseSkip(ctx context.Context) error {
	k := Skip{Source: p.s.st.cfg.Source, First: p.base + 1}
	for _, at := range p.s.saver.Moved {
		cut, wish := p.next[at], p.saved.offsets[at]
		if cut.First.Seq == 0 || wish <= cut.At {
			continue
		}
		last, err := p.f.LastBefore(ctx, at, cut.At, min(wish, cut.End))
		if err != nil {
			return err
		}
		k.Last = max(k.Last, last.Seq)
	}
	if k.Last == 0 {
		return nil
	}
	var hlc change.HLC
	spined := p.next[p.f.Spine()]
	wanted := p.s.asm.Wanted
	err := p.f.Ends(ctx, spined.At, spined.End, func(end *schemas.End) bool {
		if end.Stamp.Seq > k.Last {
			return true
		}
		hlc = end.Stamp.HLC
		if slices.ContainsFunc(end.Partitions, func(c schemas.PartitionCount) bool { return wanted(c.Topic) }) {
			k.Transactions++
		}
		return end.Stamp.Seq == k.Last
	})
	switch {
	case err != nil:
		return err
	case hlc == 0:
		return fmt.Errorf("transaction %d isn't on the spine yet", k.Last)
	case k.Transactions == 0:
		return nil // what was skipped had nothing for the task
	}
	return p.s.leaveOut(ctx, k, hlc)
}

// start sets where the session begins to read, and with what.
func (p *placing) start(ctx context.Context) error {
	s := p.s
	settled, known := p.base, s.versions == nil || s.st.unlearnt || p.applied == 0 || p.back()
	if !known && p.kept.seq > 0 {
		settled, known = min(p.kept.seq, p.base), true
	}
	home := p.next
	if settled < p.base {
		var err error
		if settled, home, err = p.unsettled(ctx, settled); err != nil {
			return err
		}
	}
	s.asm.Applied = settled
	start, ahead := spine.Offsets{}, false
	for at, cut := range home {
		start[at] = cut.At
		wish, ok := p.saved.offsets[at]
		switch {
		case !ok || !slices.Contains(s.saver.Moved, at):
		case wish < cut.At:
			start[at] = max(wish, cut.Start)
		case wish > cut.At:
			ahead = true
		}
	}
	if !known {
		// All that was applied is read again, as far back as was asked for, and
		// farther if that isn't back.
		s.asm.Applied = spine.Unknown
		s.in.Adrift = func(spine.Partition) bool { return true }
		if ahead || len(s.saver.Moved) < len(start) {
			clear(start)
		}
	}
	s.in.Start = start
	if p.back() {
		// From now on what is settled counts from here.
		now := checkpoint{offsets: start, seq: settled, written: p.applied, had: p.had()}
		if err := errors.Join(save(ctx, s.saver, now), s.keep(ctx, now)); err != nil {
			return err
		}
	}
	at := p.next[p.f.Spine()]
	s.st.cfg.Log.Info("reading on, found by number, not by the group's offsets", "group", s.saver.Group, "moved", len(s.saver.Moved), "had", max(p.saved.written, p.kept.written), "applied", p.applied,
		"settled", s.asm.Applied, "from", start[p.f.Spine()], "new", at.At, "end", at.End)
	return nil
}

// keep saves what a reset of the group leaves alone.
func (s *session) keep(ctx context.Context, now checkpoint) error {
	at, ok := now.offsets[s.in.Spine()]
	if !ok {
		return nil
	}
	return s.keeper.Save(ctx, spine.Offsets{s.in.Spine(): at}, now.note())
}

// keepSettled saves, before a session that was reset ends, what is settled.
func (s *session) keepSettled(ctx context.Context) error {
	s.mu.Lock()
	now := s.settled
	s.mu.Unlock()
	return s.keep(ctx, now)
}

// echoAgain notes, of a row, an image that was written here before the target went
// back: what comes in again up to there is no newer. It has no place, as it needs
// no putting back: the row has it.
func (v *inbound) echoAgain(id converge.Key, batch change.Seq, hlc change.HLC) error {
	w := v.opaqueWrite(batch, hlc)
	if err := v.index.Wrote(id, w, 0); err != nil {
		return err
	}
	return v.index.Echo(id, w.Digest)
}

// begin notes that all that was in the binlog before this session has been read.
func (v *inbound) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.again = false; v.alone() {
		v.tail = v.from
		v.told.upTo(v.from)
	}
}

// unsettled finds where what is applied and not settled begins, to be read for its
// versions. If that can't be, it is where the rest begins.
func (p *placing) unsettled(ctx context.Context, settled change.Seq) (change.Seq, map[spine.Partition]spine.Cut, error) {
	own, log := p.f.Spine(), p.s.st.cfg.Log
	home, err := p.after(ctx, settled)
	if err != nil {
		return 0, nil, err
	}
	if first := home[own].First.Seq; first > settled+1 {
		log.Warn("what was applied and not settled is no longer in the topics: conflicts with it are not looked for", "settled", settled, "has", first)
		return p.base, p.next, nil
	}
	last, err := p.f.LastBefore(ctx, own, home[own].At, p.next[own].At)
	if err != nil {
		return 0, nil, err
	}
	if last.HLC > p.s.asm.Newest.HLC {
		// Somebody has set the seq alone, having copied the tables; or the region
		// numbers anew, which shows when it is read.
		log.Warn("duplex.progress was set by hand: what it passed over isn't looked at", "settled", settled, "applied", p.applied)
		return p.base, p.next, nil
	}
	return settled, home, nil
}

// placeTail finds where the own topics are to be read from, by the number of the first
// of the region's own transactions that what comes in hasn't seen. What precedes
// it there is passed over.
func (s *session) placeTail(ctx context.Context) (start tailStart, err error) {
	local, err := s.seenBefore(ctx)
	if err != nil || local < 0 {
		return start, err
	}
	start, cut, err := s.tail.startFrom(ctx, func(s *change.Stamp) bool { return s.Seq > local })
	start.local = local
	if first := cut.First.Seq; err == nil && first > local+1 {
		s.st.cfg.Log.Warn("the own topics don't reach back far enough: conflicts with what this region wrote before are not looked for", "from", local+1, "has", first)
	}
	return start, err
}

// startFrom finds where the own topics begin with the first of the region's own
// transactions that is reached, and where that is on the spine.
func (t *tail) startFrom(ctx context.Context, reached func(*change.Stamp) bool) (start tailStart, first spine.Cut, err error) {
	f, err := spine.NewFinder(t.config, t.v.region)
	if err != nil {
		return start, first, err
	}
	defer f.Close()
	own, err := f.Partitions(ctx, t.wanted())
	if err != nil {
		return start, first, err
	}
	cuts, err := f.Cut(ctx, own, reached)
	if err != nil {
		return start, first, err
	}
	start = tailStart{offsets: spine.Offsets{}, adrift: true}
	for at, cut := range cuts {
		start.offsets[at] = cut.After
	}
	// On the spine nothing is passed over: what is of no table there needs none.
	first = cuts[f.Spine()]
	start.offsets[f.Spine()] = first.At
	return start, first, nil
}

// seenBefore returns the last of the region's own transactions that all that the
// session reads has seen; -1 if that isn't known.
func (s *session) seenBefore(ctx context.Context) (change.Seq, error) {
	if s.asm.Applied == spine.Unknown {
		return -1, nil
	}
	kafka, _ := s.st.cfg.source()
	f, err := spine.NewFinder(kafka, s.st.cfg.Source)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	cuts, err := f.Cut(ctx, []spine.Partition{f.Spine()}, func(m *change.Stamp) bool { return m.Seq > s.asm.Applied })
	if err != nil {
		return -1, err
	}
	cut := cuts[f.Spine()]
	first := cut.First
	if first.Seq == 0 { // what is still to come has seen no less than the last there is
		if first, err = f.LastBefore(ctx, f.Spine(), cut.Start, cut.End); err != nil {
			return -1, err
		}
	}
	return first.Seen.In(s.st.cfg.Spec.Task).Of(s.st.cfg.Process.Region), nil
}

// awaitTail waits until the tail has read all that is in the binlog now, where what
// comes in may have been applied here before: a local write since would be
// overwritten, if only until the tail comes by.
func (s *session) awaitTail(ctx, work context.Context) error {
	if s.tail == nil || s.had == 0 && (s.round == nil || !s.round.lowered) {
		return nil
	}
	token := rand.Text()
	read := s.tail.expect(token)
	defer s.tail.forget(token)
	c := &canary{target: s.target, progress: s.progress, sent: map[string]bool{}}
	if err := c.write(work, token); err != nil {
		return err
	}
	s.st.service.Enter(supervise.Checking, errors.New("the target went back: reading what its own region wrote before applying anything again"))
	defer s.versions.begin()
	defer s.st.service.Enter(supervise.Streaming, nil)
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-read:
			return nil
		case <-ctx.Done():
			return nil
		case <-work.Done():
			return context.Cause(work)
		case <-look.C:
			if s.versions.isFull() {
				s.st.cfg.Log.Warn("more was written here than there is room for: applying at once, and putting back what that overwrites")
				return nil
			}
		}
	}
}
