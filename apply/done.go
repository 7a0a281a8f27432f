package apply

import (
	"context"
	"errors"
	"time"

	"duplex/change"
	"duplex/mysql"
	"duplex/spine"
	"duplex/supervise"
)

// note moves the offsets on over what needed no writing, if nothing that does
// is under way. While what was applied is read again they stay: within a batch of then
// they would have half of its rows known, of which the tail is told by the batch's number.
func (s *session) note() {
	if len(s.open.commits) > 0 || s.pool.count() > 0 {
		return
	}
	learnt := !s.learning()
	s.st.delay.observe(time.Now(), s.beats)
	s.beats = s.beats[:0]
	s.mu.Lock()
	s.sawUpTo(s.stamps)
	if learnt {
		s.done.offsets, s.done.seq, s.done.local, s.done.hlc = s.in.Taken(), s.asm.Applied, s.saw, s.heard
	}
	written := s.done.written
	s.mu.Unlock()
	if s.versions == nil {
		return
	}
	if learnt {
		s.versions.noted(written)
	}
	if len(s.stamps) > 0 {
		s.versions.passed(s.stamps)
		s.stamps = s.stamps[:0]
	}
}

// sawUpTo notes what transactions that are done with had seen of this region, and the HLC
// of the source's. It goes
// with the offsets after them, not with what versions has decided: what follows the
// offsets is read again, and must meet all that it hadn't seen.
func (s *session) sawUpTo(stamps []change.Stamp) {
	for i := range stamps {
		s.saw = max(s.saw, stamps[i].Seen.Of(s.st.cfg.Process.Region))
		if stamps[i].Origin == s.st.cfg.Process.Region && s.versions != nil && s.versions.parted != nil {
			// The source has applied it. Where it writes nothing itself that alone moves what is held on.
			s.saw = max(s.saw, stamps[i].Seq)
		}
		if stamps[i].Origin == s.st.cfg.Source {
			s.heard = max(s.heard, stamps[i].HLC)
		}
	}
}

// written records a batch that is committed.
func (s *session) written(b *batch) {
	s.mu.Lock()
	s.sawUpTo(b.stamps)
	s.done.written, s.writtenAt = b.seq, time.Now()
	if b.offsets != nil {
		s.done.offsets, s.done.seq, s.done.local, s.done.hlc = b.offsets, b.seq, s.saw, s.heard
	}
	s.mu.Unlock()
	s.st.wrote(b)
}

// troubled shows why a batch is tried again.
func (s *session) troubled(reason error) {
	if reason == nil {
		s.st.service.Enter(supervise.Streaming, nil)
		return
	}
	s.st.retries.Add(1)
	var fault mysql.Fault
	if errors.As(reason, &fault) && fault.Waiting {
		s.st.service.Enter(supervise.Retrying, reason)
	}
}

// save commits the group's offsets now and then, and watches for a reset.
func (s *session) save(ctx context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	unreachable := false
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			s.advance()
			err := s.saveSettled(ctx)
			var reset *spine.ResetError
			switch {
			case errors.As(err, &reset):
				s.resets <- err // has room
				return nil
			case supervise.IsPermanent(err):
				return err
			case err != nil && ctx.Err() == nil:
				// The offsets are a hint, but that Kafka can't be reached must
				// show: its client waits for it without a word.
				unreachable = true
				s.st.service.Enter(supervise.Retrying, err)
			case err == nil && unreachable:
				unreachable = false
				s.st.service.Enter(supervise.Streaming, nil)
			}
		}
	}
}
