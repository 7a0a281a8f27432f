package main

import (
	"io"

	"duplex/converge"
)

// space is a converge.Space in memory: what was written, by where it begins. It is
// always read within what was written at once.
type space map[int64][]byte

func (s space) WriteAt(b []byte, at int64) (int, error) {
	s[at] = append(s[at][:0], b...)
	return len(b), nil
}

func (s space) ReadAt(b []byte, at int64) (int, error) {
	for begin, piece := range s {
		if at >= begin && at+int64(len(b)) <= begin+int64(len(piece)) {
			return copy(b, piece[at-begin:]), nil
		}
	}
	return 0, io.ErrUnexpectedEOF
}

func (s space) Truncate(size int64) error {
	for begin := range s {
		if begin >= size {
			delete(s, begin)
		}
	}
	return nil
}

var _ converge.Space = space{}

// knows returns how many rows, or of those on disk versions, the index has.
func (r *region) knows() int {
	n, _ := r.index.Spilled()
	return r.index.Len() + n
}

// spill puts what the index knows on disk, now and then.
func (w *world) spill(r *region) {
	if w.spills && w.pick.intn(2) == 0 {
		w.must(r.index.Spill())
		n, _ := r.index.Spilled()
		w.spilled += n
	}
	w.must(r.index.Err())
}
