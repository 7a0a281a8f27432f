package apply

import (
	"duplex/change"
	"duplex/spine"
)

// tailMark is a place in the topics to read on from, if all up to local is stable.
type tailMark struct {
	offsets spine.Offsets
	local   change.Seq
	hlc     change.HLC // the greatest of the transactions before it, whoever wrote them
}

// mark notes where the tail is.
func (t *tail) mark() {
	if t.asm.Applied == spine.Unknown && (t.v.alone() || t.hlc == 0) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.marks) == maxMarks {
		// A long outage of the other region: coarser ones do.
		n := 0
		for i := 1; i < len(t.marks); i += 2 {
			t.marks[n] = t.marks[i]
			n++
		}
		clear(t.marks[n:])
		t.marks = t.marks[:n]
	}
	t.marks = append(t.marks, tailMark{t.in.Taken(), t.asm.Applied, t.hlc})
}

func (t *tail) forgetMarks() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks = nil
}

func (t *tail) oldestMark() (m tailMark, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.marks) == 0 {
		return m, false
	}
	return t.marks[0], true
}

// before returns the last mark that is settled: those up to it are, and earlier ones
// are forgotten.
func (t *tail) before(settled func(tailMark) bool) (m tailMark, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for n < len(t.marks) && settled(t.marks[n]) {
		n++
	}
	if n == 0 {
		return m, false
	}
	t.marks = t.marks[n-1:]
	return t.marks[0], true
}
